package doc

import (
	"bytes"
	"iter"
	"slices"
	"strings"
)

var _ editor = YAML{}

func (YAML) read(src []byte) (*Document, error) {
	y, err := newYAMLText(src, 0)
	if err != nil {
		return nil, err
	}
	roots, err := y.roots()
	if err != nil {
		return nil, ErrChange
	}
	if len(y.blocks) > 0 {
		return nil, ErrReserved
	}
	if len(roots) == 0 {
		roots = []*Node{{Kind: Scalar, Type: Null, indent: -1, style: bare}}
	}
	d := &Document{Src: src, Roots: roots, eol: y.eol()}
	g := y.scanGaps()
	if err := y.checkDensity(len(g.comments)); err != nil {
		return nil, err
	}
	d.at = attachment{at: y.firstDocEnd(g, contentStart(roots[0]))}
	switch {
	case len(y.docs) == 0:
		y.addOrphans(roots, g.comments, make([]bool, len(g.comments)))
	case len(g.comments) > 0:
		numbered, err := y.number(g)
		if err == nil {
			err = y.placeComments(roots, numbered, g.comments)
		}
		if err != nil {
			return nil, ErrChange
		}
	}
	return d, nil
}

func (YAML) hold(_ int, v *Document) (*Document, error) { return v, nil }
func (YAML) checkKey(int, string) error                 { return nil }

// deepest is how far new maps and lists are indented; what is deeper is in flow style.
const deepest = 100

// tail returns where the text of a block item ends.
func (d *Document) tail(n *Node) int {
	if d.block(n) {
		list := items(n)
		return max(d.tail(list[len(list)-1]), n.key.End)
	}
	if k := n.style.kind(); n.Kind != Scalar || n.style&isAlias != 0 || k != literal && k != folded {
		return d.end(n)
	}
	end := n.Span.End
	if n.Span.Start == n.Span.End {
		end = d.lineEnd(n.header)
	}
	if strings.Contains(string(d.Src[n.header:d.lineEnd(n.header)]), "+") {
		// Blank lines are part of the value.
		for next := d.nextLine(end); next < len(d.Src) && d.blankLine(next); next = d.nextLine(end) {
			end = d.lineEnd(next)
		}
	}
	return end
}

// linesEnd is where the last line of a block item ends, comments included that are
// indented by more than a column.
func (d *Document) linesEnd(n *Node, column int) int {
	end := d.lineEnd(d.tail(n))
	for next := d.nextLine(end); next < len(d.Src); next = d.nextLine(next) {
		if c, ok := d.commentLine(next); ok && c > column {
			end = d.lineEnd(next)
		} else if !d.blankLine(next) {
			break
		}
	}
	return end
}

// itemStart is where an item of a block map or list begins: at its key, the ? before
// it, or its dash.
func (d *Document) itemStart(parent, n *Node) int {
	if parent.Kind == Map {
		i := n.key.Start
		for i > 0 && isBlank(d.Src[i-1]) {
			i--
		}
		if i > 0 && d.Src[i-1] == '?' && n.key.Start > i {
			return i - 1
		}
		return n.key.Start
	}
	column := d.column(parent.Span.Start)
	for start := d.lineStart(min(n.start, len(d.Src))); ; start = d.lineStart(start - breakBeforeEnd(d.Src[:start])) {
		i := start
		for k := 0; k < column && i < len(d.Src); k++ {
			i++
		}
		if d.lineStart(parent.Span.Start) == start {
			i = parent.Span.Start
		}
		if i < len(d.Src) && d.Src[i] == '-' {
			return i
		}
		if start == 0 {
			return -1
		}
	}
}

// head is where the value of a block item could start: behind its colon or dash.
func (d *Document) head(parent, n *Node) int {
	if parent.Kind == List {
		return d.itemStart(parent, n) + 1
	}
	for i := n.key.End; i < len(d.Src); i++ {
		switch {
		case d.Src[i] == ':':
			return i + 1
		case d.Src[i] == '#':
			i = d.lineEnd(i)
		case !isBlank(d.Src[i]) && breakLen(d.Src, i) == 0:
			return 0
		}
	}
	return 0
}

// commentOn returns the comment that a line ends with, and the blanks before it, if it
// comes after an offset on that line.
func (d *Document) commentOn(after int) string {
	end := d.lineEnd(after)
	found := ""
	d.nodes(func(n *Node) {
		if n.Kind == Comment && n.Span.Start > after && n.Span.Start <= end && n.Span.End <= end {
			i := n.Span.Start - 1
			for i > after && isBlank(d.Src[i-1]) {
				i--
			}
			found = string(d.Src[i:n.Span.End])
		}
	})
	return found
}

func (f YAML) replace(d *Document, at []*Node, v *Document) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		n, value := at[len(at)-1], v.Roots[0]
		if len(at) == 1 {
			d.replaceRoot(n, v, yield)
			return
		}
		parent := at[len(at)-2]
		s := d.styleFor(parent, v)
		if n.Kind == Scalar && value.Kind == Scalar && !d.spell(f, n, s, value, yield) {
			return
		}
		anchor := ""
		if n.anchor != "" {
			anchor = "&" + n.anchor + " "
		}
		if parent.style&inFlow != 0 {
			text := anchor + s.inFlow(value)
			place := Span{n.start, n.Span.End}
			if place.Start == place.End && !yield([]Edit{{place, ": " + text}}) {
				return
			}
			yield([]Edit{{place, text}})
			return
		}
		d.replaceBlock(parent, n, s, value, anchor, yield)
	}
}

// spell offers ways to put a scalar in the place of another, in its style. It reports
// whether to go on.
func (d *Document) spell(f YAML, n *Node, s *yamlStyle, value *Node, yield func([]Edit) bool) bool {
	e := spellAt(f, d, n, value.Type, value.Text)
	if number := s.v.number(value); number != "" {
		as := e
		if plain, err := flowScalar(value.Type, value.Text); err == nil {
			as.Text = strings.Replace(e.Text, plain, number, 1)
		}
		if !yield([]Edit{as}) {
			return false
		}
	}
	return yield([]Edit{e})
}

// replaceBlock offers ways to put a value in the place of an item of a block map or list.
func (d *Document) replaceBlock(parent, n *Node, s *yamlStyle, value *Node, anchor string, yield func([]Edit) bool) {
	head := d.head(parent, n)
	if head <= 0 {
		return
	}
	column := d.column(d.itemStart(parent, n))
	end, comment := d.extent(n, head, column)
	if anchor != "" {
		anchor = " " + strings.TrimSpace(anchor)
	}
	// What follows an anchor on its line would be what it names.
	item := parent.Kind == List
	var b strings.Builder
	if item && anchor+comment != "" && value.Kind != Scalar && len(value.Items) > 0 {
		s.line(&b, column+2)
		s.entries(&b, value, column+2)
	} else {
		s.value(&b, value, column, item)
	}
	first, rest := b.String(), ""
	if i := strings.Index(first, d.eol); i >= 0 {
		first, rest = first[:i], first[i:]
	}
	whole := Span{head, end}
	ways := [][]Edit{
		{{whole, anchor + first + comment + rest}},
		{{whole, anchor + " " + s.inFlow(value) + comment}},
	}
	if d.inBracketsWithItems(n) && value.Kind != Scalar {
		slices.Reverse(ways) // as it was
	}
	_ = yield(ways[0]) && yield(ways[1])
}

// extent returns where the lines of an item's value end that could start at head, and
// the comment that is about all of it, the blanks before it included.
func (d *Document) extent(n *Node, head, column int) (end int, comment string) {
	tail := d.tail(n)
	k := n.style.kind()
	switch {
	case d.block(n):
		end = d.linesEnd(n, column)
		if d.lineStart(n.Span.Start) > head {
			comment = d.commentOn(head)
		}
		return end, comment
	case n.Kind == Scalar && n.style&isAlias == 0 && (k == literal || k == folded):
		return d.lineEnd(tail), d.commentOn(n.header)
	case d.lineStart(n.start) > head:
		comment = d.commentOn(head)
	}
	end = d.lineEnd(tail)
	if comment == "" {
		comment = string(d.Src[tail:end])
	}
	return end, comment
}

func (d *Document) inBracketsWithItems(n *Node) bool {
	return n.Kind != Scalar && n.style&isAlias == 0 && hasItems(n) && d.inBrackets(n)
}

// replaceRoot offers ways to put a map or list in the place of a document without
// items.
func (d *Document) replaceRoot(n *Node, v *Document, yield func([]Edit) bool) {
	s, value := d.styleFor(n, v), v.Roots[0]
	if value.Kind != Scalar && len(value.Items) > 0 {
		var b strings.Builder
		s.entries(&b, value, 0)
		place := Span{n.start, n.Span.End}
		if n.Span.Start < n.Span.End {
			if d.column(n.start) == 0 && !yield([]Edit{{place, b.String()}}) {
				return
			}
		} else {
			at := Span{d.at.at, d.at.at}
			text := b.String() + d.eol
			if at.Start == len(d.Src) && at.Start > 0 && breakBeforeEnd(d.Src) == 0 {
				text = d.eol + b.String()
			}
			yield([]Edit{{at, text}})
			return
		}
	}
	yield([]Edit{{Span{n.start, n.Span.End}, s.inFlow(value)}})
}

func (f YAML) insert(d *Document, at []*Node, key string, v *Document) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		n, value := at[len(at)-1], v.Roots[0]
		s := d.styleFor(n, v)
		if !d.block(n) {
			if !hasItems(n) {
				// In block style, where there is room for it.
				as := InList(v)
				if n.Kind == Map {
					as = InMap(key, v)
				}
				for edits := range f.replace(d, at, as) {
					if !yield(edits) {
						return
					}
				}
			}
			if !d.inBrackets(n) {
				return
			}
			item := s.inFlow(value)
			if n.Kind == Map {
				item = quotedLike(key, s.keys, true) + ": " + item
			}
			yield(d.addInBrackets(n, item, " ", true))
			return
		}
		list := items(n)
		last := list[len(list)-1]
		start := d.itemStart(n, list[0])
		if start < 0 {
			return
		}
		column := d.column(start)
		add := func(b *strings.Builder) {
			if n.Kind == List {
				s.listEntry(b, n, last, value, column)
				return
			}
			s.entry(b, Map, key, value, column)
		}
		var b strings.Builder
		s.line(&b, column)
		add(&b)
		end := d.linesEnd(last, column)
		if !yield([]Edit{{Span{end, end}, b.String()}}) || n.Kind == List {
			return
		}
		// A block scalar at the very end may need to stay there.
		b.Reset()
		add(&b)
		s.line(&b, column)
		before := d.itemStart(n, last)
		yield([]Edit{{Span{before, before}, b.String()}})
	}
}

func (f YAML) remove(d *Document, at []*Node) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		if len(at) < 2 {
			return
		}
		parent, n := at[len(at)-2], at[len(at)-1]
		if !d.block(parent) {
			if d.inBrackets(parent) {
				yield(d.cutInBrackets(parent, n, true))
			}
			return
		}
		start := d.itemStart(parent, n)
		if start < 0 {
			return
		}
		column := d.column(start)
		end := d.linesEnd(n, column)
		if len(items(parent)) == 1 {
			nothing := &Document{Roots: []*Node{{Kind: parent.Kind}}}
			if len(at) == 2 {
				brackets := "{}"
				if parent.Kind == List {
					brackets = "[]"
				}
				yield([]Edit{{Span{start, end}, brackets}})
				return
			}
			for edits := range f.replace(d, at[:len(at)-1], nothing) {
				if !yield(edits) {
					return
				}
			}
			return
		}
		next := nextOf(parent, n)
		if len(bytes.Trim(d.Src[d.lineStart(start):start], " ")) > 0 && next != nil {
			// The first of a map or list that begins on the line of another.
			to := end
			for to < len(d.Src) && (isBlank(d.Src[to]) || breakLen(d.Src, to) > 0) {
				to++
			}
			yield([]Edit{{Span{start, to}, ""}})
			return
		}
		place := next
		if next != nil {
			place = &Node{start: d.itemStart(parent, next)}
		}
		for edits := range d.cutLines(Span{start, end}, place) {
			if !yield(edits) {
				return
			}
		}
	}
}

// spellAt is Spell for a value that may have no text yet.
func spellAt(f Format, d *Document, n *Node, t Type, text string) Edit {
	e := f.Spell(d, n, t, text)
	if n.Span.Start == n.Span.End && n.Span.Start > 0 && len(e.Text) > 0 {
		if c := d.Src[n.Span.Start-1]; c == ':' || c == '-' || c == '?' {
			e.Text = " " + e.Text
		}
	}
	return e
}
