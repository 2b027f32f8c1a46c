package doc

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// FuzzEdit: whatever the text, the place and the value, an edit gives an error or a text
// that reads as the old one with that change and no other. What Text checks by its own
// trees is looked at here by those that are encrypted.
func FuzzEdit(f *testing.F) {
	for i, format := range []Format{YAML{}, JSON{}, Dotenv{}, INI{}} {
		files, err := filepath.Glob(filepath.Join("../../testdata/roundtrip", format.Name(), "*"))
		if err != nil || len(files) == 0 {
			f.Fatalf("no %s files: %v", format.Name(), err)
		}
		for k, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), src, uint16(k), uint8(k), "key", []byte(`{"a": ["x", 1, null], "b": "two\nlines"}`))
		}
	}
	for i, c := range edits {
		f.Add(uint8(0), []byte(c.src), uint16(i), uint8(i), "a", []byte(`"#"`))
	}
	for i, c := range jsonEdits {
		f.Add(uint8(1), []byte(c.src), uint16(i), uint8(i), "a", []byte(`1e2`))
	}
	for i, c := range dotenvEdits {
		f.Add(uint8(2), []byte(c.src), uint16(i), uint8(i), "A", []byte(`"\"'$ #\n"`))
	}
	for i, c := range iniEdits {
		f.Add(uint8(3), []byte(c.src), uint16(i), uint8(i), "a", []byte(`"x ;y"`))
		f.Add(uint8(3), []byte(c.src), uint16(i+1), uint8(i), "a", []byte(`{"b": "x\ny", "c": ""}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte, pick uint16, op uint8, key string, value []byte) {
		format := []Format{YAML{}, JSON{}, Dotenv{}, INI{}}[which%4]
		if len(src) > 4000 || len(value) > 1000 {
			return
		}
		text, err := ReadText(format, src)
		if err != nil {
			return
		}
		before, _, err := format.Prepare(src, Splice)
		if err != nil {
			return
		}
		v, err := ParseValue(value)
		if err != nil {
			v = StringValue("text")
		}
		// Places are counted in the prepared text, whose trees have the same items.
		var nodes, same []*Node
		var walk func(a, b *Node) bool
		walk = func(a, b *Node) bool {
			nodes, same = append(nodes, a), append(same, b)
			x, y := items(a), items(b)
			if len(x) != len(y) {
				return false
			}
			for i := range x {
				if !walk(x[i], y[i]) {
					return false
				}
			}
			return true
		}
		roots := before.Unwrap()
		withoutHeadless(before, roots)
		for i, r := range roots {
			if !walk(text.Roots[i], r) {
				return
			}
		}
		n, twin := nodes[int(pick)%len(nodes)], same[int(pick)%len(nodes)]
		parent := parentOf(roots, twin)
		held, err := text.format.hold(len(text.lineage(n))-1, v)
		if err != nil {
			return
		}
		var out []byte
		switch op % 3 {
		case 0:
			if parent == nil {
				return
			}
			if out, err = text.Replace(n, v); err == nil {
				*twin = Node{Kind: held.Roots[0].Kind, Type: held.Roots[0].Type, Text: held.Roots[0].Text, Items: held.Roots[0].Items, Key: twin.Key}
			}
		case 1:
			if n.Kind != Map && n.Kind != List || item(n, key) != nil && n.Kind == Map {
				return
			}
			if n.Kind == List {
				key = ""
			}
			if out, err = text.Insert(n, key, v); err == nil {
				added := *held.Roots[0]
				added.Key = key
				twin.Items = append(twin.Items, &added)
				twin.Kind, twin.Type = n.Kind, String // it may have been an empty document's null
			}
		case 2:
			if parent == nil {
				return
			}
			if out, err = text.Remove(n); err == nil {
				for i, c := range parent.Items {
					if c == twin {
						parent.Items = append(parent.Items[:i:i], parent.Items[i+1:]...)
						break
					}
				}
			}
		}
		if err != nil || len(out) == 0 {
			return
		}
		if bytes.Equal(out, src) && op%3 != 0 {
			t.Fatalf("nothing changed in %q", src)
		}
		now, _, err := format.Prepare(out, Splice)
		if err != nil {
			return // it takes another rung
		}
		if format.Name() == "dotenv" {
			return // the trees have raw values; programs' are compared by Text
		}
		is := now.Unwrap()
		withoutHeadless(now, is)
		withoutHeadless(before, roots)
		for i, r := range is {
			if !sameData([]*Node{r}, roots[i:i+1]) && !sorted(r, roots[i]) {
				t.Fatalf("%q\n%d at %d, %q %q gives\n%q", src, op%3, pick, key, value, out)
			}
		}
	})
}

// withoutHeadless takes DEFAULT off INI trees where nothing stands before any header: a
// text that can be changed has none then.
func withoutHeadless(d *Document, roots []*Node) {
	for _, r := range roots {
		if list := items(r); len(list) > 0 && d.isHeadless(list[0]) && list[0].Key == iniDefault && len(items(list[0])) == 0 {
			r.Items = slices.Delete(r.Items, 0, 1)
		}
	}
}

// sorted reports whether two maps hold the same but for where one key stands.
func sorted(a, b *Node) bool {
	if a.Kind != b.Kind || a.Key != b.Key && a.Key != RootKey && b.Key != RootKey {
		return false
	}
	if a.Kind == Scalar {
		return a.Type == b.Type && a.Text == b.Text
	}
	x, y := items(a), items(b)
	if len(x) != len(y) {
		return false
	}
	for i := range x {
		other := y[i]
		if a.Kind == Map && x[i].Key != other.Key {
			if other = item(b, x[i].Key); other == nil {
				return false
			}
		}
		if !sorted(x[i], other) {
			return false
		}
	}
	return true
}

func parentOf(roots []*Node, n *Node) (parent *Node) {
	var walk func(p *Node)
	walk = func(p *Node) {
		for _, c := range p.Items {
			if c == n {
				parent = p
			}
			walk(c)
		}
	}
	for _, r := range roots {
		walk(r)
	}
	return parent
}
