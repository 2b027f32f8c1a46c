package kenv

import (
	"cmp"
	"context"

	"github.com/kenvhq/kenv/pkg/keys"
)

// Recipients is who can decrypt a file, as the file itself has it: nothing of it is
// verified before the file is opened.
type Recipients struct {
	Groups       [][]Recipient // in one group each of the keys opens the file
	Threshold    int           // how many of the groups are needed
	Sealed       bool          // the file has a seal
	LastModified string        // RFC 3339
}

// A Recipient is a master key that a file's data key, or a share of it, was wrapped
// for.
type Recipient struct {
	// Name is the key's canonical string. For a key that cannot be used here it is
	// what its entry says, in the same form.
	Name  string
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
	r := &Recipients{Threshold: m.ShamirThreshold, Sealed: m.Kenv.Seal != "", LastModified: m.LastModified}
	switch {
	case len(m.Groups) == 1:
		r.Threshold = 1
	case r.Threshold == 0:
		r.Threshold = len(m.Groups)
	}
	for _, g := range m.Groups {
		group := make([]Recipient, len(g))
		for i, e := range g {
			group[i] = Recipient{Name: cmp.Or(entryName(e), e.Kind), Entry: e}
			if k, err := s.Keys.FromEntry(e); err != nil {
				group[i].Err = err
			} else {
				group[i].Name, group[i].Key = k.Name(), k
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

// entryName names the key of an entry as a config would, without a provider.
func entryName(e keys.Entry) string {
	switch e.Kind {
	case "age":
		return e.Field("recipient")
	case "kms", "kms_rsa":
		return e.Field("arn")
	case "pgp":
		return "pgp:" + e.Field("fp")
	case "pkcs11":
		return e.Field("uri")
	case "gcp_kms":
		return "gcp-kms:" + e.Field("resource_id")
	case "azure_kv":
		return "azure-kv:" + e.Field("vault_url") + "/keys/" + e.Field("name") + "/" + e.Field("version")
	case "hc_vault":
		return "hc-vault:" + e.Field("vault_address") + "/v1/" + e.Field("engine_path") + "/keys/" + e.Field("key_name")
	case "hckms":
		return "hckms:" + e.Field("key_id")
	}
	return e.Kind
}
