package doc

import (
	"bytes"
	"strings"
)

// This file changes maps and lists in brackets, of JSON and of YAML's flow style.

// end is where an item ends, its key included.
func (d *Document) end(n *Node) int {
	end := max(n.Span.End, n.key.End)
	if n.style.kind() == bare && n.Kind == Scalar && n.Span.Start == n.start && n.key.End > n.key.Start {
		// Null without a text, for which the parser gives the place of what follows.
		end = n.key.End
		for i := end; i < len(d.Src); i++ {
			if d.Src[i] == ':' {
				return i + 1
			}
			if !isBlank(d.Src[i]) {
				break
			}
		}
	}
	return min(end, len(d.Src))
}

// text returns what stands between two offsets.
func (d *Document) text(from, to int) string {
	if from >= to {
		return ""
	}
	return string(d.Src[from:to])
}

// begin is where an item of a map or list in brackets starts.
func (n *Node) begin() int {
	if n.key.End > n.key.Start {
		return n.key.Start
	}
	return n.start
}

// inBrackets reports whether a map or list has brackets of its own.
func (d *Document) inBrackets(n *Node) bool {
	return n.Span.Start < n.Span.End && (d.Src[n.Span.Start] == '{' || d.Src[n.Span.Start] == '[')
}

// comma returns the place of the comma between two offsets that is in no comment, or
// -1; and the end of the comment that follows it or from on its line, else 0.
func (d *Document) comma(from, to int, comments bool) (at, comment int) {
	at = -1
	for i := from; i < to; i++ {
		switch c := d.Src[i]; {
		case c == ',' && at < 0:
			at = i
		case c == '#' && comments:
			for i < to && breakLen(d.Src, i) == 0 {
				i++
			}
			return at, i
		case breakLen(d.Src, i) > 0 && at >= 0:
			return at, 0
		}
	}
	return at, 0
}

// addInBrackets returns the edits that put one more item behind those of n. Blank is what
// stands behind a comma, where no other item shows it.
func (d *Document) addInBrackets(n *Node, item, blank string, comments bool) []Edit {
	list, closing := items(n), n.Span.End-1
	if len(list) == 0 {
		at := n.Span.Start + 1
		if strings.TrimSpace(d.text(at, closing)) == "" {
			return []Edit{{Span{at, closing}, item}}
		}
		return []Edit{{Span{closing, closing}, item}} // behind a comment
	}
	// The new item is set apart as the last one is.
	last := list[len(list)-1]
	gap := d.text(n.Span.Start+1, last.begin())
	if len(list) > 1 {
		gap = d.text(d.end(list[len(list)-2]), last.begin())
		if i := strings.IndexByte(gap, ','); i >= 0 {
			gap = gap[i+1:]
		}
	} else if !strings.Contains(gap, "\n") {
		gap = blank
	}
	if i := strings.LastIndexByte(gap, '\n'); i >= 0 {
		indent := gap[i+1:]
		gap = d.lineBreak() + indent[:len(indent)-len(strings.TrimLeft(indent, " \t"))]
	} else if strings.TrimSpace(gap) != "" {
		gap = " "
	}
	at := d.end(last)
	comma, comment := d.comma(at, closing, comments)
	behind := max(at, comma+1, comment)
	if comment > 0 && !strings.Contains(gap, "\n") {
		gap = d.lineBreak() + gap
	}
	if comma >= 0 {
		return []Edit{{Span{behind, behind}, gap + item + ","}}
	}
	return []Edit{{Span{at, at}, ","}, {Span{behind, behind}, gap + item}}
}

// cutInBrackets returns the edits that take an item of n away.
func (d *Document) cutInBrackets(n, item *Node, comments bool) []Edit {
	list, closing := items(n), n.Span.End-1
	var before, after *Node
	for i, x := range list {
		if x == item {
			if i > 0 {
				before = list[i-1]
			}
			if i+1 < len(list) {
				after = list[i+1]
			}
		}
	}
	switch {
	case before == nil && after == nil:
		from, to := n.Span.Start+1, closing
		if comments && strings.IndexByte(d.text(from, item.begin()), '#') >= 0 {
			from = item.begin()
		}
		_, comment := d.comma(d.end(item), closing, comments)
		if rest := max(d.end(item), comment); comments && strings.IndexByte(d.text(rest, closing), '#') >= 0 {
			to = rest
		}
		return []Edit{{Span{from, to}, ""}}
	case after != nil:
		to := after.begin()
		_, comment := d.comma(d.end(item), to, comments)
		rest := max(d.end(item), comment)
		if i := strings.IndexByte(d.text(rest, to), '#'); comments && i >= 0 {
			to = rest + i // a comment about what follows
		}
		return []Edit{{Span{item.begin(), to}, ""}}
	}
	comma, comment := d.comma(d.end(before), item.begin(), comments)
	own, ownComment := d.comma(d.end(item), closing, comments)
	if own < 0 {
		own = d.end(item) - 1
	}
	to := max(own+1, ownComment)
	if comment == 0 && !(comments && strings.IndexByte(d.text(comma+1, item.begin()), '#') >= 0) {
		if own >= d.end(item) {
			return []Edit{{Span{comma, to - 1}, ""}, {Span{to - 1, to}, ","}}
		}
		return []Edit{{Span{comma, to}, ""}}
	}
	from := item.begin()
	for from > comma+1 && (isBlank(d.Src[from-1]) || d.Src[from-1] == '\n' || d.Src[from-1] == '\r') {
		from--
	}
	return []Edit{{Span{comma, comma + 1}, ""}, {Span{from, to}, ""}}
}

// lineBreak is the line break that the text uses.
func (d *Document) lineBreak() string {
	if i := bytes.IndexByte(d.Src, '\n'); i > 0 && d.Src[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
