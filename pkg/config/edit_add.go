package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// extend adds a key to a list that is there.
func (e *edit) extend(l list, key Key, comment string) ([]cut, error) {
	if l.node.Kind == yaml.AliasNode || l.node.Anchor != "" || l.node.Style&yaml.TaggedStyle != 0 {
		return nil, e.byHand(l.node, l.inRule+" is shared with other places in the file")
	}
	if l.node.Kind == yaml.ScalarNode {
		return e.extendString(l, key)
	}
	if len(l.node.Content) == 0 {
		off := e.at(l.node) + 1
		return []cut{{off, off, e.flowItem(l, key, 0)}}, nil
	}
	last := l.node.Content[len(l.node.Content)-1]
	end, ok := e.end(last)
	if !ok {
		return nil, e.byHand(last, "this key is written in a way that is seldom used")
	}
	style := last.Style
	if last.Kind != yaml.ScalarNode {
		style = 0
	}
	begin := e.at(last)
	if l.node.Style&yaml.FlowStyle == 0 {
		dash, ok := e.dash(l.node, last)
		if !ok {
			return nil, e.byHand(last, "this key is not on the line of its dash")
		}
		indent, gap := e.indent(dash), string(e.src[dash+1:begin])
		if margin, ok := e.margin(dash); ok {
			indent = margin
		}
		eol := e.eol(end)
		return []cut{{eol, eol, e.newline() + indent + "-" + gap + e.blockItem(l, key, style, comment, indent+" "+gap)}}, nil
	}

	item := e.flowItem(l, key, style)
	margin, own := e.margin(begin) // whether each key has a line of its own
	behind, comma := e.comma(end)
	switch {
	case own && comma && e.bare(behind):
		eol := e.eol(behind)
		return []cut{{eol, eol, e.newline() + margin + item + ","}}, nil
	case own && !comma && e.bare(end):
		eol := e.eol(end)
		if eol == end {
			return []cut{{end, end, "," + e.newline() + margin + item}}, nil
		}
		return []cut{{end, end, ","}, {eol, eol, e.newline() + margin + item}}, nil
	case own && comma:
		return []cut{{behind, behind, e.newline() + margin + item + ","}}, nil
	case own:
		return []cut{{end, end, "," + e.newline() + margin + item}}, nil
	case comma:
		return []cut{{behind, behind, " " + item + ","}}, nil
	}
	return []cut{{end, end, ", " + item}}, nil
}

// dash returns where the dash of an item of a block list is.
func (e *edit) dash(seq, item *yaml.Node) (int, bool) {
	off := e.at(&yaml.Node{Line: item.Line, Column: seq.Column})
	begin := e.at(item)
	return off, off < begin && e.src[off] == '-' && strings.Trim(string(e.src[off+1:begin]), " \t") == ""
}

// extendString adds a key to a string that has them between commas.
func (e *edit) extendString(l list, key Key) ([]cut, error) {
	parts, ok := e.parts(l.node)
	name := strings.TrimPrefix(key.Name, l.prefix)
	if !ok || len(parts) == 0 {
		return nil, e.byHand(l.node, l.inRule+" is written in a way that is seldom used")
	}
	if len(key.Attrs) > 0 && !(len(key.Attrs) == 1 && key.Attrs["role"] != nil) || strings.ContainsAny(name, ",'\"\\") ||
		l.node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 && !isPlain("a"+name) {
		return nil, e.byHand(l.node, "this key does not fit into a string with commas; make a list of "+l.inRule)
	}
	last := parts[len(parts)-1]
	between := ","
	switch {
	case len(parts) > 1:
		between = strings.TrimPrefix(string(e.src[parts[len(parts)-2].to:last.from]), ",")
		between = "," + strings.TrimLeft(between, ",")
	case l.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		between = "," + e.newline() + e.indent(last.from)
	}
	if l.holder.Style&yaml.FlowStyle != 0 && l.node.Style == 0 { // where a comma ends a string without quotes
		return []cut{{parts[0].from, parts[0].from, `"`}, {last.to, last.to, between + name + `"`}}, nil
	}
	if last.comma > last.to {
		return []cut{{last.comma, last.comma, strings.TrimPrefix(between, ",") + name + ","}}, nil
	}
	return []cut{{last.to, last.to, between + name}}, nil
}

// newList adds a list that the rule or group does not have, for a key.
func (e *edit) newList(k keyList, group int, key Key, comment string) ([]cut, error) {
	holder, name := e.rule, k.inRule
	if len(e.groups) > 0 {
		holder, name = e.groups[group], k.inGroup
	}
	if holder.Kind != yaml.MappingNode || len(holder.Content) == 0 {
		return nil, e.byHand(holder, "the keys stand elsewhere in the file")
	}
	after := -1 // the field of the holder that it comes after
	for _, l := range e.lists {
		if l.holder == holder {
			after = max(after, l.field)
		}
	}
	if after < 0 {
		after = len(holder.Content)/2 - 1
	}
	begin := e.at(holder.Content[2*after])
	end, ok := e.end(holder.Content[2*after+1])
	if !ok {
		return nil, e.byHand(holder.Content[2*after], "this is written in a way that is seldom used")
	}
	l := list{keyList: k, group: group, holder: holder}
	// sops takes one string for each of these; older versions take nothing else.
	one := holder == e.rule && k.inRule != "keys" && k.inRule != "hckms"
	if holder.Style&yaml.FlowStyle != 0 {
		item := e.flowItem(l, key, 0)
		if !one {
			item = "[" + item + "]"
		}
		return []cut{{end, end, ", " + name + ": " + item}}, nil
	}
	indent := e.indent(begin)
	field := name + ": "
	if !one {
		field = name + ":" + e.newline() + indent + "  - "
	}
	eol := e.eol(end)
	return []cut{{eol, eol, e.newline() + indent + field + e.blockItem(l, key, 0, comment, indent+"    ")}}, nil
}

// A member is a field of a key that is written as a map.
type member struct {
	name  string
	value any // string or map[string]string
}

// members says how a list writes a key as a map; none if it is a string there.
func (e *edit) members(l list, key Key) (all []member) {
	name := strings.TrimPrefix(key.Name, l.prefix)
	attrs := maps.Clone(key.Attrs)
	if len(e.groups) > 0 && l.inRule != "keys" && len(l.form) > 0 {
		if role, ok := attrs["role"].(string); ok {
			name = strings.TrimSuffix(name, "+"+role)
		}
	} else {
		delete(attrs, "role") // it is in the name
		if len(attrs) == 0 {
			return nil
		}
	}
	all = append(all, member{l.form[0], name})
	for _, attr := range l.form[1:] {
		if v, ok := attrs[attr]; ok {
			all = append(all, member{attr, v})
		}
	}
	return all
}

// flowItem writes a key for a list in brackets.
func (e *edit) flowItem(l list, key Key, style yaml.Style) string {
	members := e.members(l, key)
	if members == nil {
		return spell(strings.TrimPrefix(key.Name, l.prefix), style)
	}
	var fields []string
	for _, m := range members {
		switch v := m.value.(type) {
		case map[string]string:
			var pairs []string
			for _, name := range slices.Sorted(maps.Keys(v)) {
				pairs = append(pairs, spell(name, 0)+": "+spell(v[name], 0))
			}
			fields = append(fields, m.name+": {"+strings.Join(pairs, ", ")+"}")
		default:
			fields = append(fields, m.name+": "+spell(fmt.Sprint(v), 0))
		}
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// blockItem writes a key behind a dash. indent is that of what comes under it.
func (e *edit) blockItem(l list, key Key, style yaml.Style, comment, indent string) string {
	if comment = strings.TrimSpace(comment); comment != "" {
		comment = "  # " + comment
	}
	members := e.members(l, key)
	if members == nil {
		return spell(strings.TrimPrefix(key.Name, l.prefix), style) + comment
	}
	under := e.newline() + indent
	var b strings.Builder
	for i, m := range members {
		if i > 0 {
			b.WriteString(under)
		}
		b.WriteString(m.name + ":")
		switch v := m.value.(type) {
		case map[string]string:
			for _, name := range slices.Sorted(maps.Keys(v)) {
				b.WriteString(under + "  " + spell(name, 0) + ": " + spell(v[name], 0))
			}
		default:
			text := fmt.Sprint(v)
			lines := strings.Split(text, "\n")
			if len(lines) == 1 || slices.ContainsFunc(lines, func(s string) bool { return strings.ContainsFunc(s, notPEM) || strings.HasPrefix(s, " ") }) {
				b.WriteString(" " + spell(text, 0))
				break
			}
			b.WriteString(" |")
			for _, line := range lines {
				b.WriteString(under + "  " + line)
			}
		}
		if i == 0 {
			b.WriteString(comment)
		}
	}
	return b.String()
}

// notPEM is for characters that a text in lines does not have.
func notPEM(r rune) bool { return r < ' ' || r >= 0x7f }
