package doc

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

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
				if isBlank(l[0]) {
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
	if t == String && lexeme == text && kind != literal && kind != folded && plainSafe(text, n.style&inFlow != 0, n.style&tagged != 0) {
		return Edit{n.Span, lexeme}, true // by far the most frequent, in flow style
	}
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
	y, err := newYAMLText([]byte(src), 0)
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
			return Edit{n.Span, quote(text)} // in flow style: keep it as a value
		}
	}
	return Edit{at, "#" + strings.NewReplacer("\r", "", "\n", " ").Replace(text)}
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
	case Map, List:
		open, end := byte('['), byte(']')
		if n.Kind == Map {
			open, end = '{', '}'
		}
		b.WriteByte(open)
		first := true
		for _, c := range n.Items {
			if c.Kind == Comment {
				continue
			}
			if !first {
				b.WriteString(", ")
			}
			first = false
			switch {
			case n.Kind == List:
			case c.style&isMerge != 0:
				b.WriteString("<<: ")
			case !utf8.ValidString(c.Key):
				return ErrRung
			default:
				b.WriteString(quote(c.Key) + ": ")
			}
			if err := flowValue(b, c); err != nil {
				return err
			}
		}
		b.WriteByte(end)
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
		return quote(text), nil
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

// yamlPlainOrQuoted writes a string plain where that is safe in block context.
func yamlPlainOrQuoted(s string) string {
	if plainSafe(s, false, false) {
		return s
	}
	return quote(s)
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

// literalLines returns the lines of a literal block scalar that reads as s and
// its chomping indicator; ok is false where such a scalar would need more care.
func literalLines(s string) (lines []string, chomp string, ok bool) {
	body := strings.TrimSuffix(s, "\n")
	if body == s {
		chomp = "-"
	}
	if body == "" || strings.HasSuffix(body, "\n") || body[0] == ' ' || body[0] == '\n' || body[0] == '\t' {
		return nil, "", false
	}
	lines = strings.Split(body, "\n")
	for _, l := range lines {
		if !printable(l) || strings.HasSuffix(l, " ") || l != "" && (l[0] == ' ' || l[0] == '\t') && strings.TrimLeft(l, " \t") == "" {
			return nil, "", false
		}
	}
	return lines, chomp, true
}

// printable reports whether YAML can show every character of s as it is.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r == '\t':
		case r < 0x20, r >= 0x7F && r < 0xA0, r == 0x2028, r == 0x2029, r == 0xFEFF, r >= 0xFFFE && r <= 0xFFFF, r >= 0xD800 && r < 0xE000:
			return false
		}
	}
	return true
}
