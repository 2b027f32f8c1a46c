package doc

import (
	"iter"
	"slices"
	"strings"
)

var _ editor = JSON{}

func (JSON) read(src []byte) (*Document, error) {
	root, err := readJSON(src)
	if err != nil {
		return nil, err
	}
	return &Document{Src: src, Roots: []*Node{root}}, nil
}

func (JSON) hold(_ int, v *Document) (*Document, error) { return v, nil }
func (JSON) checkKey(int, string) error                 { return nil }

// A jsonStyle is how a text lays out what is new in it.
type jsonStyle struct {
	eol, unit, colon string
	lines            bool // an item a line
}

func (d *Document) jsonStyle() jsonStyle {
	s := jsonStyle{eol: d.lineBreak(), unit: "  ", colon: ": "}
	// The first that has items shows the style.
	colon := false
	d.nodes(func(n *Node) {
		list := items(n)
		if len(list) == 0 {
			return
		}
		if gap := string(d.Src[n.Span.Start+1 : list[0].begin()]); !s.lines && strings.Contains(gap, "\n") {
			s.lines = true
			if unit := strings.TrimPrefix(indentOf(gap), d.lineIndent(n.Span.Start)); unit != "" {
				s.unit = unit
			}
		}
		if n.Kind == Map && !colon {
			if gap := string(d.Src[list[0].key.End:list[0].Span.Start]); !strings.ContainsAny(gap, "\r\n") {
				s.colon, colon = gap, true
			}
		}
	})
	return s
}

// lineIndent returns the white space that the line of an offset begins with.
func (d *Document) lineIndent(i int) string {
	line := string(d.Src[:i])
	line = line[strings.LastIndexByte(line, '\n')+1:]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// blank is what stands behind a comma on a line.
func (s jsonStyle) blank() string {
	if s.colon == ":" {
		return ""
	}
	return " "
}

// write writes a value of which the first line is indented by pad.
func (s jsonStyle) write(b *strings.Builder, v *Document, n *Node, pad string) {
	if n.Kind == Scalar {
		if text := v.number(n); text != "" {
			b.WriteString(text)
		} else {
			b.WriteString(jsonScalar(n.Type, n.Text))
		}
		return
	}
	brackets := "{}"
	if n.Kind == List {
		brackets = "[]"
	}
	b.WriteByte(brackets[0])
	for i, c := range n.Items {
		switch {
		case i > 0 && !s.lines:
			b.WriteString("," + s.blank())
		case i > 0:
			b.WriteByte(',')
		}
		if s.lines {
			b.WriteString(s.eol + pad + s.unit)
		}
		if n.Kind == Map {
			b.WriteString(quote(c.Key) + s.colon)
		}
		s.write(b, v, c, pad+s.unit)
	}
	if s.lines && len(n.Items) > 0 {
		b.WriteString(s.eol + pad)
	}
	b.WriteByte(brackets[1])
}

func (JSON) replace(d *Document, at []*Node, v *Document) iter.Seq[[]Edit] {
	n, s := at[len(at)-1], d.jsonStyle()
	if len(items(n)) > 0 && !strings.Contains(string(d.lexeme(n)), "\n") {
		s.lines = false // as it was
	}
	var b strings.Builder
	s.write(&b, v, v.Roots[0], d.lineIndent(n.Span.Start))
	return one([]Edit{{n.Span, b.String()}})
}

func (JSON) insert(d *Document, at []*Node, key string, v *Document) iter.Seq[[]Edit] {
	n, s := at[len(at)-1], d.jsonStyle()
	pad := d.lineIndent(n.Span.Start)
	list := items(n)
	if len(list) > 0 {
		last := list[len(list)-1]
		pad = d.lineIndent(last.begin())
		if !strings.Contains(string(d.Src[n.Span.Start:last.begin()]), "\n") {
			s.lines = false
		}
	}
	var b strings.Builder
	if len(list) == 0 && s.lines {
		b.WriteString(s.eol + pad + s.unit)
	}
	if n.Kind == Map {
		b.WriteString(quote(key) + s.colon)
	}
	if len(list) == 0 && s.lines {
		s.write(&b, v, v.Roots[0], pad+s.unit)
		b.WriteString(s.eol + pad)
	} else {
		s.write(&b, v, v.Roots[0], pad)
	}
	return one(d.addInBrackets(n, b.String(), s.blank(), false))
}

func (JSON) remove(d *Document, at []*Node) iter.Seq[[]Edit] {
	return one(d.cutInBrackets(at[len(at)-2], at[len(at)-1], false))
}

// one is the only way there is.
func one(edits []Edit) iter.Seq[[]Edit] { return slices.Values([][]Edit{edits}) }
