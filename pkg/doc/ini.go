package doc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// INI is the format of .ini files as sops reads them: two levels, sections and their
// keys, all values strings. Keys before any header are in the section DEFAULT, which
// is always there. What sops refuses or would lose is held in a form that it does
// read: see Prepare.
//
// A key's comment is what stands in lines above it or behind its value, and in the
// tree it follows its key; a section's comment is the first of its items. Of several
// values for one key, sops sees the last.
type INI struct{}

var _ Format = INI{}

const iniDefault = "DEFAULT"

// Name returns "ini".
func (INI) Name() string { return "ini" }

// iniForm is Form for INI, where readers differ in what they take for a comment or
// quote.
func (d *Document) iniForm(n *Node) string {
	if n.Kind == Comment {
		form := ""
		if n.Hidden {
			form = "-"
		}
		line := min(iniLine(d.Src, n.start), n.start)
		if before := trimmedEnd(d.Src, Span{line, n.start}); before > line {
			// Without its blanks it would be part of the value to many.
			return form + "+" + string(d.Src[before:n.Span.Start])
		}
		return form + string(d.Src[line:n.Span.Start])
	}
	if n.Encrypted && n.Text != "" {
		return iniQuotes[n.style.kind()]
	}
	return string(d.Src[n.Span.Start:trimmedEnd(d.Src, n.Span)])
}

// iniWords is the text of a comment, in which sops can bear no empty line: a line of
// nothing but spaces gets one more of them.
func iniWords(text string) string {
	return iniEachLine(text, func(line string) string {
		if strings.Trim(line, " ") == "" {
			return " " + line
		}
		return line
	})
}

// iniEachLine rewrites each line of a text of several.
func iniEachLine(text string, rewrite func(string) string) string {
	if !strings.Contains(text, "\n") {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = rewrite(l)
	}
	return strings.Join(lines, "\n")
}

// shape implements Format.
func (INI) shape(body []byte) (*Document, error) {
	items, err := iniItems(body)
	if err != nil {
		return nil, err
	}
	return iniShape(body, items)
}

func iniShape(body []byte, items []iniItem) (*Document, error) {
	t := newIniTree(body)
	for _, it := range items {
		if it.kind == iniBare || it.odd || it.kind == iniHeader && it.name == metaKey {
			return nil, ErrRung
		}
		t.add(it)
	}
	t.finish()
	if t.order {
		return nil, ErrRung
	}
	d := t.document()
	if checkPaths(d.Roots) != nil {
		return nil, ErrRung
	}
	return d, nil
}

// Attach implements Format. An empty line stands before the section.
func (INI) Attach(d *Document, meta Fields) Edit {
	var b strings.Builder
	if d.at.noEOL {
		b.WriteString(d.eol)
	}
	b.WriteString(d.eol + "[" + metaKey + "]" + d.eol)
	for _, f := range meta {
		flatten(f.Name, f.Value, func(name, text string) {
			name, _ = iniKeySpelling(name)
			b.WriteString(name + " = " + iniSpelling(strings.ReplaceAll(text, "\n", `\n`)) + d.eol)
		})
	}
	text := b.String()
	if d.at.noEOL {
		text = strings.TrimSuffix(text, d.eol)
	}
	return Edit{Span{d.at.at, d.at.at}, text}
}

// Parse implements Format.
func (INI) Parse(src []byte) (*Document, error) {
	items, err := iniItems(src)
	if err != nil && !errors.Is(err, ErrDense) {
		return nil, err
	}
	isMeta := func(it iniItem) bool { return it.kind == iniHeader && it.name == metaKey }
	from := slices.IndexFunc(items, isMeta)
	if from < 0 {
		return nil, ErrNoMetadata
	}
	if err != nil {
		return nil, err
	}
	to := from + 1
	for to < len(items) && items[to].kind != iniHeader {
		to++
	}
	if slices.ContainsFunc(items[to:], isMeta) {
		return nil, fmt.Errorf("metadata given twice")
	}
	var odd []string
	if to < len(items) {
		odd = append(odd, "sections after the metadata")
	}
	if head := items[from]; head.note.End > 0 || string(src[head.Start:head.after]) != "["+metaKey+"]" {
		odd = append(odd, "more than its name in the header of the metadata")
	}
	t := newIniTree(src)
	var flat []Field
	for i, it := range items {
		switch inside := i > from && i < to; {
		case it.kind == iniBare:
			line, _ := lineCol(src, it.start)
			return nil, &SyntaxError{Format: "INI", Line: line, Msg: "neither a key with a value nor a comment, in an encrypted file"}
		case i == from:
			t.finish()
		case !inside:
			t.add(it)
		case it.kind == iniComment || it.note.End > 0 || it.value.rest.Start < it.value.rest.End:
			odd = append(odd, "comments in the metadata")
		}
		if it.odd || it.value.more && it.value.isToken() {
			odd = append(odd, "text that is part of nothing")
		}
		if i > from && i < to && it.kind == iniKey {
			flat = append(flat, Field{it.name, envText(it.value.text)})
		}
	}
	if to < len(items) {
		t.finish()
	}
	d := t.document()
	if err := checkPaths(d.Roots); err != nil {
		return nil, err
	}
	if t.order {
		odd = append(odd, "a key again behind others")
	}
	d.odd = odd
	if d.Meta, err = unflatten(flat); err != nil {
		return nil, err
	}
	d.blocks = []Span{iniBlock(src, items, from, to)}
	return d, nil
}

// iniBlock is what to cut to be rid of the metadata in items from to to, with what was
// put before it.
func iniBlock(src []byte, items []iniItem, from, to int) Span {
	block := Span{items[from].Start, len(src)}
	if to < len(items) {
		block.End = items[to].Start
	}
	eol := []byte(iniEOL(src[block.Start:]))
	trim := func() {
		if bytes.HasSuffix(src[:block.Start], eol) {
			block.Start -= len(eol)
		}
	}
	if before := bytes.TrimSuffix(src[:block.Start], eol); bytes.HasSuffix(before, []byte("\n")) {
		trim() // the empty line
	}
	if src[len(src)-1] != '\n' {
		trim()
	}
	if from > 0 && items[from-1].value.isToken() {
		block.Start = max(block.Start, items[from-1].value.Span.End)
	}
	return block
}

// Detach implements Format.
func (INI) Detach(d *Document) []Edit { return cut(d.blocks) }

// Token implements Format.
func (INI) Token(d *Document, n *Node, token string) Edit {
	quote := iniQuotes[n.style.kind()]
	return Edit{n.Span, quote + token + quote}
}

// Spell implements Format.
func (INI) Spell(d *Document, n *Node, t Type, text string) Edit {
	if n.Kind == Comment {
		return Edit{n.Span, iniCommentSpelling(d, n, text)}
	}
	text = envScalar(t, text)
	end, _ := lineEnd(d.Src, n.Span.End)
	if n.style.kind() == plain && end == n.Span.End && n.Span.Start < end && iniWord(text) {
		return Edit{n.Span, text}
	}
	rest := string(d.Src[n.Span.End:end])
	out, ok := iniSpell(text, n.style.kind(), rest)
	if !ok {
		// A text of several lines with both kinds of raw quotes in it, which
		// nothing but a hand can have brought into an encrypted file.
		out, _ = iniSpell(strings.ReplaceAll(text, "\n", `\n`), iniTick, rest)
	}
	if n.Span.Start == n.Span.End && out != "" && (strings.HasPrefix(rest, " ") || n.Span.Start > 1 && isBlank(d.Src[n.Span.Start-2])) {
		out = " " + out
	}
	return Edit{n.Span, out}
}

// iniWord reports whether a text reads as itself beyond doubt.
func iniWord(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7F || strings.IndexByte("#;\"'`\\", c) >= 0 {
			return false
		}
	}
	return text != ""
}

// iniSpell writes a value in a style, or else in the first that can hold it, before
// the rest of its line. Few programs know the raw quotes, so they come last.
func iniSpell(text string, how style, rest string) (string, bool) {
	styles := []style{how, plain, double, iniTick, iniTriple}
	if how == iniTick || how == iniTriple {
		styles = []style{plain, how, iniTick, iniTriple}
	}
	if strings.Contains(text, "\n") {
		styles = []style{how, iniTriple, iniTick}
	}
	for _, how := range styles {
		if out := iniQuotes[how] + text + iniQuotes[how]; iniReads(out, text, rest) {
			return out, true
		}
	}
	return "", false
}

// iniReads reports whether a lexeme, with that rest of its line behind it, reads as
// a text.
func iniReads(lexeme, text, rest string) bool {
	v, ok := iniValueAt([]byte(lexeme+rest+"\n"), 0)
	return ok && v.Span == Span{0, len(lexeme)} && v.text == text
}

// iniSpelling writes a value on a line of its own; raw quotes hold all on one line.
func iniSpelling(text string) string {
	out, _ := iniSpell(text, plain, "")
	return out
}

// iniKeySpelling writes a key; ok is false for one that no spelling reads as.
func iniKeySpelling(key string) (string, bool) {
	for _, quote := range [...]string{"", "`", `"`, `"""`} {
		out := quote + key + quote
		items, err := iniItems([]byte(out + " = x"))
		if err == nil && len(items) == 1 && items[0].kind == iniKey && items[0].name == key && items[0].value.text == "x" && !items[0].odd {
			return out, true
		}
	}
	return key, false
}

// iniCommentSpelling writes a comment's text behind the mark that stands there.
func iniCommentSpelling(d *Document, n *Node, text string) string {
	if line := iniLine(d.Src, n.start); trimmedEnd(d.Src, Span{line, n.start}) > line {
		return strings.ReplaceAll(text, "\n", " ") // no line of its own
	}
	first := true
	return iniEachLine(text, func(line string) string {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.Trim(line, " ") == "":
			line = strings.TrimPrefix(line, " ")
		case !first && trimmed != "" && trimmed[0] != ';' && trimmed[0] != '#':
			line = "; " + line
		}
		first = false
		return line
	})
}

// Recall implements Format.
func (INI) Recall(d *Document, n *Node, t Type, text, lexeme string) (Edit, bool) {
	if n.Kind == Comment || t != String {
		return Edit{}, false
	}
	end, _ := lineEnd(d.Src, n.Span.End)
	return Edit{n.Span, lexeme}, iniReads(lexeme, text, string(d.Src[n.Span.End:end]))
}

// Uncomment implements Format; INI has no lists.
func (INI) Uncomment(d *Document, n *Node, text string) Edit { return Edit{n.Span, text} }

// Emit implements Format: a map of maps of scalars, or of scalars alone, which are
// then keys without a section.
func (INI) Emit(roots []*Node) ([]byte, error) {
	if len(roots) != 1 {
		return nil, fmt.Errorf("INI holds one document; this file has %d", len(roots))
	}
	root := roots[0]
	if root.Kind != Map {
		return nil, fmt.Errorf("INI holds sections of keys; this file is not a mapping")
	}
	var b strings.Builder
	if slices.ContainsFunc(root.Items, func(n *Node) bool { return n.Kind == Scalar }) {
		err := emitSection(&b, root)
		return []byte(b.String()), err
	}
	var above []*Node // comments of no section yet
	for _, n := range root.Items {
		switch {
		case n.Kind == Comment:
			above = append(above, n)
			continue
		case n.Kind != Map:
			return nil, fmt.Errorf("INI cannot hold the list under %s", strconv.Quote(n.Key))
		case strings.Contains(n.Key, "\n") || n.Key == "":
			return nil, fmt.Errorf("INI cannot hold the section name %s", strconv.Quote(n.Key))
		}
		if n != root.Items[0] || n.Key != iniDefault {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			items := n.Items
			for len(items) > 0 && items[0].Kind == Comment && items[0].style&ofKey == 0 {
				above = append(above, items[0])
				items = items[1:]
			}
			for _, c := range above {
				emitIniComment(&b, c)
			}
			above = nil
			b.WriteString("[" + n.Key + "]\n")
			section := *n
			section.Items = items
			n = &section
		}
		if err := emitSection(&b, n); err != nil {
			return nil, err
		}
	}
	for _, c := range above {
		emitIniComment(&b, c)
	}
	return []byte(b.String()), nil
}

// emitSection writes a map's keys, the equals signs one below the other.
func emitSection(b *strings.Builder, section *Node) error {
	names, width := make([]string, len(section.Items)), 0
	for i, n := range section.Items {
		switch {
		case n.Kind == Comment:
			continue
		case n.Kind != Scalar:
			return fmt.Errorf("INI cannot hold the map or list under %s", strconv.Quote(n.Key))
		}
		var ok bool
		if names[i], ok = iniKeySpelling(n.Key); !ok {
			return fmt.Errorf("INI cannot hold the key %s", strconv.Quote(n.Key))
		}
		width = max(width, len(names[i]))
	}
	for i, n := range section.Items {
		if n.Kind == Comment {
			emitIniComment(b, n)
			continue
		}
		value, ok := iniSpell(envScalar(n.Type, n.Text), plain, "")
		if !ok {
			return fmt.Errorf("INI cannot hold the value under %s", strconv.Quote(n.Key))
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-*s = %s", width, names[i], value), " ") + "\n")
	}
	return nil
}

func emitIniComment(b *strings.Builder, n *Node) {
	for line := range strings.SplitSeq(n.Text, "\n") {
		b.WriteString(strings.TrimRight("; "+strings.TrimSpace(line), " ") + "\n")
	}
}
