package doc

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// attachAt finds where the metadata of a text goes.
func (y *yamlText) attachAt(g gaps, root *Node) attachment {
	if root.style&inFlow != 0 {
		end := root.Span.End - 1
		last := root.Span.Start + 1
		for _, c := range root.Items {
			last = max(last, c.Span.End, c.key.End)
		}
		comma := len(root.Items) > 0
		for i := last; i < end; i++ {
			if y.src[i] == '#' {
				i = y.skipSpace(i) - 1
			} else if y.src[i] == ',' {
				comma = false
			}
		}
		return attachment{at: end, inFlow: true, comma: comma}
	}
	a := attachment{at: y.firstDocEnd(g, contentStart(root)), indent: max(0, rootIndent(y, root))}
	if a.at > 0 {
		a.noEOL = a.at == len(y.src) && breakBeforeEnd(y.src) == 0
	}
	return a
}

func contentStart(root *Node) int {
	if len(root.Items) == 0 && root.Span.Start == root.Span.End {
		return 1 << 62
	}
	return root.start
}

// breakBeforeEnd returns the length of the line break that src ends with.
func breakBeforeEnd(src []byte) int {
	for n := min(3, len(src)); n > 0; n-- {
		if i := len(src) - n; breakLen(src, i) == n {
			return n
		}
	}
	return 0
}

// rootIndent is the column of a root mapping's keys.
func rootIndent(y *yamlText, root *Node) int {
	for _, c := range root.Items {
		if c.Kind != Comment {
			at := c.key.Start
			line := y.lines[y.lineOf(at)]
			indent := 0
			for i := line; i < at && y.src[i] == ' '; i++ {
				indent++
			}
			return indent
		}
	}
	return 0
}

// Attach implements Format.
func (YAML) Attach(d *Document, meta Fields) Edit {
	a := d.at
	at := Span{a.at, a.at}
	if a.inFlow {
		var b strings.Builder
		if a.comma {
			b.WriteString(`, "sops": `)
		} else {
			// The key without quotes says that no comma was added.
			b.WriteString(`sops: `)
		}
		writeFlow(&b, meta, "")
		return Edit{at, b.String()}
	}
	var b strings.Builder
	if a.noEOL {
		b.WriteString(d.eol)
	}
	pad := strings.Repeat(" ", a.indent)
	b.WriteString(pad + metaKey + ":" + d.eol)
	writeBlock(&b, meta, pad+"    ", "", d.eol)
	text := b.String()
	if a.noEOL {
		// No line break at the end stands for none at the end of the body.
		text = strings.TrimSuffix(text, d.eol)
	}
	return Edit{at, text}
}

// detachAt is what to cut to be rid of a metadata block.
func (y *yamlText) detachAt(b metaBlock) Span {
	at := b.at
	if b.flow {
		// With a quoted key goes the comma before it, see Attach.
		if b.quoted {
			for i := at.Start - 1; i > 0 && (isBlank(y.src[i]) || breakLen(y.src, i) > 0 || y.src[i] == ','); i-- {
				if y.src[i] == ',' {
					at.Start = i
					break
				}
			}
		}
		return at
	}
	at.Start = y.lines[y.lineOf(at.Start)]
	for at.End < len(y.src) {
		if n := breakLen(y.src, at.End); n > 0 {
			// A block scalar's span may end before its line does, never after.
			at.End += n
			return at
		}
		at.End++
	}
	at.Start -= breakBeforeEnd(y.src[:at.Start])
	return at
}

// MayChangeEnd reports whether the value before the metadata may be another one when that
// is taken out: in YAML a block scalar takes in the empty lines that stand behind it, and
// has no line break at its end if the text has none.
func (d *Document) MayChangeEnd() bool {
	if d.Whole != nil || len(d.blocks) == 0 {
		return false
	}
	if d.Src[len(d.Src)-1] != '\n' {
		return true
	}
	last, behind := d.Roots[0].LastLeaf(), d.Src[d.blocks[0].End:]
	return last != nil && last.style.isBlock() && len(behind) > 0 && (isBlank(behind[0]) || breakLen(behind, 0) > 0)
}

// LastLeaf returns the last value of a tree, or nil.
func (n *Node) LastLeaf() *Node {
	if n.Kind == Scalar {
		return n
	}
	for _, item := range slices.Backward(n.Items) {
		if item.Kind != Comment {
			return item.LastLeaf()
		}
	}
	return nil
}

// Detach implements Format.
func (YAML) Detach(d *Document) []Edit { return cut(d.blocks) }

// metaValue converts a metadata node.
func metaValue(n *yaml.Node, depth int) (Value, error) {
	if depth > 20 {
		return nil, fmt.Errorf("metadata nested too deeply")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		list := make([]Value, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := metaValue(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		fields := make(Fields, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := metaValue(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			fields = append(fields, Field{n.Content[i].Value, v})
		}
		return fields, nil
	}
	return nil, fmt.Errorf("an alias in the metadata")
}

// bareField reports whether a metadata field is written as a number or boolean.
func bareField(path string) bool {
	switch path {
	case ".shamir_threshold", ".mac_only_encrypted", ".kenv.version":
		return true
	}
	return false
}

// writeBlock writes fields as YAML in block style.
func writeBlock(b *strings.Builder, fields Fields, pad, path, eol string) {
	for _, f := range fields {
		b.WriteString(pad)
		writeBlockField(b, f, pad, path, eol)
	}
}

func writeBlockField(b *strings.Builder, f Field, pad, path, eol string) {
	path += "." + f.Name
	b.WriteString(yamlPlainOrQuoted(f.Name) + ":")
	switch v := f.Value.(type) {
	case string:
		writeBlockString(b, v, pad, bareField(path), eol)
	case Fields:
		if len(v) == 0 {
			b.WriteString(" {}" + eol)
			return
		}
		b.WriteString(eol)
		writeBlock(b, v, pad+"    ", path, eol)
	case []Value:
		if len(v) == 0 {
			b.WriteString(" []" + eol)
			return
		}
		b.WriteString(eol)
		for _, e := range v {
			writeBlockItem(b, e, pad+"    ", path, eol)
		}
	}
}

func writeBlockItem(b *strings.Builder, e Value, pad, path, eol string) {
	b.WriteString(pad + "-")
	switch e := e.(type) {
	case string:
		writeBlockString(b, e, pad, false, eol)
	case Fields:
		if len(e) == 0 {
			b.WriteString(" {}" + eol)
			return
		}
		b.WriteString(" ")
		writeBlockField(b, e[0], pad+"  ", path, eol)
		writeBlock(b, e[1:], pad+"  ", path, eol)
	default:
		b.WriteString(" ")
		writeFlow(b, e, path)
		b.WriteString(eol)
	}
}

func writeBlockString(b *strings.Builder, s, pad string, bareValue bool, eol string) {
	if bareValue && (plainInt(s) || s == "true" || s == "false") {
		b.WriteString(" " + s + eol)
		return
	}
	if strings.Contains(s, "\n") {
		if lines, chomp, ok := literalLines(s); ok {
			b.WriteString(" |" + chomp + eol)
			for _, l := range lines {
				b.WriteString(pad + "    " + l + eol)
			}
			return
		}
	}
	b.WriteString(" " + yamlPlainOrQuoted(s) + eol)
}

// writeFlow writes a metadata value on one line, as YAML and JSON both read it.
func writeFlow(b *strings.Builder, v Value, path string) {
	switch v := v.(type) {
	case string:
		if bareField(path) && (plainInt(v) || v == "true" || v == "false") {
			b.WriteString(v)
			return
		}
		b.WriteString(quote(v))
	case []Value:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeFlow(b, e, path)
		}
		b.WriteByte(']')
	case Fields:
		b.WriteByte('{')
		for i, f := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quote(f.Name) + ": ")
			writeFlow(b, f.Value, path+"."+f.Name)
		}
		b.WriteByte('}')
	}
}
