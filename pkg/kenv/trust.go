package kenv

import (
	"context"
	"slices"
	"sync"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/keys"
)

// Trusting returns a Setup for opening what nobody asked for by name, as a program
// does that is started for each file of a commit. Anybody may have written these
// files, so of the keys that ask a server only those are used that a rule of one of
// the configs names. The configs are looked at when such a key is to be asked.
func (s Setup) Trusting(configs func() []*config.Config) Setup {
	whole := s
	s.known = sync.OnceValue(func() (list []keys.MasterKey) {
		for _, c := range configs() {
			for _, r := range c.Rules {
				list = append(list, whole.ofRule(&r)...)
			}
		}
		return list
	})
	named := func(e keys.Entry) bool {
		return slices.ContainsFunc(s.known(), func(k keys.MasterKey) bool { return whole.Keys.Matches(k, e) })
	}
	s.Keys = slices.Clone(s.Keys)
	for i, row := range s.Keys {
		if !row.Remote {
			continue
		}
		s.Keys[i].FromEntry = func(e keys.Entry) (keys.MasterKey, error) {
			k, err := row.FromEntry(e)
			if err != nil {
				return nil, err
			}
			return namedKey{k, named}, nil
		}
	}
	return s
}

// ofRule returns the master keys that a rule names, as far as they can be used.
func (s Setup) ofRule(r *config.Rule) (list []keys.MasterKey) {
	for _, g := range r.Groups {
		for _, n := range g {
			if k, err := s.make(n.Name, n.Attrs); err == nil {
				list = append(list, k)
			}
		}
	}
	return list
}

// A namedKey asks its server only for entries whose key a config names.
type namedKey struct {
	keys.MasterKey
	named func(keys.Entry) bool
}

func (k namedKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	if !k.named(e) {
		return nil, &keys.NotHereError{Looked: []string{"the configs of this work tree (none names it, so it is not asked)"}}
	}
	return k.MasterKey.Unwrap(ctx, e)
}
