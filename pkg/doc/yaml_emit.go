package doc

import (
	"strings"
	"unicode/utf8"
)

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
			for _, c := range r.Items {
				emitComment(&b, c, "")
			}
			if r.Kind == Map && r.Type == Null {
				b.WriteString("null\n") // an empty document
				continue
			}
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
	case c.Kind != Scalar && len(pad) > maxIndent: // in one line, which leaves comments out
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
