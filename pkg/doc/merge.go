package doc

import (
	"bytes"
	"slices"
)

// A TextMerge is two texts and the one both come from, put side by side line by line.
type TextMerge struct {
	chunks []chunk
	eol    string // of the marks around conflicts
}

// A chunk is some lines in the three texts. Chunks in which nobody changed anything
// take turns with others.
type chunk struct {
	base, ours, theirs []byte
	who                who
}

type who uint8

const (
	nobody who = iota
	onlyOurs
	onlyTheirs
	alike // both, in the same way
	apart // both, each in its own way: a conflict
)

// MergeText merges two texts that come from one, as git does: changes that are apart
// by at least one line come together, and those that touch are a conflict unless they
// are the same. The time it takes grows with the size of the texts, whatever is in
// them; what differs too much to be compared counts as changed as a whole.
func MergeText(base, ours, theirs []byte) *TextMerge {
	number := map[string]int{}
	b, o, t := splitLines(base, number), splitLines(ours, number), splitLines(theirs, number)
	m := &TextMerge{eol: "\n"}
	if first, _, ok := bytes.Cut(ours, []byte("\n")); ok && bytes.HasSuffix(first, []byte("\r")) {
		m.eol = "\r\n"
	}
	mine, other := diff(b.numbers, o.numbers), diff(b.numbers, t.numbers)
	at, inOurs, inTheirs := 0, 0, 0 // what is done
	add := func(w who, lines, oursLines, theirsLines int) {
		c := chunk{who: w,
			base:   b.text(at, at+lines),
			ours:   o.text(inOurs, inOurs+oursLines),
			theirs: t.text(inTheirs, inTheirs+theirsLines),
		}
		at, inOurs, inTheirs = at+lines, inOurs+oursLines, inTheirs+theirsLines
		if len(c.base)+len(c.ours)+len(c.theirs) > 0 {
			m.chunks = append(m.chunks, c)
		}
	}
	for len(mine)+len(other) > 0 {
		start := len(b.numbers)
		for _, hunks := range [][]hunk{mine, other} {
			if len(hunks) > 0 {
				start = min(start, hunks[0].a0)
			}
		}
		// All changes that touch each other make one chunk.
		end, w := start, nobody
		grownOurs, grownTheirs := 0, 0
		for grown := true; grown; {
			grown = false
			if len(mine) > 0 && mine[0].a0 <= end {
				end, w, grown = max(end, mine[0].a1), w|onlyOurs, true
				grownOurs += mine[0].growth()
				mine = mine[1:]
			}
			if len(other) > 0 && other[0].a0 <= end {
				end, w, grown = max(end, other[0].a1), w|onlyTheirs, true
				grownTheirs += other[0].growth()
				other = other[1:]
			}
		}
		add(nobody, start-at, start-at, start-at)
		lines := end - start
		if w == alike && !slices.Equal(o.numbers[inOurs:inOurs+lines+grownOurs], t.numbers[inTheirs:inTheirs+lines+grownTheirs]) {
			w = apart
		}
		add(w, lines, lines+grownOurs, lines+grownTheirs)
	}
	rest := len(b.numbers) - at
	add(nobody, rest, rest, rest)
	return m
}

// Conflicts returns how many there are.
func (m *TextMerge) Conflicts() (n int) {
	for _, c := range m.chunks {
		if c.who == apart {
			n++
		}
	}
	return n
}

// Text returns the merged text. Conflicts stand in it between marks, as git shows them
// in its style diff3. If all is set, every change that not both made stands between
// marks, for merges that are no good although the lines fit together.
func (m *TextMerge) Text(all bool) []byte {
	var out []byte
	mark := func(text string) {
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, m.eol...)
		}
		out = append(out, text+m.eol...)
	}
	for _, c := range m.chunks {
		switch {
		case c.who == apart || all && (c.who == onlyOurs || c.who == onlyTheirs):
			mark(markOurs)
			out = append(out, c.ours...)
			mark(markBase)
			out = append(out, c.base...)
			mark("=======")
			out = append(out, c.theirs...)
			mark(markTheirs)
		case c.who == onlyTheirs:
			out = append(out, c.theirs...)
		default:
			out = append(out, c.ours...)
		}
	}
	return out
}

// The marks that nobody means to have in a file.
const (
	markOurs   = "<<<<<<< ours"
	markBase   = "||||||| base"
	markTheirs = ">>>>>>> theirs"
)

// MarkedLine returns the first line, from 1, that is one of the marks of TextMerge.Text,
// 0 if none is. A line of equals signs alone is none.
func MarkedLine(text []byte) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		switch string(bytes.TrimRight(line, "\r\n")) {
		case markOurs, markBase, markTheirs:
			return n
		}
	}
	return 0
}

// numberedLines is a text whose lines are numbered: equal lines have one number.
type numberedLines struct {
	src     []byte
	starts  []int // of each line, and the end
	numbers []int
}

func splitLines(src []byte, number map[string]int) numberedLines {
	l := numberedLines{src: src, starts: []int{0}}
	for line := range bytes.Lines(src) {
		n, ok := number[string(line)]
		if !ok {
			n = len(number)
			number[string(line)] = n
		}
		l.numbers = append(l.numbers, n)
		l.starts = append(l.starts, l.starts[len(l.starts)-1]+len(line))
	}
	return l
}

func (l numberedLines) text(from, to int) []byte {
	return l.src[l.starts[from]:l.starts[to]]
}

// A hunk says that a[a0:a1] became b[b0:b1].
type hunk struct{ a0, a1, b0, b1 int }

func (h hunk) growth() int { return (h.b1 - h.b0) - (h.a1 - h.a0) }

// diff returns what changed from a to b. Between two hunks there is at least one line
// that both have.
func diff(a, b []int) []hunk {
	d := &differ{a: a, b: b}
	d.compare(0, len(a), 0, len(b), maxSplits)
	return d.settle()
}

const (
	// maxEdits bounds the edits that the search for the shortest list of them goes to.
	maxEdits = 300
	// maxSplits bounds how often what needs more is split at lines that occur once.
	maxSplits = 8
)

// A differ compares two lists of numbers.
type differ struct {
	a, b  []int
	hunks []hunk
}

// compare adds the hunks of a[a0:a1] and b[b0:b1].
func (d *differ) compare(a0, a1, b0, b1, splits int) {
	for a0 < a1 && b0 < b1 && d.a[a0] == d.b[b0] {
		a0, b0 = a0+1, b0+1
	}
	for a0 < a1 && b0 < b1 && d.a[a1-1] == d.b[b1-1] {
		a1, b1 = a1-1, b1-1
	}
	whole := hunk{a0, a1, b0, b1}
	if a0 == a1 || b0 == b1 {
		d.add(whole)
		return
	}
	if d.shortest(whole) {
		return
	}
	if splits == 0 {
		d.add(whole)
		return
	}
	// Where there are no such lines this is all one piece, which is a change as a whole.
	common := d.landmarks(whole)
	if len(common) == 0 {
		d.add(whole)
		return
	}
	for _, at := range common {
		d.compare(a0, at[0], b0, at[1], splits-1)
		a0, b0 = at[0]+1, at[1]+1
	}
	d.compare(a0, a1, b0, b1, splits-1)
}

// add takes a hunk that comes behind all others.
func (d *differ) add(h hunk) {
	if h.a0 == h.a1 && h.b0 == h.b1 {
		return
	}
	if n := len(d.hunks) - 1; n >= 0 && d.hunks[n].a1 == h.a0 && d.hunks[n].b1 == h.b0 {
		d.hunks[n].a1, d.hunks[n].b1 = h.a1, h.b1
		return
	}
	d.hunks = append(d.hunks, h)
}

// shortest adds the hunks of the shortest list of edits, which is found as in Myers,
// "An O(ND) Difference Algorithm and Its Variations" (1986). It is false, and nothing
// is added, if that list is too long.
func (d *differ) shortest(in hunk) bool {
	n, m := in.a1-in.a0, in.b1-in.b0
	limit := min(n+m, maxEdits)
	// reach[k+limit+1] is how far on a one gets on diagonal k, where b is at a-k.
	reach := make([]int, 2*limit+3)
	var trace [][]int // reach after each number of edits, on the diagonals it has got to
	for edits := 0; edits <= limit; edits++ {
		for k := -edits; k <= edits; k += 2 {
			x := d.step(reach, k, edits, limit)
			y := x - k
			for x < n && y < m && x >= 0 && y >= 0 && d.a[in.a0+x] == d.b[in.b0+y] {
				x, y = x+1, y+1
			}
			reach[k+limit+1] = x
			if x == n && y == m {
				d.walkBack(in, trace, edits, k)
				return true
			}
		}
		trace = append(trace, slices.Clone(reach[limit+1-edits:limit+2+edits]))
	}
	return false
}

// step returns where on diagonal k one more edit leads.
func (d *differ) step(reach []int, k, edits, limit int) int {
	at := k + limit + 1
	switch {
	case edits == 0:
		return 0
	case k == -edits, k != edits && reach[at-1] < reach[at+1]:
		return reach[at+1] // a line of b is new
	}
	return reach[at-1] + 1 // a line of a goes
}

// walkBack adds the hunks that lead to the end of both on diagonal k.
func (d *differ) walkBack(in hunk, trace [][]int, edits, k int) {
	x, y := in.a1-in.a0, in.b1-in.b0
	var back []hunk
	for ; edits > 0; edits-- {
		before := trace[edits-1] // on diagonals 1-edits to edits-1
		from := func(k int) int { return before[k+edits-1] }
		var px int
		if k == -edits || k != edits && from(k-1) < from(k+1) {
			k++
		} else {
			k--
		}
		px = from(k)
		py := px - k
		// Between the edit and x, y everything is equal.
		if px-py > x-y {
			back = append(back, hunk{in.a0 + px, in.a0 + px, in.b0 + py, in.b0 + py + 1})
		} else {
			back = append(back, hunk{in.a0 + px, in.a0 + px + 1, in.b0 + py, in.b0 + py})
		}
		x, y = px, py
	}
	for _, h := range slices.Backward(back) {
		d.add(h)
	}
}

// landmarks returns, in order, where lines are that occur once in each of the two: as
// many as have the same order in both.
func (d *differ) landmarks(in hunk) [][2]int {
	type place struct{ inA, inB, times int }
	places := map[int]*place{}
	for i := in.a0; i < in.a1; i++ {
		p := places[d.a[i]]
		if p == nil {
			p = &place{}
			places[d.a[i]] = p
		}
		p.inA = i
		p.times++
	}
	for _, p := range places {
		if p.times > 1 {
			p.times = 3 // whatever is in b
		}
	}
	for i := in.b0; i < in.b1; i++ {
		if p := places[d.b[i]]; p != nil {
			p.inB = i
			p.times++
		}
	}
	// The longest rising sequence: best[n] ends the one of n+1 places that ends first.
	type link struct {
		inA, inB int
		before   *link
	}
	var best []*link
	for i := in.a0; i < in.a1; i++ {
		p := places[d.a[i]]
		if p.times != 2 {
			continue
		}
		n, _ := slices.BinarySearchFunc(best, p.inB, func(l *link, inB int) int { return l.inB - inB })
		l := &link{inA: i, inB: p.inB}
		if n > 0 {
			l.before = best[n-1]
		}
		if n == len(best) {
			best = append(best, l)
		} else {
			best[n] = l
		}
	}
	if len(best) == 0 {
		return nil
	}
	var out [][2]int
	for l := best[len(best)-1]; l != nil; l = l.before {
		out = append(out, [2]int{l.inA, l.inB})
	}
	slices.Reverse(out)
	return out
}

// settle moves each hunk that only adds or only takes away as far down as it can be
// read there, so that two differences in which it is the same have it in one place.
func (d *differ) settle() []hunk {
	next := hunk{a0: len(d.a), a1: len(d.a), b0: len(d.b), b1: len(d.b)}
	var out []hunk // from the last to the first
	for _, h := range slices.Backward(d.hunks) {
		for h.a1 < next.a0 && h.b1 < next.b0 {
			added, taken := h.a0 == h.a1 && d.b[h.b0] == d.b[h.b1], h.b0 == h.b1 && d.a[h.a0] == d.a[h.a1]
			if !added && !taken {
				break
			}
			h = hunk{h.a0 + 1, h.a1 + 1, h.b0 + 1, h.b1 + 1}
		}
		if h.a1 == next.a0 && h.b1 == next.b0 && len(out) > 0 {
			h.a1, h.b1 = next.a1, next.b1
			out[len(out)-1] = h
		} else {
			out = append(out, h)
		}
		next = h
	}
	slices.Reverse(out)
	return out
}
