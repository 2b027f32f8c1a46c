package doc

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dotenv is the format of .env files, line by line as sops reads it: a line that
// starts with # is a comment, any other is KEY=VALUE with everything after the
// first = the value, quotes included, in which \n stands for a line break. What
// sops refuses is held in a form that it does read: quoted values over several
// lines as one line, other lines as comments.
type Dotenv struct{}

var _ Format = Dotenv{}

const dotenvMeta = "sops_"

// NoteBare is the kind of note about a comment line that had no # at its start.
const NoteBare = 'j'

// Name returns "dotenv".
func (Dotenv) Name() string { return "dotenv" }

// An envLine is one line, or several that a quoted value spans.
type envLine struct {
	Span
	eq      int // offset of the =, -1 for none
	comment bool
}

// dotenvLines splits a text as sops does. With join, as other readers do: quoted
// values may span lines, and a comment may be indented.
func dotenvLines(src []byte, join bool) []envLine {
	lines := make([]envLine, 0, 1+bytes.Count(src, []byte{'\n'}))
	for i := 0; i < len(src); {
		end := len(src)
		if n := bytes.IndexByte(src[i:], '\n'); n >= 0 {
			end = i + n
		}
		l := envLine{Span: Span{i, end}, eq: -1}
		line := src[i:end]
		trimmed := bytes.TrimLeft(line, " \t")
		switch {
		case len(trimmed) > 0 && trimmed[0] == '#' && (join || len(trimmed) == len(line)):
			l.comment = len(trimmed) == len(line)
		default:
			if n := bytes.IndexByte(line, '='); n >= 0 {
				l.eq = i + n
				if join {
					l.End = quotedLines(src, l.eq+1, end)
				}
			}
		}
		lines = append(lines, l)
		i = l.End + 1
	}
	return lines
}

// quotedLines returns where the value at i ends: end, unless it starts with a
// quote that closes on a later line and nothing but a comment follows that.
func quotedLines(src []byte, i, end int) int {
	for i < end && isBlank(src[i]) {
		i++
	}
	if i >= end || src[i] != '"' && src[i] != '\'' {
		return end
	}
	quote := src[i]
	for j := i + 1; j < len(src); j++ {
		if src[j] == '\\' && quote == '"' {
			j++
			continue
		}
		if src[j] != quote {
			continue
		}
		if j < end {
			return end
		}
		last := len(src)
		if n := bytes.IndexByte(src[j:], '\n'); n >= 0 {
			last = j + n
		}
		rest := bytes.TrimRight(src[j+1:last], "\r")
		trimmed := bytes.TrimLeft(rest, " \t")
		if len(trimmed) == 0 || trimmed[0] == '#' && len(trimmed) < len(rest) {
			return last
		}
		return end
	}
	return end
}

// tooDenseLines is tooDense for the lines that are not empty, of which some do not count.
func tooDenseLines(src []byte, lines []envLine, spare int) bool {
	n := len(lines) - spare
	for _, l := range lines {
		if !tooDense(src, n) {
			return false
		}
		if l.Start == l.End {
			n--
		}
	}
	return tooDense(src, n)
}

func envText(raw string) string { return strings.ReplaceAll(raw, `\n`, "\n") }

// envNodes builds the tree of lines that sops can read.
func envNodes(src []byte, lines []envLine) *Node {
	root := &Node{Kind: Map, Items: make([]*Node, 0, len(lines))}
	text := string(src) // keys and values are parts of it
	made := slab{size: 512}
	for _, l := range lines {
		switch {
		case l.Start == l.End:
		case l.eq >= 0:
			root.Items = append(root.Items, made.new(Node{
				Kind: Scalar,
				Key:  text[l.Start:l.eq],
				Text: envText(text[l.eq+1 : l.End]),
				Span: Span{l.eq + 1, l.End},
				key:  Span{l.Start, l.eq},
			}))
		default:
			at := Span{l.Start + 1, l.End}
			root.Items = append(root.Items, commentNode(src, at, 0))
		}
	}
	return root
}

// Prepare implements Format. Every text is dotenv to it, but for reserved keys.
func (f Dotenv) Prepare(src []byte, r Rung) (*Document, []Note, error) {
	if len(src) == 0 {
		return nil, nil, ErrEmpty
	}
	switch {
	case r == AsText:
		return textDocument(f, src)
	case r != Splice || isUTF16(src):
		return nil, nil, ErrRung
	}
	body, bom := bytes.CutPrefix(src, utf8BOM)
	lines := dotenvLines(body, true)
	if tooDenseLines(src, lines, 0) {
		return nil, nil, ErrDense
	}
	var edits []Edit
	var notes []Note
	if bom {
		notes = append(notes, Note{Kind: NoteBOM})
	}
	seen := envPlaces(body, lines)
	comments := 0
	for _, l := range lines {
		switch {
		case l.Start == l.End:
		case l.eq >= 0:
			if bytes.HasPrefix(body[l.Start:l.eq], []byte(dotenvMeta)) {
				line, _ := lineCol(body, l.Start)
				return nil, nil, fmt.Errorf("line %d: %w: keys that start with %q are where the metadata goes", line, ErrReserved, dotenvMeta)
			}
			place := seen(l)
			if value := body[l.eq+1 : l.End]; bytes.IndexByte(value, '\n') >= 0 {
				edits = append(edits, Edit{Span{l.eq + 1, l.End}, strings.ReplaceAll(string(value), "\n", `\n`)})
				notes = append(notes, Note{NoteValue, place.Path, place.N, string(value)})
			}
		default:
			if !l.comment {
				edits = append(edits, Edit{Span{l.Start, l.Start}, "#"})
				notes = append(notes, Note{NoteBare, "0\x00#", comments, ""})
			}
			comments++
		}
	}
	if tooManyNotes(src, notes) {
		return nil, nil, ErrRung
	}
	if len(edits) > 0 {
		body = Apply(body, edits)
		lines = dotenvLines(body, false)
	}
	d, err := f.shaped(body, lines)
	if err == nil && (sole(d.Roots[0], RootKey) != nil || sole(d.Roots[0], TextKey) != nil) {
		return nil, nil, ErrRung
	}
	return d, notes, err
}

// envPlaces returns a function that is to be called with each KEY=VALUE in turn, and
// says which place it has. Places matter only where some value spans lines, which is
// rare: without one, it says nothing.
func envPlaces(body []byte, lines []envLine) func(envLine) Place {
	if !slices.ContainsFunc(lines, func(l envLine) bool {
		return l.eq >= 0 && bytes.IndexByte(body[l.eq:l.End], '\n') >= 0
	}) {
		return func(envLine) Place { return Place{} }
	}
	times := map[string]int{}
	return func(l envLine) Place {
		path := "0\x00." + string(body[l.Start:l.eq])
		times[path]++
		return Place{path, times[path] - 1}
	}
}

func (f Dotenv) shape(body []byte) (*Document, error) {
	return f.shaped(body, dotenvLines(body, false))
}

func (Dotenv) shaped(body []byte, lines []envLine) (*Document, error) {
	d := &Document{Src: body, Roots: []*Node{envNodes(body, lines)}}
	d.at = attachment{at: len(body), noEOL: len(body) > 0 && body[len(body)-1] != '\n'}
	return d, nil
}

// Restore implements Format.
func (f Dotenv) Restore(body []byte, notes []Note) ([]byte, error) {
	d, err := f.shape(body)
	if err != nil {
		return nil, err
	}
	at := map[Place]*Node{}
	for n, p := range d.Index() {
		at[p] = n
	}
	bom := false
	var edits []Edit
	for _, note := range notes {
		if note.Kind == NoteBOM {
			bom = true
		}
		n := at[Place{note.Path, note.N}]
		if n == nil {
			continue
		}
		switch note.Kind {
		case NoteValue:
			if e, ok := f.Recall(d, n, String, n.Text, note.Text); ok {
				edits = append(edits, e)
			}
		case NoteBare:
			line := d.Src[n.Span.Start:n.Span.End]
			if got := dotenvLines(line, true); len(got) == 1 && got[0].eq < 0 && !got[0].comment {
				edits = append(edits, Edit{Span{n.Span.Start - 1, n.Span.Start}, ""})
			}
		}
	}
	body = Apply(body, edits)
	if bom {
		body = append(bytes.Clone(utf8BOM), body...)
	}
	return body, nil
}

// Attach implements Format.
func (Dotenv) Attach(d *Document, meta Fields) Edit {
	var b strings.Builder
	for _, f := range meta {
		flatten(f.Name, f.Value, func(name, text string) {
			b.WriteString(dotenvMeta + name + "=" + strings.ReplaceAll(text, "\n", `\n`) + "\n")
		})
	}
	text := b.String()
	if d.at.noEOL {
		text = "\n" + strings.TrimSuffix(text, "\n")
	}
	return Edit{Span{d.at.at, d.at.at}, text}
}

// flatten gives the texts of a metadata value the names that sops has for them.
func flatten(name string, v Value, write func(name, text string)) {
	switch v := v.(type) {
	case string:
		write(name, v)
	case Fields:
		for _, f := range v {
			flatten(name+"__map_"+f.Name, f.Value, write)
		}
	case []Value:
		for i, e := range v {
			flatten(name+"__list_"+strconv.Itoa(i), e, write)
		}
	}
}

// Parse implements Format.
func (Dotenv) Parse(src []byte) (*Document, error) {
	lines := dotenvLines(src, false)
	d := &Document{Src: src}
	var flat []Field
	first, last := -1, -1
	for i, l := range lines {
		if l.eq >= 0 && bytes.HasPrefix(src[l.Start:l.eq], []byte(dotenvMeta)) {
			if first < 0 {
				first = i
			} else if last != i-1 {
				return nil, fmt.Errorf("the %s lines do not stand together", dotenvMeta)
			}
			last = i
			name := string(src[l.Start+len(dotenvMeta) : l.eq])
			flat = append(flat, Field{name, envText(string(src[l.eq+1 : l.End]))})
			continue
		}
		if l.eq < 0 && l.Start < l.End && !l.comment {
			line, _ := lineCol(src, l.Start)
			return nil, &SyntaxError{Format: "dotenv", Line: line, Msg: "neither KEY=VALUE nor a comment, in an encrypted file"}
		}
	}
	if first < 0 {
		return nil, ErrNoMetadata
	}
	for _, l := range lines[last+1:] {
		if l.eq >= 0 {
			d.odd = append(d.odd, "keys after the metadata")
			break
		}
	}
	if tooDenseLines(src, lines, metaNodes) {
		return nil, ErrDense
	}
	block := Span{lines[first].Start, lines[last].End}
	if block.End < len(src) {
		block.End++
	} else if block.Start > 0 {
		block.Start--
	}
	d.blocks = []Span{block}
	d.Roots = []*Node{envNodes(src, slices.Delete(lines, first, last+1))}
	v, err := unflatten(flat)
	if err != nil {
		return nil, err
	}
	d.Meta = v
	d.Whole = wholeText(d.Roots)
	return d, nil
}

// unflatten is the inverse of flatten.
func unflatten(flat []Field) (Fields, error) {
	root := &flatNode{}
	for _, f := range flat {
		n := root
		name := f.Name
		for depth := 0; ; depth++ {
			if depth > 20 {
				return nil, fmt.Errorf("metadata nested too deeply")
			}
			i, kind := nextStep(name)
			if i < 0 {
				break
			}
			var err error
			if n, err = n.child(name[:i], kind); err != nil {
				return nil, err
			}
			name = name[i+len(kind):]
		}
		leaf, err := n.child(name, "")
		if err != nil {
			return nil, err
		}
		if leaf.leaf {
			return nil, fmt.Errorf("metadata field %s given twice", strconv.Quote(f.Name))
		}
		leaf.leaf, leaf.text = true, f.Value.(string)
	}
	v, err := root.value()
	if err != nil {
		return nil, err
	}
	fields, _ := v.(Fields)
	return fields, nil
}

func nextStep(name string) (int, string) {
	m, l := strings.Index(name, "__map_"), strings.Index(name, "__list_")
	switch {
	case m >= 0 && (l < 0 || m < l):
		return m, "__map_"
	case l >= 0:
		return l, "__list_"
	}
	return -1, ""
}

type flatNode struct {
	leaf  bool
	text  string
	list  bool
	names []string
	items map[string]*flatNode
}

// child returns the item of that name; kind is the step that follows it.
func (n *flatNode) child(name, kind string) (*flatNode, error) {
	if n.leaf {
		return nil, fmt.Errorf("metadata field is both a value and a container")
	}
	c, ok := n.items[name]
	if !ok {
		c = &flatNode{list: kind == "__list_"}
		if n.items == nil {
			n.items = map[string]*flatNode{}
		}
		n.items[name] = c
		n.names = append(n.names, name)
	} else if kind != "" && c.list != (kind == "__list_") || kind == "" && c.items != nil {
		return nil, fmt.Errorf("metadata field %s is of two kinds", strconv.Quote(name))
	}
	return c, nil
}

func (n *flatNode) value() (Value, error) {
	if n.leaf {
		return n.text, nil
	}
	if n.list {
		list := make([]Value, len(n.names))
		for _, name := range n.names {
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(list) || strconv.Itoa(i) != name {
				return nil, fmt.Errorf("metadata list has a gap or a bad index")
			}
			v, err := n.items[name].value()
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	}
	fields := make(Fields, 0, len(n.names))
	for _, name := range n.names {
		v, err := n.items[name].value()
		if err != nil {
			return nil, err
		}
		fields = append(fields, Field{name, v})
	}
	slices.SortStableFunc(fields, func(a, b Field) int { return cmp.Compare(a.Name, b.Name) })
	return fields, nil
}

// Detach implements Format.
func (Dotenv) Detach(d *Document) []Edit { return cut(d.blocks) }

// Token implements Format.
func (Dotenv) Token(d *Document, n *Node, token string) Edit { return Edit{n.Span, token} }

// Spell implements Format.
func (Dotenv) Spell(d *Document, n *Node, t Type, text string) Edit {
	return Edit{n.Span, strings.ReplaceAll(envScalar(t, text), "\n", `\n`)}
}

// envScalar writes a value of another type as sops does.
func envScalar(t Type, text string) string {
	switch t {
	case Bool:
		return strings.ToLower(text)
	case Null:
		return ""
	case Float:
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			text = strconv.FormatFloat(f, 'G', -1, 64)
			if !strings.ContainsAny(text, ".EIN") {
				text += ".0"
			}
		}
	case Time:
		if v, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return v.Format(time.RFC3339)
		}
	}
	return text
}

// Recall implements Format.
func (Dotenv) Recall(d *Document, n *Node, t Type, text, lexeme string) (Edit, bool) {
	if n.Kind == Comment {
		return Edit{}, false
	}
	src := "K=" + lexeme
	lines := dotenvLines([]byte(src), true)
	ok := len(lines) == 1 && lines[0].End == len(src) && envText(lexeme) == text && t == String
	return Edit{n.Span, lexeme}, ok
}

// Uncomment implements Format; dotenv has no lists.
func (Dotenv) Uncomment(d *Document, n *Node, text string) Edit { return Edit{n.Span, text} }

// Emit implements Format.
func (Dotenv) Emit(roots []*Node) ([]byte, error) {
	if len(roots) != 1 {
		return nil, fmt.Errorf("dotenv holds one document; this file has %d", len(roots))
	}
	if roots[0].Kind != Map {
		return nil, fmt.Errorf("dotenv holds KEY=VALUE pairs; this file is not a mapping")
	}
	var b strings.Builder
	for _, c := range roots[0].Items {
		switch {
		case c.Kind == Comment:
			emitComment(&b, c, "")
		case c.Kind != Scalar:
			return nil, fmt.Errorf("dotenv cannot hold the map or list under %s", strconv.Quote(c.Key))
		case strings.ContainsAny(c.Key, "=\n") || strings.HasPrefix(c.Key, "#"):
			return nil, fmt.Errorf("dotenv cannot hold the key %s", strconv.Quote(c.Key))
		default:
			b.WriteString(c.Key + "=" + strings.ReplaceAll(envScalar(c.Type, c.Text), "\n", `\n`) + "\n")
		}
	}
	return []byte(b.String()), nil
}

// An EnvVar is a variable that a dotenv file sets.
type EnvVar struct {
	Key         string // all that stands before the =
	Name, Value string
}

// EnvVars returns the variables of a dotenv file, in its order, as the programs that
// load such files agree to read them: export before the name and blanks around name and
// value are dropped, and so is a comment after a blank; single quotes keep all that is
// in them; double quotes know \n \r \t \" and \\; a quoted value may span lines.
// Nothing is interpolated. Without quotes \n is a line break, since that is how values
// with several lines are written to such files.
func EnvVars(src []byte) []EnvVar {
	var vars []EnvVar
	src = bytes.TrimPrefix(src, utf8BOM)
	for _, l := range dotenvLines(src, true) {
		if l.eq < 0 {
			continue
		}
		vars = append(vars, envVar(string(src[l.Start:l.eq]), string(src[l.eq+1:l.End])))
	}
	return vars
}

func envVar(key, raw string) EnvVar {
	v := EnvVar{Key: key, Name: strings.TrimSpace(key), Value: envValue(raw)}
	if rest, ok := strings.CutPrefix(v.Name, "export"); ok && rest != "" && isBlank(rest[0]) {
		v.Name = strings.TrimSpace(rest)
	}
	return v
}

func envValue(raw string) string {
	v := strings.TrimLeft(raw, " \t")
	if v != "" && (v[0] == '"' || v[0] == '\'') {
		if text, ok := unquoteEnv(v); ok {
			return text
		}
	}
	for i := range len(raw) {
		if raw[i] == '#' && i > 0 && isBlank(raw[i-1]) {
			raw = raw[:i]
			break
		}
	}
	return envText(strings.Trim(raw, " \t\r"))
}

// unquoteEnv reads a value in quotes that nothing but a comment follows.
func unquoteEnv(v string) (text string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(v); i++ {
		switch c := v[i]; {
		case c == v[0]:
			rest := strings.Trim(v[i+1:], " \t\r")
			return b.String(), rest == "" || rest[0] == '#'
		case c == '\\' && v[0] == '"' && i+1 < len(v):
			r := strings.IndexByte(`nrt"\`, v[i+1])
			if r < 0 {
				b.WriteByte(c)
				continue
			}
			b.WriteByte("\n\r\t\"\\"[r])
			i++
		case c == '\r' && i+1 < len(v) && v[i+1] == '\n':
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
