package doc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
)

// NoteInline is the kind of note about a comment that stood behind a header or value
// and is the last line of the comment above it: it has the blanks before the comment.
const NoteInline = 'i'

// Prepare implements Format. Three things are not as sops would have them, and notes
// turn them back:
//
//   - a line without a delimiter, which sops refuses, becomes a comment. Where it is
//     indented more than a key above, it is part of that key's value;
//   - a # or ; without a blank before it, or within quotes, is part of a value. sops
//     would begin a comment there and lose half of a password;
//   - a comment behind a section header or a value of several lines, where sops would
//     not find a token, and one behind a value that has comments above it too, go into
//     a line above, so that a key or section has one comment, as it has to sops.
func (f INI) Prepare(src []byte, r Rung) (*Document, []Note, error) {
	if len(src) == 0 {
		return nil, nil, ErrEmpty
	}
	text := src
	if isUTF16(src) {
		if r == Splice {
			return nil, nil, ErrRung
		}
		text = fromUTF16(src)
	}
	items, err := iniItems(text)
	dense := errors.Is(err, ErrDense) || err == nil && tooDense(text, len(items))
	if err != nil && !dense {
		return nil, nil, err
	}
	for _, it := range items {
		if it.kind == iniHeader && it.name == metaKey {
			line, _ := lineCol(text, it.start)
			return nil, nil, fmt.Errorf("line %d: %w: the section \"sops\" is where the metadata goes", line, ErrReserved)
		}
	}
	if r == AsText {
		d, err := f.shape([]byte(TextKey + " = x\n"))
		if err == nil {
			d.Whole.Text = string(src)
		}
		return d, nil, err
	}
	if dense {
		return nil, nil, ErrDense
	}
	n := iniNormal{src: text, items: items}
	body, err := n.text()
	if err != nil {
		return nil, nil, err
	}
	if r == Restate {
		t := newIniTree(body)
		if items, err = iniItems(body); err != nil {
			return nil, nil, ErrRung
		}
		for _, it := range items {
			t.add(it)
		}
		t.finish()
		return restated(f, src, []*Node{iniData(t.root)})
	}
	if n.made {
		if items, err = iniItems(body); err != nil {
			return nil, nil, ErrRung
		}
	}
	d, err := iniShape(body, items)
	if err != nil || n.lost || d.Whole != nil {
		return nil, nil, ErrRung
	}
	return d, n.notes(d), nil
}

func fromUTF16(src []byte) []byte {
	order := binary.ByteOrder(binary.LittleEndian)
	if src[0] == 0xFE {
		order = binary.BigEndian
	}
	units := make([]uint16, 0, len(src)/2)
	for i := 2; i+1 < len(src); i += 2 {
		units = append(units, order.Uint16(src[i:]))
	}
	return []byte(string(utf16.Decode(units)))
}

// An iniNormal makes the form of a text that sops can hold.
type iniNormal struct {
	src   []byte
	items []iniItem

	out    bytes.Buffer
	at     int            // up to where src is in out
	made   bool           // something was changed
	lost   bool           // something is in no comment, key or value of what was made
	bares  map[int]string // by where in out they begin: lines that got a mark
	inline map[int]string // by where in out the header or key begins: the blanks before its comment
	raws   map[int]string // by where in out the key begins: the value as it was
}

func remember(in *map[int]string, at int, text string) {
	if *in == nil {
		*in = map[int]string{}
	}
	(*in)[at] = text
}

// copyTo takes over what comes before i.
func (n *iniNormal) copyTo(i int) {
	n.out.Write(n.src[n.at:i])
	n.at = i
}

// text returns src if nothing has to be changed.
func (n *iniNormal) text() ([]byte, error) {
	runs := n.runs()
	above := false // there are comment lines above
	for i := 0; i < len(n.items); i++ {
		it := n.items[i]
		n.lost = n.lost || it.odd
		switch it.kind {
		case iniComment:
			above = true
			continue
		case iniBare:
			n.copyTo(it.Start)
			remember(&n.bares, n.out.Len(), "")
			n.out.WriteByte(';')
			n.made, above = true, true
			continue
		case iniHeader:
			if it.note.End > 0 {
				n.moveUp(it, it.note)
				remember(&n.inline, n.out.Len()+it.start-n.at, string(n.src[it.after:it.note.Start]))
				n.copyTo(it.after)
				n.at = it.note.End
			}
		case iniKey:
			if last, ok := runs[i]; ok {
				if err := n.run(it, n.items[last]); err != nil {
					return nil, err
				}
				i = last
			} else {
				n.value(it, above)
			}
		}
		above = false
	}
	if !n.made {
		return n.src, nil
	}
	n.copyTo(len(n.src))
	return n.out.Bytes(), nil
}

// moveUp writes a comment in a line above an item.
func (n *iniNormal) moveUp(it iniItem, note Span) {
	n.made = true
	n.copyTo(it.Start)
	n.out.Write(n.src[note.Start:note.End])
	end, next := lineEnd(n.src, it.start)
	n.out.WriteString(map[bool]string{true: "\r\n", false: "\n"}[end < next && n.src[end-1] == '\r'])
}

// value takes over a key and its value.
func (n *iniNormal) value(it iniItem, above bool) {
	v := it.value
	if v.how == iniTick || v.how == iniTriple {
		// What is behind several lines is not the same to sops behind a token on one.
		if v.rest.Start < v.rest.End && bytes.ContainsRune(n.src[v.Start:v.End], '\n') {
			if n.lost = n.lost || v.note.Start != v.rest.Start; !n.lost {
				n.moveUp(it, v.note)
				remember(&n.inline, n.out.Len()+it.start-n.at, string(n.src[v.End:v.note.Start]))
				n.copyTo(v.End)
				n.at = v.note.End
			}
		}
		return
	}
	if v.more || v.note.End == 0 {
		return
	}
	l := it.loosely(n.src)
	same := l.note.Start == v.note.Start
	if same && !above {
		return
	}
	if l.note.End > 0 {
		n.moveUp(it, l.note)
	}
	n.copyTo(it.Start)
	key := n.out.Len() + it.start - it.Start
	if !same {
		n.made = true
		remember(&n.raws, key, string(n.src[l.Start:l.End]))
		n.copyTo(l.Start)
		n.out.WriteString(iniSpelling(l.text))
		n.at = l.End
	}
	if l.note.End > 0 {
		remember(&n.inline, key, string(n.src[l.End:l.note.Start]))
		n.copyTo(l.End)
		n.at = l.note.End
	}
}

// loosely returns the value of a key as most programs mean it, which is another where
// sops sees a mark in it.
func (it iniItem) loosely(src []byte) iniValue {
	v := it.value
	if v.how == iniTick || v.how == iniTriple || v.more || v.note.End == 0 {
		return v
	}
	begin := min(v.Start+spaceBefore(src[v.Start:v.end]), v.note.Start)
	end := v.note.End
	lexeme, text, note := iniLoose(src[begin:end], begin == it.after)
	v.Span, v.text, v.note = Span{begin, begin + lexeme}, text, Span{}
	if lexeme == 0 {
		v.Span = Span{it.after, it.after}
	}
	if note >= 0 {
		v.note = Span{begin + note, end}
	}
	_, v.how = iniUnquote(string(src[v.Start:v.End]))
	return v
}

// iniLoose reads a value with a mark in it as most programs mean it: how long it is,
// its text, and where its comment begins, -1 if it has none. close says that no
// blank is before it.
func iniLoose(line []byte, close bool) (lexeme int, text string, note int) {
	if q := line[0]; q == '"' || q == '\'' {
		if n := bytes.IndexByte(line[1:], q); n >= 0 {
			rest := bytes.TrimLeft(line[n+2:], " \t")
			if len(rest) == 0 {
				return n + 2, string(line[1 : n+1]), -1
			}
			if rest[0] == '#' || rest[0] == ';' {
				return n + 2, string(line[1 : n+1]), len(line) - len(rest)
			}
		}
	}
	note = -1
	for i, c := range line {
		if (c == '#' || c == ';') && (i == 0 && !close || i > 0 && isBlank(line[i-1])) {
			note = i
			break
		}
	}
	lexeme = len(line)
	if note >= 0 {
		lexeme = len(bytes.TrimSpace(line[:note]))
	}
	text, _ = iniUnquote(string(line[:lexeme]))
	return lexeme, text, note
}

// runs finds the keys whose value goes on in lines below, as it does to Python: all
// that are indented more, if one of them would be nothing by itself. The map leads to
// the last of these lines.
func (n *iniNormal) runs() map[int]int {
	if !slices.ContainsFunc(n.items, func(it iniItem) bool { return it.kind == iniBare }) {
		return nil
	}
	found := map[int]int{}
	top, last, bare := -1, -1, false
	done := func() {
		if top >= 0 && bare {
			found[top] = last
		}
		top, bare = -1, false
	}
	for i, it := range n.items {
		switch {
		case it.kind == iniComment:
		case it.kind != iniHeader && top >= 0 && it.start-it.Start > n.items[top].start-n.items[top].Start:
			last, bare = i, bare || it.kind == iniBare
		default:
			done()
			if v := it.value; it.kind == iniKey && v.how != iniTick && v.how != iniTriple && !v.more {
				top = i
			}
		}
	}
	done()
	return found
}

// runOf returns the value of a key that goes on up to another item.
func runOf(src []byte, it, last iniItem) iniValue {
	begin := it.after
	if end, _ := lineEnd(src, it.after); len(bytes.TrimSpace(src[it.after:end])) > 0 {
		begin += spaceBefore(src[it.after:end])
	}
	v := iniValue{Span: Span{begin, trimmedEnd(src, last.Span)}}
	lines := strings.Split(string(src[v.Start:v.End]), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSpace(l)
	}
	v.text = strings.Join(lines, "\n")
	return v
}

// run takes over a key whose value goes on up to another item.
func (n *iniNormal) run(it, last iniItem) error {
	v := runOf(n.src, it, last)
	value, ok := iniSpell(v.text, iniTriple, "")
	if !ok {
		return ErrRung
	}
	n.made = true
	n.copyTo(it.start)
	remember(&n.raws, n.out.Len(), string(n.src[v.Start:v.End]))
	n.copyTo(v.Start)
	n.out.WriteString(value)
	n.at = v.End
	return nil
}

// notes says of a document made of the text how it was before.
func (n *iniNormal) notes(d *Document) (notes []Note) {
	if !n.made {
		return nil
	}
	at := d.Index()
	add := func(kind byte, node *Node, text string) {
		notes = append(notes, Note{kind, at[node].Path, at[node].N, text})
	}
	for _, section := range d.Roots[0].Items {
		if blanks, ok := n.inline[section.start]; ok && section.key.End > 0 {
			add(NoteInline, section, blanks)
		}
		for _, node := range section.Items {
			if node.Kind == Comment {
				if lines := n.bareLines(d, node); lines != "" {
					add(NoteBare, node, lines)
				}
				continue
			}
			if raw, ok := n.raws[node.start]; ok {
				add(NoteValue, node, raw)
			}
			if blanks, ok := n.inline[node.start]; ok {
				add(NoteInline, node, blanks)
			}
		}
	}
	return notes
}

// bareLines returns the numbers, from 0, of a comment's lines that got a mark.
func (n *iniNormal) bareLines(d *Document, comment *Node) string {
	var numbers []string
	for i, line := range iniCommentLines(d, comment) {
		if _, ok := n.bares[line.Start]; ok {
			numbers = append(numbers, strconv.Itoa(i))
		}
	}
	return strings.Join(numbers, " ")
}

// iniCommentLines returns the lines of a comment, their line breaks included.
func iniCommentLines(d *Document, comment *Node) (lines []Span) {
	at := iniLine(d.Src, comment.start)
	for at <= comment.Span.End && at < len(d.Src) {
		_, next := lineEnd(d.Src, at)
		lines = append(lines, Span{at, next})
		at = next
	}
	return lines
}

// Restore implements Format. A note is believed where Prepare would lead back to what
// stands there.
func (f INI) Restore(body []byte, notes []Note) ([]byte, error) {
	for _, n := range notes {
		if n.Kind == NoteWhole {
			if whole, ok := believeWhole(f, body, n); ok {
				return whole, nil
			}
		}
	}
	if len(notes) == 0 {
		return body, nil
	}
	d, err := f.shape(body)
	if err != nil {
		return nil, err
	}
	byPlace := map[Place][]Note{}
	for _, n := range notes {
		place := Place{n.Path, n.N}
		byPlace[place] = append(byPlace[place], n)
	}
	at := d.Index()
	var edits []Edit
	for _, section := range d.Roots[0].Items {
		comment := (*Node)(nil)
		if len(section.Items) > 0 {
			comment = section.Items[0]
		}
		edits = append(edits, restoreItem(d, section, comment, byPlace[at[section]])...)
		for i, n := range section.Items {
			if n.Kind == Comment {
				edits = append(edits, restoreBare(d, n, byPlace[at[n]])...)
				continue
			}
			comment = nil
			if i+1 < len(section.Items) {
				comment = section.Items[i+1]
			}
			edits = append(edits, restoreItem(d, n, comment, byPlace[at[n]])...)
		}
	}
	return Apply(body, edits), nil
}

// restoreBare returns the edits that take off the marks which made comments of lines.
func restoreBare(d *Document, comment *Node, notes []Note) (edits []Edit) {
	for _, note := range notes {
		if note.Kind != NoteBare {
			continue
		}
		lines := iniCommentLines(d, comment)
		for _, number := range strings.Fields(note.Text) {
			i, err := strconv.Atoi(number)
			if err != nil || i < 0 || i >= len(lines) || d.Src[lines[i].Start] != ';' {
				continue
			}
			at := lines[i].Start
			if items, err := iniItems(d.Src[at+1 : lines[i].End]); err == nil && len(items) == 1 && items[0].kind == iniBare {
				edits = append(edits, Edit{Span{at, at + 1}, ""})
			}
		}
	}
	return edits
}

// restoreItem returns the edits that put back the value of a key as it was and the
// comment behind a header or value; where both do not fit, one of them.
func restoreItem(d *Document, n, comment *Node, notes []Note) []Edit {
	var raw, blanks *string
	for _, note := range notes {
		switch note.Kind {
		case NoteValue:
			raw = &note.Text
		case NoteInline:
			blanks = &note.Text
		}
	}
	value := n.Span // of a header, what is behind it
	if n.Kind == Map {
		value, raw = Span{n.key.End, n.key.End}, nil
	}
	var above Span // the comment's last line
	if blanks != nil && comment != nil && comment.Kind == Comment {
		lines := iniCommentLines(d, comment)
		above = lines[len(lines)-1]
	}
	if above.Start == above.End {
		blanks = nil
	}
	edits := d.putBack(n, value, above, raw, blanks)
	if raw != nil && blanks != nil && edits == nil {
		if edits = d.putBack(n, value, above, nil, blanks); edits == nil {
			edits = d.putBack(n, value, above, raw, nil)
		}
	}
	return edits
}

// putBack returns the edits that give an item its value as it was, unless raw is nil,
// and the comment above it a place behind, unless blanks is nil. It returns none where
// Prepare would not make of that what stands there now.
func (d *Document) putBack(n *Node, value, above Span, raw, blanks *string) (edits []Edit) {
	if raw == nil && blanks == nil {
		return nil
	}
	start := iniLine(d.Src, n.start)
	now := string(d.Src[start:value.End])
	then := now
	if raw != nil {
		then = string(d.Src[start:value.Start]) + *raw
		edits = append(edits, Edit{value, *raw})
	}
	if blanks != nil {
		line := string(d.Src[above.Start:above.End])
		behind := *blanks + strings.TrimSpace(line)
		now, then = line+now, then+behind
		edits = append(edits, Edit{above, ""}, Edit{Span{value.End, value.End}, behind})
	}
	// A comment above has the one behind moved, whatever the value is.
	again := iniNormal{src: []byte(";\n" + then + d.eolAt(value.End))}
	var err error
	if again.items, err = iniItems(again.src); err != nil {
		return nil
	}
	if text, err := again.text(); err != nil || string(text) != ";\n"+now+d.eolAt(value.End) {
		return nil
	}
	return edits
}

// eolAt returns the line break of the line at i.
func (d *Document) eolAt(i int) string {
	end, next := lineEnd(d.Src, i)
	if end > 0 && end < next && d.Src[end-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}
