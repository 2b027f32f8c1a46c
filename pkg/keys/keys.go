// Package keys defines what a master key is to the rest of kenv: something that
// wraps a file's data key and, where its secret half is at hand, unwraps it. The
// providers are packages of their own below this one.
package keys

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// ErrNotHere is wrapped by Unwrap's error when the secret half of the master key
// is not at hand or the entry is meant for another key: try the next. Any other
// error is a failure of this key and is reported as such.
var ErrNotHere = errors.New("no matching secret key at hand")

// ErrQuiet is wrapped, beside ErrNotHere, by the error of an Unwrap under a
// [Quiet] context when asking the user or starting a program might still help.
var ErrQuiet = errors.New("nobody was asked")

// MaxDataKey is the length in bytes of the longest data key or share that a
// master key wraps, and that an Unwrap returns.
const MaxDataKey = 64

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
// configuration and messages. Its methods may be called at the same time.
type MasterKey interface {
	Name() string
	// Wrap encrypts a data key, or a share of one: 32 or 33 bytes; never none and
	// never more than MaxDataKey.
	Wrap(ctx context.Context, dataKey []byte) (Entry, error)
	// Unwrap is the inverse. Its error wraps ErrNotHere when another entry should
	// be tried, the context's error when that has ended, and never holds key
	// material. The caller wipes what it returns.
	Unwrap(ctx context.Context, e Entry) ([]byte, error)
}

// A Matcher is a master key whose entries may have another name than its own: an
// alias of a KMS key, or an HSM key named without its public half.
type Matcher interface {
	// Matches reports whether an entry of any kind was wrapped for this key, as far
	// as can be told without asking anybody. Nothing vouches for what an entry says.
	Matches(e Entry) bool
}

// A Prober is a master key that can be asked about itself.
type Prober interface {
	// Probe asks the service or device behind the key whether it can be used, without
	// using it up: no PIN is tried, nothing is unwrapped where a dry run tells. With
	// an entry that was wrapped for the key it also says whether that was under older
	// key material than the current one. The zero Entry stands for none.
	Probe(ctx context.Context, e Entry) Finding
}

// A Publisher is a master key with a public half that a config can hold, so that
// wrapping asks nobody and takes no rights.
type Publisher interface {
	// PublicKey fetches the public half, in PEM (a SubjectPublicKeyInfo of RFC 5280).
	// It is an error if the key has none.
	PublicKey(ctx context.Context) (string, error)
}

// The states of a Finding.
const (
	OK      = "ok"
	Note    = "note"    // neither good nor bad
	Warning = "warning" // it works, and should be looked after
	Missing = "missing" // something that is needed is not there
)

// A Finding is one thing that a look at the set-up brought up.
type Finding struct {
	What   string // what was looked at: "AWS credentials", or a key's name
	State  string // OK, Note, Warning or Missing
	Detail string // what was found, in a line
	Hint   string // what to type next, or ""
}

// NotHereError is ErrNotHere with what a person needs to know about it. Several
// entries of one kind usually share their Looked, so that a program can show it
// once.
type NotHereError struct {
	Looked []string // places that were searched, each with what was found there
	Asks   bool     // Quiet kept a question from being asked: also ErrQuiet
}

func (e *NotHereError) Error() string {
	s := ErrNotHere.Error()
	if len(e.Looked) > 0 {
		s += "; looked in " + strings.Join(e.Looked, ", ")
	}
	return s
}

func (e *NotHereError) Unwrap() []error {
	if e.Asks {
		return []error{ErrNotHere, ErrQuiet}
	}
	return []error{ErrNotHere}
}

type quiet struct{}

// Quiet returns a context under which Unwrap asks nobody: no prompt, no program
// started. Trying a file's entries quietly first, and again aloud only those that
// fail with ErrQuiet, keeps a person who holds one of the keys from being asked
// for another.
func Quiet(ctx context.Context) context.Context {
	return context.WithValue(ctx, quiet{}, true)
}

// IsQuiet reports whether ctx was made by Quiet.
func IsQuiet(ctx context.Context) bool {
	return ctx.Value(quiet{}) != nil
}

type named struct{}

// WithNamed returns a context that holds which keys the config in force for a file
// names. They are worked out when they are asked for.
func WithNamed(ctx context.Context, list func() []MasterKey) context.Context {
	return context.WithValue(ctx, named{}, list)
}

// Named returns the keys that the config in force names, none if there is no
// config. An entry's own word on how to reach its key (a role to take on, a profile
// to use) counts only if one of these says the same: files are written by whoever
// can open a pull request.
func Named(ctx context.Context) []MasterKey {
	if list, ok := ctx.Value(named{}).(func() []MasterKey); ok {
		return list()
	}
	return nil
}

// Prove has a master key wrap a throw-away data key and unwrap it again.
func Prove(ctx context.Context, k MasterKey) error {
	dataKey := make([]byte, 32)
	rand.Read(dataKey)
	e, err := k.Wrap(ctx, dataKey)
	if err != nil {
		return err
	}
	got, err := k.Unwrap(ctx, e)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, dataKey) {
		return fmt.Errorf("%s: another data key came out than went in", Short(k.Name()))
	}
	return nil
}

// Short returns a key's name cut to a length that fits a line of a message: some
// post-quantum and RSA keys are thousands of characters long.
func Short(name string) string {
	const longest, head, tail = 150, 28, 12
	r := []rune(name)
	if len(r) <= longest {
		return name
	}
	return string(r[:head]) + "…" + string(r[len(r)-tail:])
}
