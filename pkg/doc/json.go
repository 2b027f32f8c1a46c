package doc

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

// JSON is the format of .json files (RFC 8259). Duplicate keys are kept.
type JSON struct{}

var _ Format = JSON{}

// Name returns "json".
func (JSON) Name() string { return "json" }

// Prepare implements Format.
func (f JSON) Prepare(src []byte, r Rung) (*Document, []Note, error) {
	body, bom := bytes.CutPrefix(src, utf8BOM)
	if isUTF16(src) {
		return nil, nil, &SyntaxError{Format: "JSON", Msg: "UTF-16; JSON files are UTF-8"}
	}
	if r == AsText {
		return textDocument(f, src)
	}
	root, err := readJSON(body)
	if err != nil {
		return nil, nil, err
	}
	if !finite(root) || checkPaths([]*Node{root}) != nil {
		return nil, nil, ErrRung
	}
	if r == Restate {
		return restated(f, src, []*Node{root})
	}
	var notes []Note
	if bom {
		notes = append(notes, Note{Kind: NoteBOM})
	}
	if root.Kind == Map && item(root, metaKey) != nil {
		return nil, nil, fmt.Errorf("%w: the top-level key \"sops\" is where the metadata goes", ErrReserved)
	}
	if root.Kind != Map || sole(root, RootKey) != nil || sole(root, TextKey) != nil {
		body = Apply(body, []Edit{
			{Span{root.Span.Start, root.Span.Start}, `{"` + RootKey + `": `},
			{Span{root.Span.End, root.Span.End}, "}"},
		})
	}
	d, err := f.shape(body)
	return d, notes, err
}

// item returns the item of a map with that key, or nil.
func item(n *Node, key string) *Node {
	for _, c := range n.Items {
		if c.Key == key && c.Kind != Comment {
			return c
		}
	}
	return nil
}

// finite reports whether no number is out of a float's range.
func finite(n *Node) bool {
	if n.Kind == Scalar && n.Type == Float {
		return !strings.HasSuffix(n.Text, "Inf")
	}
	for _, c := range n.Items {
		if !finite(c) {
			return false
		}
	}
	return true
}

func (JSON) shape(body []byte) (*Document, error) {
	root, err := readJSON(body)
	if err != nil {
		return nil, err
	}
	if root.Kind != Map {
		return nil, ErrRung
	}
	return &Document{Src: body, Roots: []*Node{root}, at: jsonAttachAt(root)}, nil
}

func jsonAttachAt(root *Node) attachment {
	if len(root.Items) == 0 {
		return attachment{at: root.Span.Start + 1}
	}
	return attachment{at: root.Items[len(root.Items)-1].Span.End, comma: true}
}

// Restore implements Format.
func (f JSON) Restore(body []byte, notes []Note) ([]byte, error) {
	var bom bool
	for _, n := range notes {
		switch n.Kind {
		case NoteWhole:
			if whole, ok := believeWhole(f, body, n); ok {
				return whole, nil
			}
		case NoteBOM:
			bom = true
		}
	}
	root, err := (&jsonText{src: body, spare: len(body)}).read() // Parse has seen to its density
	if err != nil {
		return nil, err
	}
	if root.Kind == Map {
		if v := sole(root, RootKey); v != nil {
			body = Apply(body, []Edit{
				{Span{root.Span.Start, v.Span.Start}, ""},
				{Span{v.Span.End, root.Span.End}, ""},
			})
		}
	}
	if bom {
		body = append(bytes.Clone(utf8BOM), body...)
	}
	return body, nil
}

// Attach implements Format. The metadata is one line, after the last member and
// before whatever white space follows that.
func (JSON) Attach(d *Document, meta Fields) Edit {
	root := d.Roots[0]
	var b strings.Builder
	if d.at.comma {
		b.WriteByte(',')
		first := root.Span.Start + 1
		gap := string(d.Src[first:root.Items[0].key.Start])
		b.WriteString(gap)
	}
	b.WriteString(`"` + metaKey + `": `)
	if gap := b.String(); strings.Contains(gap, "\n") {
		// A member's indent is the step by which the file indents.
		unit := indentOf(gap)
		writeJSONBlock(&b, meta, unit, cmp.Or(unit, "  "), "")
	} else {
		writeFlow(&b, meta, "")
	}
	return Edit{Span{d.at.at, d.at.at}, b.String()}
}

// indentOf returns the white space of the last line before a member.
func indentOf(gap string) string {
	line := gap[strings.LastIndexByte(gap, '\n')+1:]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

// writeJSONBlock writes metadata over several lines, so that a change of one
// field is a change of one line.
func writeJSONBlock(b *strings.Builder, v Value, pad, unit, path string) {
	inner := pad + unit
	switch v := v.(type) {
	case Fields:
		if len(v) == 0 {
			b.WriteString("{}")
			return
		}
		b.WriteString("{")
		for i, f := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("\n" + inner + quote(f.Name) + ": ")
			writeJSONBlock(b, f.Value, inner, unit, path+"."+f.Name)
		}
		b.WriteString("\n" + pad + "}")
	case []Value:
		if len(v) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteString("[")
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString("\n" + inner)
			writeJSONBlock(b, e, inner, unit, path)
		}
		b.WriteString("\n" + pad + "]")
	default:
		writeFlow(b, v, path)
	}
}

// Parse implements Format.
func (JSON) Parse(src []byte) (*Document, error) {
	root, err := (&jsonText{src: src, spare: metaNodes}).read()
	if err != nil && (root == nil || item(root, metaKey) != nil) {
		return nil, err
	}
	if root.Kind != Map {
		return nil, ErrNoMetadata
	}
	d := &Document{Src: src, Roots: []*Node{root}}
	var block *Node
	kept := root.Items[:0:0]
	for i, c := range root.Items {
		if c.Key != metaKey {
			kept = append(kept, c)
			continue
		}
		if block != nil {
			return nil, fmt.Errorf("metadata given twice")
		}
		block = c
		if i < len(root.Items)-1 {
			d.odd = append(d.odd, "keys after the metadata")
		}
		switch {
		case i > 0:
			d.blocks = []Span{{root.Items[i-1].Span.End, c.Span.End}}
		case len(root.Items) > 1:
			d.blocks = []Span{{c.key.Start, root.Items[1].key.Start}}
		default:
			d.blocks = []Span{{c.key.Start, c.Span.End}}
		}
	}
	if block == nil {
		return nil, ErrNoMetadata
	}
	if block.Kind != Map {
		return nil, fmt.Errorf("the key %q is not an object", metaKey)
	}
	root.Items = kept
	if err := checkPaths(d.Roots); err != nil {
		return nil, err
	}
	v, err := jsonMeta(src, block, 0)
	if err != nil {
		return nil, err
	}
	d.Meta = v.(Fields)
	d.Whole = wholeText(d.Roots)
	return d, nil
}

func jsonMeta(src []byte, n *Node, depth int) (Value, error) {
	if depth > 20 {
		return nil, fmt.Errorf("metadata nested too deeply")
	}
	switch n.Kind {
	case Map:
		fields := make(Fields, 0, len(n.Items))
		for _, c := range n.Items {
			v, err := jsonMeta(src, c, depth+1)
			if err != nil {
				return nil, err
			}
			fields = append(fields, Field{c.Key, v})
		}
		return fields, nil
	case List:
		list := make([]Value, 0, len(n.Items))
		for _, c := range n.Items {
			v, err := jsonMeta(src, c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	if n.Type == String {
		return n.Text, nil
	}
	if n.Type == Null {
		return "", nil
	}
	return string(src[n.Span.Start:n.Span.End]), nil
}

// Detach implements Format.
func (JSON) Detach(d *Document) []Edit { return cut(d.blocks) }

// Token implements Format.
func (JSON) Token(d *Document, n *Node, token string) Edit {
	return Edit{n.Span, `"` + token + `"`}
}

// Spell implements Format.
func (JSON) Spell(d *Document, n *Node, t Type, text string) Edit {
	return Edit{n.Span, jsonScalar(t, text)}
}

func jsonScalar(t Type, text string) string {
	switch t {
	case Int:
		return text
	case Float:
		switch text {
		case "NaN", "+Inf", "-Inf":
			return quote(text) // JSON has no number for them
		}
		if !strings.Contains(text, ".") {
			return text + ".0"
		}
		return text
	case Bool:
		return strings.ToLower(text)
	case Null:
		return "null"
	}
	return quote(text)
}

// Recall implements Format.
func (JSON) Recall(d *Document, n *Node, t Type, text, lexeme string) (Edit, bool) {
	got, err := readJSON([]byte(lexeme))
	return Edit{n.Span, lexeme}, err == nil && got.Kind == Scalar && got.Type == t && got.Text == text && len(lexeme) == got.Span.End
}

// Uncomment implements Format. JSON has no comments: the text stays a string.
func (JSON) Uncomment(d *Document, n *Node, text string) Edit {
	return Edit{n.Span, quote(text)}
}

// maxIndent bounds the white space before what is nested deep, in bytes: without a bound
// it would grow with the square of the depth.
const maxIndent = 200

// Emit implements Format: indented by tabs, like sops's output.
func (JSON) Emit(roots []*Node) ([]byte, error) {
	if len(roots) != 1 {
		return nil, fmt.Errorf("JSON holds one document; this file has %d", len(roots))
	}
	var b strings.Builder
	emitJSON(&b, roots[0], "")
	b.WriteByte('\n')
	return []byte(b.String()), nil
}

func emitJSON(b *strings.Builder, n *Node, pad string) {
	inner := pad + "\t"
	if len(pad) >= maxIndent {
		inner = pad
	}
	if n.Kind == Scalar {
		b.WriteString(jsonScalar(n.Type, n.Text))
		return
	}
	open, end := "{", "}"
	if n.Kind == List {
		open, end = "[", "]"
	}
	b.WriteString(open)
	first := true
	for _, c := range n.Items {
		if c.Kind == Comment {
			continue
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteString("\n" + inner)
		if n.Kind == Map {
			b.WriteString(quote(c.Key) + ": ")
		}
		emitJSON(b, c, inner)
	}
	if !first {
		b.WriteString("\n" + pad)
	}
	b.WriteString(end)
}

// quote writes a string of JSON, which is a double-quoted scalar of YAML too.
func quote(s string) string {
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
		case r < 0x20 || r >= 0x7F && r < 0xA0 || r == 0x2028 || r == 0x2029 || r == 0xFEFF || r == 0xFFFE || r == 0xFFFF:
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return string(append(b, '"'))
}
