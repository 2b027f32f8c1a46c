package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cut returns the cuts that remove a key.
func (e *edit) cut(s spot) ([]cut, error) {
	n := s.list.node
	if n.Anchor != "" {
		return nil, e.byHand(n, s.list.inRule+" is shared with other places in the file")
	}
	if s.item >= 0 {
		n = n.Content[s.item]
	}
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return nil, e.byHand(n, "this key is shared with other places in the file")
	}
	if n.Kind == yaml.ScalarNode && !(s.list.inRule == "keys" && s.item >= 0) {
		parts, ok := e.parts(n)
		if !ok {
			return nil, e.byHand(n, "this key is written in a way that is seldom used")
		}
		at := s.piece
		for i, name := range strings.Split(n.Value, ",")[:s.piece] {
			if i <= s.piece && strings.TrimSpace(name) == "" {
				at--
			}
		}
		if len(parts) > 1 {
			return []cut{cutPart(parts, at)}, nil
		}
	}
	if s.item >= 0 && len(s.list.node.Content) > 1 {
		return e.cutItem(s.list.node, s.item)
	}
	if s.list.holder == nil {
		return nil, fmt.Errorf("%s: %w", e.where(), ErrLastKey)
	}
	return e.cutField(s.list.holder, s.list.field)
}

func cutPart(parts []part, i int) cut {
	switch p := parts[i]; {
	case i+1 < len(parts):
		return cut{p.from, parts[i+1].from, ""}
	case p.comma > p.to:
		return cut{parts[i-1].comma, p.comma, ""}
	default:
		return cut{parts[i-1].to, p.to, ""}
	}
}

// cutItem removes an item of a list that has more of them.
func (e *edit) cutItem(seq *yaml.Node, i int) ([]cut, error) {
	item := seq.Content[i]
	begin, end, ok := e.extent(item)
	if seq.Style&yaml.FlowStyle == 0 {
		var dash, next int
		if dash, ok = e.dash(seq, item); ok && i+1 < len(seq.Content) {
			next, ok = e.dash(seq, seq.Content[i+1])
		}
		if !ok {
			return nil, e.byHand(item, "this key is not on the line of its dash")
		}
		return e.cutLines(item, dash, end, next)
	}
	if !ok {
		return nil, e.byHand(item, "this key is written in a way that is seldom used")
	}
	return e.cutFlow(seq, i, 1, begin, end)
}

// cutField removes a field of a map that has more of them.
func (e *edit) cutField(m *yaml.Node, i int) ([]cut, error) {
	if len(m.Content) <= 2 {
		return nil, e.byHand(m, "there is nothing else here")
	}
	key := m.Content[2*i]
	_, end, ok := e.extent(m.Content[2*i+1])
	if !ok {
		return nil, e.byHand(key, "this is written in a way that is seldom used")
	}
	if m.Style&yaml.FlowStyle != 0 {
		return e.cutFlow(m, 2*i, 2, e.at(key), end)
	}
	next := 0
	if 2*i+2 < len(m.Content) {
		next = e.at(m.Content[2*i+2])
	}
	return e.cutLines(key, e.at(key), end, next)
}

// extent returns where a node begins and ends.
func (e *edit) extent(n *yaml.Node) (begin, end int, ok bool) {
	end, ok = e.end(n)
	return e.at(n), end, ok
}

// cutLines removes the lines from begin to end. If something else begins on the
// first of them, what comes next takes its place.
func (e *edit) cutLines(n *yaml.Node, begin, end, next int) ([]cut, error) {
	eol := e.eol(end)
	if _, own := e.margin(begin); !own {
		if next == 0 || e.bol(next) != e.next(eol) {
			return nil, e.byHand(n, "something else begins on the same line")
		}
		return []cut{{begin, next, ""}}, nil
	}
	from, to := e.bol(begin), e.next(eol)
	if to == eol && from > 0 { // the end of a text without a final line break
		from = e.eol(e.bol(from - 1))
	}
	return []cut{{from, to, ""}}, nil
}

// cutFlow removes one of the members of a list in brackets or a map in braces; each
// has so many nodes.
func (e *edit) cutFlow(n *yaml.Node, i, width, begin, end int) ([]cut, error) {
	member := n.Content[i]
	behind, comma := e.comma(end)
	last := i+width == len(n.Content)
	prev := -1 // where the one before ends
	if i > 0 {
		var ok bool
		if prev, ok = e.end(n.Content[i-1]); !ok {
			return nil, e.byHand(n.Content[i-1], "this is written in a way that is seldom used")
		}
	}
	rest := end
	if comma {
		rest = behind
	}
	if _, own := e.margin(begin); own && e.bare(rest) {
		cuts := []cut{{e.bol(begin), e.next(e.eol(rest)), ""}}
		if last && !comma && prev >= 0 { // then the one before had none either
			behind, _ := e.comma(prev)
			cuts = append(cuts, cut{behind - 1, behind, ""})
		}
		return cuts, nil
	}
	var c cut
	switch {
	case !last:
		c = cut{begin, e.at(n.Content[i+width]), ""}
	case prev < 0:
		return nil, e.byHand(member, "there is nothing else here")
	case comma:
		before, _ := e.comma(prev)
		c = cut{before, behind, ""}
	default:
		c = cut{prev, end, ""}
	}
	if !last && e.hasComment(end, c.to) || last && e.hasComment(prev, begin) {
		return nil, e.byHand(member, "there is a comment beside it")
	}
	return []cut{c}, nil
}
