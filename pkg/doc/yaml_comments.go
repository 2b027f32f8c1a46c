package doc

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// gaps is what lies between scalars: comments and document markers.
type gaps struct {
	comments   []Span // the text after each '#', up to the line's end
	marks      []int  // where lines with --- or ... start
	isEnd      []bool // which of them are ...
	directives string // the lines that start with %, but for comments
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
	head := true // nothing but comments and directives since the last document ended
	for i < len(y.src) {
		for next < len(y.opaque) && y.opaque[next].End <= i {
			next++
		}
		if next < len(y.opaque) && y.opaque[next].Start <= i {
			i = y.opaque[next].End
			lineStart = false
			head = false
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
		case lineStart && c == '%' && head:
			j := i
			for j < len(y.src) && breakLen(y.src, j) == 0 && !(y.src[j] == '#' && isBlank(y.src[j-1])) {
				j++
			}
			g.directives += string(bytes.TrimRight(y.src[i:j], " \t")) + "\n"
			i = j
			lineStart = false
			continue
		case lineStart && (c == '-' || c == '.') && i+3 <= len(y.src) && y.src[i+1] == c && y.src[i+2] == c &&
			(i+3 == len(y.src) || isBlank(y.src[i+3]) || breakLen(y.src, i+3) > 0):
			g.marks = append(g.marks, i)
			g.isEnd = append(g.isEnd, c == '.')
			head = c == '.'
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

// number returns the text with each comment replaced by its number, read again
// with comments in its tree.
func (y *yamlText) number(g gaps, more ...Edit) ([]*Node, error) {
	edits := more
	for i, c := range g.comments {
		edits = append(edits, Edit{c, strconv.Itoa(i)})
	}
	z := &yamlText{src: Apply(y.src, edits), comments: true, within: map[*yaml.Node]bool{}, spare: len(y.src)} // which is not too dense
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

// matchComments finds the bytes of the tree's comments by their text. It reports
// false when that is not possible.
func (y *yamlText) matchComments(roots []*Node, found []Span) bool {
	at := make(map[string]int, len(found))
	for i, c := range found {
		text := string(y.src[c.Start:c.End])
		if _, dup := at[text]; dup {
			return false
		}
		at[text] = i
	}
	used := make([]bool, len(found))
	var walk func(n *Node) bool
	walk = func(n *Node) bool {
		for _, c := range n.Items {
			if c.Kind == Comment {
				i, ok := at[c.Text]
				if !ok || used[i] {
					return false
				}
				used[i] = true
				c.Span = found[i]
			} else if !walk(c) {
				return false
			}
		}
		return true
	}
	for _, r := range roots {
		if !walk(r) {
			return false
		}
	}
	y.addOrphans(roots, found, used)
	return true
}

// addOrphans adds the few comments that the parser keeps in no node, which sops
// therefore never sees, to the end of their document.
func (y *yamlText) addOrphans(roots []*Node, found []Span, used []bool) {
	k := 0
	for i, u := range used {
		if u {
			continue
		}
		// Comments come in order, so the search goes on from the last one's.
		for k+1 < len(roots) && roots[k+1].start <= found[i].Start {
			k++
		}
		last := roots[k]
		last.Items = append(last.Items, commentNode(y.src, found[i], 0))
	}
}
