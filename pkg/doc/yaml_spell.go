package doc

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// normalize rewrites what sops cannot hold: aliases are written out, keys that
// are no strings quoted, tags dropped that no token may follow, roots that are
// no mapping put under RootKey. It returns the new text and what undoes it.
func (y *yamlText) normalize(roots []*Node) ([]byte, []Note, error) {
	var edits []Edit
	var notes []Note
	about := map[*Node][]int{} // node → its notes, placed below
	note := func(n *Node, kind byte, text string) {
		about[n] = append(about[n], len(notes))
		notes = append(notes, Note{Kind: kind, Text: text})
	}
	src := func(a, b int) string { return string(y.src[a:b]) }

	var walk func(n *Node) error
	walk = func(n *Node) error {
		if n.style&badKey != 0 {
			edits = append(edits, Edit{n.key, quoteYAML(n.Key)})
			note(n, NoteKey, src(n.key.Start, n.key.End))
		}
		if n.style&isAlias != 0 {
			var b strings.Builder
			if err := flowValue(&b, n); err != nil {
				return err
			}
			edits = append(edits, Edit{n.Span, b.String()})
			note(n, NoteAlias, src(n.Span.Start, n.Span.End))
			return nil
		}
		if n.Kind == Scalar {
			whole := Span{n.start, n.Span.End}
			block := n.style.kind() == literal || n.style.kind() == folded
			empty := block && n.Span.Start == n.Span.End && n.Text != ""
			if empty {
				whole.End = y.headerEnd(n)
			}
			if n.style&dropTag != 0 || empty || n.Type == Float && y.bigInt(n) {
				text, err := flowScalar(n.Type, n.Text)
				if err != nil {
					return err
				}
				if n.anchor != "" {
					text = "&" + n.anchor + " " + text
				}
				if n.isBinary() && src(whole.Start, whole.End) == text {
					return nil
				}
				edits = append(edits, Edit{whole, text})
				note(n, NoteValue, src(whole.Start, whole.End))
			}
		}
		for _, c := range n.Items {
			if err := walk(c); err != nil {
				return err
			}
		}
		return nil
	}
	for i, r := range roots {
		if r.Kind == Map {
			if sole(r, RootKey) != nil || sole(r, TextKey) != nil {
				return nil, nil, ErrRung
			}
			if err := walk(r); err != nil {
				return nil, nil, err
			}
			continue
		}
		if r.Kind == Scalar && r.Type == Null && (i > 0 || r.Span.Start == r.Span.End) && r.start == r.Span.End {
			continue // an empty document; sops takes it for an empty map
		}
		if r.Kind == Scalar && r.Type == Null && i > 0 {
			continue
		}
		root := &Node{Kind: Map, indent: -1, start: r.start, Items: []*Node{r}}
		r.Key = RootKey
		roots[i] = root
		line := y.lines[y.lineOf(r.start)]
		fresh := strings.Trim(src(line, r.start), " ") == ""
		at, prefix := r.start, RootKey+": "
		switch {
		case !fresh:
			prefix = y.eol() + prefix
		case r.Kind == List && r.style&inFlow == 0 && r.start == r.Span.Start:
			at, prefix = line, RootKey+":"+y.eol()
		default:
			at = line
		}
		note(root, NoteRoot, prefix)
		if r.Kind == Scalar {
			// In a mapping a scalar's further lines would need an indent.
			text, err := flowScalar(r.Type, r.Text)
			if err != nil {
				return nil, nil, err
			}
			whole := Span{r.start, r.Span.End}
			if block := r.style.kind() == literal || r.style.kind() == folded; block && r.Span.Start == r.Span.End {
				whole.End = y.headerEnd(r)
			}
			edits = append(edits, Edit{Span{at, r.start}, prefix}, Edit{whole, text})
			note(r, NoteValue, src(whole.Start, whole.End))
			if at < r.start {
				return nil, nil, ErrRung
			}
			continue
		}
		edits = append(edits, Edit{Span{at, at}, prefix})
		if err := walk(r); err != nil {
			return nil, nil, err
		}
	}
	if len(notes) == 0 {
		return y.src, nil, nil
	}
	at := (&Document{Roots: roots}).Index()
	for n, list := range about {
		for _, i := range list {
			notes[i].Path, notes[i].N = at[n].Path, at[n].N
		}
	}
	return Apply(y.src, edits), notes, nil
}

// headerEnd is where the header line of a block scalar ends.
func (y *yamlText) headerEnd(n *Node) int {
	li := y.lineOf(n.header)
	return y.lines[li] + len(y.lineText(li))
}

// bigInt reports whether a float is written as an integer, which sops refuses
// between the largest signed and the largest unsigned 64-bit number.
func (y *yamlText) bigInt(n *Node) bool {
	if n.virtual || n.style.kind() != plain {
		return false
	}
	lexeme := string(y.src[n.Span.Start:n.Span.End])
	return (&yaml.Node{Kind: yaml.ScalarNode, Value: lexeme}).ShortTag() == "!!int"
}

// flowValue writes a tree on one line, in YAML's flow style; JSON but for merge
// keys and for scalars that JSON has not.
func flowValue(b *strings.Builder, n *Node) error {
	switch n.Kind {
	case Scalar:
		text, err := flowScalar(n.Type, n.Text)
		if err != nil {
			return err
		}
		b.WriteString(text)
	case List:
		b.WriteByte('[')
		first := true
		for _, c := range n.Items {
			if c.Kind == Comment {
				continue
			}
			if !first {
				b.WriteString(", ")
			}
			first = false
			if err := flowValue(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case Map:
		b.WriteByte('{')
		first := true
		for _, c := range n.Items {
			if c.Kind == Comment {
				continue
			}
			if !first {
				b.WriteString(", ")
			}
			first = false
			if c.style&isMerge != 0 {
				b.WriteString("<<: ")
			} else {
				if !utf8.ValidString(c.Key) {
					return ErrRung
				}
				b.WriteString(quoteYAML(c.Key) + ": ")
			}
			if err := flowValue(b, c); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	}
	return nil
}

// flowScalar spells a value so that it reads as that in any place.
func flowScalar(t Type, text string) (string, error) {
	switch t {
	case String:
		if !utf8.ValidString(text) {
			return "!!binary " + base64.StdEncoding.EncodeToString([]byte(text)), nil
		}
		return quoteYAML(text), nil
	case Null:
		return "null", nil
	case Bool:
		return strings.ToLower(text), nil
	case Float:
		switch text {
		case "NaN":
			return ".nan", nil
		case "+Inf":
			return ".inf", nil
		case "-Inf":
			return "-.inf", nil
		}
		if !strings.Contains(text, ".") {
			text += ".0"
		}
		return text, nil
	}
	return text, nil
}

// quoteYAML writes a double-quoted scalar on one line.
func quoteYAML(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r < 0x20 || r >= 0x7F && r < 0xA0:
			b = fmt.Appendf(b, `\x%02x`, r)
		case r == 0x2028 || r == 0x2029 || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(append(b, '"'))
}

// yamlPlainOrQuoted writes a string plain where that is safe in block context.
func yamlPlainOrQuoted(s string) string {
	if plainSafe(s, false, false) {
		return s
	}
	return quoteYAML(s)
}

// plainSafe reports whether a plain scalar of these characters reads as the
// string s. Behind a tag it need not look like a string.
func plainSafe(s string, flow, tagged bool) bool {
	if s == "" || s[0] == ' ' || s[len(s)-1] == ' ' || s[len(s)-1] == ':' {
		return false
	}
	switch s[0] {
	case '-', '?', ':':
		if len(s) == 1 || isBlank(s[1]) || flow || s[0] == '-' && strings.HasPrefix(s, "---") {
			return false
		}
	case ',', '[', ']', '{', '}', '#', '&', '*', '!', '|', '>', '\'', '"', '%', '@', '`':
		return false
	case '.':
		if strings.HasPrefix(s, "...") {
			return false
		}
	}
	ascii := true
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7F:
			return false
		case c >= 0x80:
			ascii = false
		case c == ':' && (i+1 < len(s) && s[i+1] == ' ' || flow):
			return false
		case c == '#' && s[i-1] == ' ':
			return false
		case flow && (c == ',' || c == '[' || c == ']' || c == '{' || c == '}' || c == '?'):
			return false
		}
	}
	if !ascii && !printable(s) {
		return false
	}
	return tagged || (&yaml.Node{Kind: yaml.ScalarNode, Value: s}).ShortTag() == "!!str" && !oldSpelling(s)
}

// oldSpelling reports whether readers of YAML 1.1 take the string for a boolean
// or a number to the base 60.
func oldSpelling(s string) bool {
	switch c := s[0]; {
	case len(s) <= 3 && strings.IndexByte("yYnNoO=", c) >= 0:
		switch strings.ToLower(s) {
		case "y", "yes", "n", "no", "on", "off", "=":
			return true
		}
	case c >= '0' && c <= '9' || c == '-' || c == '+':
		return strings.Contains(s, ":") && strings.Trim(s, "+-0123456789:._") == ""
	}
	return false
}

// tokenKind is how a token is written in place of a scalar of that style.
func tokenKind(s style) style {
	if k := s.kind(); k != plain && k != bare {
		return k
	}
	if s&inFlow != 0 {
		return double
	}
	return plain
}

// Token implements Format.
func (YAML) Token(d *Document, n *Node, token string) Edit {
	if n.Kind == Comment {
		return Edit{n.Span, token}
	}
	if n.style&dropTag != 0 {
		if n.anchor != "" {
			token = "&" + n.anchor + ` "` + token + `"`
		} else {
			token = `"` + token + `"`
		}
		return Edit{Span{n.start, n.Span.End}, token}
	}
	switch tokenKind(n.style) {
	case single:
		return Edit{n.Span, "'" + token + "'"}
	case double:
		return Edit{n.Span, `"` + token + `"`}
	case literal, folded:
		return Edit{n.Span, strings.Repeat(" ", n.indent) + token}
	}
	return Edit{n.Span, token}
}

// Spell implements Format.
func (YAML) Spell(d *Document, n *Node, t Type, text string) Edit {
	if n.Kind == Comment {
		return Edit{n.Span, text}
	}
	whole, comment := n.Span, ""
	kind := tokenKind(n.style)
	if n.style&dropTag != 0 {
		whole.Start = n.start
		kind = double
	}
	if kind == literal || kind == folded {
		if t == String {
			if lines, ok := blockLines(d, n, kind, text); ok {
				return Edit{n.Span, lines}
			}
		}
		// Another spelling takes the header's place too; a comment there moves
		// behind the value.
		whole.Start = n.header
		header := string(d.Src[n.header:n.Span.Start])
		if i := strings.IndexByte(header, '#'); i >= 0 {
			comment = " " + strings.TrimRight(header[i:], "\r\n")
		}
		kind = double
	}
	if t == String {
		switch {
		case kind == single && strings.IndexByte(text, '\n') < 0 && printable(text):
			return Edit{whole, "'" + strings.ReplaceAll(text, "'", "''") + "'"}
		case kind == plain && plainSafe(text, n.style&inFlow != 0, n.style&tagged != 0):
			return Edit{whole, text}
		case kind == plain && n.style&inFlow == 0 && n.indent >= 0:
			if lines, chomp, ok := literalLines(text); ok && len(lines) > 1 {
				pad := d.eol + strings.Repeat(" ", n.indent+4)
				for i, l := range lines {
					if l != "" {
						lines[i] = pad + l
					} else {
						lines[i] = d.eol
					}
				}
				if lineRestBlank(d.Src, n.Span.End) {
					return Edit{whole, "|" + chomp + strings.Join(lines, "")}
				}
			}
		}
	}
	spelled, err := flowScalar(t, text)
	if err != nil {
		return Edit{n.Span, ""}
	}
	if n.style&tagged != 0 && (t != String || strings.HasPrefix(spelled, "!!")) {
		// The tag would make it a string.
		whole.Start = n.start
		if n.anchor != "" {
			spelled = "&" + n.anchor + " " + spelled
		}
	}
	return Edit{whole, spelled + comment}
}

// lineRestBlank reports whether nothing but a line break follows.
func lineRestBlank(src []byte, i int) bool {
	for i < len(src) && isBlank(src[i]) {
		i++
	}
	return i < len(src) && breakLen(src, i) > 0
}

// blockLines spells a string as the content of the block scalar whose header is
// there already; ok is false when it would not read as that.
func blockLines(d *Document, n *Node, kind style, text string) (string, bool) {
	body := strings.TrimRight(text, "\n")
	if body == "" || !printable(strings.ReplaceAll(body, "\n", "")) {
		return "", false
	}
	// The line breaks at the end come from the header and what follows; at the
	// end of the text, from what is added there.
	if n.trailing != len(text)-len(body) || n.Span.End == len(d.Src) {
		return "", false
	}
	if kind == folded && strings.Contains(body, "\n") {
		return "", false
	}
	lines := strings.Split(body, "\n")
	if !n.explicit {
		// The first line that is not empty sets the indent.
		for _, l := range lines {
			if l != "" {
				if l[0] == ' ' {
					return "", false
				}
				break
			}
		}
	} else if kind == folded && (body[0] == ' ' || body[0] == '\t') {
		return "", false
	}
	pad := strings.Repeat(" ", n.indent)
	for i, l := range lines {
		if l != "" {
			lines[i] = pad + l
		}
	}
	if n.indent == 0 && (strings.HasPrefix(body, "---") || strings.HasPrefix(body, "...") || strings.Contains(body, "\n---") || strings.Contains(body, "\n...")) {
		return "", false
	}
	return strings.Join(lines, d.eol), true
}

// Recall implements Format.
func (f YAML) Recall(d *Document, n *Node, t Type, text, lexeme string) (Edit, bool) {
	if n.Kind == Comment {
		return Edit{n.Span, lexeme}, strings.TrimSpace(lexeme) == strings.TrimSpace(text) && !strings.ContainsAny(lexeme, "\r\n")
	}
	kind := tokenKind(n.style)
	if kind == literal || kind == folded {
		// Read it behind a header like the one that is there.
		header := "|"
		if kind == folded {
			header = ">"
		}
		indent := n.indent
		if indent == 0 {
			return Edit{}, false
		}
		if n.explicit {
			if indent > 9 {
				return Edit{}, false
			}
			header += strconv.Itoa(indent)
		}
		got, ok := readScalar("k: " + header + "\n" + lexeme + "\n")
		return Edit{n.Span, lexeme}, ok && t == String && strings.TrimRight(got.Text, "\n") == strings.TrimRight(text, "\n")
	}
	if n.style&inFlow != 0 {
		got, ok := readScalar("k: [" + tagOf(n) + lexeme + "\n]")
		return Edit{n.Span, lexeme}, ok && got.Kind == List && len(got.Items) == 1 && got.Items[0].Type == t && got.Items[0].Text == text && got.Items[0].Kind == Scalar
	}
	got, ok := readScalar(strings.Repeat(" ", max(n.indent, 0)) + "k: " + tagOf(n) + lexeme + "\n")
	return Edit{n.Span, lexeme}, ok && got.Kind == Scalar && got.Type == t && got.Text == text
}

func tagOf(n *Node) string {
	if n.style&tagged != 0 {
		return "!!str "
	}
	return ""
}

// readScalar reads the value of the only key of a small text.
func readScalar(src string) (*Node, bool) {
	y, err := newYAMLText([]byte(src))
	if err != nil {
		return nil, false
	}
	roots, err := y.roots()
	if err != nil || len(roots) != 1 || roots[0].Kind != Map || len(roots[0].Items) != 1 {
		return nil, false
	}
	return roots[0].Items[0], len(y.scanGaps().comments) == 0 && !y.alias
}

// Uncomment implements Format.
func (YAML) Uncomment(d *Document, n *Node, text string) Edit {
	at := n.Span
	for i := at.Start - 1; i >= 0; i-- {
		if d.Src[i] == '-' {
			at.Start = i
			break
		}
		if !isBlank(d.Src[i]) {
			return Edit{n.Span, quoteYAML(text)} // in flow style: keep it as a value
		}
	}
	return Edit{at, "#" + strings.NewReplacer("\r", "", "\n", " ").Replace(text)}
}

// Restore implements Format.
func (f YAML) Restore(body []byte, notes []Note) ([]byte, error) {
	for _, n := range notes {
		if n.Kind == NoteWhole {
			if whole, ok := believeWhole(f, body, n); ok {
				return whole, nil
			}
		}
	}
	y, err := newYAMLText(body)
	if err != nil {
		return nil, err
	}
	roots, err := y.roots()
	if err != nil {
		return nil, err
	}
	for i, r := range roots {
		if r.Kind == Scalar {
			roots[i] = emptyMap(r)
		}
	}
	at := map[Place]*Node{}
	for n, p := range (&Document{Roots: roots}).Index() {
		at[p] = n
	}
	anchors := anchored(roots)
	try := func(believed []Note) []byte {
		var edits []Edit
		prefix := map[*Node]string{}
		for _, note := range believed {
			n := at[Place{note.Path, note.N}]
			if n == nil || n.virtual {
				continue
			}
			switch note.Kind {
			case NoteAlias:
				if !stillMeans(anchors, note.Text, n) {
					continue
				}
				edits = append(edits, Edit{n.Span, note.Text})
			case NoteKey:
				edits = append(edits, Edit{n.key, note.Text})
			case NoteValue:
				if n.Kind == Scalar {
					edits = append(edits, Edit{Span{n.start, n.Span.End}, note.Text})
				}
			case NoteRoot:
				prefix[n] = note.Text
			}
		}
		for _, r := range roots {
			v := sole(r, RootKey)
			if v == nil {
				continue
			}
			if p, ok := prefix[r]; ok {
				if s := (Span{v.key.Start - (len(p) - len(strings.TrimLeft(p, "\r\n"))), 0}); s.Start >= 0 {
					if s.End = s.Start + len(p); s.End <= len(body) && string(body[s.Start:s.End]) == p {
						edits = append(edits, Edit{s, ""})
						continue
					}
				}
			}
			edits = append(edits, Edit{unwrapSpan(y, v), ""})
		}
		return Apply(body, edits)
	}
	structural := false
	for _, n := range notes {
		structural = structural || strings.IndexByte("akvr", n.Kind) >= 0
	}
	wrapped := false
	for _, r := range roots {
		wrapped = wrapped || sole(r, RootKey) != nil
	}
	if !structural && !wrapped {
		return body, nil
	}
	if structural {
		// What is put back must lead to the same text again.
		out := try(notes)
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(body) {
			return out, nil
		}
		kept := slices.DeleteFunc(slices.Clone(notes), func(n Note) bool { return n.Kind != NoteRoot })
		out = try(kept)
		if d, _, err := f.Prepare(out, Splice); err == nil && string(d.Src) == string(body) {
			return out, nil
		}
	}
	return try(nil), nil
}

// anchored lists the nodes with an anchor, in the order of the text.
func anchored(roots []*Node) []*Node {
	var list []*Node
	var walk func(n *Node)
	walk = func(n *Node) {
		if n.anchor != "" {
			list = append(list, n)
		}
		for _, c := range n.Items {
			walk(c)
		}
	}
	for _, r := range roots {
		walk(r)
	}
	return list
}

// stillMeans reports whether an alias at n would stand for the data that is there.
func stillMeans(anchors []*Node, alias string, n *Node) bool {
	var target *Node
	for _, a := range anchors {
		if a.start < n.start && "*"+a.anchor == alias {
			target = a
		}
	}
	if target == nil {
		return true // an anchor on a key; the whole is checked afterwards
	}
	a, b := *target, *n
	a.Key, b.Key = "", ""
	return Equal(&a, &b)
}

// unwrapSpan is the key RootKey and what separates it from its value.
func unwrapSpan(y *yamlText, v *Node) Span {
	s := Span{v.key.Start, v.start}
	if v.Kind == List && v.style&inFlow == 0 {
		// Keep the list's own indent.
		s.End = max(v.key.End, y.lines[y.lineOf(v.start)])
		if s.End <= v.key.Start {
			s.End = v.start
		}
	} else if v.Kind == Map && v.style&inFlow == 0 && v.start == v.Span.Start {
		s.End = max(v.key.End, y.lines[y.lineOf(v.start)])
	}
	return s
}

// believeWhole gives back the remembered original if it holds the same data.
func believeWhole(f Format, body []byte, n Note) ([]byte, bool) {
	whole, err := inflate(n.Text, 1<<30)
	if err != nil {
		return nil, false
	}
	now, err := f.shape(body)
	if err != nil {
		return nil, false
	}
	then, _, err := f.Prepare(whole, Restate)
	if err != nil || len(then.Roots) != len(now.Roots) {
		return nil, false
	}
	for i := range now.Roots {
		if !Equal(now.Roots[i], then.Roots[i]) {
			return nil, false
		}
	}
	return whole, true
}

// Emit implements Format. Documents are in block style, indented by four.
func (YAML) Emit(roots []*Node) ([]byte, error) {
	var b strings.Builder
	for i, r := range roots {
		if i > 0 {
			b.WriteString("---\n")
		}
		switch {
		case r.Kind == Map && hasItems(r):
			if err := emitMap(&b, r, "", false); err != nil {
				return nil, err
			}
		case r.Kind == List && hasItems(r):
			if err := emitList(&b, r, ""); err != nil {
				return nil, err
			}
		default:
			if err := flowValue(&b, r); err != nil {
				return nil, err
			}
			b.WriteByte('\n')
		}
	}
	return []byte(b.String()), nil
}

func hasItems(n *Node) bool {
	for _, c := range n.Items {
		if c.Kind != Comment {
			return true
		}
	}
	return false
}

func emitComment(b *strings.Builder, n *Node, pad string) {
	b.WriteString(pad + "#" + strings.NewReplacer("\r", "", "\n", " ").Replace(n.Text) + "\n")
}

// emitMap writes a map's items. The first one may follow on a line begun already.
func emitMap(b *strings.Builder, n *Node, pad string, begun bool) error {
	for _, c := range n.Items {
		if c.Kind == Comment {
			emitComment(b, c, pad)
			continue
		}
		if !utf8.ValidString(c.Key) {
			return ErrRung
		}
		key := yamlPlainOrQuoted(c.Key)
		if c.style&isMerge != 0 {
			key = "<<"
		}
		if !begun {
			b.WriteString(pad)
		}
		begun = false
		b.WriteString(key + ":")
		if err := emitValue(b, c, pad+"    "); err != nil {
			return err
		}
	}
	return nil
}

func emitList(b *strings.Builder, n *Node, pad string) error {
	for _, c := range n.Items {
		if c.Kind == Comment {
			emitComment(b, c, pad)
			continue
		}
		b.WriteString(pad + "-")
		if c.Kind == Map && hasItems(c) && c.Items[0].Kind != Comment {
			b.WriteByte(' ')
			if err := emitMap(b, c, pad+"  ", true); err != nil {
				return err
			}
			continue
		}
		if err := emitValue(b, c, pad+"    "); err != nil {
			return err
		}
	}
	return nil
}

func emitValue(b *strings.Builder, c *Node, pad string) error {
	switch {
	case c.Kind == Map && hasItems(c):
		b.WriteByte('\n')
		return emitMap(b, c, pad, false)
	case c.Kind == List && hasItems(c):
		b.WriteByte('\n')
		return emitList(b, c, pad)
	case c.Kind == Scalar && c.Type == String && strings.Contains(c.Text, "\n"):
		if lines, chomp, ok := literalLines(c.Text); ok {
			b.WriteString(" |" + chomp + "\n")
			for _, l := range lines {
				if l != "" {
					b.WriteString(pad + l)
				}
				b.WriteByte('\n')
			}
			return nil
		}
	case c.Kind == Scalar && c.Type == String && plainSafe(c.Text, false, false):
		b.WriteString(" " + c.Text + "\n")
		return nil
	}
	b.WriteByte(' ')
	if err := flowValue(b, c); err != nil {
		return err
	}
	b.WriteByte('\n')
	return nil
}
