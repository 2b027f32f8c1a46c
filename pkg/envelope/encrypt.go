package envelope

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/secret"
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
	secret.Wipe(dataKey)
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
	defer func() { secret.Wipe(s.dataKey) }()
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
	s.dataKey = secret.Copy(f.dataKey)
	defer secret.Wipe(s.dataKey)
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
	s.dataKey = secret.Copy(f.dataKey)
	defer secret.Wipe(s.dataKey)
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

// collectAbove is from which size on the memory of making a file is had back before it is
// checked. Else it would be while that reads the file, and the two hinder each other.
const collectAbove = 1 << 20

// hold encrypts a plaintext on the first rung of the ladder that holds it.
func (s *sealing) hold(src []byte, p prepared) (*Sealed, error) {
	if prev := s.policy.Previous; s.reuse && s.policy.Conflict == nil && prev.unchanged(src, s.groups, s.need) {
		return &Sealed{Data: bytes.Clone(prev.doc.Src), meta: prev.Meta}, nil
	}
	var why error
	for r, ok := doc.Splice, true; ok; r, ok = r.Next(p.err) {
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
		if len(out) > collectAbove {
			runtime.GC()
		}
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
			return nil, fmt.Errorf("its values cannot be held one by one (a key may be there twice, a number too large, or there may be too many), so it can only be held as one text, and the rules do not select the key %s for that", doc.TextKey)
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
