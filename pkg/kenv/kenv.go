// Package kenv is what kenv does with files: encrypting and decrypting them, and
// writing them so that no failure leaves half a file. It is the library's front
// door. It prints nothing, asks nothing and ends nothing, and keeps no state of its
// own outside the values that it returns.
//
// [Open] is for programs that read values of a file or change some:
//
//	f, err := kenv.Open(ctx, "secrets.yaml", age.Provider(keys.ProcessEnv()))
//	defer f.Wipe()
//	password, err := f.Get("db.password")
//	err = f.Set("db.password", "new")
//	err = f.Save(ctx)
//
// [Setup] has the rest, and is what the command kenv is made of: encrypting, rotating,
// comparing, merging. Its methods take texts and return texts, and [Replace] writes one
// to a file.
//
// # Keys
//
// The providers say which master keys can be used, and where secrets come from: package
// age and the others below pkg/keys, each for one kind of key, and package all for every
// kind. A program has the dependencies of those that it names and of no others. A provider
// knows of the process's environment, home directory and terminal only what the [keys.Env]
// tells it; see there, and age.Identities, for a program with its key in hand. SDKs and
// programs behind a provider, such as that of AWS and gpg, have their usual look at the
// environment.
//
// # Config
//
// For a file with a name the nearest .kenv.yaml or .sops.yaml counts, as for the command,
// or that in Setup.Config: it says for whom a new file is encrypted, which recipients a
// changed file may have, and whether a file without a seal is refused.
//
// # Errors
//
// No error holds a value of a file. These can be told apart with errors.Is and errors.As:
//
//   - fs.ErrNotExist, fs.ErrPermission: there is no such file, or it may not be read
//   - [ErrNotEncrypted]: it is not an encrypted file
//   - *[envelope.NoKeyError]: none of its master keys could be used, and why each could not
//   - *[envelope.IntegrityError]: it is not what a holder of its data key wrote
//   - [envelope.ErrUnsealed]: it has no seal, and the config demands one
//   - [ErrConflict], [ErrUnresolved]: it has marks of a merge, or holds one
//   - *[PathError], [ErrTwice]: nothing stands at a path, or a key of it is there twice
//   - *[doc.AliasError], [doc.ErrChange], [doc.ErrReserved]: the change cannot be made there
//   - *[RecipientsError]: it has recipients that its rule does not name
//   - [ErrChanged], [ErrLocked]: somebody else wrote the file meanwhile, or has it locked
//   - [ErrNoKeys], [ErrAlreadyEncrypted], [envelope.ErrNothingEncrypted]: of encrypting
//
// # At the same time
//
// The methods of a Setup and those of a [File] may be called by several goroutines at the
// same time. An [envelope.File] is for one at a time.
package kenv

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// MaxSize is how long a file to encrypt or decrypt may be, in bytes.
const MaxSize = 1 << 30

// A Setup is what stays the same from file to file. Its methods may be called at
// the same time.
type Setup struct {
	Keys keys.Table
	// Getenv looks up environment variables that name keys; nil looks up none.
	Getenv func(string) string
	// Config is the path of the config file in force for every file. If it is
	// empty the one nearest to a file is.
	Config string
	// Attrs is said of every master key that options or a rule name, where those say
	// nothing else: see keys.Spec.
	Attrs map[string]any
	// Order is the kinds of master keys to try before all others.
	Order []string

	trial *config.Config          // stands for the file at its Path
	known func() []keys.MasterKey // the keys that configs name; nil: those of the config in force
}

// WithConfig returns a Setup for which the file at c.Path holds c, whatever it holds.
func (s Setup) WithConfig(c *config.Config) Setup {
	s.trial = c
	return s
}

func (s Setup) load(path string) (*config.Config, error) {
	if s.trial != nil && s.trial.Path == path {
		return s.trial, nil
	}
	return config.Load(path)
}

// A Source is a text to encrypt or decrypt.
type Source struct {
	// Name is the path by which the format is chosen and the rule is found: that of
	// the file, which need not exist. Empty, as for standard input, finds neither.
	Name   string
	Data   []byte
	Format doc.Format // nil: chosen by name and content
}

// encrypted returns the format of an encrypted file.
func (src Source) encrypted() (doc.Format, error) {
	format := src.Format
	if format == nil {
		format = encryptedFormat(src.Name, src.Data)
	}
	switch {
	case len(src.Data) == 0:
		return nil, doc.ErrEmpty
	case format == nil:
		return nil, ErrNotEncrypted
	}
	return format, nil
}

// ErrNotEncrypted is wrapped by the error of opening a file that is not encrypted.
var ErrNotEncrypted = errors.New("not encrypted: it has no sops metadata")

// rule returns the config that is in force for a file and its rule there. Both
// may be nil: there may be no config, and a config may have no rule, which
// missing explains.
func (s Setup) rule(name string) (c *config.Config, r *config.Rule, missing error, err error) {
	path := s.Config
	if path == "" && name != "" {
		if path, err = config.Find(name); err != nil {
			return nil, nil, nil, err
		}
	}
	if path == "" {
		return nil, nil, nil, nil
	}
	if c, err = s.load(path); err != nil {
		return nil, nil, nil, err
	}
	if name == "" {
		return c, nil, nil, nil
	}
	r, err = c.Match(name)
	if none := (*config.NoRuleError)(nil); errors.As(err, &none) {
		return c, nil, err, nil
	}
	return c, r, nil, err
}

// ConfigHere returns the config in force for files in the working directory, nil if
// there is none.
func (s Setup) ConfigHere() (*config.Config, error) {
	path := s.Config
	if path == "" {
		var err error
		if path, err = config.Find("x"); err != nil || path == "" {
			return nil, err
		}
	}
	return s.load(path)
}

// named returns a context in which providers know the keys that the config in force
// for a file names. Nothing wrong with the config keeps a file from being read.
func (s Setup) named(ctx context.Context, name string) context.Context {
	if s.known != nil {
		return keys.WithNamed(ctx, s.known)
	}
	return keys.WithNamed(ctx, sync.OnceValue(func() []keys.MasterKey {
		_, rule, _, err := s.rule(name)
		if err != nil || rule == nil {
			return nil
		}
		return s.ofRule(rule)
	}))
}

// make returns the master key of a name and what is said beside it.
func (s Setup) make(name string, attrs map[string]any) (keys.MasterKey, error) {
	if len(s.Attrs) > 0 {
		all := maps.Clone(s.Attrs)
		maps.Copy(all, attrs)
		attrs = all
	}
	return s.Keys.Make(keys.Spec{Name: name, Attrs: attrs})
}
