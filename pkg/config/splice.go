package config

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A cut replaces bytes of a text.
type cut struct {
	from, to int
	by       string
}

// splice makes cuts that do not overlap.
func splice(src []byte, cuts []cut) []byte {
	slices.SortFunc(cuts, func(a, b cut) int { return a.from - b.from })
	var out []byte
	done := 0
	for _, c := range cuts {
		out = append(append(out, src[done:c.from]...), c.by...)
		done = c.to
	}
	return append(out, src[done:]...)
}

// A text is a config's text, and where its lines begin.
type text struct {
	src   []byte
	lines []int
}

// newText is for the usual kind of text only: others would be counted in other ways
// by the YAML parser.
func newText(src []byte) (t text, ok bool) {
	const oddBreaks = "\u0085\u2028\u2029"
	begin := len(src) - len(bytes.TrimPrefix(src, []byte("\ufeff")))
	t = text{src, []int{begin}}
	for i, b := range src {
		if b == '\n' {
			t.lines = append(t.lines, i+1)
		} else if b == '\r' && (i+1 == len(src) || src[i+1] != '\n') {
			return t, false
		}
	}
	return t, utf8.Valid(src) && !bytes.ContainsAny(src, oddBreaks)
}

// at returns where a node begins. The parser counts lines and characters.
func (t text) at(n *yaml.Node) int {
	if n.Line < 1 || n.Line > len(t.lines) {
		return len(t.src)
	}
	off := t.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(t.src[off:])
		off += size
	}
	return off
}

// bol and eol return the ends of the line that an offset is in, its break left out.
func (t text) bol(off int) int {
	at, found := slices.BinarySearch(t.lines, off)
	if !found {
		at--
	}
	return t.lines[max(at, 0)]
}

func (t text) eol(off int) int {
	end := off + bytes.IndexByte(t.src[off:], '\n')
	if end < off {
		return len(t.src)
	}
	if end > off && t.src[end-1] == '\r' {
		end--
	}
	return end
}

// next returns where the line after an end of line begins.
func (t text) next(eol int) int {
	if bytes.HasPrefix(t.src[eol:], []byte("\r\n")) {
		return eol + 2
	}
	return min(eol+1, len(t.src))
}

// newline is the text's line break.
func (t text) newline() string {
	if i := bytes.IndexByte(t.src, '\n'); i > 0 && t.src[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// margin returns the indentation of the line that an offset is in, if there is
// nothing but that before the offset.
func (t text) margin(off int) (string, bool) {
	before := string(t.src[t.bol(off):off])
	return before, strings.Trim(before, " \t") == ""
}

// indent is white space as wide as the text before an offset.
func (t text) indent(off int) string {
	return strings.Repeat(" ", utf8.RuneCount(t.src[t.bol(off):off]))
}

// bare reports whether nothing but a comment follows on the line.
func (t text) bare(off int) bool {
	rest := t.src[off:t.eol(off)]
	trimmed := bytes.TrimLeft(rest, " \t")
	return len(trimmed) == 0 || trimmed[0] == '#' && len(trimmed) < len(rest)
}

// skip returns the first offset from off on that is neither white space nor in a
// comment.
func (t text) skip(off int) int {
	for off < len(t.src) {
		switch c := t.src[off]; {
		case c == '#' && off > 0 && strings.IndexByte(" \t\n", t.src[off-1]) >= 0:
			off = t.eol(off)
		case strings.IndexByte(" \t\r\n", c) >= 0:
			off++
		default:
			return off
		}
	}
	return off
}

// open returns where a node begins behind its anchor and tag.
func (t text) open(n *yaml.Node) (off int, ok bool) {
	off = t.at(n)
	if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
		return off, true
	}
	for off < len(t.src) && (t.src[off] == '&' || t.src[off] == '!') {
		length := bytes.IndexByte(t.src[off:t.eol(off)], ' ')
		if length < 0 {
			return off, false
		}
		off = t.skip(off + length)
	}
	return off, true
}

// scalar returns where the characters of a scalar begin and end, without quotes and
// the like, and where its text ends. ok is false for a way to write one that is not
// looked into.
func (t text) scalar(n *yaml.Node) (from, to, end int, ok bool) {
	off, ok := t.open(n)
	if !ok {
		return 0, 0, 0, false
	}
	switch rest := t.src[off:]; {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest) && rest[0] == '"'; i++ {
			if rest[i] == '\\' {
				i++
			} else if rest[i] == '"' {
				return off + 1, off + i, off + i + 1, true
			}
		}
		return 0, 0, 0, false
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest) && rest[0] == '\''; i++ {
			if rest[i] == '\'' && (i+1 == len(rest) || rest[i+1] != '\'') {
				return off + 1, off + i, off + i + 1, true
			} else if rest[i] == '\'' {
				i++
			}
		}
		return 0, 0, 0, false
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return t.block(off)
	}
	end = off + len(n.Value)
	return off, end, end, bytes.HasPrefix(t.src[off:], []byte(n.Value)) && !strings.Contains(n.Value, "\n")
}

// block is scalar for one that is literal or folded and has its header at off.
func (t text) block(off int) (from, to, end int, ok bool) {
	header, _, _ := bytes.Cut(t.src[off:t.eol(off)], []byte(" "))
	if bytes.ContainsAny(header, "123456789") {
		return 0, 0, 0, false // indented by a number
	}
	depth := -1
	for line := t.next(t.eol(off)); line < len(t.src); line = t.next(t.eol(line)) {
		all := t.src[line:t.eol(line)]
		text := bytes.TrimLeft(all, " ")
		switch margin := len(all) - len(text); {
		case len(bytes.TrimSpace(text)) == 0:
			continue
		case depth < 0:
			depth, from = margin, line+margin
		case margin < depth:
			return from, to, to, true
		}
		to = line + len(all)
	}
	return from, to, to, depth > 0
}

// end returns where the text of a node ends.
func (t text) end(n *yaml.Node) (end int, ok bool) {
	off, ok := t.open(n)
	switch n.Kind {
	case yaml.AliasNode:
		return off + 1 + len(n.Value), true
	case yaml.ScalarNode:
		_, _, end, ok = t.scalar(n)
		return end, ok
	}
	flow := n.Style&yaml.FlowStyle != 0
	if flow {
		off++
	}
	if len(n.Content) > 0 {
		off, ok = t.end(n.Content[len(n.Content)-1])
	}
	if !ok || !flow {
		return off, ok && len(n.Content) > 0
	}
	if off = t.skip(off); off < len(t.src) && t.src[off] == ',' {
		off = t.skip(off + 1)
	}
	return off + 1, off < len(t.src) && (t.src[off] == ']' || t.src[off] == '}')
}

// comma returns the offset behind a comma that follows, if one does.
func (t text) comma(off int) (behind int, ok bool) {
	off = t.skip(off)
	return off + 1, off < len(t.src) && t.src[off] == ','
}

// hasComment reports whether there is a comment between two members of a list in
// brackets or a map in braces.
func (t text) hasComment(from, to int) bool {
	return bytes.IndexByte(t.src[from:to], '#') >= 0
}
