package kenv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// RotateOptions say which master keys change on the way.
type RotateOptions struct {
	Add    []string // names of keys to encrypt for as well, in the first group
	Remove []string // names of keys to encrypt for no longer

	AddGroup    []string // names of the keys of a new group
	DeleteGroup int      // which group goes, from 1; 0 is none
	Threshold   *int     // how many groups are needed; nil leaves it as it is

	AcceptRecipients bool // keys of the file that its rule does not name
}

// Rotate encrypts a file anew, under a new data key, for the master keys that it
// has: selectors and threshold stay, no ciphertext does. The file is opened and its
// integrity checked first. Recipients that a rule for the file does not name are a
// *RecipientsError, entries of kinds that Keys lacks wrap keys.ErrUnsupported.
func (s Setup) Rotate(ctx context.Context, src Source, o RotateOptions) (*Encrypted, error) {
	ctx = s.named(ctx, src.Name)
	c, rule, _, err := s.rule(src.Name)
	if err != nil {
		return nil, err
	}
	old, err := s.Open(ctx, src)
	if err != nil {
		return nil, err
	}
	defer old.Wipe()
	groups, err := s.rotated(old.Meta, c, rule, o)
	if err != nil {
		return nil, err
	}
	policy := envelope.Policy{Groups: groups, Threshold: old.Meta.ShamirThreshold}
	if o.Threshold != nil {
		policy.Threshold = *o.Threshold
	}
	out, err := s.reseal(ctx, old, policy)
	if err != nil {
		return nil, err
	}
	if rule != nil {
		out.Lost, err = s.lost(groups, c, rule)
	}
	return out, err
}

// reseal encrypts an opened file once more, under its own selectors, and has a key
// at hand open the result, where there is one: nobody may be locked out by a master
// key that wraps and cannot unwrap.
func (s Setup) reseal(ctx context.Context, old *envelope.File, p envelope.Policy) (*Encrypted, error) {
	p.Selector, p.MACOnlyEncrypted = old.Meta.Selector, old.Meta.MACOnlyEncrypted
	p.AllowUnencrypted = true // as it was
	p.Now = time.Now()
	sealed, err := envelope.Seal(ctx, old.Plaintext(), old.Format, p)
	if err != nil {
		return nil, err
	}
	out := encrypted(sealed, old.Format, p)
	out.FirstSeal = !old.Sealed
	if err := s.prove(ctx, sealed, out); err != nil {
		return nil, err
	}
	return out, nil
}

// prove has a key at hand open a new file before it replaces another, or notes that
// there is none.
func (s Setup) prove(ctx context.Context, sealed *envelope.Sealed, out *Encrypted) error {
	out.Unproven = sealed.Prove(ctx, s.Keys)
	if out.Unproven != nil && !as[*envelope.NoKeyError](out.Unproven) {
		return fmt.Errorf("the new file does not open: %w", out.Unproven)
	}
	return nil
}

// rotated returns the master keys of a file, some added and removed. Those that the
// rule names are taken from it: what it says of how to reach them counts, and to
// what an alias leads is not for a file to say.
func (s Setup) rotated(m *envelope.Metadata, c *config.Config, rule *config.Rule, o RotateOptions) ([][]keys.MasterKey, error) {
	var added, removed, more []keys.MasterKey
	for _, list := range []struct {
		names []string
		keys  *[]keys.MasterKey
	}{{o.Add, &added}, {o.Remove, &removed}, {o.AddGroup, &more}} {
		for _, name := range list.names {
			k, err := s.make(name, nil)
			if err != nil {
				return nil, err
			}
			*list.keys = append(*list.keys, k)
		}
	}
	var named []keys.MasterKey
	if rule != nil {
		groups, err := s.ruleGroups(c, rule)
		if err != nil && !errors.Is(err, keys.ErrUnsupported) {
			return nil, err
		}
		for _, g := range groups {
			named = append(named, g...)
		}
	}
	used := make([]bool, len(removed))
	var others []string
	var out [][]keys.MasterKey
	if o.DeleteGroup > len(m.Groups) {
		return nil, fmt.Errorf("it has no key group %d: they are numbered from 0 to %d", o.DeleteGroup-1, len(m.Groups)-1)
	}
	for i, g := range m.Groups {
		var group []keys.MasterKey
		if i == o.DeleteGroup-1 {
			continue
		}
		for _, e := range g {
			own, err := s.Keys.FromEntry(e)
			if err != nil {
				return nil, fmt.Errorf("cannot encrypt for all of its keys: %w", err)
			}
			if n := s.of(removed, e); n >= 0 {
				used[n] = true
				continue
			}
			if n := s.of(named, e); n >= 0 {
				group = appendKey(group, named[n])
				continue
			}
			if rule != nil && s.of(added, e) < 0 {
				others = append(others, own.Name())
			}
			group = appendKey(group, own)
		}
		if i == 0 {
			for _, k := range added {
				group = appendKey(group, k)
			}
		}
		if len(group) == 0 {
			return nil, fmt.Errorf("%w: no key is left in key group %d", ErrNoKeys, i+1)
		}
		out = append(out, group)
	}
	if len(more) > 0 {
		out = append(out, more)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: it has no other key group", ErrNoKeys)
	}
	for i := range removed {
		if !used[i] {
			return nil, fmt.Errorf("%s is none of its keys", keys.Short(o.Remove[i]))
		}
	}
	if len(others) > 0 && !o.AcceptRecipients {
		return nil, &RecipientsError{Names: others, Config: c.Path, Line: rule.Line}
	}
	return out, nil
}

// of returns the place of the one of some keys that an entry was wrapped for, or -1.
func (s Setup) of(list []keys.MasterKey, e keys.Entry) int {
	return slices.IndexFunc(list, func(k keys.MasterKey) bool { return s.Keys.Matches(k, e) })
}

// appendKey appends a key if it is not there.
func appendKey(group []keys.MasterKey, k keys.MasterKey) []keys.MasterKey {
	for _, other := range group {
		if other.Name() == k.Name() {
			return group
		}
	}
	return append(group, k)
}

// lost returns the names of keys that a rule names and a file does not have.
func (s Setup) lost(has [][]keys.MasterKey, c *config.Config, rule *config.Rule) (names []string, err error) {
	have := map[string]bool{}
	for _, g := range has {
		for _, k := range g {
			have[k.Name()] = true
		}
	}
	groups, err := s.ruleGroups(c, rule)
	for _, g := range groups {
		for _, k := range g {
			if !have[k.Name()] {
				names = append(names, k.Name())
			}
		}
	}
	if errors.Is(err, keys.ErrUnsupported) {
		err = nil
	}
	return names, err
}
