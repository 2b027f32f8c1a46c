package config

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A spot is where a key stands.
type spot struct {
	list  list
	item  int // of the list, -1 if that is a single string
	piece int // of the string, between commas
	key   Key
}

// spots returns where the keys of a group stand, or of all groups if that is -1.
func (e *edit) spots(group int) (all []spot) {
	for _, l := range e.lists {
		if group >= 0 && l.group != group {
			continue
		}
		p := newParser(e.config.Path)
		p.rule = &Rule{}
		items, item := []*yaml.Node{l.node}, -1
		switch {
		case l.node.Kind == yaml.AliasNode:
			items = nil
		case l.node.Kind == yaml.SequenceNode:
			items, item = l.node.Content, 0
		}
		for _, n := range items {
			v := p.follow(n, "")
			switch {
			case v == nil:
			case v.Kind == yaml.MappingNode:
				key := p.keyMap(v, "", l.keyList)
				key.take(e.profile)
				all = append(all, spot{l, item, 0, key})
			default:
				for piece, name := range l.pieces(v, item < 0) {
					if name = strings.TrimSpace(name); name != "" {
						key := Key{Name: l.prefix + name, Line: n.Line}
						p.settle(n, "", l.keyList, &key)
						key.take(e.profile)
						all = append(all, spot{l, item, piece, key})
					}
				}
			}
			item++
		}
	}
	return all
}

// pieces splits a string of a list where that is done.
func (l list) pieces(n *yaml.Node, single bool) []string {
	if l.inRule == "keys" && !single {
		return []string{n.Value}
	}
	return strings.Split(n.Value, ",")
}

// A part is a key within a string that has several: where it begins and ends, and
// behind which comma, if one follows.
type part struct{ from, to, comma int }

// parts finds the keys of a string. There are as many as in its value, or ok is
// false.
func (e *edit) parts(n *yaml.Node) (all []part, ok bool) {
	from, to, _, ok := e.scalar(n)
	if !ok {
		return nil, false
	}
	var want []string
	for s := range strings.SplitSeq(n.Value, ",") {
		if s = strings.TrimSpace(s); s != "" {
			want = append(want, s)
		}
	}
	for off := from; off < to; {
		end := to
		if i := bytes.IndexByte(e.src[off:to], ','); i >= 0 {
			end = off + i
		}
		s := e.src[off:end]
		begin := off + len(s) - len(bytes.TrimLeft(s, " \t\r\n"))
		p := part{begin, off + len(bytes.TrimRight(s, " \t\r\n")), 0}
		if end < to {
			p.comma = end + 1
		}
		if p.from < p.to {
			if len(all) == len(want) || string(e.src[p.from:p.to]) != want[len(all)] {
				return nil, false
			}
			all = append(all, p)
		}
		off = end + 1
	}
	return all, len(all) == len(want)
}
