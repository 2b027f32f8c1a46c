package envelope

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// An IntegrityError says that a file is not what a holder of its data key wrote.
type IntegrityError struct {
	Line int    // 0 when it concerns the whole file
	Path string // the keys down to the value, quoted for a terminal
	Msg  string
	// SealGone says that the seal was taken off a file that had one, which
	// sops updatekeys does innocently.
	SealGone bool
}

func (e *IntegrityError) Error() string {
	switch {
	case e.Path != "":
		return fmt.Sprintf("line %d: %s: %s", e.Line, e.Path, e.Msg)
	case e.Line > 0:
		return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
	}
	return e.Msg
}

// A File is an encrypted file that was opened, its integrity checked.
type File struct {
	Format doc.Format
	Meta   *Metadata
	Sealed bool // it has a seal; otherwise sops wrote it last
	// SealGone is set for a file that had a seal, which was taken off.
	SealGone bool

	unverified bool
	dataKey    []byte
	plain      []byte
	doc        *doc.Document
	table      keys.Table            // by which it was opened
	tokens     map[tokenKey][]string // only if opened ForReuse
	order      []tokenKey            // of all tokens, as they stand in the file
	layout     map[doc.Note]string
}

// A tokenKey is what makes a token fit for use again.
type tokenKey struct{ aad, tag, text string }

// Plaintext returns the decrypted file, byte for byte what was encrypted. It is
// wiped by Wipe.
func (f *File) Plaintext() []byte { return f.plain }

// Roots returns the decrypted tree: one root for each document, of any kind.
// whole is set instead where the file is one text without a tree.
func (f *File) Roots() (roots []*doc.Node, whole *doc.Node) {
	if f.doc.Whole != nil {
		return f.doc.Roots, f.doc.Whole
	}
	return f.doc.Unwrap(), nil
}

// Recipients returns the names of the file's master keys, by group, as the function
// of that name does.
func (f *File) Recipients() [][]string { return Recipients(f.Meta, f.table) }

// Wipe clears the data key and the plaintext.
func (f *File) Wipe() {
	clear(f.dataKey)
	clear(f.plain)
}

// NoMAC is the Msg of the IntegrityError about a file without a mac.
const NoMAC = "the file has no mac"

// ErrUnsealed is wrapped by Open's error for a file without a seal where one is
// demanded.
var ErrUnsealed = errors.New("the file has no seal")

// OpenOptions are demands on a file to open.
type OpenOptions struct {
	RequireSeal bool // refuse a file that sops wrote last
	ForReuse    bool // the file will be a Policy's Previous: keep its ciphertext
	// SealGone lets a file be opened whose seal was taken off, by sops's rules. That
	// is for a caller who has somebody look at its recipients before they count.
	SealGone bool
	Order    []string // kinds of keys to try before all others

	unverified bool
}

// Open decrypts a file with the first of its master keys that works, and checks
// it: a sealed file by its seal and mac, a file that sops wrote last by sops's
// own rules. No plaintext is returned that was not checked. The error is a
// *NoKeyError, an *IntegrityError, doc.ErrNoMetadata, or says what in the file is
// not in order.
func Open(ctx context.Context, src []byte, f doc.Format, table keys.Table, o OpenOptions) (*File, error) {
	o1, err := inspect(src, f, o.unverified)
	if err != nil {
		return nil, err
	}
	if o.RequireSeal && !o1.sealed {
		return nil, fmt.Errorf("%w, and the configuration demands one", ErrUnsealed)
	}
	right := func([]byte) bool { return true }
	if !o.unverified {
		if o1.meta.MAC == "" {
			return nil, &IntegrityError{Msg: NoMAC}
		}
		macToken, ok := parseToken(o1.meta.MAC, o1.sealed)
		if !ok {
			return nil, &IntegrityError{Msg: "the mac is damaged"}
		}
		right = o1.meta.opensMAC(macToken)
	}
	dataKey, wrong, err := unwrapDataKey(ctx, o1.meta, table, o.Order, right)
	if err != nil {
		return nil, err
	}
	if wrong {
		return nil, &IntegrityError{Msg: "the mac does not decrypt: mac or lastmodified were changed, or the master keys are those of another file"}
	}
	out, err := o1.open(dataKey, o)
	if err != nil {
		clear(dataKey)
		return nil, err
	}
	out.table = table
	return out, nil
}

// OpenUnverified is Open without its checks: neither mac nor seal is looked at, so
// what the file says of keys, structure, types and rules may be anybody's word. Each
// value by itself still comes from somebody who had the data key. The File cannot be
// sealed again.
func OpenUnverified(ctx context.Context, src []byte, f doc.Format, table keys.Table, o OpenOptions) (*File, error) {
	o.unverified, o.RequireSeal, o.ForReuse = true, false, false
	return Open(ctx, src, f, table, o)
}

// opensMAC returns a function that tells the file's data key from others.
func (m *Metadata) opensMAC(mac token) func(dataKey []byte) bool {
	return func(key []byte) bool {
		c, err := newValueCipher(key)
		if err != nil {
			return false
		}
		defer c.wipe()
		_, _, err = c.open(mac, m.macAAD())
		return err == nil
	}
}

// Inspect reads a file's metadata without opening it: nothing in it is verified.
func Inspect(src []byte, f doc.Format) (*Metadata, error) {
	o, err := inspect(src, f, false)
	if err != nil {
		return nil, err
	}
	return o.meta, nil
}

// Outline returns the tree of each document of an encrypted file: names and structure,
// which are readable without a key, and values as they are encrypted. Nothing is
// verified. A file that is one text has none.
func Outline(src []byte, f doc.Format) ([]*doc.Node, error) {
	o, err := inspect(src, f, true)
	if err != nil || o.doc.Whole != nil {
		return nil, err
	}
	roots := o.doc.Unwrap()
	for _, r := range roots {
		markComments(r)
	}
	return roots, nil
}

// markComments tells items of lists that are encrypted comments, as sops writes them,
// from values.
func markComments(n *doc.Node) {
	for _, item := range n.Items {
		if t, ok := parseToken(item.Text, false); item.Kind == doc.Scalar && ok && t.typ == tagComment {
			item.Kind = doc.Comment
		}
		markComments(item)
	}
}

// Recipients returns the names of a file's master keys, by group: see
// keys.Table.NameOf.
func Recipients(m *Metadata, table keys.Table) [][]string {
	names := make([][]string, len(m.Groups))
	for i, g := range m.Groups {
		for _, e := range g {
			names[i] = append(names[i], table.NameOf(e))
		}
	}
	return names
}

// An opening is a file that was read and not decrypted yet.
type opening struct {
	format doc.Format
	doc    *doc.Document
	meta   *Metadata
	sealed bool
}

// inspect reads a file: a sealed one strictly, unless lenient has it read as if sops had
// written it.
func inspect(src []byte, f doc.Format, lenient bool) (*opening, error) {
	d, err := f.Parse(src)
	var syntax *doc.SyntaxError
	switch {
	case errors.As(err, &syntax), errors.Is(err, doc.ErrNoMetadata), errors.Is(err, doc.ErrEmpty):
		return nil, err
	case err != nil:
		// It has metadata, and nothing writes such a file.
		return nil, &IntegrityError{Msg: err.Error()}
	}
	o := &opening{format: f, doc: d}
	if k, ok := d.Meta.Get(kenvField).(doc.Fields); ok && k.Get(sealField) != nil {
		o.sealed = !lenient
	}
	if o.meta, err = parseMetadata(d.Meta, o.sealed); err != nil {
		if o.sealed {
			return nil, &IntegrityError{Msg: err.Error()}
		}
		return nil, err
	}
	if o.sealed {
		if o.meta.Kenv.Version != kenvVersion {
			return nil, fmt.Errorf("sealed by a kenv with file version %d; this one knows version %d", o.meta.Kenv.Version, kenvVersion)
		}
		if odd := d.Odd(); len(odd) > 0 {
			return nil, &IntegrityError{Msg: "a sealed file was changed: it has " + strings.Join(odd, " and ")}
		}
	}
	return o, nil
}

const kenvVersion = 1

// open decrypts and checks.
func (o *opening) open(dataKey []byte, how OpenOptions) (*File, error) {
	d, m := o.doc, o.meta
	if o.sealed && m.MACOnlyEncrypted && d.HasDuplicateKeys() {
		// One in clear, which nothing protects, could stand in for one that is not.
		return nil, &IntegrityError{Msg: "a key occurs twice, where mac_only_encrypted leaves values open"}
	}
	sel, err := m.Selector.compile(!o.sealed)
	if err != nil {
		return nil, err
	}
	box, err := newValueCipher(dataKey)
	if err != nil {
		return nil, err
	}
	defer box.wipe()
	macToken, ok := parseToken(m.MAC, o.sealed)
	if !ok && !how.unverified {
		return nil, &IntegrityError{Msg: "the mac is damaged"}
	}
	out := &File{Format: o.format, Meta: m, Sealed: o.sealed, unverified: how.unverified, dataKey: dataKey, doc: d}
	keep := func(string, string, string, string) {}
	if how.ForReuse {
		out.tokens = map[tokenKey][]string{}
		keep = func(aad, tag, text, raw string) {
			if _, ok := parseToken(raw, true); !ok {
				return // only sops takes it
			}
			k := tokenKey{aad, tag, text}
			out.tokens[k] = append(out.tokens[k], raw)
			out.order = append(out.order, k)
		}
	}
	out.SealGone = !o.sealed && !how.unverified && isMarked(dataKey, macToken)
	if out.SealGone && !how.SealGone {
		return nil, &IntegrityError{SealGone: true, Msg: "the seal is gone: something that does not know it wrote or changed this file"}
	}
	sum := newContentMAC(m.MACOnlyEncrypted)
	var opened []*doc.Node      // nodes that were tokens
	var uncommented []*doc.Node // tokens in lists that are comments
	for _, root := range d.Roots {
		err := sel.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			n.Encrypted = encrypted
			fail := func(msg string) error {
				return &IntegrityError{Line: d.Line(n), Path: displayPath(n, aad), Msg: msg}
			}
			if n.Kind == doc.Comment {
				t, ok := parseToken(n.Text, o.sealed)
				if !encrypted || !ok {
					if o.sealed && encrypted && n.Text != "" {
						return fail("a comment should be encrypted and is not a well-formed ENC[…] token")
					}
					return nil
				}
				tag, text, err := box.open(t, aad)
				if err != nil || tag != tagComment {
					if o.sealed {
						return fail("a comment does not decrypt")
					}
					return nil // sops takes it for a comment in clear, too
				}
				keep(aad, tag, text, n.Text)
				n.Text = text
				opened = append(opened, n)
				return nil
			}
			if n.Type == doc.Null {
				return nil
			}
			if !encrypted || n.Type == doc.String && n.Text == "" {
				if !n.Hidden {
					sum.add(n.Text, encrypted)
				}
				return nil
			}
			raw := n.TokenText()
			t, ok := parseToken(raw, o.sealed)
			if n.Type != doc.String || !ok {
				return fail("should be encrypted and is not a well-formed ENC[…] value")
			}
			tag, text, err := box.open(t, aad)
			if err != nil {
				return fail(err.Error())
			}
			if tag == tagComment {
				if o.sealed {
					return fail("a value was turned into a comment")
				}
				n.Kind, n.Text, n.Key = doc.Comment, text, ""
				uncommented = append(uncommented, n)
				return nil
			}
			if n.Type, n.Text, err = checkText(tag, text, o.sealed); err != nil {
				return fail(err.Error())
			}
			if !n.Hidden {
				sum.add(n.Text, true)
			}
			keep(aad, tag, n.Text, raw)
			opened = append(opened, n)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if how.unverified {
		notes, err := out.openLayout()
		if err != nil {
			notes = nil // then it is spelled as sops would
		}
		return out, out.restore(opened, uncommented, notes)
	}
	tag, want, err := box.open(macToken, m.macAAD())
	if err != nil || tag != tagString {
		return nil, &IntegrityError{Msg: "the mac does not decrypt"}
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(sum.sum())) != 1 {
		return nil, &IntegrityError{Msg: "the mac does not match: values were changed, added, removed or reordered"}
	}
	var notes []doc.Note
	if o.sealed {
		seal, err := base64.StdEncoding.Strict().DecodeString(m.Kenv.Seal)
		if err != nil || subtle.ConstantTimeCompare(seal, sealOf(dataKey, o.format.Name(), d, d.Meta, m)) != 1 {
			return nil, &IntegrityError{Msg: "the seal does not match: keys, structure, comments, recipients or rules were changed"}
		}
		if notes, err = out.openLayout(); err != nil {
			return nil, err
		}
	}
	if err := out.restore(opened, uncommented, notes); err != nil {
		return nil, err
	}
	if o.sealed && !out.keepsEnd() {
		clear(out.plain) // the data key is the caller's
		return nil, &IntegrityError{Msg: "the line break at its end was taken off, and with it a part of its last value"}
	}
	return out, nil
}

// keepsEnd reports whether the last value is what was encrypted. White space is not
// sealed, but without the line break at the end of the file a block scalar, where that
// was the last thing before the metadata, would lose one of its own.
func (f *File) keepsEnd() bool {
	src := f.doc.Src
	if _, yaml := f.Format.(doc.YAML); !yaml || f.doc.Whole != nil || len(src) > 0 && src[len(src)-1] == '\n' {
		return true
	}
	now, _, err := f.Format.Prepare(f.plain, doc.Splice)
	if err != nil {
		return true // it is held in another way, as a whole
	}
	for i, root := range f.doc.Roots {
		if was, is := lastLeaf(root), (*doc.Node)(nil); was != nil && i < len(now.Roots) {
			if is = lastLeaf(now.Roots[i]); is == nil || is.Text != was.Text {
				return false
			}
		}
	}
	return true
}

// lastLeaf returns the last value of a tree, or nil.
func lastLeaf(n *doc.Node) *doc.Node {
	if n.Kind == doc.Scalar {
		return n
	}
	for _, item := range slices.Backward(n.Items) {
		if item.Kind != doc.Comment {
			return lastLeaf(item)
		}
	}
	return nil
}

func (f *File) openLayout() ([]doc.Note, error) {
	if len(f.Meta.Kenv.Layout) == 0 {
		return nil, nil
	}
	box, err := newLayoutCipher(f.dataKey)
	if err != nil {
		return nil, err
	}
	f.layout = make(map[doc.Note]string, len(f.Meta.Kenv.Layout))
	notes := make([]doc.Note, 0, len(f.Meta.Kenv.Layout))
	for _, entry := range f.Meta.Kenv.Layout {
		n, err := box.open(entry)
		if err != nil {
			return nil, &IntegrityError{Msg: err.Error()}
		}
		f.layout[n] = entry
		notes = append(notes, n)
	}
	return notes, nil
}

// restore makes the plaintext: tokens replaced by their values as they were
// spelled, the metadata cut out, the rest undone by the format.
func (f *File) restore(opened, uncommented []*doc.Node, notes []doc.Note) (err error) {
	d := f.doc
	if d.Whole != nil {
		f.plain = []byte(d.Whole.Text)
		return nil
	}
	var structural []doc.Note
	var remembered map[doc.Place]doc.Note
	for _, n := range notes {
		switch n.Kind {
		case doc.NoteLexeme, doc.NotePlain, doc.NoteComment:
			if remembered == nil {
				remembered = map[doc.Place]doc.Note{}
			}
			remembered[doc.Place{Path: n.Path, N: n.N}] = n
		default:
			structural = append(structural, n)
		}
	}
	var at map[*doc.Node]doc.Place
	if remembered != nil {
		at = d.Index()
	}
	edits := make([]doc.Edit, 0, len(opened)+len(uncommented)+1)
	for _, n := range opened {
		if !n.Replaceable() {
			continue
		}
		if note, ok := remembered[at[n]]; ok && remembered != nil {
			lexeme := note.Text
			if note.Kind == doc.NotePlain {
				lexeme = n.Text
			}
			if e, ok := f.Format.Recall(d, n, n.Type, n.Text, lexeme); ok {
				edits = append(edits, e)
				continue
			}
		}
		edits = append(edits, f.Format.Spell(d, n, n.Type, n.Text))
	}
	for _, n := range uncommented {
		if n.Replaceable() {
			edits = append(edits, f.Format.Uncomment(d, n, n.Text))
		}
	}
	edits = append(edits, f.Format.Detach(d)...)
	f.plain = doc.Apply(d.Src, edits)
	if len(structural) == 0 && !d.Wrapped() {
		return nil
	}
	body := f.plain
	f.plain, err = f.Format.Restore(body, structural)
	if len(f.plain) == 0 || len(body) == 0 || &f.plain[0] != &body[0] {
		clear(body)
	}
	if err != nil {
		return fmt.Errorf("cannot put the file together again: %w", err)
	}
	return nil
}

// displayPath shows where a value stands: the keys on its path, as the format's
// associated data has them.
func displayPath(n *doc.Node, aad string) string {
	path := strings.TrimSuffix(aad, ":")
	if path == "" {
		return "top level"
	}
	if len(path) > 200 {
		path = path[:200] + "…"
	}
	q := strconv.Quote(strings.ReplaceAll(path, ":", "."))
	return q[1 : len(q)-1]
}
