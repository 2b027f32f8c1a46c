package doc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

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
	made   slab

	// cursor of offset
	curLine, curCol, curOff int

	comments bool                // put comments into the tree
	nodes    int                 // how many nodes alias expansion made
	parsed   int                 // how many the parser made
	spare    int                 // of them, how many do not count
	within   map[*yaml.Node]bool // aliases being expanded, against cycles
	special  bool
	alias    bool

	keyAnchors map[*yaml.Node]bool // keys that have one
	inKey      bool                // a map or list that is a key is being read

	doc        int         // the document being read
	blocks     []metaBlock // at most one a document
	afterBlock bool        // keys follow one
}

// newYAMLText reads a text. Of its nodes, so many do not count as too many.
func newYAMLText(src []byte, spare int) (*yamlText, error) {
	y := &yamlText{src: src, within: map[*yaml.Node]bool{}, spare: spare}
	if err := y.decode(); err != nil {
		return nil, err
	}
	y.splitLines()
	return y, nil
}

// decode runs the parser over all documents. The error is ErrDense if nothing else is
// wrong with them; the first document is there all the same.
func (y *yamlText) decode() (err error) {
	defer func() {
		// The parser has bugs that end in a run-time panic on hostile input.
		if r := recover(); r != nil {
			err = &SyntaxError{Format: "YAML", Msg: "the parser gave up on it"}
		}
	}()
	if why := tooSlow(y.src); why != "" {
		return &SyntaxError{Format: "YAML", Msg: why}
	}
	dec := yaml.NewDecoder(bytes.NewReader(y.src))
	for {
		n := new(yaml.Node)
		err := dec.Decode(n)
		if errors.Is(err, io.EOF) {
			return y.checkDensity(0)
		}
		if err != nil {
			return yamlError(y.src, err)
		}
		y.parsed += countNodes(n)
		if len(y.docs) == 0 || y.checkDensity(0) == nil {
			y.docs = append(y.docs, n)
		}
	}
}

// checkDensity returns ErrDense if there are too many nodes, or so many comments are.
func (y *yamlText) checkDensity(comments int) error {
	if tooDense(y.src, max(y.parsed, comments)-y.spare) {
		return ErrDense
	}
	return nil
}

// countNodes returns how many nodes of ours a node stands for, its comments among them.
func countNodes(n *yaml.Node) int {
	count := 1
	for _, comment := range [...]string{n.HeadComment, n.LineComment, n.FootComment} {
		if comment != "" {
			count += 1 + strings.Count(comment, "\n")
		}
	}
	for i, c := range n.Content {
		if isKey := n.Kind == yaml.MappingNode && i%2 == 0; !isKey || c.Kind != yaml.ScalarNode {
			count += countNodes(c)
		}
	}
	return count
}

// maxTags bounds the %TAG directives of a file, each of which the parser compares with
// all others.
const maxTags = 1000

// tooSlow says why the parser would take long for a text, or returns "".
func tooSlow(src []byte) string {
	if isUTF16(src) {
		src = bytes.ReplaceAll(src, []byte{0}, nil) // for this as good as UTF-8
	}
	if bytes.Count(src, []byte("%TAG")) > maxTags { // lines have more than one kind of break
		return fmt.Sprintf("more than %d %%TAG directives", maxTags)
	}
	if countTiny(src) > maxTiny {
		return errTiny
	}
	return ""
}

// countTiny counts what may be a plain scalar and a tiny number. Parts of words, such as
// those of a UUID, are none.
func countTiny(src []byte) (n int) {
	const number = "0123456789._" // underscores count for nothing
	for i := 0; ; {
		next := bytes.IndexByte(src[i:], '-')
		if next < 0 {
			return n
		}
		i += next + 1
		e := len(bytes.TrimRight(src[:i-1], "_")) - 1
		if e < 1 || src[e]|0x20 != 'e' {
			continue
		}
		exponent := src[i : len(src)-len(bytes.TrimLeft(src[i:], number))]
		start := len(bytes.TrimRight(src[:e], number))
		digits := start < e
		if start > 0 && (src[start-1] == '-' || src[start-1] == '+') {
			start--
		}
		i += len(exponent)
		if digits && tinyExponent(bytes.ReplaceAll(exponent, []byte("_"), nil)) && !wordAt(src, start-1) && !wordAt(src, i) {
			n++
		}
	}
}

func wordAt(src []byte, i int) bool {
	return i >= 0 && i < len(src) && (src[i] == '-' || src[i] >= 0x80 ||
		'0' <= src[i] && src[i] <= '9' || 'a' <= src[i]|0x20 && src[i]|0x20 <= 'z')
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
			e.Line, e.Col = lineCol(src, max(0, i-1))
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
	// Most texts have no other bytes than those of ASCII and no other line breaks.
	if bytes.IndexByte(y.src, '\r') < 0 && isASCII(y.src) {
		for n := bytes.IndexByte(y.src, '\n'); n >= 0; n = bytes.IndexByte(y.src[i:], '\n') {
			i += n + 1
			y.lines = append(y.lines, i)
		}
		return
	}
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

func isASCII(text []byte) bool {
	for len(text) >= 8 {
		if binary.NativeEndian.Uint64(text)&0x8080808080808080 != 0 {
			return false
		}
		text = text[8:]
	}
	for _, c := range text {
		if c >= 0x80 {
			return false
		}
	}
	return true
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
			if n.Anchor == "" {
				return i, end // that of a block mapping's first key
			}
			i += 1 + len(n.Anchor)
		case '!':
			single := i+1 == len(y.src) || isBlank(y.src[i+1]) || breakLen(y.src, i+1) > 0
			if n.Style&yaml.TaggedStyle == 0 && !single {
				return i, end
			}
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
	if i > len(y.src) {
		return 0, errNotLocated
	}
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
	if i >= len(y.src) || y.src[i] != quote {
		return 0, errNotLocated
	}
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

// headerEnd is where the header line of a block scalar ends.
func (y *yamlText) headerEnd(n *Node) int {
	li := y.lineOf(n.header)
	return y.lines[li] + len(y.lineText(li))
}
