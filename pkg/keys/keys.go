// Package keys defines what a master key is to the rest of kenv: something that
// wraps a file's data key and, where its secret half is at hand, unwraps it. The
// providers are packages of their own below this one.
package keys

import (
	"context"
	"errors"
)

// ErrNotHere is wrapped by Unwrap's error when the secret half of the master key
// is not at hand or the entry is meant for another key: try the next. Any other
// error is a failure of this key and is reported as such.
var ErrNotHere = errors.New("no matching secret key at hand")

// An Entry is a wrapped data key as a file stores it.
type Entry struct {
	Kind   string // the metadata list it stands in: "age", "kms", "pgp", …
	Fields map[string]any
}

// Field returns a field that is a string, or "".
func (e Entry) Field(name string) string {
	s, _ := e.Fields[name].(string)
	return s
}

// A MasterKey wraps data keys. Name is its canonical string, the same in flags,
// configuration and messages.
type MasterKey interface {
	Name() string
	// Wrap encrypts a data key (or a share of one: 32 or 33 bytes).
	Wrap(ctx context.Context, dataKey []byte) (Entry, error)
	// Unwrap is the inverse. Its error wraps ErrNotHere when another entry should
	// be tried, and never holds key material.
	Unwrap(ctx context.Context, e Entry) ([]byte, error)
}

// A Provider is one row of the table of key types.
type Provider struct {
	Kind   string // the metadata list: "age"
	Remote bool   // unwrapping asks a server; local keys are tried first
	// Parse returns the master key that a key string names; ok is false when the
	// string is of another provider.
	Parse func(name string) (k MasterKey, ok bool, err error)
	// FromEntry returns the master key that an entry was wrapped for.
	FromEntry func(e Entry) (MasterKey, error)
	// Flag and Env are sops's names for this kind: "age" for --age (and --add-age,
	// --rm-age), "SOPS_AGE_RECIPIENTS".
	Flag, Env string
	// Prefix turns the value of that flag into a key string ("pgp:").
	Prefix string
}

// A Table is the providers of a program, in the order in which they are asked.
type Table []Provider
