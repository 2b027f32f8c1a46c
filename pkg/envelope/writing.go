package envelope

import (
	"encoding/base64"
	"errors"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
)

// A writing is one form of the file being encrypted: the walk over its tree says what is to be
// a token, and a batch makes the tokens.
type writing struct {
	*sealing
	doc   *doc.Document
	box   *valueCipher
	old   stock
	sum   *contentMAC
	batch *batch[toSeal]
	edits []doc.Edit
	notes []doc.Note
	at    map[*doc.Node]doc.Place

	leaves, selected int
}

// A toSeal is a value or comment on its way into a token.
type toSeal struct {
	n        *doc.Node
	tag, aad string
	token    string // empty until it is made, if there is none in stock
	edit     doc.Edit
	note     doc.Note // what has to be remembered, but for its place
}

// attempt encrypts one form of the file.
func (s *sealing) attempt(d *doc.Document, notes []doc.Note) ([]byte, error) {
	box, err := newValueCipher(s.dataKey)
	if err != nil {
		return nil, err
	}
	defer box.wipe()
	w := &writing{sealing: s, doc: d, box: box, notes: notes, sum: newContentMAC(s.policy.MACOnlyEncrypted)}
	defer w.sum.wipe()
	leaves := d.Leaves()
	w.edits = make([]doc.Edit, 0, leaves+1)
	w.batch = newBatch(box, leaves, w.seal, w.take)
	defer func() { w.batch.wait() }()
	if s.reuse {
		if w.old, err = s.takeStock(d); err != nil {
			return nil, err
		}
	}
	for _, root := range d.Roots {
		if err := s.selector.walk(root, w.visit); err != nil {
			return nil, err
		}
	}
	if err := w.batch.end(); err != nil {
		return nil, err
	}
	if w.selected == 0 && (w.leaves > 0 || d.Whole != nil) && !(s.policy.AllowUnencrypted && d.Whole == nil) {
		return nil, ErrNothingEncrypted
	}
	m, err := w.metadata()
	if err != nil {
		return nil, err
	}
	return doc.Apply(d.Src, append(w.edits, s.format.Attach(d, m.fields()))), nil
}

func (w *writing) visit(n *doc.Node, aad string, encrypted bool) error {
	n.Encrypted = encrypted
	if n.Kind == doc.Comment {
		if !encrypted {
			return nil
		}
		var note doc.Note
		if n.IsEmptyListComment() {
			// sops cannot encrypt it and would make it a list element.
			note.Kind = doc.NoteComment
			n.Text = " "
		}
		return w.queue(toSeal{n: n, tag: tagComment, aad: aad, note: note})
	}
	if n.Type == doc.Null {
		return nil
	}
	w.leaves++
	if !n.Hidden {
		w.sum.add(n.Text, encrypted)
	}
	if !encrypted {
		return nil
	}
	w.selected++
	return w.queue(toSeal{n: n, tag: typeTag(n.Type), aad: aad})
}

func (w *writing) queue(t toSeal) error {
	if t.n.Text == "" {
		return nil
	}
	t.token, _ = w.old.take(tokenKey{t.aad, t.tag, t.n.Text})
	return w.batch.add(t)
}

// take makes an edit of a token that was made.
func (w *writing) take(t *toSeal) error {
	if t.n.Kind == doc.Comment && w.policy.Selector.UnencryptedCommentRegex != "" && w.selector.marks(t.token) {
		return errors.New("unencrypted_comment_regex matches encrypted comments")
	}
	if t.note.Kind != 0 {
		if w.at == nil {
			w.at = w.doc.Index()
		}
		t.note.Path, t.note.N = w.at[t.n].Path, w.at[t.n].N
		w.notes = append(w.notes, t.note)
	}
	w.edits = append(w.edits, t.edit)
	return nil
}

// seal makes one token. It runs beside others of its kind.
func (w *writing) seal(c *valueCipher, t *toSeal) {
	n, d := t.n, w.doc
	if t.token == "" {
		t.token = c.token(t.tag, n.Text, t.aad)
	}
	t.edit = w.format.Token(d, n, t.token)
	if n.Kind == doc.Comment || n == d.Whole {
		return
	}
	// Decryption spells it this way, unless it is told of another.
	e := w.format.Spell(d, n, n.Type, n.Text)
	if string(d.Src[e.Start:e.End]) == e.Text {
		return
	}
	t.note.Kind = doc.NotePlain
	if lexeme := d.Src[n.Span.Start:n.Span.End]; string(lexeme) != n.Text {
		t.note.Kind, t.note.Text = doc.NoteLexeme, string(lexeme)
	}
}

// metadata makes the metadata for what was encrypted, mac and seal included.
func (w *writing) metadata() (m *Metadata, err error) {
	m = &Metadata{
		Groups:           w.groups,
		ShamirThreshold:  w.need,
		Selector:         w.policy.Selector,
		MACOnlyEncrypted: w.policy.MACOnlyEncrypted,
		LastModified:     w.policy.Now.UTC().Format(time.RFC3339),
		Version:          SopsVersion,
		Kenv:             Kenv{Version: kenvVersion, Seal: " "},
	}
	if w.keep != nil {
		m.Unknown, m.groupUnknown, m.Kenv.Unknown = w.keep.Unknown, w.keep.groupUnknown, w.keep.Kenv.Unknown
	}
	if m.Kenv.Layout, err = w.sealLayout(w.notes); err != nil {
		return nil, err
	}
	if m.Kenv.Conflicts, err = w.policy.Conflict.seal(w.dataKey); err != nil {
		return nil, err
	}
	m.MAC = string(w.box.appendTokenWithNonce(nil, markedNonce(w.dataKey), tagString, w.sum.sum(), m.macAAD()))
	seal := sealOf(w.dataKey, w.format.Name(), w.doc, m.fields(), m)
	m.Kenv.Seal = base64.StdEncoding.EncodeToString(seal)
	return m, nil
}
