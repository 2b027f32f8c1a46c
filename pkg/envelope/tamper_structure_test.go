package envelope

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// leaf, branch and list make trees.
func leaf(key string, t doc.Type, text string) *doc.Node {
	return &doc.Node{Kind: doc.Scalar, Key: key, Type: t, Text: text}
}

func branch(kind doc.Kind, key string, items ...*doc.Node) *doc.Node {
	return &doc.Node{Kind: kind, Key: key, Items: items}
}

func keyed(n *doc.Node, key string) *doc.Node {
	c := *n
	c.Key = key
	return &c
}

// changeTree makes every structural change to a tree that can be made at one of its nodes:
// rename, move, add, remove, double, reorder, swap values, retype, nest, flatten. Each is
// the tree with what is in the place of that node; the node itself is not touched.
func changeTree(n *doc.Node, emit func(what string, n *doc.Node)) {
	with := func(what string, items []*doc.Node) {
		c := *n
		c.Items = items
		emit(what, &c)
	}
	for i, x := range n.Items {
		name := x.Key
		if n.Kind == doc.List || x.Kind == doc.Comment {
			name = fmt.Sprint(i)
		}
		put := func(what string, in ...*doc.Node) {
			with(name+" "+what, slices.Concat(n.Items[:i:i], in, n.Items[i+1:]))
		}
		put("removed")
		put("twice", x, x)
		if i > 0 {
			before := n.Items[i-1]
			with(name+" moved up", slices.Concat(n.Items[:i-1:i-1], []*doc.Node{x, before}, n.Items[i+1:]))
			if n.Kind == doc.Map && x.Kind != doc.Comment && before.Kind != doc.Comment {
				with(name+" swapped", slices.Concat(n.Items[:i-1:i-1], []*doc.Node{keyed(x, before.Key), keyed(before, x.Key)}, n.Items[i+1:]))
			}
			if before.Kind == doc.Map || before.Kind == doc.List {
				into := *before
				into.Items = append(slices.Clone(before.Items), x)
				with(name+" moved into what is before it", slices.Concat(n.Items[:i-1:i-1], []*doc.Node{&into}, n.Items[i+1:]))
			}
		}
		for _, add := range []*doc.Node{
			leaf("new", doc.Null, ""), leaf("new", doc.String, ""), leaf("new", doc.String, "x"), leaf("new_unencrypted", doc.String, "x"),
			branch(doc.Map, "new"), branch(doc.List, "new"), branch(doc.Map, "new", leaf("x", doc.String, "")),
			branch(doc.List, "new", leaf("", doc.Null, "")), keyed(x, "new"), {Kind: doc.Comment, Text: " new"}, {Kind: doc.Comment},
		} {
			if add.Kind == doc.Comment && strings.HasSuffix(n.Key, DefaultUnencryptedSuffix) {
				continue // comments in clear are nobody's
			}
			put(fmt.Sprintf("after a new one of kind %d, type %d, text %q, with %d items", add.Kind, add.Type, add.Text, len(add.Items)), add, x)
		}
		if x.Kind != doc.Comment {
			put("turned into a comment", &doc.Node{Kind: doc.Comment, Text: x.Text})
			for _, to := range []*doc.Node{
				leaf(x.Key, doc.Null, ""), leaf(x.Key, doc.String, ""), leaf(x.Key, doc.String, x.Text+" "), leaf(x.Key, doc.String, "5"), leaf(x.Key, doc.Int, "5"),
				leaf(x.Key, doc.Float, "1.5"), leaf(x.Key, doc.Bool, "True"), branch(doc.Map, x.Key), branch(doc.List, x.Key),
				branch(doc.List, x.Key, x), branch(doc.Map, x.Key, keyed(x, "x")), branch(doc.Map, x.Key, keyed(x, "")), branch(doc.List, x.Key, branch(doc.List, "", x)),
				branch(doc.Map, x.Key, x.Items...), branch(doc.List, x.Key, x.Items...),
			} {
				if x.Kind != doc.Scalar || to.Kind != doc.Map || len(to.Items) > 0 || x.Type != doc.Null {
					put(fmt.Sprintf("turned to kind %d, type %d, text %q, with %d items", to.Kind, to.Type, to.Text, len(to.Items)), to)
				}
			}
			if n.Kind == doc.Map {
				for _, key := range []string{x.Key + "x", strings.ToUpper(x.Key), x.Key + " ", x.Key + "_unencrypted", x.Key + ":", "", "0"} {
					put(fmt.Sprintf("renamed %q", key), keyed(x, key))
				}
			}
		} else {
			put("changed", &doc.Node{Kind: doc.Comment, Text: x.Text + "x"})
			put("turned into a value", leaf("new", doc.String, x.Text))
		}
		var up, joined []*doc.Node
		for _, c := range x.Items {
			up = append(up, c)
			joined = append(joined, keyed(c, x.Key+":"+c.Key))
		}
		if len(x.Items) > 0 {
			put("dissolved", up...)
			put("dissolved with its name", joined...)
			rest := *x
			rest.Items = x.Items[:len(x.Items)-1]
			put("without its last, which follows it", &rest, x.Items[len(x.Items)-1])
		}
		changeTree(x, func(what string, c *doc.Node) { put("/ "+what, c) })
	}
}

// The texts are as Emit writes them, so that what is written anew is the same file.
var structures = []struct {
	format doc.Format
	src    string
	// block is the metadata, which goes behind the text of the first document.
	block *regexp.Regexp
	least int // rows
}{
	{doc.YAML{}, "# note\nuser: alice\npin: 4821\nflag: true\ndb:\n    # first\n    pass: s3cr3t\n    hosts:\n        - h1\n        - h2\n        - \"\"\nblank: \"\"\n" +
		"nothing: null\nnone: {}\nopen_unencrypted: abcd\nnum_unencrypted: 12\nmap_unencrypted:\n    k: v\n    l: w\n# last\nz: z\n",
		regexp.MustCompile(`(?m)^sops:\n(    .*\n)+`), 600},
	{doc.JSON{}, "{\n\t\"a\": \"x\",\n\t\"n\": 5,\n\t\"on\": true,\n\t\"list\": [\n\t\t\"x\",\n\t\t2,\n\t\tnull\n\t],\n\t\"m\": {\n\t\t\"x\": \"y\",\n\t\t\"e\": \"\"\n\t},\n\t\"null\": null,\n\t\"none\": {},\n" +
		"\t\"open_unencrypted\": \"abcd\",\n\t\"num_unencrypted\": 1.5\n}\n",
		regexp.MustCompile(`(?s),\n\t"sops": \{.*\n\t\}`), 400},
	{doc.Dotenv{}, "# note\nA=1\nB=two\nEMPTY=\n# second\nOPEN_unencrypted=abcd\nOPEN2_unencrypted=efgh\nZ=z\n", regexp.MustCompile(`(?m)(^sops_.*\n)+`), 120},
	{doc.INI{}, "; note\n[db]\na             = 1\nb             = two\nempty         =\no_unencrypted = abcd\n\n[list]\nz = 9\ny = ten\n\n[void]\n\n[open_unencrypted]\na = 1\nb = c\n",
		regexp.MustCompile(`(?s)\n\[sops\].*`), 200},
}

// TestTamperStructure: every structural change at every node of a sealed file is refused,
// with the seal stripped as well.
func TestTamperStructure(t *testing.T) {
	for _, m := range structures {
		f := m.format
		sealed, err := Seal(t.Context(), []byte(m.src), f, tamperPolicy)
		if err != nil {
			t.Fatal(err)
		}
		original := string(sealed.Data)
		block := m.block.FindString(original)
		body, err := f.Parse(sealed.Data)
		if err != nil {
			t.Fatal(err)
		}
		text := func(root *doc.Node) string {
			out, err := f.Emit([]*doc.Node{root})
			if err != nil {
				return "" // not in this format
			}
			if end, ok := strings.CutSuffix(string(out), "\n}\n"); ok && f.Name() == "json" {
				return end + block + "\n}\n"
			}
			return string(out) + block
		}
		if got := text(body.Roots[0]); got != original {
			t.Fatalf("%s: written anew it is another file:\n%s\nof\n%s", f.Name(), got, original)
		}
		strip := stripSeal[f.Name()]
		tried := map[string]bool{original: true, "": true}
		changeTree(body.Roots[0], func(what string, root *doc.Node) {
			tampered := text(root)
			if tried[tampered] {
				return
			}
			tried[tampered] = true
			for how, text := range map[string]string{"": tampered, ", stripped": strip(tampered)} {
				file, err := Open(t.Context(), []byte(text), f, clearTable, OpenOptions{})
				var integrity *IntegrityError
				var syntax *doc.SyntaxError
				switch {
				case file != nil || err == nil:
					t.Errorf("%s: %s%s: opens\n%s", f.Name(), what, how, text)
				case !errors.As(err, &integrity) && !errors.As(err, &syntax):
					t.Errorf("%s: %s%s: %v\n%s", f.Name(), what, how, err, text)
				}
			}
		})
		t.Logf("%s: %d changes", f.Name(), len(tried)-2)
		if len(tried)-2 < m.least {
			t.Errorf("%s: too few", f.Name())
		}
	}
}
