package doc

import "errors"

// ErrChange is returned by Change where a value cannot be changed in place.
var ErrChange = errors.New("value cannot be changed in place")

// Change returns a plaintext with one value changed and every other byte as it
// was. pick chooses the scalar in the prepared document. An alias elsewhere that
// meant the value keeps the old one, written out.
func Change(f Format, src []byte, pick func(*Document) *Node, t Type, text string) ([]byte, error) {
	d, notes, err := f.Prepare(src, Splice)
	if err != nil {
		return nil, err
	}
	n := pick(d)
	if n == nil || n.Kind != Scalar || d.Whole != nil {
		return nil, ErrChange
	}
	at := d.Index()[n]
	kept := notes[:0:0]
	for _, note := range notes {
		if note.Kind == NoteValue && note.Path == at.Path && note.N == at.N {
			continue
		}
		kept = append(kept, note)
	}
	if ini, ok := f.(INI); ok {
		if lexeme, ok := ini.loose(text); ok {
			kept = append(kept, Note{NoteValue, at.Path, at.N, lexeme})
		}
	}
	body := Apply(d.Src, []Edit{spellAt(f, d, n, t, text)})
	n.Type, n.Text = t, text
	if out, err := f.Restore(body, kept); err == nil {
		if now, _, err := f.Prepare(out, Splice); err == nil && len(now.Roots) == len(d.Roots) {
			same := true
			for i := range d.Roots {
				same = same && Equal(d.Roots[i], now.Roots[i])
			}
			if same {
				return out, nil
			}
		}
	}
	return nil, ErrChange
}

// spellAt is Spell for a value that may have no text yet.
func spellAt(f Format, d *Document, n *Node, t Type, text string) Edit {
	e := f.Spell(d, n, t, text)
	if n.Span.Start == n.Span.End && n.Span.Start > 0 && len(e.Text) > 0 {
		if c := d.Src[n.Span.Start-1]; c == ':' || c == '-' || c == '?' {
			e.Text = " " + e.Text
		}
	}
	return e
}
