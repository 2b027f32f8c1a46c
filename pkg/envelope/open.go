package envelope

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/secret"
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
	secret.Wipe(f.dataKey)
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
		secret.Wipe(dataKey)
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
	r, err := o.reading(dataKey, how)
	if err != nil {
		return nil, err
	}
	defer r.box.wipe()
	defer r.sum.wipe()
	if err := r.decrypt(); err != nil {
		return nil, err
	}
	f := r.out
	if how.unverified {
		notes, err := f.openLayout()
		if err != nil {
			notes = nil // then it is spelled as sops would
		}
		return f, f.restore(r.opened, r.uncommented, notes)
	}
	seal, err := r.verify()
	if err != nil {
		return nil, err
	}
	var notes []doc.Note
	if o.sealed {
		notes, err = f.openLayout()
	}
	if err == nil {
		err = f.restore(r.opened, r.uncommented, notes)
	}
	if changed := seal(); changed != nil {
		err = changed
	}
	if err != nil {
		clear(f.plain) // the data key is the caller's
		return nil, err
	}
	if o.sealed && !f.keepsEnd() {
		clear(f.plain)
		return nil, &IntegrityError{Msg: "its end, or the empty lines behind its metadata, were changed, and with them its last value"}
	}
	return f, nil
}

// keepsEnd reports whether the last value before the metadata is what was encrypted. White
// space is not sealed, but what stands behind the metadata may become part of it.
func (f *File) keepsEnd() bool {
	if _, yaml := f.Format.(doc.YAML); !yaml || !f.doc.MayChangeEnd() {
		return true
	}
	now, _, err := f.Format.Prepare(f.plain, doc.Splice)
	if err != nil {
		return true // it is held in another way, as a whole
	}
	for i, root := range f.doc.Roots {
		if was := root.LastLeaf(); was != nil && i < len(now.Roots) {
			if is := now.Roots[i].LastLeaf(); is == nil || is.Text != was.Text {
				return false
			}
		}
	}
	return true
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
