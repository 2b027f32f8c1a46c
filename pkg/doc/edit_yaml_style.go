package doc

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A yamlStyle is how a text lays out what is new in it.
type yamlStyle struct {
	d            *Document
	v            *Document // the new value
	step, dash   int       // by how much a map is indented in a map, and a list
	keys, values style     // the quotes of strings
}

// styleFor returns the style for what is new in a map or list: that of the items
// there, else of the text.
func (d *Document) styleFor(n *Node, v *Document) *yamlStyle {
	s := &yamlStyle{d: d, v: v, step: -1, dash: -1, keys: bare, values: bare}
	look := func(n *Node) {
		for _, c := range n.Items {
			switch {
			case c.Kind == Scalar && c.Type == String && !c.virtual && c.style&(isAlias|tagged|dropTag) == 0:
				if k := c.style.kind(); k == plain || k == single || k == double {
					s.values = k
				}
			case c.Kind == Comment || !d.block(n) || n.Kind != Map || !d.block(c) || d.column(c.Span.Start) < d.column(c.key.Start):
			case c.Kind == Map && s.step < 0 && d.Src[c.Span.Start] != '?':
				s.step = d.column(c.Span.Start) - d.column(c.key.Start)
			case c.Kind == List && s.dash < 0:
				s.dash = d.column(c.Span.Start) - d.column(c.key.Start)
			}
			if c.key.End > c.key.Start {
				s.keys = map[byte]style{'"': double, '\'': single}[d.Src[c.key.Start]]
			}
		}
	}
	look(n)
	if s.keys == bare || s.values == bare || s.step < 0 || s.dash < 0 {
		near := *s
		s.keys, s.values = bare, bare
		d.nodes(look)
		if near.keys != bare {
			s.keys = near.keys
		}
		if near.values != bare {
			s.values = near.values
		}
	}
	if s.step <= 0 {
		s.step = 2
		if s.dash > 0 {
			s.step = s.dash
		}
	}
	if s.dash < 0 {
		s.dash = s.step
	}
	return s
}

// block reports whether a map or list with items is in block style.
func (d *Document) block(n *Node) bool {
	return n.Kind != Scalar && n.Kind != Comment && n.style&(inFlow|isAlias) == 0 && !n.virtual && hasItems(n)
}

// scalar spells a scalar of the new value on one line.
func (s *yamlStyle) scalar(n *Node, flow bool) string {
	if number := s.v.number(n); number != "" {
		t, text, err := yamlValue(&yaml.Node{Kind: yaml.ScalarNode, Value: number})
		if err == nil && t == n.Type && text == n.Text {
			return number
		}
	}
	if n.Type == String {
		return quotedLike(n.Text, s.values, flow)
	}
	text, _ := flowScalar(n.Type, n.Text)
	return text
}

// quotedLike spells a string with such quotes, if it can be.
func quotedLike(text string, like style, flow bool) string {
	switch {
	case like == single && printable(text):
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case like != double && like != single && plainSafe(text, flow, false):
		return text
	}
	return quote(text)
}

// flow spells a value on one line.
func (s *yamlStyle) flow(b *strings.Builder, n *Node) {
	brackets := "{}"
	switch n.Kind {
	case Scalar:
		b.WriteString(s.scalar(n, true))
		return
	case List:
		brackets = "[]"
	}
	b.WriteByte(brackets[0])
	for i, c := range n.Items {
		if i > 0 {
			b.WriteString(", ")
		}
		if n.Kind == Map {
			b.WriteString(quotedLike(c.Key, s.keys, true) + ": ")
		}
		s.flow(b, c)
	}
	b.WriteByte(brackets[1])
}

func (s *yamlStyle) inFlow(n *Node) string {
	var b strings.Builder
	s.flow(&b, n)
	return b.String()
}

// value spells what stands behind a colon or dash in block style, from the blank on.
// The lines below it are indented by more than pad columns; item says that the value
// is in a list.
func (s *yamlStyle) value(b *strings.Builder, n *Node, pad int, item bool) {
	switch {
	case pad > deepest:
	case n.Kind != Scalar && len(n.Items) > 0:
		inner := pad + s.step
		if n.Kind == List {
			inner = pad + s.dash
		}
		if item {
			inner = pad + 2
			b.WriteByte(' ')
		} else {
			s.line(b, inner)
		}
		s.entries(b, n, inner)
		return
	case n.Kind == Scalar && n.Type == String && strings.Contains(n.Text, "\n"):
		lines, chomp, ok := literalLines(n.Text)
		if !ok {
			break
		}
		b.WriteString(" |" + chomp)
		for _, l := range lines {
			if l == "" {
				b.WriteString(s.d.eol)
				continue
			}
			s.line(b, pad+s.step)
			b.WriteString(l)
		}
		return
	case n.Kind == Scalar:
		b.WriteString(" " + s.scalar(n, false))
		return
	}
	b.WriteByte(' ')
	s.flow(b, n)
}

func (s *yamlStyle) line(b *strings.Builder, pad int) {
	b.WriteString(s.d.eol + strings.Repeat(" ", pad))
}

// entries spells the items of a map or list in block style, the first on a line that
// is begun already.
func (s *yamlStyle) entries(b *strings.Builder, n *Node, pad int) {
	for i, c := range n.Items {
		if i > 0 {
			s.line(b, pad)
		}
		s.entry(b, n.Kind, c.Key, c, pad)
	}
}

func (s *yamlStyle) entry(b *strings.Builder, in Kind, key string, n *Node, pad int) {
	if in == Map {
		b.WriteString(quotedLike(key, s.keys, false) + ":")
		s.value(b, n, pad, false)
		return
	}
	b.WriteByte('-')
	s.value(b, n, pad, true)
}

// listEntry spells a new item behind the last one of a list, with its distance from
// the dash.
func (s *yamlStyle) listEntry(b *strings.Builder, list, last, value *Node, column int) {
	var e strings.Builder
	s.entry(&e, List, "", value, column)
	text := e.String()
	head := s.d.head(list, last)
	if gap := last.start - head; head > 0 && gap > 1 && value.Kind == Scalar && strings.HasPrefix(text, "- ") && len(bytes.Trim(s.d.Src[head:last.start], " ")) == 0 {
		text = "-" + strings.Repeat(" ", gap-1) + text[1:]
	}
	b.WriteString(text)
}
