package keys

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrUnsupported is wrapped by the errors of [Table.Parse] and [Table.FromEntry]
// for a kind of key that the table has no provider for.
var ErrUnsupported = errors.New("not supported by this kenv")

// A Provider is one row of the table of key types.
type Provider struct {
	Kind   string // the metadata list: "age"
	Remote bool   // unwrapping asks a server; local keys are tried first
	// Parse returns the master key that a key string names; ok is false when the
	// string is of another provider.
	Parse func(name string) (k MasterKey, ok bool, err error)
	// FromEntry returns the master key that an entry was wrapped for.
	FromEntry func(e Entry) (MasterKey, error)
	// Flag and Env are sops's names for this kind: "age" for --age (and --add-age,
	// --rm-age), "SOPS_AGE_RECIPIENTS".
	Flag, Env string
	// Prefix turns the value of that flag into a key string ("pgp:").
	Prefix string
	// Forms are the key strings that Parse takes, as a message shows them:
	// "age1…".
	Forms []string
}

// A Table is the providers of a program, in the order in which they are asked.
// Range over it to see them all.
type Table []Provider

// Provider returns the row of a kind.
func (t Table) Provider(kind string) (p Provider, ok bool) {
	for _, p := range t {
		if p.Kind == kind {
			return p, true
		}
	}
	return Provider{}, false
}

// Parse returns the master key that a key string names. White space around it
// does not matter.
func (t Table) Parse(name string) (MasterKey, error) {
	name = strings.TrimSpace(name)
	if name == "" {
		return nil, fmt.Errorf("a master key's name is empty: name one of %s", t.forms())
	}
	for _, p := range t {
		if k, ok, err := p.Parse(name); err != nil {
			return nil, err
		} else if ok {
			return k, nil
		}
	}
	if looksSecret(name) {
		return nil, errors.New("a master key is named by its public half, and this looks like a secret one")
	}
	if what := foreign(name); what != "" {
		return nil, fmt.Errorf("master key %q: %s keys are %w yet", Short(name), what, ErrUnsupported)
	}
	return nil, fmt.Errorf("%q does not name a master key: it is none of %s", Short(name), t.forms())
}

// FromEntry returns the master key that a file's entry was wrapped for.
func (t Table) FromEntry(e Entry) (MasterKey, error) {
	if p, ok := t.Provider(e.Kind); ok {
		return p.FromEntry(e)
	}
	for _, o := range others {
		if o.kind == e.Kind {
			return nil, fmt.Errorf("%s keys (%s) are %w yet", o.what, e.Kind, ErrUnsupported)
		}
	}
	return nil, fmt.Errorf("master keys of kind %q are %w", Short(e.Kind), ErrUnsupported)
}

func (t Table) forms() string {
	var forms []string
	for _, p := range t {
		forms = append(forms, p.Forms...)
	}
	return strings.Join(forms, ", ")
}

// An other is a kind of key that exists and may lack a provider, so that the
// message can tell it from a typing error. The table is asked first.
type other struct {
	kind string
	what string
	form string // a regular expression for its key strings
}

var others = [...]other{
	{"kms", "AWS KMS", `^arn:aws[\w-]*:kms:`},
	{"kms_rsa", "AWS KMS RSA", ``},
	{"gcp_kms", "GCP KMS", `^projects/[^/]+/locations/[^/]+/keyRings/`},
	{"azure_kv", "Azure Key Vault", `^https://[^/]+/keys/[^/]+`},
	{"hc_vault", "Vault transit", `^https?://[^/]+/v1/.+/keys/[^/]+$`},
	{"hckms", "Huawei Cloud KMS", `^[a-z0-9-]+:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}$`},
	{"pgp", "PGP", `^(pgp:|[0-9A-Fa-f]{40}!?$)`},
	{"pkcs11", "PKCS#11", `^pkcs11:`},
}

func foreign(name string) string {
	for _, o := range others {
		if o.form != "" && regexp.MustCompile(o.form).MatchString(name) {
			return o.what
		}
	}
	return ""
}

// looksSecret keeps a secret key that somebody gave as a name out of messages.
func looksSecret(name string) bool {
	upper := strings.ToUpper(name)
	return strings.Contains(upper, "SECRET-KEY") || strings.Contains(upper, "PRIVATE KEY") || strings.Contains(name, "-----BEGIN")
}
