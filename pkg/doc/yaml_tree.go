package doc

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// How a scalar of YAML or INI is written.
type style uint32

const (
	plain style = iota
	single
	double
	literal
	folded
	bare // no text at all: an omitted null
	iniTick
	iniTriple

	styleMask style = 7
	inFlow    style = 8  // within [ ] or { }
	tagged    style = 16 // behind a tag that makes it a string whatever it looks like
	dropTag   style = 32 // behind a tag that no token may follow
	inList    style = 64
	isAlias   style = 128
	isMerge   style = 256 // the key is a merge key
	quotedKey style = 512 // the key is no plain scalar
	badKey    style = 1024
	isComment style = 2048
	ofKey     style = 4096 // a comment of INI that stands above the key before it in the tree
)

func (s style) kind() style { return s & styleMask }

func (s style) isBlock() bool { return s.kind() == literal || s.kind() == folded }

// A metaBlock is the key sops at the top of a document.
type metaBlock struct {
	doc    int
	value  *yaml.Node
	at     Span // of key and value
	quoted bool // the key is
	flow   bool // in braces
	alias  bool // has one
}

// roots builds the tree of every document.
func (y *yamlText) roots() ([]*Node, error) {
	var roots []*Node
	y.opaque = make([]Span, 0, 2*len(y.lines)) // a key and a value a line
	for i, d := range y.docs {
		root := &Node{Kind: Map, indent: -1}
		var before, after []*Node
		addComments := func(to *[]*Node, text string) { *to = y.addComments(*to, text, 0) }
		addComments(&before, d.HeadComment)
		addComments(&before, d.LineComment)
		if len(d.Content) == 1 {
			c := d.Content[0]
			addComments(&before, c.HeadComment)
			addComments(&before, c.LineComment)
			var err error
			switch c.Kind {
			case yaml.MappingNode:
				y.doc = i
				root, err = y.collection(c, false, -1, true)
			default:
				root, err = y.build(c, false, -1)
			}
			if err != nil {
				return nil, err
			}
			addComments(&after, c.FootComment)
		}
		addComments(&after, d.FootComment)
		if len(before)+len(after) > 0 {
			if root.Kind == Scalar && root.Type == Null {
				root = emptyMap(root)
			}
			root.Items = slices.Concat(before, root.Items, after)
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// emptyMap is what sops takes an empty document for. Its type tells it from {}.
func emptyMap(null *Node) *Node {
	return &Node{Kind: Map, Type: Null, indent: -1, start: null.start, Span: null.Span}
}

// build turns a parser's node into ours. parent is the indent of the collection
// that holds it, -1 at the root.
func (y *yamlText) build(n *yaml.Node, flow bool, parent int) (*Node, error) {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		return y.collection(n, flow, parent, false)
	case yaml.AliasNode:
		return y.aliasNode(n, flow, parent)
	case yaml.ScalarNode:
		return y.scalar(n, flow, parent)
	}
	return nil, errNotLocated
}

func (y *yamlText) collection(n *yaml.Node, flow bool, parent int, root bool) (*Node, error) {
	start, err := y.offset(n.Line, n.Column)
	if err != nil {
		return nil, err
	}
	out := y.made.new(Node{Kind: Map, start: start, anchor: n.Anchor, indent: parent})
	if n.Kind == yaml.SequenceNode {
		out.Kind = List
	}
	if n.Style&yaml.TaggedStyle != 0 {
		y.special = true
	}
	at, end := y.properties(start, n, flow)
	if out.Mark, err = y.mark(n, start, end); err != nil {
		return nil, err
	}
	isFlow := flow || n.Style&yaml.FlowStyle != 0
	closing := byte(0) // a pair in a list needs no braces of its own
	if isFlow {
		out.style |= inFlow
		brackets := "{}"
		if out.Kind == List {
			brackets = "[]"
		}
		if at < len(y.src) && y.src[at] == brackets[0] {
			closing = brackets[1]
		}
	}
	// A block collection's indent is the column of its first key or dash.
	indent := parent
	if !isFlow {
		at = y.skipSpace(at)
		indent = utf8.RuneCount(y.src[y.lines[y.lineOf(at)]:at])
	}
	end = at
	if closing != 0 {
		end++
	}
	if out.Kind == List {
		err = y.elements(out, n, isFlow, indent)
	} else {
		err = y.pairs(out, n, isFlow, indent, root)
	}
	if err != nil {
		return nil, err
	}
	for _, item := range out.Items {
		if item.Kind != Comment {
			end = max(end, item.Span.End, item.key.End)
		}
	}
	if closing != 0 {
		// What is left before the closing bracket is separators and comments.
		for end < len(y.src) && y.src[end] != closing {
			if y.src[end] == '#' {
				end = y.skipSpace(end)
				continue
			}
			end++
		}
		end = min(end+1, len(y.src))
	}
	out.Span = Span{at, end}
	return out, nil
}

// elements builds the items of a list.
func (y *yamlText) elements(out *Node, n *yaml.Node, flow bool, indent int) error {
	out.Items = make([]*Node, 0, len(n.Content))
	for _, c := range n.Content {
		out.Items = y.addComments(out.Items, c.HeadComment, inList)
		out.Items = y.addComments(out.Items, c.LineComment, inList)
		item, err := y.build(c, flow, indent)
		if err != nil {
			return err
		}
		item.style |= inList
		out.Items = append(out.Items, item)
		out.Items = y.addComments(out.Items, c.FootComment, inList)
	}
	return nil
}

// pairs builds the items of a map.
func (y *yamlText) pairs(out *Node, n *yaml.Node, flow bool, indent int, root bool) error {
	out.Items = make([]*Node, 0, len(n.Content)/2)
	addComments := func(texts ...string) {
		for _, text := range texts {
			out.Items = y.addComments(out.Items, text, 0)
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		addComments(key.HeadComment, key.LineComment)
		leaf := value.Kind == yaml.ScalarNode || value.Kind == yaml.AliasNode
		if leaf {
			addComments(value.HeadComment, value.LineComment)
		}
		item, err := y.pair(key, value, flow, indent, root)
		if err != nil {
			return err
		}
		if item != nil {
			if !leaf && y.comments && value.HeadComment+value.LineComment+value.FootComment != "" {
				// The comments of a map or list are the first and last in it.
				in := style(0)
				if value.Kind == yaml.SequenceNode {
					in = inList
				}
				before := y.addComments(nil, value.HeadComment, in)
				before = y.addComments(before, value.LineComment, in)
				item.Items = y.addComments(append(before, item.Items...), value.FootComment, in)
			}
			out.Items = append(out.Items, item)
		}
		if leaf {
			addComments(value.FootComment)
		}
		addComments(key.FootComment)
	}
	return nil
}

// addComments appends a comment for each line of a text that the parser gives.
func (y *yamlText) addComments(to []*Node, text string, in style) []*Node {
	if !y.comments || text == "" {
		return to
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			to = append(to, y.made.new(Node{Kind: Comment, Text: line[1:], style: isComment | in}))
		}
	}
	return to
}

// isMetaKey reports whether a key of the top level is that of the metadata. To sops it is
// not if its text stands for other bytes.
func isMetaKey(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == metaKey && key.ShortTag() != "!!binary"
}

// pair builds one item of a mapping. It returns nil for the metadata block.
func (y *yamlText) pair(key, value *yaml.Node, flow bool, indent int, root bool) (*Node, error) {
	keySpan, keyStyle, keyMark, err := y.keySpan(key, flow, indent)
	if err != nil {
		return nil, err
	}
	seen := len(y.blocks) > 0 && y.blocks[len(y.blocks)-1].doc == y.doc
	if root && !seen && isMetaKey(key) {
		// The block's own scalars hold no comments either.
		blind := &yamlText{src: y.src, lines: y.lines, ascii: y.ascii, within: y.within}
		v, err := blind.build(value, flow, indent)
		if err != nil {
			return nil, err
		}
		at := Span{keySpan.Start, max(keySpan.End, v.Span.End)}
		for _, o := range blind.opaque {
			at.End = max(at.End, o.End)
		}
		y.blocks = append(y.blocks, metaBlock{y.doc, value, at, keyStyle&quotedKey != 0, flow, blind.alias})
		y.opaque = append(y.opaque, blind.opaque...)
		return nil, nil
	}
	if root && seen {
		y.afterBlock = true
	}
	text, kind, err := y.key(key)
	if err != nil {
		return nil, err
	}
	if key.Kind == yaml.MappingNode || key.Kind == yaml.SequenceNode {
		text = string(y.src[keySpan.Start:keySpan.End])
		if strings.ContainsAny(text, "\r\n") {
			return nil, ErrRung
		}
	}
	item, err := y.build(value, flow, indent)
	if err != nil {
		return nil, err
	}
	item.Key, item.key = text, keySpan
	item.style |= kind | keyStyle
	if kind&isMerge != 0 {
		y.special = true
	}
	if keyMark != "" {
		if key.Anchor != "" {
			if y.keyAnchors == nil {
				y.keyAnchors = map[*yaml.Node]bool{}
			}
			y.keyAnchors[key] = true
		}
		item.Mark = keyMark + "\x00" + item.Mark
		y.special = true
	}
	if kind&isMerge != 0 {
		item.Mark = "<<\x00" + item.Mark
	}
	if keyStyle&quotedKey != 0 {
		item.Mark = "\"\x00" + item.Mark
	}
	if kind&badKey != 0 {
		item.Mark = "?\x00" + item.Mark
	}
	return item, nil
}

// keySpan locates a key, properties included, and returns its mark.
func (y *yamlText) keySpan(key *yaml.Node, flow bool, indent int) (Span, style, string, error) {
	start, err := y.offset(key.Line, key.Column)
	if err != nil {
		return Span{}, 0, "", err
	}
	switch key.Kind {
	case yaml.ScalarNode:
		n, err := y.readScalar(key, flow, indent)
		if err == nil && key.Style&yaml.TaggedStyle != 0 {
			_, _, err = yamlValue(key)
		}
		if err != nil {
			return Span{}, 0, "", err
		}
		s := style(0)
		if n.style.kind() != plain {
			s = quotedKey
		}
		return Span{start, max(n.Span.End, start)}, s, n.Mark, nil
	case yaml.AliasNode:
		end := start + 1 + len(key.Value)
		if end > len(y.src) {
			return Span{}, 0, "", errNotLocated
		}
		y.opaque = append(y.opaque, Span{start, end})
		return Span{start, end}, 0, "", nil
	default:
		if y.inKey {
			return Span{}, 0, "", ErrRung // each would be read once more for every one that it is in
		}
		y.inKey = true
		n, err := y.collection(key, flow, indent, false)
		y.inKey = false
		if err != nil {
			return Span{}, 0, "", err
		}
		if n.style&inFlow == 0 {
			return Span{}, 0, "", ErrRung
		}
		return Span{start, n.Span.End}, 0, n.Mark, nil
	}
}

// key returns the string that sops sees in a key, and what is special about it:
// badKey when sops would refuse it. A key stays readable, so an alias may be one
// only if it stands for a key.
func (y *yamlText) key(key *yaml.Node) (string, style, error) {
	switch key.Kind {
	case yaml.AliasNode:
		if !y.keyAnchors[key.Alias] {
			return "", 0, ErrRung
		}
		s, _, err := y.key(key.Alias)
		return s, badKey, err
	case yaml.ScalarNode:
		if key.Tag == "!!merge" {
			return key.Value, isMerge, nil
		}
		if key.ShortTag() == "!!str" || !scalarTag(key.ShortTag()) {
			return key.Value, 0, nil
		}
		return key.Value, badKey, nil
	}
	return "", badKey, nil
}
