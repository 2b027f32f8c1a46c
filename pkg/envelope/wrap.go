package envelope

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/secret"
)

// takeKey chooses the data key and wraps it.
func (s *sealing) takeKey(ctx context.Context) (fresh string, err error) {
	p := s.policy
	if len(p.Groups) == 0 {
		return "", errNoGroups
	}
	count := 0
	for _, g := range p.Groups {
		if len(g) == 0 {
			return "", errors.New("a key group without keys")
		}
		count += len(g)
	}
	if count > maxEntries {
		return "", errManyKeys
	}
	if p.Previous != nil {
		fresh = s.mayKeep(p.Previous)
		s.reuse = fresh == ""
	}
	if s.reuse {
		s.dataKey = secret.Copy(p.Previous.dataKey)
	} else {
		s.dataKey = secret.Keep(make([]byte, keySize))
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
			secret.Do(func() { entries[i], err = k.Wrap(ctx, dataKey) })
			if err != nil {
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
