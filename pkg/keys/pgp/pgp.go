// Package pgp wraps data keys for OpenPGP keys, through the user's own gpg and its
// agent: the keyring, the passphrases, the smart cards and the trust are GnuPG's.
// The entry is the one that sops writes: an armored message to exactly one key.
package pgp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// Kind is the name of the metadata list for PGP entries.
const Kind = "pgp"

// deadline bounds a run of gpg in which nobody is asked.
const deadline = 20 * time.Second

// Provider returns the row for PGP keys. No program is looked for or started before
// a key is used.
//
// The gpg program is the one that the setting gpg_exec names, else SOPS_GPG_EXEC,
// else gpg, found on the PATH and never in the current directory. It works in
// GNUPGHOME, else in its own place in the user's home. Under [keys.Quiet], and always
// if env has no Prompt, gpg is kept from asking: a key whose passphrase the agent has
// opens, another one fails, with keys.ErrQuiet if it might open otherwise. The question
// is gpg's own, not that of Prompt.
func Provider(env keys.Env) keys.Provider {
	g := newGnuPG(env)
	return keys.Provider{
		Kind: Kind,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			fp, ok, err := parseName(s.Name)
			if !ok || err != nil {
				return nil, ok, err
			}
			return &key{fp, g}, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			fp, err := entryKey(e)
			if err != nil {
				return nil, err
			}
			return &key{fp, g}, nil
		},
		Flag:    "pgp",
		Env:     "SOPS_PGP_FP",
		Prefix:  prefix,
		Forms:   []string{"pgp:FINGERPRINT"},
		Examine: g.examine,
	}
}

// A key is the master key of one OpenPGP key, or of one subkey if its name ends in
// an exclamation mark.
type key struct {
	fp  fingerprint
	gpg *gnuPG
}

func (k *key) Name() string { return prefix + string(k.fp) }

// Matches goes by the fp of the entry, which sops may have written as a long key id.
func (k *key) Matches(e keys.Entry) bool {
	fp, err := entryKey(e)
	return err == nil && (fp == k.fp || fp.exact() == k.fp.exact() && (fp.covers(k.fp.hex()) || k.fp.covers(fp.hex())))
}

func (k *key) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	fail := func(err error) (keys.Entry, error) {
		return keys.Entry{}, fmt.Errorf("wrapping the data key for %s: %w", k.Name(), err)
	}
	if len(dataKey) == 0 || len(dataKey) > keys.MaxDataKey {
		return fail(fmt.Errorf("a data key has 1 to %d bytes, not %d", keys.MaxDataKey, len(dataKey)))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	enc, err := k.gpg.encrypt(ctx, k.fp, dataKey)
	if err != nil {
		return fail(err)
	}
	return keys.Entry{Kind: Kind, Fields: map[string]any{
		"fp":         string(k.fp),
		"created_at": time.Now().UTC().Format(time.RFC3339),
		"enc":        enc,
	}}, nil
}

func (k *key) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("unwrapping the data key with %s: %w", k.Name(), err)
	}
	if e.Kind != Kind {
		return nil, fmt.Errorf("an entry of kind %q is not a PGP entry", keys.Short(e.Kind))
	}
	var dataKey []byte
	message, err := entryMessage(e)
	if err == nil {
		dataKey, err = k.gpg.decrypt(ctx, k.fp, message)
	}
	var notHere *keys.NotHereError
	var broken *damage
	switch {
	case err == nil:
		return dataKey, nil
	case errors.As(err, &notHere):
		return nil, notHere
	case errors.As(err, &broken):
		return nil, fmt.Errorf("the PGP entry for %s is damaged: %w; restore it from an earlier version of the file", k.Name(), err)
	}
	return nil, fmt.Errorf("unwrapping the data key with %s: %w", k.Name(), err)
}

// A damage is what is wrong with an entry itself.
type damage struct{ why string }

func (d *damage) Error() string { return d.why }

func damaged(format string, args ...any) error {
	return &damage{fmt.Sprintf(format, args...)}
}
