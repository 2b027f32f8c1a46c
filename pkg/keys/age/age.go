// Package age wraps data keys for age recipients (age-encryption.org/v1): native
// X25519 and post-quantum hybrid keys, ssh-ed25519 and ssh-rsa keys, and keys that
// live behind an age plugin. The entry is the one that sops writes: an armored age
// file, made for exactly one recipient, that holds the raw data key.
//
// Identities are looked for in kenv's own places and then in those of sops, each
// read at most once, and only as far as needed: see [Provider].
package age

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/kenvhq/kenv/pkg/keys"
)

// Kind is the name of the metadata list for age entries.
const Kind = "age"

// maxEnc bounds an entry's age file. A post-quantum one takes 2 KiB; plugins may
// write several stanzas.
const maxEnc = 64 << 10

// Provider returns the row for age keys. Nothing is read before the first Unwrap.
//
// An Unwrap tries the identities of these places, in this order: KENV_AGE_KEY,
// KENV_AGE_KEY_FILE (a list, separated as in PATH), age/keys.txt in kenv's
// configuration directory, SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, sops/age/keys.txt in
// the user's configuration directory, and for an entry of an ssh key
// SOPS_AGE_SSH_PRIVATE_KEY_FILE, ~/.ssh/id_ed25519 and ~/.ssh/id_rsa. Only if none
// of them opens the entry is anybody asked: for the passphrase of an identity file
// or ssh key, by running SOPS_AGE_KEY_CMD or SOPS_AGE_SSH_PRIVATE_KEY_CMD (once for
// each recipient), or by starting a plugin.
func Provider(env keys.Env) keys.Provider { return newRing(env).provider() }

// Identities returns the row for age keys whose identities are those in the text of an
// identity file, or of an ssh key without passphrase, and no others: nothing is looked for
// in the environment or on disk, nobody is asked, no plugin is started. The text may be
// wiped afterwards. As they could not be found again, Forget leaves them.
func Identities(file []byte) (keys.Provider, error) {
	r := newRing(keys.Env{})
	p := &place{name: "the identities given", read: func(context.Context, string) ([]byte, error) {
		return bytes.Clone(file), nil
	}}
	c := r.look(context.Background(), p, native, "")
	switch {
	case c.sealed != nil:
		return keys.Provider{}, errors.New("the identities are under a passphrase")
	case c.err != nil:
		return keys.Provider{}, fmt.Errorf("the identities: %w", c.err)
	case slices.ContainsFunc(c.ids, func(id identity) bool { return id.rank() == prompting }):
		return keys.Provider{}, errors.New("the ssh key is under a passphrase")
	}
	r.places = func() []*place { return []*place{p} }
	row := r.provider()
	row.Forget = nil
	return row, nil
}

func (r *ring) provider() keys.Provider {
	return keys.Provider{
		Kind: Kind,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			if !ours(s.Name) {
				return nil, false, nil
			}
			k, err := r.key(s.Name)
			if err != nil {
				return nil, true, err
			}
			return k, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			if e.Kind != Kind {
				return nil, fmt.Errorf("an entry of kind %q is not an age entry", keys.Short(e.Kind))
			}
			name := e.Field("recipient")
			if name == "" {
				return nil, errors.New("an age entry has no recipient")
			}
			k, err := r.key(name)
			if err != nil {
				return nil, err
			}
			return k, nil
		},
		Flag:  "age",
		Env:   "SOPS_AGE_RECIPIENTS",
		Forms: []string{"age1…", "ssh-ed25519 …", "ssh-rsa …"},

		Examine: r.examine,
		Forget:  r.forget,
	}
}

// A key is the master key of one recipient.
type key struct {
	recipient
	ring *ring
}

func (r *ring) key(name string) (*key, error) {
	rcpt, err := parseRecipient(name)
	if err != nil {
		return nil, err
	}
	return &key{rcpt, r}, nil
}

func (k *key) Name() string { return k.name }

func (k *key) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	fail := func(err error) (keys.Entry, error) {
		return keys.Entry{}, fmt.Errorf("wrapping the data key for %s: %w", keys.Short(k.name), err)
	}
	if len(dataKey) == 0 || len(dataKey) > keys.MaxDataKey {
		return fail(fmt.Errorf("a data key has 1 to %d bytes, not %d", keys.MaxDataKey, len(dataKey)))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	to, err := k.to(ctx, k.ring.env)
	if err != nil {
		return fail(err)
	}
	var enc bytes.Buffer
	a := armor.NewWriter(&enc)
	w, err := age.Encrypt(a, to)
	if err != nil {
		return fail(err)
	}
	if _, err := w.Write(dataKey); err != nil {
		return fail(err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return fail(err)
	}
	return keys.Entry{Kind: Kind, Fields: map[string]any{
		"recipient": k.name,
		"enc":       enc.String(),
	}}, nil
}

// Unwrap tries every identity at hand on the entry; which recipient the entry
// names makes no difference to that, since nothing vouches for it.
func (k *key) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	damaged := func(why string) ([]byte, error) {
		return nil, fmt.Errorf("the age entry for %s is damaged: %s; restore it from an earlier version of the file", keys.Short(k.name), why)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("unwrapping the data key with %s: %w", keys.Short(k.name), err)
	}
	if e.Kind != Kind {
		return nil, fmt.Errorf("an entry of kind %q is not an age entry", keys.Short(e.Kind))
	}
	enc := e.Field("enc")
	switch {
	case enc == "":
		return damaged("it has no enc field that is a text")
	case len(enc) > maxEnc:
		return damaged(fmt.Sprintf("its enc field has %d bytes, more than %d", len(enc), maxEnc))
	}

	// What age says about a file that it cannot read quotes the file, so it is not
	// passed on.
	a := &attempt{ctx: ctx, ring: k.ring, recipient: k.name}
	var noMatch *age.NoIdentityMatchError
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(enc)), a)
	switch {
	case err == nil:
	case a.err != nil:
		return nil, fmt.Errorf("unwrapping the data key with %s: %w", keys.Short(k.name), a.err)
	case a.malformed:
		return damaged("its recipient stanza is malformed")
	case errors.As(err, &noMatch):
		return nil, &keys.NotHereError{Looked: a.looked(), Asks: a.left}
	case a.opened:
		return damaged("its header does not match its key")
	default:
		return damaged("its enc field is not an armored age file")
	}
	dataKey, err := readSmall(r, keys.MaxDataKey)
	switch {
	case errors.Is(err, errTooLong):
		return damaged(fmt.Sprintf("it holds more than %d bytes", keys.MaxDataKey))
	case err != nil:
		return damaged("its payload does not decrypt")
	case len(dataKey) == 0:
		return damaged("it holds an empty key")
	}
	return dataKey, nil
}

var errTooLong = errors.New("too long")

// readSmall reads all of r, at most limit bytes, and leaves no second copy of them
// behind.
func readSmall(r io.Reader, limit int) ([]byte, error) {
	buf := make([]byte, 0, min(limit+1, 4<<10))
	for {
		buf = grow(buf, 1)
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > limit:
			clear(buf)
			return nil, errTooLong
		case err == io.EOF:
			return buf, nil
		case err != nil:
			clear(buf)
			return nil, err
		}
	}
}

// grow makes room for n more bytes, and wipes the buffer that it leaves.
func grow(buf []byte, n int) []byte {
	if cap(buf)-len(buf) >= n {
		return buf
	}
	bigger := append(make([]byte, 0, 2*cap(buf)+n), buf...)
	clear(buf)
	return bigger
}
