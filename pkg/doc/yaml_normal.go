package doc

import (
	"slices"
	"sort"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNotes bounds what is remembered of a file that is rewritten here and there; with
// more, the whole of it costs less.
const maxNotes = 50000

// normalize rewrites what sops cannot hold: aliases are written out, keys that
// are no strings quoted, tags dropped that no token may follow, roots that are
// no mapping put under RootKey. It returns the new text and what undoes it.
func (y *yamlText) normalize(roots []*Node) ([]byte, []Note, error) {
	var edits []Edit
	var notes []Note
	about := map[*Node][]int{} // node → its notes, placed below
	note := func(n *Node, kind byte, text string) {
		about[n] = append(about[n], len(notes))
		notes = append(notes, Note{Kind: kind, Text: text})
	}
	src := func(a, b int) string { return string(y.src[a:b]) }

	var walk func(n *Node) error
	walk = func(n *Node) error {
		if n.style&badKey != 0 {
			edits = append(edits, Edit{n.key, quote(n.Key)})
			note(n, NoteKey, src(n.key.Start, n.key.End))
		}
		if n.style&isAlias != 0 {
			var b strings.Builder
			if err := flowValue(&b, n); err != nil {
				return err
			}
			edits = append(edits, Edit{n.Span, b.String()})
			note(n, NoteAlias, src(n.Span.Start, n.Span.End))
			return nil
		}
		if n.Kind == Scalar {
			whole := Span{n.start, n.Span.End}
			block := n.style.kind() == literal || n.style.kind() == folded
			empty := block && n.Span.Start == n.Span.End && n.Text != ""
			if empty {
				whole.End = y.headerEnd(n)
			}
			if n.style&dropTag != 0 || empty || n.Type == Float && y.bigInt(n) {
				text, err := flowScalar(n.Type, n.Text)
				if err != nil {
					return err
				}
				if n.anchor != "" {
					text = "&" + n.anchor + " " + text
				}
				if n.isBinary() && src(whole.Start, whole.End) == text {
					return nil
				}
				edits = append(edits, Edit{whole, text})
				note(n, NoteValue, src(whole.Start, whole.End))
			}
		}
		for _, c := range n.Items {
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	for i, r := range roots {
		if r.Kind == Map {
			if sole(r, RootKey) != nil || sole(r, TextKey) != nil {
				return nil, nil, ErrRung
			}
			if err := walk(r); err != nil {
				return nil, nil, err
			}
			continue
		}
		if r.Kind == Scalar && r.Type == Null && (i > 0 || r.Span.Start == r.Span.End) && r.start == r.Span.End {
			continue // an empty document; sops takes it for an empty map
		}
		if r.Kind == Scalar && r.Type == Null && i > 0 {
			continue
		}
		root := &Node{Kind: Map, indent: -1, start: r.start, Items: []*Node{r}}
		r.Key = RootKey
		roots[i] = root
		line := y.lines[y.lineOf(r.start)]
		fresh := strings.Trim(src(line, r.start), " ") == ""
		at, prefix := r.start, RootKey+": "
		switch {
		case !fresh:
			prefix = y.eol() + prefix
		case r.Kind == List && r.style&inFlow == 0 && r.start == r.Span.Start:
			at, prefix = line, RootKey+":"+y.eol()
		default:
			at = line
		}
		note(root, NoteRoot, prefix)
		if r.Kind == Scalar {
			// In a mapping a scalar's further lines would need an indent.
			text, err := flowScalar(r.Type, r.Text)
			if err != nil {
				return nil, nil, err
			}
			whole := Span{r.start, r.Span.End}
			if block := r.style.kind() == literal || r.style.kind() == folded; block && r.Span.Start == r.Span.End {
				whole.End = y.headerEnd(r)
			}
			edits = append(edits, Edit{Span{at, r.start}, prefix}, Edit{whole, text})
			note(r, NoteValue, src(whole.Start, whole.End))
			if at < r.start {
				return nil, nil, ErrRung
			}
			continue
		}
		edits = append(edits, Edit{Span{at, at}, prefix})
		if err := walk(r); err != nil {
			return nil, nil, err
		}
	}
	if len(notes) == 0 {
		return y.src, nil, nil
	}
	if len(notes) > maxNotes {
		return nil, nil, ErrRung
	}
	at := (&Document{Roots: roots}).Index()
	for n, list := range about {
		for _, i := range list {
			notes[i].Path, notes[i].N = at[n].Path, at[n].N
		}
	}
	return Apply(y.src, edits), notes, nil
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
	for _, n := range notes {
		if n.Kind == NoteWhole {
			if whole, ok := believeWhole(f, body, n); ok {
				return whole, nil
			}
		}
	}
	y, err := newYAMLText(body)
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
	at := map[Place]*Node{}
	for n, p := range (&Document{Roots: roots}).Index() {
		at[p] = n
	}
	anchors := anchored(roots)
	try := func(believed []Note) []byte {
		var edits []Edit
		prefix := map[*Node]string{}
		for _, note := range believed {
			n := at[Place{note.Path, note.N}]
			if n == nil || n.virtual {
				continue
			}
			switch note.Kind {
			case NoteAlias:
				if !stillMeans(anchors, note.Text, n) {
					continue
				}
				edits = append(edits, Edit{n.Span, note.Text})
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
		for _, r := range roots {
			v := sole(r, RootKey)
			if v == nil {
				continue
			}
			if p, ok := prefix[r]; ok {
				if s := (Span{v.key.Start - (len(p) - len(strings.TrimLeft(p, "\r\n"))), 0}); s.Start >= 0 {
					if s.End = s.Start + len(p); s.End <= len(body) && string(body[s.Start:s.End]) == p {
						edits = append(edits, Edit{s, ""})
						continue
					}
				}
			}
			edits = append(edits, Edit{unwrapSpan(y, v), ""})
		}
		return Apply(body, edits)
	}
	structural := false
	for _, n := range notes {
		structural = structural || strings.IndexByte("akvr", n.Kind) >= 0
	}
	wrapped := false
	for _, r := range roots {
		wrapped = wrapped || sole(r, RootKey) != nil
	}
	if !structural && !wrapped {
		return body, nil
	}
	if structural {
		// What is put back must lead to the same text again. White space in a quoted
		// key, such as a line break for a blank, does not make it another key.
		var keys []Edit
		for _, note := range notes {
			if n := at[Place{note.Path, note.N}]; note.Kind == NoteKey && n != nil && !n.virtual {
				keys = append(keys, Edit{n.key, quote(n.Key)})
			}
		}
		out := try(notes)
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(Apply(body, keys)) {
			return out, nil
		}
		kept := slices.DeleteFunc(slices.Clone(notes), func(n Note) bool { return n.Kind != NoteRoot })
		out = try(kept)
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(body) {
			return out, nil
		}
	}
	return try(nil), nil
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
