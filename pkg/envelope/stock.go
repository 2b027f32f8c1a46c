package envelope

import (
	"slices"

	"github.com/kenvhq/kenv/pkg/doc"
)

// A stock hands out the tokens of an earlier state of the file. Of equal values under
// the same keys, such as comments that say the same, those before what changed get
// theirs from the front, and those behind it from the back: none moves.
type stock struct {
	front, back map[tokenKey][]string
	left        int                   // how many tokens there are before those from the back
	theirs      map[tokenKey][]string // of the other side of a merge, none that are ours too
}

func (s *sealing) takeStock(d *doc.Document) (stock, error) {
	prev := s.policy.Previous
	var now []tokenKey
	for _, root := range d.Roots {
		err := s.selector.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			tag, text := tagComment, n.Text
			if n.Kind != doc.Comment {
				tag = typeTag(n.Type)
			} else if n.IsEmptyListComment() {
				text = " " // see writing.visit
			}
			if encrypted && text != "" {
				now = append(now, tokenKey{aad, tag, text})
			}
			return nil
		})
		if err != nil {
			return stock{}, err
		}
	}
	// An inline comment comes before its value here, so that this ends between lines.
	tail := 0
	for tail < min(len(now), len(prev.order)) && now[len(now)-1-tail] == prev.order[len(prev.order)-1-tail] {
		tail++
	}
	st := stock{front: map[tokenKey][]string{}, back: map[tokenKey][]string{}, left: len(now) - tail}
	behind := map[tokenKey]int{}
	for _, k := range prev.order[len(prev.order)-tail:] {
		behind[k]++
	}
	for k, list := range prev.tokens {
		at := len(list) - behind[k]
		st.front[k], st.back[k] = list[:at], list[at:]
	}
	if theirs := s.policy.Theirs; theirs.SharesKey(prev) {
		ours := map[string]bool{}
		for _, list := range prev.tokens {
			for _, t := range list {
				ours[t] = true
			}
		}
		st.theirs = map[tokenKey][]string{}
		for k, list := range theirs.tokens {
			st.theirs[k] = slices.DeleteFunc(slices.Clone(list), func(t string) bool { return ours[t] })
		}
	}
	return st, nil
}

func (st *stock) take(k tokenKey) (token string, ok bool) {
	from := st.front
	if st.left--; st.left < 0 {
		from = st.back
	}
	for _, pool := range []map[tokenKey][]string{from, st.theirs} {
		if list := pool[k]; len(list) > 0 {
			pool[k] = list[1:]
			return list[0], true
		}
	}
	return "", false
}

func (s *sealing) sealLayout(notes []doc.Note) ([]string, error) {
	if len(notes) == 0 {
		return nil, nil
	}
	box, err := newLayoutCipher(s.dataKey)
	if err != nil {
		return nil, err
	}
	entries := make([]string, len(notes))
	var others []string // without a place of their own
	at := map[string]int{}
	if s.reuse {
		for i, e := range s.policy.Previous.Meta.Kenv.Layout {
			at[e] = i
		}
	}
	for _, n := range notes {
		// Some formats number the entries, so what stays keeps its number.
		e, ok := "", false
		if s.reuse {
			e, ok = s.policy.Previous.layout[n]
			if theirs := s.policy.Theirs; !ok && theirs.SharesKey(s.policy.Previous) {
				e, ok = theirs.layout[n]
			}
		}
		if i := at[e]; !ok {
			others = append(others, box.seal(n))
		} else if i < len(entries) && entries[i] == "" {
			entries[i] = e
		} else {
			others = append(others, e)
		}
	}
	for i := range entries {
		if entries[i] == "" {
			entries[i], others = others[0], others[1:]
		}
	}
	return entries, nil
}
