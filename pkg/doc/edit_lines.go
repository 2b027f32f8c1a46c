package doc

import (
	"bytes"
	"iter"
	"unicode/utf8"
)

// This file is about texts that have an item a line: block style, dotenv and INI.

func (d *Document) lineStart(i int) int {
	for i > 0 && d.Src[i-1] != '\n' && d.Src[i-1] != '\r' {
		i--
	}
	return i
}

func (d *Document) lineEnd(i int) int {
	for i < len(d.Src) && breakLen(d.Src, i) == 0 {
		i++
	}
	return i
}

// nextLine returns where the line after that of i starts, or the end of the text.
func (d *Document) nextLine(i int) int {
	i = d.lineEnd(i)
	if i < len(d.Src) {
		i += breakLen(d.Src, i)
	}
	return i
}

// column counts the characters before i on its line.
func (d *Document) column(i int) int { return utf8.RuneCount(d.Src[d.lineStart(i):i]) }

// commentLine reports whether a line holds nothing but a comment, and in which column.
func (d *Document) commentLine(start int) (column int, ok bool) {
	i := start
	for i < len(d.Src) && isBlank(d.Src[i]) {
		i++
	}
	return i - start, i < len(d.Src) && (d.Src[i] == '#' || d.ini && d.Src[i] == ';')
}

func (d *Document) blankLine(start int) bool {
	return len(bytes.TrimLeft(d.Src[start:d.lineEnd(start)], " \t")) == 0
}

// nextOf returns the item after n in a map or list, or nil.
func nextOf(parent, n *Node) *Node {
	list := items(parent)
	for i, x := range list[:len(list)-1] {
		if x == n {
			return list[i+1]
		}
	}
	return nil
}

// commentsAbove returns where the comment lines directly above an item start, in its
// column, or its own line if there are none.
func (d *Document) commentsAbove(item int) int {
	top, column := d.lineStart(item), d.column(item)
	for top > 0 {
		above := d.lineStart(top - breakBeforeEnd(d.Src[:top]))
		if c, ok := d.commentLine(above); !ok || c != column {
			break
		}
		top = above
	}
	return top
}

// cutLines returns the ways to take the lines of an item away that starts and ends
// at those places. The comment lines directly above go too, unless the next item
// stands directly below, which they may be about as well, or the text begins with
// them. First of all so that no two blank lines remain where there was one.
func (d *Document) cutLines(item Span, next *Node) iter.Seq[[]Edit] {
	first, end := d.lineStart(item.Start), d.nextLine(item.End)
	if next == nil || d.lineStart(next.begin()) != end {
		top := d.commentsAbove(item.Start)
		if top > 0 && !bytes.HasPrefix(d.Src[d.lineStart(top-breakBeforeEnd(d.Src[:top])):], []byte("---")) {
			first = top
		}
	}
	return func(yield func([]Edit) bool) {
		from, to := first, end
		above := func() int { return d.lineStart(from - breakBeforeEnd(d.Src[:from])) }
		blankAbove := from == 0 || d.blankLine(above())
		switch {
		case to == len(d.Src):
			for from > 0 && d.blankLine(above()) {
				from = above()
			}
		case blankAbove:
			for to < len(d.Src) && d.blankLine(to) {
				to = d.nextLine(to)
			}
		}
		cut := func(from, to int) bool {
			if to == len(d.Src) && breakBeforeEnd(d.Src) == 0 {
				from -= breakBeforeEnd(d.Src[:from])
			}
			return yield([]Edit{{Span{from, to}, ""}})
		}
		if !cut(from, to) || from == first && to == end {
			return
		}
		cut(first, end)
	}
}
