package kenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// EncryptOptions say what a rule of the config says otherwise. What is left at
// its zero value is taken from the environment, for keys, and from the rule.
type EncryptOptions struct {
	Keys             []string // names of master keys, in one group
	Threshold        int      // how many key groups are needed to decrypt
	Selector         envelope.Selector
	MACOnlyEncrypted bool

	Output   doc.Format // nil: that of the source
	Previous *Source    // an earlier encrypted state, whose ciphertext is kept where nothing changed

	AllowUnencrypted bool // a file in which the selector picks nothing
	AcceptRecipients bool // keys from the environment that the file's rule does not name
}

// Encrypted is an encrypted file.
type Encrypted struct {
	Data   []byte
	Format doc.Format
	// Recipients are the names of the master keys, by group; Threshold of the groups
	// are needed to decrypt.
	Recipients [][]string
	Threshold  int
	// FreshKey says why the data key of Previous was not kept; empty when it was.
	FreshKey string
	// Rung is how the file is held.
	Rung doc.Rung

	// What Rotate and UpdateKeys find besides.
	FirstSeal bool     // sops wrote the file last: its recipients are believed from now on
	Lost      []string // keys that the file's rule names and the file does not have
	Unproven  error    // why the new file could not be opened with any key at hand
}

// ErrAlreadyEncrypted is the error of encrypting an encrypted file.
var ErrAlreadyEncrypted = errors.New("already encrypted")

// ErrNoKeys is wrapped by the error of encrypting for nobody.
var ErrNoKeys = errors.New("no master key to encrypt for")

// A RecipientsError says that a file would be readable with keys that the rule for
// it does not name.
type RecipientsError struct {
	Names  []string
	Config string // the path of the config
	Line   int    // where the rule begins
}

func (e *RecipientsError) Error() string {
	short := make([]string, len(e.Names))
	for i, n := range e.Names {
		short[i] = keys.Short(n)
	}
	return fmt.Sprintf("%s:%d: the rule for this file does not name %s", e.Config, e.Line, strings.Join(short, ", "))
}

// Encrypt encrypts a plaintext. What it returns was decrypted again and found to be
// the source or, with another Output, its conversion, byte for byte.
func (s Setup) Encrypt(ctx context.Context, src Source, o EncryptOptions) (*Encrypted, error) {
	format := src.Format
	if format == nil {
		if f := encryptedFormat(src.Name, src.Data); f != nil && isEncrypted(src.Data, f) {
			return nil, ErrAlreadyEncrypted
		}
		var err error
		if format, err = FormatOf(src.Name, src.Data); err != nil {
			return nil, err
		}
	} else if _, binary := format.(doc.Binary); !binary && isEncrypted(src.Data, format) {
		return nil, ErrAlreadyEncrypted
	}
	if _, binary := format.(doc.Binary); !binary && conflict(src.Data) > 0 {
		return nil, conflictError(src.Data)
	}
	ctx = s.named(ctx, src.Name)
	policy, err := s.policy(src.Name, o)
	if err != nil {
		return nil, err
	}
	data := src.Data
	if o.Output != nil && o.Output.Name() != format.Name() {
		if data, err = convertPlain(data, format, o.Output); err != nil {
			return nil, err
		}
		defer clear(data)
		format = o.Output
	}
	if o.Previous != nil {
		// The rule to go by is that of the file, wherever its earlier state is kept.
		previous := Source{Name: src.Name, Data: o.Previous.Data, Format: o.Previous.Format}
		if previous.Format == nil {
			previous.Format = encryptedFormat(o.Previous.Name, previous.Data)
		}
		old, err := s.open(ctx, previous, envelope.OpenOptions{ForReuse: true})
		if err != nil {
			return nil, fmt.Errorf("the previous file: %w", err)
		}
		defer old.Wipe()
		policy.Previous = old
	}
	sealed, err := envelope.Seal(ctx, data, format, policy)
	if err != nil {
		return nil, err
	}
	return encrypted(sealed, format, policy), nil
}

func encrypted(sealed *envelope.Sealed, format doc.Format, policy envelope.Policy) *Encrypted {
	out := &Encrypted{Data: sealed.Data, Format: format, Threshold: policy.Threshold, FreshKey: sealed.FreshKey, Rung: sealed.Rung}
	for _, g := range policy.Groups {
		var names []string
		for _, k := range g {
			names = append(names, k.Name())
		}
		out.Recipients = append(out.Recipients, names)
	}
	return out
}

// isEncrypted reports whether a text has metadata that reads as such.
func isEncrypted(data []byte, f doc.Format) bool {
	if !bytes.Contains(data, []byte("sops")) {
		return false
	}
	_, err := envelope.Inspect(data, f)
	return err == nil
}

// policy puts together what options, environment and config say.
func (s Setup) policy(name string, o EncryptOptions) (envelope.Policy, error) {
	p := envelope.Policy{
		Threshold:        o.Threshold,
		Selector:         o.Selector,
		MACOnlyEncrypted: o.MACOnlyEncrypted,
		AllowUnencrypted: o.AllowUnencrypted,
		Now:              time.Now(),
	}
	c, rule, missing, err := s.rule(name)
	if err != nil {
		return p, err
	}
	if rule != nil {
		p.Selector = withRule(p.Selector, rule)
		p.MACOnlyEncrypted = p.MACOnlyEncrypted || rule.MACOnlyEncrypted
	}
	switch fromEnv := s.environmentKeys(); {
	case len(o.Keys) > 0:
		p.Groups, err = s.group(o.Keys)
	case len(fromEnv) > 0:
		if p.Groups, err = s.group(fromEnv); err == nil && rule != nil && !o.AcceptRecipients {
			err = s.checkNamed(p.Groups[0], c, rule)
		}
	case rule != nil:
		if p.Threshold == 0 {
			p.Threshold = rule.Threshold
		}
		p.Groups, err = s.ruleGroups(c, rule)
	case missing != nil:
		err = missing
	case name == "":
		err = fmt.Errorf("%w: without a file name no rule can say", ErrNoKeys)
	default:
		err = ErrNoKeys
	}
	return p, err
}

// withRule fills in what the rule says of the selector. Where both say something
// of different kinds, both are set, and the envelope refuses that.
func withRule(s envelope.Selector, r *config.Rule) envelope.Selector {
	for _, f := range []struct {
		value *string
		rule  string
	}{
		{&s.UnencryptedSuffix, r.UnencryptedSuffix},
		{&s.EncryptedSuffix, r.EncryptedSuffix},
		{&s.UnencryptedRegex, r.UnencryptedRegex},
		{&s.EncryptedRegex, r.EncryptedRegex},
		{&s.UnencryptedCommentRegex, r.UnencryptedCommentRegex},
		{&s.EncryptedCommentRegex, r.EncryptedCommentRegex},
	} {
		if *f.value == "" {
			*f.value = f.rule
		}
	}
	return s
}

// environmentKeys returns the key strings in KENV_KEYS, one a line or separated by
// commas, and in sops's variables.
func (s Setup) environmentKeys() []string {
	if s.Getenv == nil {
		return nil
	}
	value := s.Getenv("KENV_KEYS")
	sep := ","
	if strings.Contains(strings.TrimSpace(value), "\n") {
		sep = "\n" // a comma may be part of a key string
	}
	list := splitKeys(value, sep, "")
	for _, p := range s.Keys {
		if p.Env != "" {
			list = append(list, splitKeys(s.Getenv(p.Env), ",", p.Prefix)...)
		}
	}
	return list
}

func splitKeys(value, sep, prefix string) []string {
	var list []string
	for _, name := range strings.Split(value, sep) {
		if name = strings.TrimSpace(name); name != "" {
			list = append(list, prefix+name)
		}
	}
	return list
}

// group returns the master keys that strings name, each once, as one group.
func (s Setup) group(names []string) ([][]keys.MasterKey, error) {
	var group []keys.MasterKey
	for _, name := range names {
		k, err := s.make(name, nil)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(group, func(other keys.MasterKey) bool { return other.Name() == k.Name() }) {
			group = append(group, k)
		}
	}
	return [][]keys.MasterKey{group}, nil
}

// ruleGroups returns the master keys that a rule names. With an error, which is about
// the first that is not to be had, come the others.
func (s Setup) ruleGroups(c *config.Config, r *config.Rule) (groups [][]keys.MasterKey, err error) {
	for _, g := range r.Groups {
		var group []keys.MasterKey
		for _, named := range g {
			k, bad := s.make(named.Name, named.Attrs)
			switch {
			case bad == nil:
				group = append(group, k)
			case err == nil:
				err = fmt.Errorf("%s:%d: %w", c.Path, named.Line, bad)
			}
		}
		groups = append(groups, group)
	}
	return groups, err
}

// checkNamed returns a *RecipientsError if a key is none of the rule's.
func (s Setup) checkNamed(group []keys.MasterKey, c *config.Config, r *config.Rule) error {
	named := map[string]bool{}
	for _, g := range r.Groups {
		for _, n := range g {
			named[n.Name] = true
			if k, err := s.make(n.Name, n.Attrs); err == nil {
				named[k.Name()] = true
			}
		}
	}
	var others []string
	for _, k := range group {
		if !named[k.Name()] {
			others = append(others, k.Name())
		}
	}
	if len(others) == 0 {
		return nil
	}
	return &RecipientsError{Names: others, Config: c.Path, Line: r.Line}
}

// convertPlain writes a plaintext of one format as one of another.
func convertPlain(data []byte, from, to doc.Format) ([]byte, error) {
	d, _, err := from.Prepare(data, doc.Splice)
	if errors.Is(err, doc.ErrRung) {
		return nil, fmt.Errorf("its data cannot be written as %s", to.Name())
	}
	if err != nil {
		return nil, err
	}
	if d.Whole != nil {
		return emitText(d.Whole, d.Roots, to)
	}
	return emit(d.Unwrap(), to)
}

func emit(roots []*doc.Node, to doc.Format) ([]byte, error) {
	out, err := to.Emit(roots)
	if err != nil {
		return nil, fmt.Errorf("cannot be written as %s: %w", to.Name(), err)
	}
	return out, nil
}

// emitText writes a file that is one text: a binary file, which is to the other
// formats a map with that text in it.
func emitText(whole *doc.Node, roots []*doc.Node, to doc.Format) ([]byte, error) {
	if _, binary := to.(doc.Binary); binary {
		return []byte(whole.Text), nil
	}
	if whole.Key == doc.TextKey {
		return nil, fmt.Errorf("cannot be written as %s: its data does not fit sops's model, so it is held as one text", to.Name())
	}
	if !utf8.ValidString(whole.Text) {
		return nil, fmt.Errorf("cannot be written as %s: it is not UTF-8 text", to.Name())
	}
	return emit(roots, to)
}
