package kenv

import (
	"context"

	"github.com/kenvhq/kenv/pkg/keys"
)

// Recipients is who can decrypt a file, as the file itself has it: nothing of it is
// verified before the file is opened.
type Recipients struct {
	Groups       [][]Recipient // in one group each of the keys opens the file
	Threshold    int           // how many of the groups are needed
	Rules        []string      // how the file is encrypted, as it says: "encrypted_regex: …"
	Sealed       bool          // the file has a seal
	LastModified string        // RFC 3339
}

// A Recipient is a master key that a file's data key, or a share of it, was wrapped
// for.
type Recipient struct {
	Name  string // see keys.Table.NameOf
	Entry keys.Entry
	Key   keys.MasterKey // nil if it cannot be used here
	Err   error          // why: it wraps keys.ErrUnsupported, or the entry is damaged
}

// Recipients returns who can decrypt a file. It takes no key.
func (s Setup) Recipients(src Source) (*Recipients, error) {
	m, err := s.inspect(src)
	if err != nil && src.Format == nil {
		// It may have another format than its name says, after a renaming.
		if again, err2 := s.inspect(Source{Data: src.Data}); err2 == nil {
			m, err = again, nil
		}
	}
	if err != nil {
		return nil, err
	}
	r := &Recipients{Threshold: m.ShamirThreshold, Sealed: m.Kenv.Seal != "", LastModified: m.LastModified, Rules: rulesOf(m)}
	switch {
	case len(m.Groups) == 1:
		r.Threshold = 1
	case r.Threshold == 0:
		r.Threshold = len(m.Groups)
	}
	for _, g := range m.Groups {
		group := make([]Recipient, len(g))
		for i, e := range g {
			group[i] = Recipient{Name: s.Keys.NameOf(e), Entry: e}
			if group[i].Key, group[i].Err = s.Keys.FromEntry(e); group[i].Err != nil {
				group[i].Key = nil
			}
		}
		r.Groups = append(r.Groups, group)
	}
	return r, nil
}

// Probe asks a recipient of the file with a name about itself; ok is false for a key
// that cannot be asked.
func (s Setup) Probe(ctx context.Context, name string, r Recipient) (f keys.Finding, ok bool) {
	p, ok := r.Key.(keys.Prober)
	if !ok {
		return keys.Finding{}, false
	}
	return p.Probe(s.named(ctx, name), r.Entry), true
}
