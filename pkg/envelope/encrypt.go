package envelope

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// SopsVersion is the version of sops's format that is written.
const SopsVersion = "3.13.3"

// A Policy says for whom and how a file is encrypted.
type Policy struct {
	// Groups are the master keys. With one group any of them opens the file,
	// with several it takes keys of Threshold of them (0: of all).
	Groups           [][]keys.MasterKey
	Threshold        int
	Selector         Selector
	MACOnlyEncrypted bool

	// AllowUnencrypted permits a file in which the selector picks nothing.
	AllowUnencrypted bool

	// KeepDataKey keeps the data key of Previous although recipients were removed, who
	// then can read what is written with it if they kept it.
	KeepDataKey bool

	// Previous is an earlier state of the file, opened ForReuse. What is unchanged keeps its
	// ciphertext, if the data key may be kept: see Sealed.FreshKey.
	Previous *File

	// Theirs is another state of the file, opened ForReuse, which was merged into
	// Previous. Where the data key of Previous is kept and is its data key too, its
	// ciphertext is kept as well.
	Theirs *File
	// Conflict is put into the file.
	Conflict *Conflict

	Now time.Time // what lastmodified says
}

// ErrNothingEncrypted is returned for a file with values of which the selector
// picks none.
var ErrNothingEncrypted = errors.New("the rules select nothing in this file: it would stay plaintext")

// Sealed is an encrypted file.
type Sealed struct {
	Data []byte
	Rung doc.Rung // how it is held
	// FreshKey says why the previous data key was not kept; empty when it was or
	// when there was none.
	FreshKey string

	meta *Metadata
}

// Prove has the master keys at hand give the file's data key, asking nobody a
// question. The error is a *NoKeyError if none of them is at hand, which is no fault of
// the file.
func (s *Sealed) Prove(ctx context.Context, table keys.Table) error {
	mac, ok := parseToken(s.meta.MAC, true)
	if !ok {
		return &IntegrityError{Msg: "the mac is damaged"}
	}
	dataKey, wrong, err := unwrapDataKey(keys.Quiet(ctx), s.meta, table, nil, s.meta.opensMAC(mac))
	clear(dataKey)
	if wrong {
		return errors.New("a master key wrapped the data key and gave back another")
	}
	return err
}

// Seal encrypts a plaintext. One that is what Previous holds, for the same master
// keys and under the same rules, gives Previous, byte for byte. Before it returns it decrypts what it made and
// compares: the result decrypts to src, byte for byte.
func Seal(ctx context.Context, src []byte, f doc.Format, p Policy) (*Sealed, error) {
	s, err := newSealing(f, p)
	if err != nil {
		return nil, err
	}
	// The first look at the file comes before anything is asked of a master key.
	first := s.prepare(src)
	if first.err != nil && !errors.Is(first.err, doc.ErrRung) {
		return nil, first.err
	}
	s.need = s.threshold()
	fresh, err := s.takeKey(ctx)
	defer func() { clear(s.dataKey) }()
	if err != nil {
		return nil, err
	}
	out, err := s.hold(src, first)
	if err != nil {
		return nil, err
	}
	out.FreshKey = fresh
	return out, nil
}

// Reseal encrypts an edited plaintext for those who can read the file already: data
// key, wrapped keys, rules and what of the metadata is not known here stay word
// for word, and so does the ciphertext of what is unchanged. No master key is asked
// for anything. The file was opened ForReuse. One that is what f holds gives f, byte
// for byte; the result decrypts to src.
func (f *File) Reseal(src []byte, now time.Time) (*Sealed, error) {
	return f.ResealMerge(src, nil, nil, now)
}

// ResealMerge is Reseal for what a merge with another state of the file, opened
// ForReuse, came to: ciphertext of theirs is kept too if it has the same data key, and a
// conflict, which may be nil, is put into the file.
func (f *File) ResealMerge(src []byte, theirs *File, c *Conflict, now time.Time) (*Sealed, error) {
	s, err := newSealing(f.Format, Policy{
		Selector: f.Meta.Selector, MACOnlyEncrypted: f.Meta.MACOnlyEncrypted,
		AllowUnencrypted: true, Previous: f, Theirs: theirs, Conflict: c, Now: now,
	})
	if err != nil {
		return nil, err
	}
	s.keep, s.reuse = f.Meta, true
	s.groups, s.need = f.Meta.Groups, f.Meta.ShamirThreshold
	s.dataKey = bytes.Clone(f.dataKey)
	defer clear(s.dataKey)
	return s.hold(src, s.prepare(src))
}

// Rescue encrypts any text as a binary file for those who can read f: what an edit of
// it left that it cannot become. The result decrypts to src.
func (f *File) Rescue(src []byte, now time.Time) (*Sealed, error) {
	s, err := newSealing(doc.Binary{}, Policy{Now: now})
	if err != nil {
		return nil, err
	}
	s.groups, s.need = f.Meta.Groups, f.Meta.ShamirThreshold
	s.dataKey = bytes.Clone(f.dataKey)
	defer clear(s.dataKey)
	return s.hold(src, s.prepare(src))
}

// errUnverified is for a File that must not be taken for more than it is.
var errUnverified = errors.New("the integrity of the earlier file was not checked")

// newSealing settles the rules for a file.
func newSealing(f doc.Format, p Policy) (*sealing, error) {
	if p.Previous != nil && p.Previous.unverified || p.Theirs != nil && p.Theirs.unverified {
		return nil, errUnverified
	}
	if _, binary := f.(doc.Binary); binary {
		// sops writes no selector for binary files and takes the default for it.
		p.Selector, p.MACOnlyEncrypted = Selector{}, false
	} else if p.Selector == (Selector{}) {
		p.Selector.UnencryptedSuffix = DefaultUnencryptedSuffix
	}
	sel, err := p.Selector.compile(false)
	if err != nil {
		return nil, err
	}
	return &sealing{format: f, policy: p, selector: sel}, nil
}

// A prepared is a plaintext in a form that sops can hold.
type prepared struct {
	doc   *doc.Document
	notes []doc.Note
	err   error // wraps doc.ErrRung if another form may do
}

func (s *sealing) prepare(src []byte) (p prepared) {
	p.doc, p.notes, p.err = s.format.Prepare(src, doc.Splice)
	return p
}

// hold encrypts a plaintext on the first rung of the ladder that holds it.
func (s *sealing) hold(src []byte, p prepared) (*Sealed, error) {
	if prev := s.policy.Previous; s.reuse && s.policy.Conflict == nil && prev.unchanged(src, s.groups, s.need) {
		return &Sealed{Data: bytes.Clone(prev.doc.Src), meta: prev.Meta}, nil
	}
	var why error
	for r, ok := doc.Splice, true; ok; r, ok = r.Next() {
		if r != doc.Splice {
			p.doc, p.notes, p.err = s.format.Prepare(src, r)
		}
		if errors.Is(p.err, doc.ErrRung) {
			why = errors.Join(why, fmt.Errorf("%s: %w", r, p.err))
			continue
		}
		if p.err != nil {
			return nil, p.err
		}
		out, err := s.attempt(p.doc, p.notes)
		p = prepared{} // large; the check needs none of it
		var meta *Metadata
		if err == nil {
			meta, err = s.check(out, src)
		}
		if err == nil {
			return &Sealed{Data: out, Rung: r, meta: meta}, nil
		}
		if errors.Is(err, ErrNothingEncrypted) {
			if r != doc.AsText || why == nil {
				return nil, err
			}
			return nil, fmt.Errorf("its data does not fit sops's model (a key may be there twice, or a number be too large), so it can only be held as one text, and the rules do not select the key %s for that", doc.TextKey)
		}
		why = errors.Join(why, fmt.Errorf("%s: %w", r, err))
	}
	return nil, &CannotHoldError{why}
}

// A CannotHoldError says that no way was found to encrypt a file so that it
// decrypts to the same bytes.
type CannotHoldError struct{ why error }

func (e *CannotHoldError) Error() string {
	return "no way found to hold this file so that it decrypts to the same bytes"
}

func (e *CannotHoldError) Unwrap() error { return e.why }

// A sealing is one file being encrypted.
type sealing struct {
	format   doc.Format
	policy   Policy
	selector *compiledSelector
	dataKey  []byte
	groups   [][]keys.Entry
	need     int       // how many of the groups, as the metadata says it
	reuse    bool      // of the previous file's ciphertext
	keep     *Metadata // what it says and sops does not know stays
}

// takeKey chooses the data key and wraps it.
func (s *sealing) takeKey(ctx context.Context) (fresh string, err error) {
	p := s.policy
	if len(p.Groups) == 0 {
		return "", errNoGroups
	}
	for _, g := range p.Groups {
		if len(g) == 0 {
			return "", errors.New("a key group without keys")
		}
	}
	if p.Previous != nil {
		fresh = s.mayKeep(p.Previous)
		s.reuse = fresh == ""
	}
	if s.reuse {
		s.dataKey = bytes.Clone(p.Previous.dataKey)
	} else {
		s.dataKey = make([]byte, keySize)
		rand.Read(s.dataKey)
	}
	if len(p.Groups) > 1 {
		if s.reuse && s.sameGroups(p.Previous) {
			s.groups = p.Previous.Meta.Groups
			return fresh, nil
		}
		return fresh, s.wrapShares(ctx)
	}
	entries, err := s.wrap(ctx, p.Groups[0], s.dataKey)
	s.groups = [][]keys.Entry{entries}
	return fresh, err
}

// wrap has every key of a group wrap the data key, or the group's share of it,
// unless the previous file has an entry of it for that data key.
func (s *sealing) wrap(ctx context.Context, group []keys.MasterKey, dataKey []byte) ([]keys.Entry, error) {
	entries := make([]keys.Entry, len(group))
	errs := make([]error, len(group))
	var wg sync.WaitGroup
	for i, k := range group {
		if s.reuse && len(s.policy.Groups) == 1 {
			if e, ok := s.policy.Previous.entry(k); ok {
				entries[i] = e
				continue
			}
		}
		wg.Go(func() {
			var err error
			if entries[i], err = k.Wrap(ctx, dataKey); err != nil {
				errs[i] = fmt.Errorf("master key %s: %w", keys.Short(k.Name()), err)
			}
		})
	}
	wg.Wait()
	return entries, errors.Join(errs...)
}

func (s *sealing) wrapShares(ctx context.Context) error {
	need := s.policy.Threshold
	if need == 0 {
		need = len(s.policy.Groups)
	}
	shares, err := split(s.dataKey, len(s.policy.Groups), need)
	if err != nil {
		return err
	}
	defer func() {
		for _, share := range shares {
			clear(share)
		}
	}()
	for i, g := range s.policy.Groups {
		entries, err := s.wrap(ctx, g, shares[i])
		if err != nil {
			return err
		}
		s.groups = append(s.groups, entries)
	}
	return nil
}

// mayKeep returns why the data key of the previous state must not be kept, or "".
func (s *sealing) mayKeep(prev *File) string {
	p := s.policy
	old := prev.Meta.Selector
	if old == (Selector{}) && s.policy.Selector != (Selector{}) {
		old.UnencryptedSuffix = DefaultUnencryptedSuffix
	}
	switch {
	case prev.Format.Name() != s.format.Name():
		return "the format changed"
	case old != p.Selector || prev.Meta.MACOnlyEncrypted != p.MACOnlyEncrypted:
		return "the rules of what is encrypted changed"
	case p.KeepDataKey:
		return ""
	case len(prev.Meta.Groups) != len(p.Groups):
		return "the key groups changed"
	case len(p.Groups) > 1 && prev.Meta.ShamirThreshold != s.threshold():
		return "the threshold changed"
	}
	for i, group := range prev.Meta.Groups {
		for _, e := range group {
			if !slices.ContainsFunc(p.Groups[i], func(k keys.MasterKey) bool { return prev.table.Matches(k, e) }) {
				return "a recipient was removed"
			}
		}
	}
	return ""
}

// sameGroups reports whether a previous file's entries are for all keys there are.
func (s *sealing) sameGroups(prev *File) bool {
	for i, group := range s.policy.Groups {
		for _, k := range group {
			if !slices.ContainsFunc(prev.Meta.Groups[i], func(e keys.Entry) bool { return prev.table.Matches(k, e) }) {
				return false
			}
		}
	}
	return len(s.policy.Groups) == len(prev.Meta.Groups) && prev.Meta.ShamirThreshold == s.threshold()
}

func (s *sealing) threshold() int {
	if len(s.policy.Groups) > 1 && s.policy.Threshold == 0 {
		return len(s.policy.Groups)
	}
	return s.policy.Threshold
}

// unchanged reports whether the file is already what encrypting src would give, with
// these entries.
func (f *File) unchanged(src []byte, groups [][]keys.Entry, threshold int) bool {
	if !f.Sealed || f.Unresolved() || !bytes.Equal(f.plain, src) || len(groups) != len(f.Meta.Groups) || threshold != f.Meta.ShamirThreshold {
		return false
	}
	for i, g := range groups {
		old := f.Meta.Groups[i]
		if len(g) != len(old) {
			return false
		}
		for _, e := range g { // their order says nothing
			if !slices.ContainsFunc(old, func(o keys.Entry) bool { return reflect.DeepEqual(o, e) }) {
				return false
			}
		}
	}
	return true
}

// entry returns the entry of a single-group file that was wrapped for a key.
func (f *File) entry(k keys.MasterKey) (keys.Entry, bool) {
	if len(f.Meta.Groups) == 1 {
		for _, e := range f.Meta.Groups[0] {
			if f.table.Matches(k, e) {
				return e, true
			}
		}
	}
	return keys.Entry{}, false
}

// attempt encrypts one form of the file.
func (s *sealing) attempt(d *doc.Document, notes []doc.Note) ([]byte, error) {
	box, err := newValueCipher(s.dataKey)
	if err != nil {
		return nil, err
	}
	defer box.wipe()
	var old stock
	if s.reuse {
		if old, err = s.takeStock(d); err != nil {
			return nil, err
		}
	}
	var scratch []byte
	tokenFor := func(tag, text, aad string) string {
		if t, ok := old.take(tokenKey{aad, tag, text}); ok {
			return t
		}
		scratch = box.appendToken(scratch[:0], tag, text, aad)
		return string(scratch)
	}

	var edits []doc.Edit
	var at map[*doc.Node]doc.Place
	remember := func(n *doc.Node, kind byte, text string) {
		if at == nil {
			at = d.Index()
		}
		notes = append(notes, doc.Note{Kind: kind, Path: at[n].Path, N: at[n].N, Text: text})
	}
	sum := newContentMAC(s.policy.MACOnlyEncrypted)
	leaves, selected := 0, 0
	for _, root := range d.Roots {
		err := s.selector.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			n.Encrypted = encrypted
			if n.Kind == doc.Comment {
				if !encrypted {
					return nil
				}
				if n.IsEmptyListComment() {
					// sops cannot encrypt it and would make it a list element.
					remember(n, doc.NoteComment, "")
					n.Text = " "
				}
				if n.Text == "" {
					return nil
				}
				t := tokenFor(tagComment, n.Text, aad)
				if s.policy.Selector.UnencryptedCommentRegex != "" && s.selector.marks(t) {
					return fmt.Errorf("unencrypted_comment_regex matches encrypted comments")
				}
				edits = append(edits, s.format.Token(d, n, t))
				return nil
			}
			if n.Type == doc.Null {
				return nil
			}
			leaves++
			if !n.Hidden {
				sum.add(n.Text, encrypted)
			}
			if !encrypted {
				return nil
			}
			selected++
			if n.Text == "" {
				return nil
			}
			if n != d.Whole {
				e := s.format.Spell(d, n, n.Type, n.Text)
				if string(d.Src[e.Start:e.End]) != e.Text {
					lexeme := string(d.Src[n.Span.Start:n.Span.End])
					if lexeme == n.Text {
						remember(n, doc.NotePlain, "")
					} else {
						remember(n, doc.NoteLexeme, lexeme)
					}
				}
			}
			edits = append(edits, s.format.Token(d, n, tokenFor(typeTag(n.Type), n.Text, aad)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if selected == 0 && (leaves > 0 || d.Whole != nil) && !(s.policy.AllowUnencrypted && d.Whole == nil) {
		return nil, ErrNothingEncrypted
	}

	m := &Metadata{
		Groups:           s.groups,
		ShamirThreshold:  s.need,
		Selector:         s.policy.Selector,
		MACOnlyEncrypted: s.policy.MACOnlyEncrypted,
		LastModified:     s.policy.Now.UTC().Format(time.RFC3339),
		Version:          SopsVersion,
		Kenv:             Kenv{Version: kenvVersion, Seal: " "},
	}
	if s.keep != nil {
		m.Unknown, m.groupUnknown, m.Kenv.Unknown = s.keep.Unknown, s.keep.groupUnknown, s.keep.Kenv.Unknown
	}
	if m.Kenv.Layout, err = s.sealLayout(notes); err != nil {
		return nil, err
	}
	if m.Kenv.Conflicts, err = s.policy.Conflict.seal(s.dataKey); err != nil {
		return nil, err
	}
	m.MAC = string(box.appendTokenWithNonce(nil, markedNonce(s.dataKey), tagString, sum.sum(), m.macAAD()))
	seal := sealOf(s.dataKey, s.format.Name(), d, m.fields(), m)
	m.Kenv.Seal = base64.StdEncoding.EncodeToString(seal)
	edits = append(edits, s.format.Attach(d, m.fields()))
	return doc.Apply(d.Src, edits), nil
}

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
				text = " " // see attempt
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

// errCheck is what the self-check finds: the file would not decrypt to the same
// bytes.
var errCheck = errors.New("does not decrypt to the same bytes")

// check decrypts what was made, from its bytes and the data key alone, and returns
// the metadata that it found there.
func (s *sealing) check(out, src []byte) (*Metadata, error) {
	o, err := inspect(out, s.format, false)
	if err != nil {
		return nil, err
	}
	if !o.sealed {
		return nil, errCheck
	}
	f, err := o.open(s.dataKey, OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer clear(f.plain)
	if !bytes.Equal(f.plain, src) {
		return nil, errCheck
	}
	return o.meta, nil
}
