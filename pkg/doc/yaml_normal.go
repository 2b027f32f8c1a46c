package doc

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// normalize rewrites what sops cannot hold: aliases are written out, keys that
// are no strings quoted, tags dropped that no token may follow, roots that are
// no mapping put under RootKey. It returns the new text and what undoes it.
func (y *yamlText) normalize(roots []*Node) ([]byte, []Note, error) {
	w := &yamlRewrite{yamlText: y, about: map[*Node][]int{}}
	for i, r := range roots {
		if r.Kind == Map {
			if sole(r, RootKey) != nil || sole(r, TextKey) != nil {
				return nil, nil, ErrRung
			}
			if err := w.node(r); err != nil {
				return nil, nil, err
			}
			continue
		}
		if r.Kind == Scalar && r.Type == Null && (i > 0 || r.start == r.Span.Start && r.start == r.Span.End) {
			continue // an empty document; sops takes it for an empty map
		}
		root, err := w.root(r)
		if err != nil {
			return nil, nil, err
		}
		roots[i] = root
	}
	if len(w.notes) == 0 {
		return y.src, nil, nil
	}
	if tooManyNotes(y.src, w.notes) {
		return nil, nil, ErrRung
	}
	at := (&Document{Roots: roots}).Index()
	for n, list := range w.about {
		for _, i := range list {
			w.notes[i].Path, w.notes[i].N = at[n].Path, at[n].N
		}
	}
	return Apply(y.src, w.edits), w.notes, nil
}

// A yamlRewrite is a text being normalized.
type yamlRewrite struct {
	*yamlText
	edits []Edit
	notes []Note
	about map[*Node][]int // node → its notes, which get their places at the end
}

// change puts a text in a span's place, and notes what was there.
func (w *yamlRewrite) change(n *Node, kind byte, at Span, text string) {
	w.edits = append(w.edits, Edit{at, text})
	w.note(n, kind, string(w.src[at.Start:at.End]))
}

func (w *yamlRewrite) note(n *Node, kind byte, text string) {
	w.about[n] = append(w.about[n], len(w.notes))
	w.notes = append(w.notes, Note{Kind: kind, Text: text})
}

// node normalizes a node and what is below it.
func (w *yamlRewrite) node(n *Node) error {
	if n.style&badKey != 0 {
		w.change(n, NoteKey, n.key, quote(n.Key))
	}
	if n.style&isAlias != 0 {
		var b strings.Builder
		if err := flowValue(&b, n); err != nil {
			return err
		}
		w.change(n, NoteAlias, n.Span, b.String())
		return nil
	}
	if n.Kind == Scalar {
		return w.scalar(n)
	}
	for _, c := range n.Items {
		if err := w.node(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *yamlRewrite) scalar(n *Node) error {
	if n.style&dropTag == 0 && !n.emptyBlock() && !(n.Type == Float && w.bigInt(n)) {
		return nil
	}
	text, err := flowScalar(n.Type, n.Text)
	if err != nil {
		return err
	}
	if n.anchor != "" {
		text = "&" + n.anchor + " " + text
	}
	if whole := w.whole(n); !n.isBinary() || string(w.src[whole.Start:whole.End]) != text {
		w.change(n, NoteValue, whole, text)
	}
	return nil
}

// emptyBlock reports whether a scalar is a block without lines that still says something:
// line breaks.
func (n *Node) emptyBlock() bool {
	return n.style.isBlock() && n.Span.Start == n.Span.End && n.Text != ""
}

// whole is a scalar's bytes, its properties and its header included.
func (y *yamlText) whole(n *Node) Span {
	if n.style.isBlock() && n.Span.Start == n.Span.End {
		return Span{n.start, y.headerEnd(n)}
	}
	return Span{n.start, n.Span.End}
}

// root puts a root that is no mapping under RootKey.
func (w *yamlRewrite) root(r *Node) (*Node, error) {
	root := &Node{Kind: Map, indent: -1, start: r.start, Items: []*Node{r}}
	r.Key = RootKey
	line := w.lines[w.lineOf(r.start)]
	fresh := strings.Trim(string(w.src[line:r.start]), " ") == ""
	at, prefix := r.start, RootKey+": "
	switch {
	case !fresh:
		prefix = w.eol() + prefix
	case r.Kind == List && r.style&inFlow == 0 && r.start == r.Span.Start:
		at, prefix = line, RootKey+":"+w.eol()
	default:
		at = line
	}
	w.note(root, NoteRoot, prefix)
	if r.Kind != Scalar {
		w.edits = append(w.edits, Edit{Span{at, at}, prefix})
		return root, w.node(r)
	}
	// In a mapping a scalar's further lines would need an indent.
	text, err := flowScalar(r.Type, r.Text)
	if err == nil && at < r.start {
		err = ErrRung
	}
	w.edits = append(w.edits, Edit{Span{at, r.start}, prefix})
	w.change(r, NoteValue, w.whole(r), text)
	return root, err
}

// bigInt reports whether a float is written as an integer, which sops refuses
// between the largest signed and the largest unsigned 64-bit number.
func (y *yamlText) bigInt(n *Node) bool {
	if n.virtual || n.style.kind() != plain {
		return false
	}
	lexeme := string(y.src[n.Span.Start:n.Span.End])
	return (&yaml.Node{Kind: yaml.ScalarNode, Value: lexeme}).ShortTag() == "!!int"
}

// Restore implements Format.
func (f YAML) Restore(body []byte, notes []Note) ([]byte, error) {
	structural := false
	for _, n := range notes {
		if n.Kind == NoteWhole {
			if whole, ok := believeWhole(f, body, n); ok {
				return whole, nil
			}
		}
		structural = structural || strings.IndexByte("akvr", n.Kind) >= 0
	}
	y, err := newYAMLText(body, len(body)) // Parse has seen to its density
	if err != nil {
		return nil, err
	}
	roots, err := y.roots()
	if err != nil {
		return nil, err
	}
	for i, r := range roots {
		if r.Kind == Scalar {
			roots[i] = emptyMap(r)
		}
	}
	if !structural && !slices.ContainsFunc(roots, IsWrapped) {
		return body, nil
	}
	r := &yamlRestoring{yamlText: y, roots: roots, at: map[Place]*Node{}, anchors: anchored(roots)}
	for n, p := range (&Document{Roots: roots}).Index() {
		r.at[p] = n
	}
	if structural {
		// What is put back must lead to the same text again. White space in a quoted
		// key, such as a line break for a blank, does not make it another key.
		out := r.believing(notes)
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(r.withKeysQuoted(notes)) {
			return out, nil
		}
		out = r.believing(slices.DeleteFunc(slices.Clone(notes), func(n Note) bool { return n.Kind != NoteRoot }))
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(body) {
			return out, nil
		}
	}
	return r.believing(nil), nil
}

// A yamlRestoring is a normalized text on its way back.
type yamlRestoring struct {
	*yamlText
	roots   []*Node
	at      map[Place]*Node
	anchors map[string][]*Node
}

// place returns the node that a note is about, or nil.
func (r *yamlRestoring) place(n Note) *Node {
	if out := r.at[Place{n.Path, n.N}]; out != nil && !out.virtual {
		return out
	}
	return nil
}

// believing puts back what the notes say, and takes out the keys of roots.
func (r *yamlRestoring) believing(notes []Note) []byte {
	var edits []Edit
	prefix := map[*Node]string{}
	for _, note := range notes {
		n := r.place(note)
		if n == nil {
			continue
		}
		switch note.Kind {
		case NoteAlias:
			if stillMeans(r.anchors, note.Text, n) {
				edits = append(edits, Edit{n.Span, note.Text})
			}
		case NoteKey:
			edits = append(edits, Edit{n.key, note.Text})
		case NoteValue:
			if n.Kind == Scalar {
				edits = append(edits, Edit{Span{n.start, n.Span.End}, note.Text})
			}
		case NoteRoot:
			prefix[n] = note.Text
		}
	}
	for _, root := range r.roots {
		if v := sole(root, RootKey); v != nil {
			edits = append(edits, Edit{r.rootKey(v, prefix[root]), ""})
		}
	}
	return Apply(r.src, edits)
}

// rootKey is what stands before the value of a root: the prefix, if it is there, or else
// the key and what separates it from its value.
func (r *yamlRestoring) rootKey(v *Node, prefix string) Span {
	start := v.key.Start - (len(prefix) - len(strings.TrimLeft(prefix, "\r\n")))
	if prefix != "" && start >= 0 && bytes.HasPrefix(r.src[start:], []byte(prefix)) {
		return Span{start, start + len(prefix)}
	}
	return unwrapSpan(r.yamlText, v)
}

// withKeysQuoted is the text with all keys that notes are about in quotes.
func (r *yamlRestoring) withKeysQuoted(notes []Note) []byte {
	var keys []Edit
	for _, note := range notes {
		if n := r.place(note); note.Kind == NoteKey && n != nil {
			keys = append(keys, Edit{n.key, quote(n.Key)})
		}
	}
	return Apply(r.src, keys)
}

// anchored lists the nodes with an anchor by its name, each list in the order of the
// text.
func anchored(roots []*Node) map[string][]*Node {
	lists := map[string][]*Node{}
	var walk func(n *Node)
	walk = func(n *Node) {
		if n.anchor != "" {
			lists[n.anchor] = append(lists[n.anchor], n)
		}
		for _, c := range n.Items {
			walk(c)
		}
	}
	for _, r := range roots {
		walk(r)
	}
	return lists
}

// stillMeans reports whether an alias at n would stand for the data that is there.
func stillMeans(anchors map[string][]*Node, alias string, n *Node) bool {
	list := anchors[strings.TrimPrefix(alias, "*")]
	before := sort.Search(len(list), func(i int) bool { return list[i].start >= n.start })
	if before == 0 {
		return true // an anchor on a key; the whole is checked afterwards
	}
	a, b := *list[before-1], *n
	a.Key, b.Key = "", ""
	return Equal(&a, &b)
}

// unwrapSpan is the key RootKey and what separates it from its value.
func unwrapSpan(y *yamlText, v *Node) Span {
	s := Span{v.key.Start, v.start}
	if v.Kind == List && v.style&inFlow == 0 {
		// Keep the list's own indent.
		s.End = max(v.key.End, y.lines[y.lineOf(v.start)])
		if s.End <= v.key.Start {
			s.End = v.start
		}
	} else if v.Kind == Map && v.style&inFlow == 0 && v.start == v.Span.Start {
		s.End = max(v.key.End, y.lines[y.lineOf(v.start)])
	}
	return s
}
