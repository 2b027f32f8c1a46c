package doc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxExpansion bounds the nodes that aliases may stand for in one file.
const maxExpansion = 5000

var errExpansion = fmt.Errorf("%w: its aliases stand for more than %d values, or one for itself", ErrRung, maxExpansion)

func (y *yamlText) aliasNode(n *yaml.Node, flow bool, parent int) (*Node, error) {
	y.alias = true
	start, err := y.offset(n.Line, n.Column)
	if err != nil {
		return nil, err
	}
	out := y.made.new(Node{style: isAlias, start: start, Span: Span{start, start + 1 + len(n.Value)}, indent: parent})
	if flow {
		out.style |= inFlow
	}
	if out.Span.End > len(y.src) || y.src[start] != '*' {
		return nil, errNotLocated
	}
	y.opaque = append(y.opaque, out.Span)
	copied, err := y.expand(n)
	if err != nil {
		return nil, err
	}
	out.Kind, out.Type, out.Text, out.Items = copied.Kind, copied.Type, copied.Text, copied.Items
	return out, nil
}

// expand returns a copy of what an alias stands for, without bytes of its own.
func (y *yamlText) expand(n *yaml.Node) (*Node, error) {
	if y.within[n] {
		return nil, errExpansion
	}
	if len(y.within) > 0 {
		if y.nodes++; y.nodes > maxExpansion {
			return nil, errExpansion
		}
	}
	out := y.made.new(Node{virtual: true})
	switch n.Kind {
	case yaml.AliasNode:
		y.within[n] = true
		defer delete(y.within, n)
		return y.expand(n.Alias)
	case yaml.ScalarNode:
		t, text, err := yamlValue(n)
		if err != nil {
			return nil, err
		}
		out.Kind, out.Type, out.Text = Scalar, t, text
	case yaml.SequenceNode:
		out.Kind = List
		for _, c := range n.Content {
			item, err := y.expand(c)
			if err != nil {
				return nil, err
			}
			out.Items = append(out.Items, item)
		}
	case yaml.MappingNode:
		out.Kind = Map
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			item, err := y.expand(value)
			if err != nil {
				return nil, err
			}
			k, _, err := y.key(key)
			if err != nil {
				return nil, err
			}
			item.Key = k
			if key.Tag == "!!merge" {
				item.style |= isMerge
			}
			out.Items = append(out.Items, item)
		}
	}
	return out, nil
}

// mark is what the seal covers of a node's tag and anchor.
// A tag that says a scalar's type is not part of it: the type is. The properties
// are at start to end.
func (y *yamlText) mark(n *yaml.Node, start, end int) (string, error) {
	tag := ""
	switch {
	case n.Style&yaml.TaggedStyle == 0:
		// The parser passes over the non-specific tag, a single !.
		if bytes.IndexByte(y.src[start:end], '!') >= 0 {
			tag = "!"
		}
	case n.Kind != yaml.ScalarNode || !scalarTag(n.ShortTag()):
		tag = n.Tag
	}
	if strings.ContainsFunc(tag, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
		return "", ErrRung // it could pass for the end of a mark
	}
	if tag == "" && n.Anchor == "" {
		return "", nil
	}
	return "&" + n.Anchor + " !" + tag, nil
}

func scalarTag(tag string) bool {
	switch tag {
	case "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!binary":
		return true
	}
	return false
}

// scalar builds the node of a value.
func (y *yamlText) scalar(n *yaml.Node, flow bool, parent int) (*Node, error) {
	out, err := y.readScalar(n, flow, parent)
	if err != nil {
		return nil, err
	}
	if out.Type, out.Text, err = yamlValue(n); err != nil {
		return nil, err
	}
	return y.made.new(out), nil
}

// readScalar locates a value or a key. It does not look at what it says.
func (y *yamlText) readScalar(n *yaml.Node, flow bool, parent int) (out Node, err error) {
	start, err := y.offset(n.Line, n.Column)
	if n.Value == "" && n.Line > len(y.lines) {
		start, err = len(y.src), nil // an omitted value at the very end
	}
	if err != nil {
		return out, err
	}
	out = Node{Kind: Scalar, start: start, anchor: n.Anchor, indent: parent}
	if flow {
		out.style |= inFlow
	}
	at := start
	if at < len(y.src) && (y.src[at] == '&' || y.src[at] == '!') {
		content, end := y.properties(start, n, flow)
		at = content
		if out.Mark, err = y.mark(n, start, end); err != nil {
			return out, err
		}
		if n.Style&yaml.TaggedStyle != 0 {
			y.special = true
			if scalarTag(n.ShortTag()) {
				out.style |= dropTag
			} else {
				out.style |= tagged
			}
		}
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0 && n.Value == "" {
			out.style |= bare
			out.Span = Span{end, end}
			y.opaque = append(y.opaque, Span{start, end})
			return out, nil
		}
	}
	return out, y.content(&out, n, at, parent)
}

// content locates the text of a scalar that starts at an offset, behind its tag and
// anchor.
func (y *yamlText) content(out *Node, n *yaml.Node, at, parent int) (err error) {
	end := 0
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0:
		out.style |= double
		end, err = y.quotedEnd(at, '"')
	case n.Style&yaml.SingleQuotedStyle != 0:
		out.style |= single
		end, err = y.quotedEnd(at, '\'')
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		if at >= len(y.src) || y.src[at] != '|' && y.src[at] != '>' {
			return errNotLocated
		}
		out.style |= literal
		if n.Style&yaml.FoldedStyle != 0 {
			out.style = out.style&^styleMask | folded
		}
		out.Span, out.indent, out.explicit = y.blockContent(at, parent)
		out.trailing = len(n.Value) - len(strings.TrimRight(n.Value, "\n"))
		out.header = at
		y.opaque = append(y.opaque, Span{out.start, at + 1}, out.Span)
		return nil
	default:
		if n.Value == "" {
			out.style |= bare
		}
		end, err = y.plainEnd(at, n.Value)
	}
	out.Span = Span{at, end}
	y.opaque = append(y.opaque, Span{out.start, end})
	return err
}

// yamlValue gives a scalar's type and text as sops would write them into a token.
func yamlValue(n *yaml.Node) (Type, string, error) {
	tag := n.ShortTag()
	if !scalarTag(tag) {
		return String, n.Value, nil
	}
	if tag == "!!int" && plainInt(n.Value) {
		return Int, n.Value, nil
	}
	var v any
	if err := n.Decode(&v); err != nil {
		// What the tag promises is not there: sops takes it for null.
		return Null, "", ErrRung
	}
	switch v := v.(type) {
	case nil:
		return Null, "", nil
	case bool:
		if v {
			return Bool, "True", nil
		}
		return Bool, "False", nil
	case int:
		return Int, strconv.Itoa(v), nil
	case int64:
		return Int, strconv.FormatInt(v, 10), nil
	case uint64:
		return Float, floatText(float64(v)), nil
	case float64:
		return Float, floatText(v), nil
	case time.Time:
		return Time, v.Format(time.RFC3339Nano), nil
	case string:
		return String, v, nil
	}
	return Null, "", ErrRung
}

// plainInt reports whether s is an int in its canonical spelling.
func plainInt(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	if len(digits) == 0 || len(digits) > 18 || digits[0] == '0' && s != "0" {
		return false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return true
}

// floatText is sops's text of a float: shortest, without an exponent.
func floatText(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
