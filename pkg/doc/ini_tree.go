package doc

import (
	"bytes"
	"slices"
	"strings"
)

// An iniTree is a tree being built from items.
type iniTree struct {
	src     []byte
	root    *Node
	section *Node
	keys    map[string]iniKeys // of the section
	again   bool               // the section has a key twice
	above   Span               // comment lines that are nobody's yet; empty for none
	order   bool               // sops has another order than the file
}

// iniKeys are the keys with one name in a section.
type iniKeys struct {
	first         int // index of the first of them
	last, comment *Node
}

func newIniTree(src []byte) *iniTree {
	t := &iniTree{src: src, root: &Node{Kind: Map}, keys: map[string]iniKeys{}}
	t.open(&Node{Kind: Map, Key: iniDefault})
	return t
}

func (t *iniTree) open(section *Node) {
	t.close()
	t.root.Items = append(t.root.Items, section)
	t.section, t.again = section, false
	clear(t.keys)
}

// close puts what stands behind the values that sops does not see where sops has it:
// a key is where the first of its name was, with the value of the last.
func (t *iniTree) close() {
	if !t.again {
		return
	}
	at := -1
	sorted := true
	for _, n := range t.section.Items {
		if n.Kind == Scalar && !n.Hidden {
			sorted = sorted && t.keys[n.Key].first > at
			at = t.keys[n.Key].first
		}
	}
	if sorted {
		return
	}
	t.order, at = true, -1
	place := make(map[*Node]int, len(t.section.Items))
	for _, n := range t.section.Items {
		if n.Kind == Scalar {
			at = t.keys[n.Key].first
		}
		place[n] = at
	}
	slices.SortStableFunc(t.section.Items, func(a, b *Node) int { return place[a] - place[b] })
}

// takeAbove makes a comment of the lines above, if there are any.
func (t *iniTree) takeAbove() *Node {
	at := t.above
	t.above = Span{}
	if at.Start == at.End {
		return nil
	}
	return t.comment(at)
}

// comment returns the comment at a span that starts with its mark. A text without a
// mark, behind a raw value, is one too.
func (t *iniTree) comment(at Span) *Node {
	n := &Node{Kind: Comment, start: at.Start, Span: at}
	if mark := t.src[at.Start]; mark == ';' || mark == '#' {
		// sops takes off all of these.
		for n.Span.Start < at.End && (t.src[n.Span.Start] == mark || t.src[n.Span.Start] == ' ') {
			n.Span.Start++
		}
	}
	n.Text = iniWords(string(t.src[n.Span.Start:at.End]))
	return n
}

// add takes one item in. Lines without a delimiter are not for it.
func (t *iniTree) add(it iniItem) {
	switch it.kind {
	case iniComment:
		if t.above.Start == t.above.End {
			t.above.Start = it.start
		}
		t.above.End = trimmedEnd(t.src, it.Span)
	case iniHeader:
		above := t.takeAbove()
		section := &Node{Kind: Map, Key: it.name, start: it.start, Mark: iniMark(t.src, it), key: Span{it.start, it.after}}
		if above != nil {
			section.Items = append(section.Items, above)
		}
		t.open(section)
		if it.note.End > 0 {
			t.note(it.note, above != nil)
		}
	case iniKey:
		above := t.takeAbove()
		n := &Node{
			Kind: Scalar, Key: it.name, Mark: iniMark(t.src, it), Text: it.value.text,
			Span: it.value.Span, style: it.value.how, start: it.start, key: Span{it.start, it.after},
		}
		same, twice := t.keys[it.name]
		if twice {
			t.again = true
			same.last.Hidden = true
			if same.comment != nil {
				same.comment.Hidden = true
			}
		} else {
			same.first = len(t.section.Items)
		}
		t.section.Items = append(t.section.Items, n)
		if above != nil {
			above.style |= ofKey
			t.section.Items = append(t.section.Items, above)
		}
		switch rest := it.value.rest; {
		case it.note.End > 0:
			note := t.note(it.note, above != nil)
			if above == nil {
				above = note
			}
		case rest.Start < rest.End:
			t.note(rest, true)
		}
		same.last, same.comment = n, above
		t.keys[it.name] = same
	}
}

// note adds a comment that stands behind something on its line.
func (t *iniTree) note(at Span, hidden bool) *Node {
	n := t.comment(at)
	n.Hidden = hidden
	n.style |= ofKey
	t.section.Items = append(t.section.Items, n)
	return n
}

// iniDuplicateKeys is DuplicateKeys; a section that comes again counts too.
func iniDuplicateKeys(src []byte) (paths []string) {
	items, err := iniItems(src)
	if err != nil {
		return nil
	}
	type place struct {
		section, key string
		header       bool
	}
	times := map[place]int{}
	section := ""
	for _, it := range items {
		at := place{section: section, key: it.name}
		switch it.kind {
		case iniHeader:
			at, section = place{key: it.name, header: true}, it.name+"."
		case iniKey:
		default:
			continue
		}
		if times[at]++; times[at] == 2 {
			paths = append(paths, shortAbove(at.section)+at.key)
		}
	}
	return paths
}

// finish ends the tree where the metadata begins. Comments before that are no longer
// any key's or section's to sops.
func (t *iniTree) finish() {
	if n := t.takeAbove(); n != nil {
		n.Hidden = true
		t.section.Items = append(t.section.Items, n)
	}
	t.close()
}

func (t *iniTree) document() *Document {
	d := &Document{Src: t.src, Roots: []*Node{t.root}, eol: iniEOL(t.src), ini: true}
	d.at = attachment{at: len(t.src), noEOL: len(t.src) > 0 && t.src[len(t.src)-1] != '\n'}
	if len(t.root.Items) == 1 {
		if v := sole(t.root.Items[0], TextKey); v != nil {
			d.Whole = v
		}
	}
	return d
}

// iniEOL returns the line break that a text begins with.
func iniEOL(src []byte) string {
	if end, next := lineEnd(src, 0); end > 0 && end < next && src[end-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// iniMark returns what there is to a header or key, up to its delimiter, beside its
// name: blanks before it, quotes, a colon. It is empty for name=, name = and [name].
func iniMark(src []byte, it iniItem) string {
	text := string(src[it.Start:it.after])
	if it.kind == iniHeader {
		if text == "["+it.name+"]" {
			return ""
		}
		return text
	}
	delimiter := text[len(text)-1:]
	if text = strings.TrimRight(text[:len(text)-1], " \t"); text == it.name && delimiter == "=" {
		return ""
	}
	return text + delimiter
}

// iniLine returns where the line at i begins, behind a byte order mark.
func iniLine(src []byte, i int) int {
	return max(bytes.LastIndexByte(src[:i], '\n')+1, len(src)-len(bytes.TrimPrefix(src, utf8BOM)))
}

// iniTrees returns the tree that a root stands for. DEFAULT is there without keys only
// if there is no header for it.
func iniTrees(root *Node) []*Node {
	out := iniData(root)
	isDefault := func(n *Node) bool { return n.Kind == Map && n.Key == iniDefault }
	if slices.IndexFunc(out.Items, isDefault) == 0 && len(out.Items[0].Items) == 0 && slices.ContainsFunc(out.Items[1:], isDefault) {
		out.Items = out.Items[1:]
	}
	return []*Node{out}
}

// iniData returns a tree as other formats have it: without what sops does not see, a
// comment for each line, and a key's before the key.
func iniData(root *Node) *Node {
	out := *root
	out.Items = make([]*Node, 0, len(root.Items))
	key := 0 // where the last key is
	for _, n := range root.Items {
		switch {
		case n.Hidden:
		case n.Kind == Comment:
			at := len(out.Items)
			if n.style&ofKey != 0 {
				at = key
			}
			out.Items = slices.Insert(out.Items, at, iniLines(n)...)
		case n.Kind == Map:
			out.Items = append(out.Items, iniData(n))
		default:
			key = len(out.Items)
			out.Items = append(out.Items, n)
		}
	}
	return &out
}

func iniLines(n *Node) (lines []*Node) {
	for i, line := range strings.Split(n.Text, "\n") {
		if i > 0 {
			line = strings.TrimLeft(strings.TrimSpace(line), ";# ")
		}
		if line = strings.TrimRight(line, " \t\r"); line != "" {
			lines = append(lines, &Node{Kind: Comment, Text: line, style: n.style})
		}
	}
	return lines
}
