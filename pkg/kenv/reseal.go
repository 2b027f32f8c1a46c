package kenv

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// ErrBeingEdited is the error of LockForEdit for a file that somebody else edits.
var ErrBeingEdited = errors.New("somebody else is editing it just now")

// OpenForEdit opens a file whose plaintext is to be changed and handed to Resealed, also
// one that holds an unresolved merge: EditText is what to change.
func (s Setup) OpenForEdit(ctx context.Context, src Source) (*envelope.File, error) {
	return s.openAny(ctx, src, envelope.OpenOptions{ForReuse: true})
}

// Resealed encrypts the edited plaintext of a file for those who can read it
// already: only the lines of what changed differ, and the integrity lines. Recipients
// that the rule for the file does not name are a *RecipientsError, unless accept is
// set. A merge that the file held is resolved by that; as long as there are marks of a
// conflict in the plaintext, the error wraps ErrConflict.
func (s Setup) Resealed(old *envelope.File, name string, plaintext []byte, accept bool) (*Encrypted, error) {
	out := &Encrypted{Format: old.Format, Recipients: old.Recipients(), Threshold: old.Meta.ShamirThreshold, FirstSeal: !old.Sealed}
	if line := doc.MarkedLine(plaintext); old.Unresolved() && line > 0 {
		return nil, &ConflictError{line}
	}
	var err error
	if out.Lost, err = s.CheckRecipients(old, name, accept); err != nil {
		return nil, err
	}
	sealed, err := old.Reseal(plaintext, time.Now())
	if err != nil {
		return nil, err
	}
	out.Data, out.Rung = sealed.Data, sealed.Rung
	return out, nil
}

// CheckRecipients compares the master keys of an opened file with those that the rule
// for it names. Others than those are a *RecipientsError, unless accept is set; lost are
// the names of keys that the rule has and the file lacks.
func (s Setup) CheckRecipients(f *envelope.File, name string, accept bool) (lost []string, err error) {
	c, rule, _, err := s.rule(name)
	if err != nil || rule == nil {
		return nil, err
	}
	groups, err := s.ruleGroups(c, rule)
	if err != nil && !errors.Is(err, keys.ErrUnsupported) {
		return nil, err
	}
	lost, others := s.difference(f.Meta, groups, rule)
	if len(others) > 0 && !accept {
		return nil, &RecipientsError{Names: others, Config: c.Path, Line: rule.Line}
	}
	return lost, nil
}

// Rescue encrypts any text, as a binary file, for those who can read a file: what an
// edit of it left that it cannot become.
func (s Setup) Rescue(old *envelope.File, text []byte) ([]byte, error) {
	sealed, err := old.Rescue(text, time.Now())
	if err != nil {
		return nil, err
	}
	return sealed.Data, nil
}

// CheckEncrypt returns the error that encrypting a file of that name would end with
// for want of a rule or keys, before anybody has taken trouble over its content.
func (s Setup) CheckEncrypt(name string, o EncryptOptions) error {
	_, err := s.policy(name, o)
	return err
}

// difference returns the names of keys that a rule has and a file lacks, and of those
// that the file has and the rule does not name. Keys of kinds that Keys lacks go by
// their names alone.
func (s Setup) difference(m *envelope.Metadata, groups [][]keys.MasterKey, rule *config.Rule) (lost, others []string) {
	for _, g := range groups {
		for _, k := range g {
			if !s.has(m.Groups, k) {
				lost = append(lost, k.Name())
			}
		}
	}
	named := func(name string) bool {
		for _, g := range rule.Groups {
			for _, n := range g {
				// Of an Azure key the file says which version it is.
				if n.Name == name || strings.HasPrefix(name, n.Name+"/") {
					return true
				}
			}
		}
		return false
	}
	for _, g := range m.Groups {
		for _, e := range g {
			if name := s.Keys.NameOf(e); !s.ofAny(groups, e) && !named(name) {
				others = append(others, name)
			}
		}
	}
	return lost, others
}
