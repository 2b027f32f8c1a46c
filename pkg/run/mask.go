package run

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Masked stands in for a secret.
const Masked = "***"

const (
	// minMasked is how many characters a secret must have to be masked: shorter ones
	// stand in much text that has nothing to do with them.
	minMasked = 6
	// maxMasked bounds the memory of a Mask, several hundred times as much.
	maxMasked = 256 << 10
)

// secretLines returns the parts of a secret that are masked as they are: all of it or,
// if it has several lines, its lines, since other text may stand between them. Lines
// that are public, short, or begin or end a PEM block tell nothing and are left out; a
// secret that has only such lines is one part.
func secretLines(secret string, public map[string]bool) []string {
	long := func(s string) bool { return utf8.RuneCountInString(s) >= minMasked }
	var lines []string
	if strings.Contains(secret, "\n") {
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); long(line) && !public[line] && !isPEMBoundary(line) {
				lines = append(lines, line)
			}
		}
	}
	if len(lines) == 0 && long(secret) {
		return []string{secret}
	}
	return lines
}

// linesOf returns the lines of texts, without white space around them.
func linesOf(texts []string) map[string]bool {
	lines := map[string]bool{}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			lines[strings.TrimSpace(line)] = true
		}
	}
	return lines
}

func isPEMBoundary(line string) bool {
	return (strings.HasPrefix(line, "-----BEGIN ") || strings.HasPrefix(line, "-----END ")) && strings.HasSuffix(line, "-----")
}

// A Mask finds secrets in text, as they are and as they stand in URLs, JSON and base64.
// Several goroutines may use it.
//
// It is the automaton of Aho and Corasick with a filter in front. Every pattern is
// window bytes long or longer, so where the last bytes of a window stand in the first
// window of no pattern, some bytes can be skipped, as Wu and Manber do.
type Mask struct {
	nodes []maskNode
	root  [256]int32       // the root's children
	shift [shiftSize]uint8 // by hash of the last 3 bytes of a window: how far it may move on
}

// A maskNode is a state: a text that patterns begin with.
type maskNode struct {
	char         byte
	child, next  int32 // first child, next sibling; 0 for none
	fail         int32 // the state of the longest proper suffix that is one
	depth        int32 // length of the text
	longestMatch int32 // length of the longest pattern that the text ends with
}

const (
	window    = minMasked
	block     = 3
	shiftBits = 16
	shiftSize = 1 << shiftBits
	maxShift  = window - block + 1
)

func shiftHash(a, b, c byte) uint32 {
	return (uint32(a)<<16 | uint32(b)<<8 | uint32(c)) * 2654435761 >> (32 - shiftBits)
}

// NewMask returns a Mask for the secrets that have 6 characters or more. One that has
// several lines is masked line by line, but for lines that also stand in clear texts.
func NewMask(secrets, clear []string) (*Mask, error) {
	total := 0
	for _, s := range secrets {
		total += len(s)
	}
	if total > maxMasked {
		return nil, fmt.Errorf("the secrets have %d bytes, and no more than %d can be masked", total, maxMasked)
	}
	m := &Mask{nodes: make([]maskNode, 1, 1024)}
	for i := range m.shift {
		m.shift[i] = maxShift
	}
	public := linesOf(clear)
	for _, s := range secrets {
		s = strings.Trim(s, "\r\n")
		for _, line := range secretLines(s, public) {
			m.add(line)
			m.addEncoded(line)
		}
		if strings.Contains(s, "\n") && utf8.RuneCountInString(s) >= minMasked {
			m.addEncoded(s)
		}
	}
	m.link()
	return m, nil
}

// GitHubMasks returns the lines that make GitHub Actions mask what a Mask would, in
// what a job prints from there on.
func GitHubMasks(secrets, clear []string) string {
	public := linesOf(clear)
	var b strings.Builder
	seen := map[string]bool{}
	escape := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, s := range secrets {
		for _, line := range secretLines(strings.Trim(s, "\r\n"), public) {
			if !seen[line] {
				seen[line] = true
				b.WriteString("::add-mask::" + escape.Replace(line) + "\n")
			}
		}
	}
	return b.String()
}

// addEncoded adds the ways in which a secret stands in a text that holds it encoded.
func (m *Mask) addEncoded(s string) {
	add := func(t string) {
		if len(t) >= window {
			m.add(t)
		}
	}
	// Programs differ in what they escape besides what must be.
	for _, t := range []string{url.QueryEscape(s), url.PathEscape(s), percent(s, ""), percent(s, "/"), percent(s, "!'()*")} {
		add(t)
		add(lowerHex(t))
	}
	if utf8.ValidString(s) {
		for _, html := range []bool{true, false} {
			var b strings.Builder
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(html)
			e.Encode(s) // a string cannot fail
			add(strings.TrimSuffix(strings.TrimPrefix(b.String(), `"`), "\"\n"))
		}
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		add(enc.EncodeToString([]byte(s)))
		for before := range 3 {
			// In the encoding of a longer text, the characters that hold bits of s alone.
			text := enc.EncodeToString(append(make([]byte, before), s...))
			add(text[(before*8+5)/6 : (before+len(s))*8/6])
		}
	}
}

// percent escapes all of a text for a URL but letters, digits, -_.~ and more.
func percent(s, more string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~"+more, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// lowerHex writes the digits of percent escapes in lower case.
func lowerHex(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i:i+3], strings.ToLower(s[i:i+3]))
		}
	}
	return string(b)
}

func (m *Mask) add(pattern string) {
	at := int32(0)
	for i := range len(pattern) {
		c := pattern[i]
		to := m.step(at, c)
		if to == 0 {
			to = int32(len(m.nodes))
			m.nodes = append(m.nodes, maskNode{char: c, next: m.nodes[at].child, depth: int32(i + 1)})
			m.nodes[at].child = to
			if at == 0 {
				m.root[c] = to
			}
		}
		at = to
	}
	m.nodes[at].longestMatch = int32(len(pattern))
	for end := block; end <= window; end++ {
		h := shiftHash(pattern[end-3], pattern[end-2], pattern[end-1])
		m.shift[h] = min(m.shift[h], uint8(window-end))
	}
}

// step returns the child of a state by a byte, 0 if there is none.
func (m *Mask) step(at int32, c byte) int32 {
	if at == 0 {
		return m.root[c]
	}
	n := m.nodes[at].child
	for n != 0 && m.nodes[n].char != c {
		n = m.nodes[n].next
	}
	return n
}

// link finds every state's longest suffix that is a state, shorter ones first.
func (m *Mask) link() {
	queue := make([]int32, 0, len(m.nodes))
	for n := m.nodes[0].child; n != 0; n = m.nodes[n].next {
		queue = append(queue, n)
	}
	for i := 0; i < len(queue); i++ {
		for n := m.nodes[queue[i]].child; n != 0; n = m.nodes[n].next {
			fail := m.advance(m.nodes[queue[i]].fail, m.nodes[n].char)
			m.nodes[n].fail = fail
			m.nodes[n].longestMatch = max(m.nodes[n].longestMatch, m.nodes[fail].longestMatch)
			queue = append(queue, n)
		}
	}
}

// advance returns the state after a byte.
func (m *Mask) advance(at int32, c byte) int32 {
	for {
		if to := m.step(at, c); to != 0 || at == 0 {
			return to
		}
		at = m.nodes[at].fail
	}
}

// A MaskWriter passes text on with the secrets in it replaced by Masked, also those
// that come in several writes. What may be the beginning of a secret is held until more
// comes; Release lets it go.
type MaskWriter struct {
	m    *Mask
	w    io.Writer
	held []byte // what is not decided on: the text of state
	out  []byte
	// A run is text that secrets cover, by its bounds in held. Runs do not overlap,
	// and are in order.
	runs  []span
	state int32
	// joined says that what was passed on last is Masked, so a run that begins right
	// there needs no other.
	joined bool
}

type span struct{ start, end int }

// Writer returns a writer that passes text on to w.
func (m *Mask) Writer(w io.Writer) *MaskWriter { return &MaskWriter{m: m, w: w} }

// Write implements io.Writer. It passes on at most one write, of all that is decided.
func (w *MaskWriter) Write(p []byte) (int, error) {
	text := p
	from := len(w.held)
	if from > 0 {
		w.held = append(w.held, p...)
		text = w.held
	}
	w.scan(text, from)
	done := len(text) - int(w.m.nodes[w.state].depth)
	err := w.pass(text, done)
	rest := text[done:]
	if from > 0 {
		n := copy(w.held, rest)
		w.held = w.held[:n]
	} else {
		w.held = append(w.held[:0], rest...)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Holding reports whether text is held.
func (w *MaskWriter) Holding() bool { return len(w.held) > 0 }

// Release passes on what is held, as it is. What follows begins anew: a secret that
// was cut here is not seen.
func (w *MaskWriter) Release() error {
	err := w.pass(w.held, len(w.held))
	clear(w.held)
	w.held, w.state = w.held[:0], 0
	return err
}

// scan looks at text from an offset on, before which it was looked at.
func (w *MaskWriter) scan(text []byte, from int) {
	m := w.m
	for i := from; i < len(text); {
		if w.state == 0 {
			i = m.skip(text, i)
		}
		// The automaton runs until no secret can begin before where the filter would
		// go on; a few bytes are then looked at twice.
		start := i - int(m.nodes[w.state].depth)
		for ; i < len(text); i++ {
			w.state = m.advance(w.state, text[i])
			n := &m.nodes[w.state]
			if n.longestMatch > 0 {
				w.cover(i+1-int(n.longestMatch), i+1)
			}
			if n.depth < block && i+1-int(n.depth) > start && len(text)-i > window {
				i -= int(n.depth) - 1
				w.state = 0
				break
			}
		}
	}
}

// skip returns the first offset at which a secret may begin, or too near to the end to
// say. That it is none of those before is certain.
func (m *Mask) skip(text []byte, i int) int {
	for i+window <= len(text) {
		s := m.shift[shiftHash(text[i+window-3], text[i+window-2], text[i+window-1])]
		if s == 0 {
			return i
		}
		i += int(s)
	}
	return i
}

// cover notes that a secret stands in text.
func (w *MaskWriter) cover(start, end int) {
	for n := len(w.runs); n > 0 && w.runs[n-1].end >= start; n-- {
		start = min(start, w.runs[n-1].start)
		w.runs = w.runs[:n-1]
	}
	w.runs = append(w.runs, span{start, end})
}

// pass passes on the first done bytes of text. The bounds of runs count from there on
// then.
func (w *MaskWriter) pass(text []byte, done int) error {
	w.out = w.out[:0]
	at, kept := 0, w.runs[:0]
	for _, r := range w.runs {
		if r.start >= done {
			kept = append(kept, span{r.start - done, r.end - done})
			continue
		}
		if r.start > at || !w.joined {
			w.out = append(append(w.out, text[at:r.start]...), Masked...)
		}
		at, w.joined = r.end, true
		if r.end > done {
			at = done
			kept = append(kept, span{0, r.end - done})
		}
	}
	w.runs = kept
	rest := text[at:done]
	if len(rest) > 0 {
		w.joined = false
	}
	if len(w.out) > 0 {
		w.out = append(w.out, rest...)
		rest = w.out
	}
	if len(rest) == 0 {
		return nil
	}
	_, err := w.w.Write(rest)
	return err
}
