package doc

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// How a YAML scalar is written.
type style uint32

const (
	plain style = iota
	single
	double
	literal
	folded
	bare // no text at all: an omitted null

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
	junk      style = 4096 // a line that the format does not read, taken as a comment
)

func (s style) kind() style { return s & styleMask }

// errNotLocated says that the bytes of a scalar could not be found.
var errNotLocated = errors.New("value not located")

// A yamlText is a YAML text being read: the parser of go.yaml.in/yaml/v3 gives
// the nodes and where they start, we find where they end.
type yamlText struct {
	src   []byte
	lines []int // where each line starts, by YAML 1.1's line breaks
	ascii bool
	crlf  bool

	docs   []*yaml.Node
	opaque []Span // scalars and aliases: no comment starts in there

	// cursor of offset
	curLine, curCol, curOff int

	comments bool                // put comments into the tree
	nodes    int                 // how many nodes alias expansion made
	within   map[*yaml.Node]bool // aliases being expanded, against cycles
	special  bool
	alias    bool

	keyAnchors []*yaml.Node // keys that have one

	doc        int         // the document being read
	blocks     []metaBlock // at most one a document
	afterBlock bool        // keys follow one
}

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

func newYAMLText(src []byte) (*yamlText, error) {
	y := &yamlText{src: src, within: map[*yaml.Node]bool{}}
	if err := y.decode(); err != nil {
		return nil, err
	}
	y.splitLines()
	return y, nil
}

// decode runs the parser over all documents.
func (y *yamlText) decode() (err error) {
	defer func() {
		// The parser has bugs that end in a run-time panic on hostile input.
		if r := recover(); r != nil {
			err = &SyntaxError{Format: "YAML", Msg: "the parser gave up on it"}
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(y.src))
	for {
		n := new(yaml.Node)
		err := dec.Decode(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return yamlError(y.src, err)
		}
		y.docs = append(y.docs, n)
	}
}

// yamlError turns the parser's error into ours: line and message apart, and a
// column, which the parser does not give: where the shortest beginning of the
// text that already has the error ends.
func yamlError(src []byte, err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(msg, "unknown anchor") {
		msg = "an alias (*…) to an anchor that is not there" // it would quote what follows the *
	}
	e := &SyntaxError{Format: "YAML", Msg: msg}
	rest, ok := strings.CutPrefix(msg, "line ")
	if !ok {
		if len(src) < 1<<18 {
			// The error has no line: it is where the shortest beginning that has
			// it ends.
			i := sort.Search(len(src), func(i int) bool {
				var n yaml.Node
				probe := decodeFirst(src[:i], &n)
				return probe != nil && probe.Error() == err.Error()
			})
			e.Line, e.Col = lineCol(src, i)
		}
		return e
	}
	num, rest, ok := strings.Cut(rest, ": ")
	line, convErr := strconv.Atoi(num)
	if !ok || convErr != nil {
		return e
	}
	e.Line, e.Msg, e.Col = line, rest, 1
	start := 0
	for range line - 1 {
		i := bytes.IndexByte(src[start:], '\n')
		if i < 0 {
			return e
		}
		start += i + 1
	}
	end := len(src)
	if i := bytes.IndexByte(src[start:], '\n'); i >= 0 {
		end = start + i
	}
	const effort = 1 << 20 // bytes to read again at most
	if end*(end-start) < effort {
		for i := start; i <= end; i++ {
			var n yaml.Node
			if probe := decodeFirst(src[:i], &n); probe != nil && probe.Error() == err.Error() {
				e.Col = max(1, utf8.RuneCount(src[start:i]))
				return e
			}
		}
	}
	e.Col = 1 + len(src[start:end]) - len(bytes.TrimLeft(src[start:end], " \t"))
	return e
}

func decodeFirst(src []byte, into any) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("parser panic")
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	for {
		if err := dec.Decode(into); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// breakLen returns the length of the line break at src[i:], 0 when there is none.
func breakLen(src []byte, i int) int {
	switch c := src[i]; {
	case c == '\n':
		return 1
	case c == '\r':
		if i+1 < len(src) && src[i+1] == '\n' {
			return 2
		}
		return 1
	case c == 0xC2 && i+1 < len(src) && src[i+1] == 0x85:
		return 2
	case c == 0xE2 && i+2 < len(src) && src[i+1] == 0x80 && (src[i+2] == 0xA8 || src[i+2] == 0xA9):
		return 3
	}
	return 0
}

var utf8BOM = []byte("\xEF\xBB\xBF")

func (y *yamlText) splitLines() {
	i := 0
	if bytes.HasPrefix(y.src, utf8BOM) {
		i = 3
	}
	y.lines = append(make([]int, 0, 1+bytes.Count(y.src, []byte{'\n'})), i)
	y.ascii = true
	for i < len(y.src) {
		if n := breakLen(y.src, i); n > 0 {
			if len(y.lines) == 1 {
				y.crlf = n == 2 && y.src[i] == '\r'
			}
			i += n
			y.lines = append(y.lines, i)
			continue
		}
		if y.src[i] >= 0x80 {
			y.ascii = false
		}
		i++
	}
}

func (y *yamlText) eol() string {
	if y.crlf {
		return "\r\n"
	}
	return "\n"
}

// offset turns the parser's position, a line and a column in code points, into
// a byte offset.
func (y *yamlText) offset(line, col int) (int, error) {
	if line < 1 || line > len(y.lines) || col < 1 {
		return 0, errNotLocated
	}
	if y.ascii {
		off := y.lines[line-1] + col - 1
		if off > len(y.src) {
			return 0, errNotLocated
		}
		return off, nil
	}
	if line != y.curLine || col < y.curCol {
		y.curLine, y.curCol, y.curOff = line, 1, y.lines[line-1]
	}
	for y.curCol < col {
		if y.curOff >= len(y.src) {
			return 0, errNotLocated
		}
		_, n := utf8.DecodeRune(y.src[y.curOff:])
		y.curOff += n
		y.curCol++
	}
	return y.curOff, nil
}

// lineOf returns the index in y.lines of the line that holds an offset.
func (y *yamlText) lineOf(off int) int {
	return sort.SearchInts(y.lines, off+1) - 1
}

// lineText returns a line without its break.
func (y *yamlText) lineText(li int) []byte {
	start := y.lines[li]
	end := len(y.src)
	if li+1 < len(y.lines) {
		end = y.lines[li+1]
	}
	for i := start; i < end; i++ {
		if breakLen(y.src, i) > 0 {
			return y.src[start:i]
		}
	}
	return y.src[start:end]
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// skipSpace returns the offset of the next byte that is no blank, line break or
// comment.
func (y *yamlText) skipSpace(i int) int {
	for i < len(y.src) {
		if isBlank(y.src[i]) {
			i++
		} else if n := breakLen(y.src, i); n > 0 {
			i += n
		} else if y.src[i] == '#' {
			for i < len(y.src) && breakLen(y.src, i) == 0 {
				i++
			}
		} else {
			break
		}
	}
	return i
}

// properties skips the tag and anchor at i and returns where the content after
// them starts (or, when there is none, where they end).
func (y *yamlText) properties(i int, n *yaml.Node, flow bool) (content, end int) {
	end = i
	for i < len(y.src) {
		switch y.src[i] {
		case '&':
			i += 1 + len(n.Anchor)
		case '!':
			if i+1 < len(y.src) && y.src[i+1] == '<' {
				for i < len(y.src) && y.src[i] != '>' {
					i++
				}
				i = min(i+1, len(y.src))
				break
			}
			for i < len(y.src) && !isBlank(y.src[i]) && breakLen(y.src, i) == 0 && !(flow && strings.IndexByte(",[]{}", y.src[i]) >= 0) {
				i++
			}
		default:
			return i, end
		}
		end = i
		i = y.skipSpace(i)
	}
	return i, end
}

// plainEnd returns where a plain scalar ends that starts at i. Only the bytes
// that are not white space are compared, so folding does not matter.
func (y *yamlText) plainEnd(i int, value string) (int, error) {
	if rest := y.src[i:]; len(value) <= len(rest) && string(rest[:len(value)]) == value {
		return i + len(value), nil
	}
	end := i
	for j := 0; j < len(value); {
		if isBlank(value[j]) {
			j++
			continue
		}
		if n := breakLen([]byte(value[j:min(len(value), j+3)]), 0); n > 0 {
			j += n
			continue
		}
		for i < len(y.src) {
			if isBlank(y.src[i]) {
				i++
			} else if n := breakLen(y.src, i); n > 0 {
				i += n
			} else {
				break
			}
		}
		if i >= len(y.src) || y.src[i] != value[j] {
			return 0, errNotLocated
		}
		i++
		j++
		end = i
	}
	return end, nil
}

func (y *yamlText) quotedEnd(i int, quote byte) (int, error) {
	for j := i + 1; j < len(y.src); j++ {
		switch {
		case y.src[j] == '\\' && quote == '"':
			j++
		case y.src[j] == quote && quote == '\'' && j+1 < len(y.src) && y.src[j+1] == '\'':
			j++
		case y.src[j] == quote:
			return j + 1, nil
		}
	}
	return 0, errNotLocated
}

// blockContent returns the span of a block scalar's content lines, blank ones
// before the first included, after the last not; and the content's indent. i is
// at the indicator. The span is empty when there is no content.
func (y *yamlText) blockContent(i, parent int) (content Span, indent int, given bool) {
	i++
	explicit := 0
	for i < len(y.src) && (y.src[i] == '+' || y.src[i] == '-' || y.src[i] >= '0' && y.src[i] <= '9') {
		if y.src[i] >= '0' && y.src[i] <= '9' {
			explicit = int(y.src[i] - '0')
		}
		i++
	}
	header := y.lineOf(i)
	spaces := func(line []byte) int {
		return len(line) - len(bytes.TrimLeft(line, " "))
	}
	indent = max(parent, 0) + explicit
	if explicit == 0 {
		indent = max(parent+1, 0)
		longest := 0
		for li := header + 1; li < len(y.lines); li++ {
			line := y.lineText(li)
			n := spaces(line)
			if n == len(line) {
				longest = max(longest, n)
				continue
			}
			indent = max(indent, n, longest)
			break
		}
	}
	first, last := -1, -1
	for li := header + 1; li < len(y.lines); li++ {
		line := y.lineText(li)
		n := spaces(line)
		if n == len(line) && n <= indent {
			continue
		}
		if n < indent || indent == 0 && (bytes.HasPrefix(line, []byte("---")) || bytes.HasPrefix(line, []byte("..."))) {
			break
		}
		if first < 0 {
			first = header + 1
		}
		last = li
	}
	if first < 0 {
		end := len(y.src)
		if header+1 < len(y.lines) {
			end = y.lines[header+1]
		}
		return Span{end, end}, indent, explicit > 0
	}
	return Span{y.lines[first], y.lines[last] + len(y.lineText(last))}, indent, explicit > 0
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

// mark is what the seal covers of a node's tag and anchor.
// A tag that says a scalar's type is not part of it: the type is.
func mark(n *yaml.Node) string {
	tag := ""
	if n.Style&yaml.TaggedStyle != 0 && !(n.Kind == yaml.ScalarNode && scalarTag(n.ShortTag())) {
		tag = n.Tag
	}
	if tag == "" && n.Anchor == "" {
		return ""
	}
	return "&" + n.Anchor + " !" + tag
}

func (y *yamlText) aliasNode(n *yaml.Node, flow bool, parent int) (*Node, error) {
	y.alias = true
	start, err := y.offset(n.Line, n.Column)
	if err != nil {
		return nil, err
	}
	out := &Node{style: isAlias, start: start, Span: Span{start, start + 1 + len(n.Value)}, indent: parent}
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
		return nil, ErrRung
	}
	if len(y.within) > 0 {
		if y.nodes++; y.nodes > maxExpansion {
			return nil, ErrRung
		}
	}
	out := &Node{virtual: true}
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

func (y *yamlText) collection(n *yaml.Node, flow bool, parent int, root bool) (*Node, error) {
	start, err := y.offset(n.Line, n.Column)
	if err != nil {
		return nil, err
	}
	out := &Node{Kind: Map, start: start, anchor: n.Anchor, Mark: mark(n), indent: parent}
	if n.Kind == yaml.SequenceNode {
		out.Kind = List
	}
	if n.Style&yaml.TaggedStyle != 0 {
		y.special = true
	}
	at, _ := y.properties(start, n, flow)
	isFlow := flow || n.Style&yaml.FlowStyle != 0
	bracket := byte(0)
	if isFlow {
		out.style |= inFlow
		open := byte('{')
		if n.Kind == yaml.SequenceNode {
			open = '['
		}
		// A pair in a list needs no braces of its own.
		if at < len(y.src) && y.src[at] == open {
			bracket = open
		}
	}
	// A block collection's indent is the column of its first key or dash.
	indent := parent
	if !isFlow {
		at = y.skipSpace(at)
		indent = utf8.RuneCount(y.src[y.lines[y.lineOf(at)]:at])
	}
	end := at
	if bracket != 0 {
		end++
	}
	addComments := func(text string, in style) { out.Items = y.addComments(out.Items, text, in) }
	if n.Kind == yaml.SequenceNode {
		for _, c := range n.Content {
			addComments(c.HeadComment, inList)
			addComments(c.LineComment, inList)
			item, err := y.build(c, isFlow, indent)
			if err != nil {
				return nil, err
			}
			item.style |= inList
			out.Items = append(out.Items, item)
			addComments(c.FootComment, inList)
			end = max(end, item.Span.End)
		}
	} else {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			addComments(key.HeadComment, 0)
			addComments(key.LineComment, 0)
			leaf := value.Kind == yaml.ScalarNode || value.Kind == yaml.AliasNode
			if leaf {
				addComments(value.HeadComment, 0)
				addComments(value.LineComment, 0)
			}
			item, err := y.pair(key, value, isFlow, indent, root)
			if err != nil {
				return nil, err
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
				end = max(end, item.Span.End, item.key.End)
			}
			if leaf {
				addComments(value.FootComment, 0)
			}
			addComments(key.FootComment, 0)
		}
	}
	if bracket != 0 {
		// What is left before the closing bracket is separators and comments.
		for end < len(y.src) && y.src[end] != bracket+2 {
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

// addComments appends a comment for each line of a text that the parser gives.
func (y *yamlText) addComments(to []*Node, text string, in style) []*Node {
	if !y.comments || text == "" {
		return to
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			to = append(to, &Node{Kind: Comment, Text: line[1:], style: isComment | in})
		}
	}
	return to
}

// pair builds one item of a mapping. It returns nil for the metadata block.
func (y *yamlText) pair(key, value *yaml.Node, flow bool, indent int, root bool) (*Node, error) {
	keySpan, keyStyle, err := y.keySpan(key, flow, indent)
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
	if m := mark(key); m != "" {
		if key.Anchor != "" {
			y.keyAnchors = append(y.keyAnchors, key)
		}
		item.Mark = m + "\x00" + item.Mark
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

// keySpan locates a key, properties included.
func (y *yamlText) keySpan(key *yaml.Node, flow bool, indent int) (Span, style, error) {
	start, err := y.offset(key.Line, key.Column)
	if err != nil {
		return Span{}, 0, err
	}
	switch key.Kind {
	case yaml.ScalarNode:
		n, err := y.scalar(key, flow, indent)
		if err != nil {
			return Span{}, 0, err
		}
		s := style(0)
		if n.style.kind() != plain {
			s = quotedKey
		}
		return Span{start, max(n.Span.End, start)}, s, nil
	case yaml.AliasNode:
		end := start + 1 + len(key.Value)
		if end > len(y.src) {
			return Span{}, 0, errNotLocated
		}
		y.opaque = append(y.opaque, Span{start, end})
		return Span{start, end}, 0, nil
	default:
		n, err := y.collection(key, flow, indent, false)
		if err != nil {
			return Span{}, 0, err
		}
		if n.style&inFlow == 0 {
			return Span{}, 0, ErrRung
		}
		return Span{start, n.Span.End}, 0, nil
	}
}

// key returns the string that sops sees in a key, and what is special about it:
// badKey when sops would refuse it. A key stays readable, so an alias may be one
// only if it stands for a key.
func (y *yamlText) key(key *yaml.Node) (string, style, error) {
	switch key.Kind {
	case yaml.AliasNode:
		if !slices.Contains(y.keyAnchors, key.Alias) {
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

func scalarTag(tag string) bool {
	switch tag {
	case "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary":
		return true
	}
	return false
}

func (y *yamlText) scalar(n *yaml.Node, flow bool, parent int) (*Node, error) {
	start, err := y.offset(n.Line, n.Column)
	if n.Value == "" && n.Line > len(y.lines) {
		start, err = len(y.src), nil // an omitted value at the very end
	}
	if err != nil {
		return nil, err
	}
	out := &Node{Kind: Scalar, start: start, anchor: n.Anchor, Mark: mark(n), indent: parent}
	if out.Type, out.Text, err = yamlValue(n); err != nil {
		return nil, err
	}
	if flow {
		out.style |= inFlow
	}
	at := start
	if at < len(y.src) && (y.src[at] == '&' || y.src[at] == '!') {
		content, end := y.properties(start, n, flow)
		at = content
		// (The parser passes over the non-specific tag, a single !.)
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
	if at > len(y.src) {
		return nil, errNotLocated
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.style |= double
		if at >= len(y.src) || y.src[at] != '"' {
			return nil, errNotLocated
		}
		end, err := y.quotedEnd(at, '"')
		if err != nil {
			return nil, err
		}
		out.Span = Span{at, end}
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.style |= single
		if at >= len(y.src) || y.src[at] != '\'' {
			return nil, errNotLocated
		}
		end, err := y.quotedEnd(at, '\'')
		if err != nil {
			return nil, err
		}
		out.Span = Span{at, end}
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		out.style |= literal
		if n.Style&yaml.FoldedStyle != 0 {
			out.style = out.style&^styleMask | folded
		}
		if at >= len(y.src) || y.src[at] != '|' && y.src[at] != '>' {
			return nil, errNotLocated
		}
		out.Span, out.indent, out.explicit = y.blockContent(at, parent)
		out.trailing = len(n.Value) - len(strings.TrimRight(n.Value, "\n"))
		out.header = at
		y.opaque = append(y.opaque, Span{start, at + 1}, out.Span)
		return out, nil
	default:
		end, err := y.plainEnd(at, n.Value)
		if err != nil {
			return nil, err
		}
		out.Span = Span{at, end}
		if n.Value == "" {
			out.style |= bare
		}
	}
	if start < at {
		y.opaque = append(y.opaque, Span{start, out.Span.End})
	} else {
		y.opaque = append(y.opaque, out.Span)
	}
	return out, nil
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

// roots builds the tree of every document.
func (y *yamlText) roots() ([]*Node, error) {
	var roots []*Node
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

// gaps is what lies between scalars: comments and document markers.
type gaps struct {
	comments []Span // the text after each '#', up to the line's end
	marks    []int  // where lines with --- or ... start
	isEnd    []bool // which of them are ...
}

// scanGaps finds the comments and document markers outside scalars.
func (y *yamlText) scanGaps() gaps {
	slices.SortFunc(y.opaque, func(a, b Span) int { return a.Start - b.Start })
	var g gaps
	i := 0
	if bytes.HasPrefix(y.src, utf8BOM) {
		i = 3
	}
	next := 0
	lineStart := true
	for i < len(y.src) {
		for next < len(y.opaque) && y.opaque[next].End <= i {
			next++
		}
		if next < len(y.opaque) && y.opaque[next].Start <= i {
			i = y.opaque[next].End
			lineStart = false
			continue
		}
		c := y.src[i]
		if n := breakLen(y.src, i); n > 0 {
			i += n
			lineStart = true
			continue
		}
		switch {
		case c == '#' && (lineStart || i > 0 && (isBlank(y.src[i-1]) || strings.IndexByte("[]{},", y.src[i-1]) >= 0)):
			j := i + 1
			for j < len(y.src) && breakLen(y.src, j) == 0 {
				j++
			}
			g.comments = append(g.comments, Span{i + 1, j})
			i = j
			continue
		case lineStart && (c == '-' || c == '.') && i+3 <= len(y.src) && y.src[i+1] == c && y.src[i+2] == c &&
			(i+3 == len(y.src) || isBlank(y.src[i+3]) || breakLen(y.src, i+3) > 0):
			g.marks = append(g.marks, i)
			g.isEnd = append(g.isEnd, c == '.')
			i += 3
			lineStart = false
			continue
		}
		lineStart = false
		i++
	}
	return g
}

// firstDocEnd returns where document 1 ends: the start of the marker line that
// ends it, or the end of the text.
func (y *yamlText) firstDocEnd(g gaps, contentStart int) int {
	open := false // past document 1's own ---
	for k, at := range g.marks {
		if g.isEnd[k] {
			return at
		}
		if at >= contentStart || open {
			return at
		}
		open = true
	}
	return len(y.src)
}

// graft puts the comments of with, a tree of the same text with numbered
// stand-ins for its comments, into the tree of plain. It reports whether the two
// have the same shape.
func graft(into, with *Node, src []byte, found []Span, used []bool) bool {
	if into.Kind != with.Kind {
		// An empty document with comments.
		switch {
		case into.Kind == Scalar && into.Type == Null && with.Kind == Map:
			*into = *emptyMap(into)
		case into.Kind == Map && with.Kind == Scalar && with.Type == Null:
			with = emptyMap(with)
		default:
			return false
		}
	}
	if with.Kind == Scalar || with.style&isAlias != 0 {
		return true
	}
	items := make([]*Node, 0, len(with.Items))
	k := 0
	for _, w := range with.Items {
		if w.Kind == Comment {
			i, err := strconv.Atoi(w.Text)
			if err != nil || i < 0 || i >= len(found) || used[i] {
				return false
			}
			used[i] = true
			items = append(items, commentNode(src, found[i], w.style))
			continue
		}
		if k == len(into.Items) || into.Items[k].Key != w.Key || !graft(into.Items[k], w, src, found, used) {
			return false
		}
		items = append(items, into.Items[k])
		k++
	}
	if k != len(into.Items) {
		return false
	}
	into.Items = items
	return true
}

func commentNode(src []byte, at Span, s style) *Node {
	return &Node{Kind: Comment, Text: string(src[at.Start:at.End]), Span: at, style: s | isComment}
}

// number returns the text with each comment replaced by its number, read again
// with comments in its tree.
func (y *yamlText) number(g gaps, more ...Edit) ([]*Node, error) {
	edits := more
	for i, c := range g.comments {
		edits = append(edits, Edit{c, strconv.Itoa(i)})
	}
	z := &yamlText{src: Apply(y.src, edits), comments: true, within: map[*yaml.Node]bool{}}
	if err := z.decode(); err != nil {
		return nil, ErrRung
	}
	z.splitLines()
	return z.roots()
}

// placeComments puts the comments that stand in the gaps into the tree, where
// sops sees them. numbered is what number returned.
func (y *yamlText) placeComments(roots, numbered []*Node, found []Span) error {
	if len(numbered) != len(roots) {
		return ErrRung
	}
	used := make([]bool, len(found))
	for i := range roots {
		if !graft(roots[i], numbered[i], y.src, found, used) {
			return ErrRung
		}
	}
	y.addOrphans(roots, found, used)
	return nil
}

// addOrphans adds the few comments that the parser keeps in no node, which sops
// therefore never sees, to the end of their document.
func (y *yamlText) addOrphans(roots []*Node, found []Span, used []bool) {
	for i, u := range used {
		if u {
			continue
		}
		last := roots[0]
		for _, r := range roots {
			if r.start <= found[i].Start && r.Kind == Map {
				last = r
			}
		}
		last.Items = append(last.Items, commentNode(y.src, found[i], 0))
	}
}
