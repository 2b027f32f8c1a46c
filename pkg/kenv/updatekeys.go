package kenv

import (
	"context"
	"errors"
	"fmt"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// KeyChanges is how the master keys of a file differ from those that its rule names.
type KeyChanges struct {
	Add, Remove []string // names of keys
	Regroup     string   // what changes of key groups and threshold, "" for nothing
	Sealed      bool     // the file has a seal
}

// None reports whether there is nothing to change.
func (k *KeyChanges) None() bool {
	return len(k.Add) == 0 && len(k.Remove) == 0 && k.Regroup == ""
}

// ErrNoConfig is wrapped by the error about a file for which no config is in force.
var ErrNoConfig = errors.New("no config is in force for it")

// KeyChanges compares a file with its rule. It takes no key, and nothing in the file
// is verified.
func (s Setup) KeyChanges(src Source) (*KeyChanges, error) {
	changes, _, err := s.keyChanges(src)
	return changes, err
}

func (s Setup) keyChanges(src Source) (*KeyChanges, envelope.Policy, error) {
	fail := func(err error) (*KeyChanges, envelope.Policy, error) { return nil, envelope.Policy{}, err }
	c, rule, missing, err := s.rule(src.Name)
	switch {
	case err != nil:
		return fail(err)
	case missing != nil:
		return fail(missing)
	case rule == nil:
		return fail(ErrNoConfig)
	}
	p := envelope.Policy{Threshold: rule.Threshold}
	if p.Groups, err = s.ruleGroups(c, rule); err != nil {
		return fail(err)
	}
	m, err := s.inspect(src)
	if err != nil {
		return fail(err)
	}
	if len(m.Kenv.Conflicts) > 0 {
		return fail(ErrUnresolved)
	}
	changes, err := s.compare(m, p)
	return changes, p, err
}

// IsEncrypted reports whether a file has the metadata of an encrypted one. Nothing is
// verified.
func (s Setup) IsEncrypted(src Source) (bool, error) {
	m, err := s.inspect(src)
	var syntax *doc.SyntaxError
	switch {
	case err == nil:
		return m.MAC != "" && m.Version != "", nil
	case errors.Is(err, ErrNotEncrypted), errors.As(err, &syntax):
		return false, nil
	}
	return false, err
}

// inspect reads the metadata of an encrypted file.
func (s Setup) inspect(src Source) (*envelope.Metadata, error) {
	format, err := src.encrypted()
	if err != nil {
		return nil, err
	}
	m, err := envelope.Inspect(src.Data, format)
	switch {
	case err == nil:
		return m, nil
	case conflict(src.Data) > 0:
		return nil, conflictError(src.Data)
	case errors.Is(err, doc.ErrNoMetadata):
		return nil, ErrNotEncrypted
	}
	return nil, err
}

func (s Setup) compare(m *envelope.Metadata, p envelope.Policy) (*KeyChanges, error) {
	changes := &KeyChanges{Sealed: m.Kenv.Seal != "", Regroup: s.regroup(m, p.Groups, p.Threshold)}
	for _, g := range m.Groups {
		for _, e := range g {
			own, err := s.Keys.FromEntry(e)
			if err != nil {
				return nil, fmt.Errorf("cannot change its keys: %w", err)
			}
			if !s.ofAny(p.Groups, e) {
				changes.Remove = append(changes.Remove, own.Name())
			}
		}
	}
	for _, g := range p.Groups {
		for _, k := range g {
			if !s.has(m.Groups, k) {
				changes.Add = append(changes.Add, k.Name())
			}
		}
	}
	return changes, nil
}

// regroup says how key groups and threshold of a file differ from those given, "" for
// not at all.
func (s Setup) regroup(m *envelope.Metadata, groups [][]keys.MasterKey, threshold int) string {
	if old, now := grouping(len(m.Groups), m.ShamirThreshold), grouping(len(groups), threshold); old != now {
		return old + " → " + now
	}
	moved := false
	for i := range groups {
		for _, e := range m.Groups[i] {
			moved = moved || s.of(groups[i], e) < 0 && s.ofAny(groups, e)
		}
		for _, k := range groups[i] {
			moved = moved || !s.has(m.Groups[i:i+1], k) && s.has(m.Groups, k)
		}
	}
	if moved {
		return "keys move between key groups"
	}
	return ""
}

func (s Setup) ofAny(groups [][]keys.MasterKey, e keys.Entry) bool {
	for _, g := range groups {
		if s.of(g, e) >= 0 {
			return true
		}
	}
	return false
}

// has reports whether a file has an entry for a key.
func (s Setup) has(groups [][]keys.Entry, k keys.MasterKey) bool {
	for _, g := range groups {
		for _, e := range g {
			if s.Keys.Matches(k, e) {
				return true
			}
		}
	}
	return false
}

func grouping(groups, threshold int) string {
	if groups == 1 {
		return "any key"
	}
	if threshold == 0 {
		threshold = groups
	}
	return fmt.Sprintf("%d of %d key groups", threshold, groups)
}

// UpdateOptions say how UpdateKeys goes about it.
type UpdateOptions struct {
	// KeepDataKey keeps the data key although somebody who is removed may know it.
	KeepDataKey bool
	// SealGone takes a file whose seal was taken off, as sops updatekeys does, and
	// seals it again: for a caller who has shown its recipients to somebody.
	SealGone bool
}

// UpdateKeys gives a file the master keys that its rule names. Where that only adds
// keys, or with KeepDataKey, the data key stays and so does the ciphertext of the
// values; else there is a new data key and everything is encrypted anew. A file
// that is as it should be comes back byte for byte.
func (s Setup) UpdateKeys(ctx context.Context, src Source, o UpdateOptions) (*Encrypted, error) {
	ctx = s.named(ctx, src.Name)
	_, policy, err := s.keyChanges(src)
	if err != nil {
		return nil, err
	}
	old, err := s.open(ctx, src, envelope.OpenOptions{ForReuse: true, SealGone: o.SealGone})
	if err != nil {
		return nil, err
	}
	defer old.Wipe()
	policy.Previous, policy.KeepDataKey = old, o.KeepDataKey
	return s.reseal(ctx, old, policy)
}

// SealGone reports whether a file had a seal that was taken off, which takes one of
// its keys to tell.
func (s Setup) SealGone(ctx context.Context, src Source) (bool, error) {
	f, err := s.open(ctx, src, envelope.OpenOptions{SealGone: true})
	if err != nil {
		return false, err
	}
	defer f.Wipe()
	return f.SealGone, nil
}

// RuleOf returns the config in force for a file and its rule there, each nil if
// there is none.
func (s Setup) RuleOf(name string) (*config.Config, *config.Rule, error) {
	c, rule, _, err := s.rule(name)
	return c, rule, err
}

// Unprotected returns what nothing protects in a file whose seal is gone, for
// somebody to look at: its recipients by group, and its rules as they are written.
func (s Setup) Unprotected(src Source) (recipients [][]string, rules []string, err error) {
	m, err := s.inspect(src)
	if err != nil {
		return nil, nil, err
	}
	return envelope.Recipients(m, s.Keys), rulesOf(m), nil
}

// rulesOf returns the rules of a file as they are written.
func rulesOf(m *envelope.Metadata) (rules []string) {
	if len(m.Groups) > 1 {
		rules = append(rules, "threshold: "+grouping(len(m.Groups), m.ShamirThreshold))
	}
	if name, value := m.Selector.Rule(); name != "" {
		rules = append(rules, name+": "+value)
	}
	if m.MACOnlyEncrypted {
		rules = append(rules, "mac_only_encrypted: true")
	}
	return rules
}
