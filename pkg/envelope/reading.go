package envelope

import (
	"crypto/subtle"
	"encoding/base64"

	"github.com/kenvhq/kenv/pkg/doc"
)

// A reading decrypts a file: the walk over its tree says what should be a token, and
// a batch opens the tokens.
type reading struct {
	*opening
	how OpenOptions
	out *File
	box *valueCipher
	sum *contentMAC

	mac         token
	opened      []*doc.Node // nodes that were tokens
	uncommented []*doc.Node // tokens in lists that are comments
}

// A toOpen is a value or comment, and what its token holds if it is one.
type toOpen struct {
	n         *doc.Node
	aad       string
	isToken   bool
	tag, text string
	err       error
}

// reading looks at what can be seen before a value is decrypted.
func (o *opening) reading(dataKey []byte, how OpenOptions) (*reading, error) {
	m := o.meta
	if o.sealed && m.MACOnlyEncrypted && o.doc.HasDuplicateKeys() {
		// One in clear, which nothing protects, could stand in for one that is not.
		return nil, &IntegrityError{Msg: "a key occurs twice, where mac_only_encrypted leaves values open"}
	}
	box, err := newValueCipher(dataKey)
	if err != nil {
		return nil, err
	}
	r := &reading{opening: o, how: how, box: box, sum: newContentMAC(m.MACOnlyEncrypted)}
	var ok bool
	if r.mac, ok = parseToken(m.MAC, o.sealed); !ok && !how.unverified {
		return nil, &IntegrityError{Msg: "the mac is damaged"}
	}
	r.out = &File{Format: o.format, Meta: m, Sealed: o.sealed, unverified: how.unverified, dataKey: dataKey, doc: o.doc}
	if how.ForReuse {
		r.out.tokens = map[tokenKey][]string{}
	}
	r.out.SealGone = !o.sealed && !how.unverified && isMarked(dataKey, r.mac)
	if r.out.SealGone && !how.SealGone {
		return nil, &IntegrityError{SealGone: true, Msg: "the seal is gone: something that does not know it wrote or changed this file"}
	}
	if _, yaml := o.format.(doc.YAML); yaml && !o.sealed && !how.unverified {
		if n, why := unlikeSops(o.doc); n != nil {
			return nil, &IntegrityError{Line: o.doc.Line(n), Path: displayPath(n, n.Key), Msg: why}
		}
	}
	return r, nil
}

// unlikeSops returns a member of a YAML file that sops does not read, and so did not write.
// The mac does not cover key types, nor a null that has the key of another value and
// could stand in for it.
func unlikeSops(d *doc.Document) (n *doc.Node, why string) {
	var walk func(m *doc.Node, first bool) bool
	walk = func(m *doc.Node, first bool) bool {
		var seen map[string]bool // of document 1, where the metadata is, sops looks for such keys
		if first && m.Kind == doc.Map {
			seen = make(map[string]bool, len(m.Items))
		}
		for _, c := range m.Items {
			switch {
			case c.Kind == doc.Comment:
				continue
			case !c.HasStringKey():
				n, why = c, "the key is not a string"
			case seen[c.Key]:
				n, why = c, "the key occurs twice"
			}
			if seen != nil {
				seen[c.Key] = true
			}
			if n != nil || walk(c, first) {
				return true
			}
		}
		return false
	}
	for i, r := range d.Roots {
		if walk(r, i == 0) {
			break
		}
	}
	return n, why
}

// decrypt turns the tokens of the tree into what they hold.
func (r *reading) decrypt() error {
	sel, err := r.meta.Selector.compile(!r.sealed)
	if err != nil {
		return err
	}
	leaves := r.doc.Leaves()
	r.opened = make([]*doc.Node, 0, leaves)
	batch := newBatch(r.box, leaves, func(c *valueCipher, t *toOpen) { t.open(c, r.sealed) }, r.take)
	defer func() { batch.wait() }()
	for _, root := range r.doc.Roots {
		err := sel.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			n.Encrypted = encrypted
			if n.Kind == doc.Scalar && n.Type == doc.Null || n.Kind == doc.Comment && !encrypted {
				return nil
			}
			return batch.add(toOpen{n: n, aad: aad})
		})
		if err != nil {
			return err
		}
	}
	return batch.end()
}

// take puts what a token holds in its place.
func (r *reading) take(t *toOpen) error {
	take := r.takeValue
	if t.n.Kind == doc.Comment {
		take = r.takeComment
	}
	if msg := take(t); msg != "" {
		return &IntegrityError{Line: r.doc.Line(t.n), Path: displayPath(t.n, t.aad), Msg: msg}
	}
	return nil
}

// open opens one token. It runs beside others of its kind.
func (w *toOpen) open(c *valueCipher, strict bool) {
	if !w.n.Encrypted || w.n.Type != doc.String {
		return
	}
	raw := w.n.Text
	if w.n.Kind == doc.Scalar {
		raw = w.n.TokenText()
	}
	var t token
	if t, w.isToken = parseToken(raw, strict); w.isToken {
		w.tag, w.text, w.err = c.open(t, w.aad)
	}
}

// takeComment returns what is wrong with a comment, if anything is.
func (r *reading) takeComment(w *toOpen) string {
	n := w.n
	switch {
	case !w.isToken:
		if r.sealed && n.Text != "" {
			return "a comment should be encrypted and is not a well-formed ENC[…] token"
		}
		return ""
	case w.err != nil || w.tag != tagComment:
		if r.sealed {
			return "a comment does not decrypt"
		}
		return "" // sops takes it for a comment in clear, too
	}
	r.out.keep(tokenKey{w.aad, w.tag, w.text}, n.Text)
	n.Text = w.text
	r.opened = append(r.opened, n)
	return ""
}

// takeValue returns what is wrong with a value, if anything is.
func (r *reading) takeValue(w *toOpen) string {
	n := w.n
	switch {
	case !n.Encrypted || n.Type == doc.String && n.Text == "":
		if !n.Hidden {
			r.sum.add(n.Text, n.Encrypted)
		}
		return ""
	case !w.isToken:
		return "should be encrypted and is not a well-formed ENC[…] value"
	case w.err != nil:
		return w.err.Error()
	case w.tag == tagComment && r.sealed:
		return "a value was turned into a comment"
	case w.tag == tagComment:
		n.Kind, n.Text, n.Key = doc.Comment, w.text, ""
		r.uncommented = append(r.uncommented, n)
		return ""
	}
	raw := n.TokenText()
	var err error
	if n.Type, n.Text, err = checkText(w.tag, w.text, r.sealed); err != nil {
		return err.Error()
	}
	if !n.Hidden {
		r.sum.add(n.Text, true)
	}
	r.out.keep(tokenKey{w.aad, w.tag, n.Text}, raw)
	r.opened = append(r.opened, n)
	return ""
}

// keep takes a token into the file's stock, if it has one.
func (f *File) keep(k tokenKey, token string) {
	if f.tokens == nil {
		return
	}
	if _, ok := parseToken(token, true); !ok {
		return // only sops takes it
	}
	f.tokens[k] = append(f.tokens[k], token)
	f.order = append(f.order, k)
}

// verify checks the mac and begins to check the seal. What it returns waits for that, and
// must be called.
func (r *reading) verify() (wait func() error, err error) {
	tag, want, err := r.box.open(r.mac, r.meta.macAAD())
	if err != nil || tag != tagString {
		return nil, &IntegrityError{Msg: "the mac does not decrypt"}
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(r.sum.sum())) != 1 {
		return nil, &IntegrityError{Msg: "the mac does not match: values were changed, added, removed or reordered"}
	}
	if !r.sealed {
		return func() error { return nil }, nil
	}
	matches := make(chan bool, 1)
	go func() {
		seal, err := base64.StdEncoding.DecodeString(r.meta.Kenv.Seal)
		matches <- err == nil && base64Len(r.meta.Kenv.Seal) == len(seal) &&
			subtle.ConstantTimeCompare(seal, sealOf(r.out.dataKey, r.format.Name(), r.doc, r.doc.Meta, r.meta)) == 1
	}()
	return func() error {
		if !<-matches {
			return &IntegrityError{Msg: "the seal does not match: keys, structure, comments, recipients or rules were changed"}
		}
		return nil
	}, nil
}
