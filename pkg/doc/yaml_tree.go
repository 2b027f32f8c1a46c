package doc

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
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

// A metaBlock is the key sops at the top of a document.
type metaBlock struct {
	doc    int
	value  *yaml.Node
	at     Span // of key and value
	quoted bool // the key is
	flow   bool // in braces
	alias  bool // has one
}

// maxExpansion bounds the nodes that aliases may stand for in one file.
const maxExpansion = 5000

var errExpansion = fmt.Errorf("%w: its aliases stand for more than %d values, or one for itself", ErrRung, maxExpansion)

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

// pair builds one item of a mapping. It returns nil for the metadata block.
func (y *yamlText) pair(key, value *yaml.Node, flow bool, indent int, root bool) (*Node, error) {
	keySpan, keyStyle, keyMark, err := y.keySpan(key, flow, indent)
	if err != nil {
		return nil, err
	}
	seen := len(y.blocks) > 0 && y.blocks[len(y.blocks)-1].doc == y.doc
	if root && !seen && key.Kind == yaml.ScalarNode && key.Value == metaKey {
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

func (y *yamlText) aliasNode(n *yaml.Node, flow bool, parent int) (*Node, error) {
	y.alias = true
	start, err := y.offset(n.Line, n.Column)
	if err != nil {
		return nil, err
	}
	out := y.made.new(Node{style: isAlias, start: start, Span: Span{start, start + 1 + len(n.Value)}, indent: parent})
	if flow {
		out.style |= inFlow
	}
	if out.Span.End > len(y.src) || y.src[start] != '*' {
		return nil, errNotLocated
	}
	y.opaque = append(y.opaque, out.Span)
	copied, err := y.expand(n)
	if err != nil {
		return nil, err
	}
	out.Kind, out.Type, out.Text, out.Items = copied.Kind, copied.Type, copied.Text, copied.Items
	return out, nil
}

// expand returns a copy of what an alias stands for, without bytes of its own.
func (y *yamlText) expand(n *yaml.Node) (*Node, error) {
	if y.within[n] {
		return nil, errExpansion
	}
	if len(y.within) > 0 {
		if y.nodes++; y.nodes > maxExpansion {
			return nil, errExpansion
		}
	}
	out := y.made.new(Node{virtual: true})
	switch n.Kind {
	case yaml.AliasNode:
		y.within[n] = true
		defer delete(y.within, n)
		return y.expand(n.Alias)
	case yaml.ScalarNode:
		t, text, err := yamlValue(n)
		if err != nil {
			return nil, err
		}
		out.Kind, out.Type, out.Text = Scalar, t, text
	case yaml.SequenceNode:
		out.Kind = List
		for _, c := range n.Content {
			item, err := y.expand(c)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, item)
		}
	case yaml.MappingNode:
		out.Kind = Map
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			item, err := y.expand(value)
			if err != nil {
				return nil, err
			}
			k, _, err := y.key(key)
			if err != nil {
				return nil, err
			}
			item.Key = k
			if key.Tag == "!!merge" {
				item.style |= isMerge
			}
			out.Items = append(out.Items, item)
		}
	}
	return out, nil
}

// mark is what the seal covers of a node's tag and anchor.
// A tag that says a scalar's type is not part of it: the type is. The properties
// are at start to end.
func (y *yamlText) mark(n *yaml.Node, start, end int) (string, error) {
	tag := ""
	switch {
	case n.Style&yaml.TaggedStyle == 0:
		// The parser passes over the non-specific tag, a single !.
		if bytes.IndexByte(y.src[start:end], '!') >= 0 {
			tag = "!"
		}
	case n.Kind != yaml.ScalarNode || !scalarTag(n.ShortTag()):
		tag = n.Tag
	}
	if strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
		return "", ErrRung // it could pass for the end of a mark
	}
	if tag == "" && n.Anchor == "" {
		return "", nil
	}
	return "&" + n.Anchor + " !" + tag, nil
}

func scalarTag(tag string) bool {
	switch tag {
	case "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary":
		return true
	}
	return false
}

// scalar builds the node of a value.
func (y *yamlText) scalar(n *yaml.Node, flow bool, parent int) (*Node, error) {
	out, err := y.readScalar(n, flow, parent)
	if err != nil {
		return nil, err
	}
	if out.Type, out.Text, err = yamlValue(n); err != nil {
		return nil, err
	}
	return y.made.new(out), nil
}

// readScalar locates a value or a key. It does not look at what it says.
func (y *yamlText) readScalar(n *yaml.Node, flow bool, parent int) (out Node, err error) {
	start, err := y.offset(n.Line, n.Column)
	if n.Value == "" && n.Line > len(y.lines) {
		start, err = len(y.src), nil // an omitted value at the very end
	}
	if err != nil {
		return out, err
	}
	out = Node{Kind: Scalar, start: start, anchor: n.Anchor, indent: parent}
	if flow {
		out.style |= inFlow
	}
	at := start
	if at < len(y.src) && (y.src[at] == '&' || y.src[at] == '!') {
		content, end := y.properties(start, n, flow)
		at = content
		if out.Mark, err = y.mark(n, start, end); err != nil {
			return out, err
		}
		if n.Style&yaml.TaggedStyle != 0 {
			y.special = true
			if scalarTag(n.ShortTag()) {
				out.style |= dropTag
			} else {
				out.style |= tagged
			}
		}
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 && n.Value == "" {
			out.style |= bare
			out.Span = Span{end, end}
			y.opaque = append(y.opaque, Span{start, end})
			return out, nil
		}
	}
	return out, y.content(&out, n, at, parent)
}

// content locates the text of a scalar that starts at an offset, behind its tag and
// anchor.
func (y *yamlText) content(out *Node, n *yaml.Node, at, parent int) (err error) {
	end := 0
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.style |= double
		end, err = y.quotedEnd(at, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.style |= single
		end, err = y.quotedEnd(at, '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		if at >= len(y.src) || y.src[at] != '|' && y.src[at] != '>' {
			return errNotLocated
		}
		out.style |= literal
		if n.Style&yaml.FoldedStyle != 0 {
			out.style = out.style&^styleMask | folded
		}
		out.Span, out.indent, out.explicit = y.blockContent(at, parent)
		out.trailing = len(n.Value) - len(strings.TrimRight(n.Value, "\n"))
		out.header = at
		y.opaque = append(y.opaque, Span{out.start, at + 1}, out.Span)
		return nil
	default:
		if n.Value == "" {
			out.style |= bare
		}
		end, err = y.plainEnd(at, n.Value)
	}
	out.Span = Span{at, end}
	y.opaque = append(y.opaque, Span{out.start, end})
	return err
}

// yamlValue gives a scalar's type and text as sops would write them into a token.
func yamlValue(n *yaml.Node) (Type, string, error) {
	tag := n.ShortTag()
	if !scalarTag(tag) {
		return String, n.Value, nil
	}
	if tag == "!!int" && plainInt(n.Value) {
		return Int, n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		// What the tag promises is not there: sops takes it for null.
		return Null, "", ErrRung
	}
	switch v := v.(type) {
	case nil:
		return Null, "", nil
	case bool:
		if v {
			return Bool, "True", nil
		}
		return Bool, "False", nil
	case int:
		return Int, strconv.Itoa(v), nil
	case int64:
		return Int, strconv.FormatInt(v, 10), nil
	case uint64:
		return Float, floatText(float64(v)), nil
	case float64:
		return Float, floatText(v), nil
	case time.Time:
		return Time, v.Format(time.RFC3339Nano), nil
	case string:
		return String, v, nil
	}
	return Null, "", ErrRung
}

// plainInt reports whether s is an int in its canonical spelling.
func plainInt(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && s != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// floatText is sops's text of a float: shortest, without an exponent.
func floatText(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
