package keys

import (
	"context"
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
	// Parse returns the master key that a Spec names; ok is false when that is of
	// another provider.
	Parse func(s Spec) (k MasterKey, ok bool, err error)
	// FromEntry returns the master key that an entry was wrapped for.
	FromEntry func(e Entry) (MasterKey, error)
	// Flag and Env are sops's names for this kind: "age" for --age (and --add-age,
	// --rm-age), "SOPS_AGE_RECIPIENTS".
	Flag, Env string
	// Prefix turns the value of that flag into a key string ("pgp:").
	Prefix string
	// Attrs are the flags that say more about keys of this kind.
	Attrs []Attr
	// Forms are the key strings that Parse takes, as a message shows them:
	// "age1…".
	Forms []string
	// Examine looks at what keys of this kind need on this machine: programs,
	// modules, credentials. It asks nobody. Nil if there is nothing to look at.
	Examine func(ctx context.Context) []Finding
	// Forget drops what the provider remembers of secrets: identities, passphrases that
	// opened some, PINs, data keys. What an Unwrap needs after that is looked for, and
	// asked for, again. Nil if nothing is remembered.
	Forget func()
}

// A Spec names a master key: by a key string, and by what a config may say beside
// it. Attrs are "role", "aws_profile", "mech" and "public_key", which are strings,
// and "context", a map[string]string; a provider passes over those that are not
// its business.
type Spec struct {
	Name  string
	Attrs map[string]any
}

// Text returns an attribute that is a string, or "".
func (s Spec) Text(attr string) string {
	text, _ := s.Attrs[attr].(string)
	return text
}

// An Attr is a flag that gives an attribute to all keys of a kind that have none:
// --encryption-context.
type Attr struct {
	Flag, Usage string
	Name        string                         // in Spec.Attrs
	Parse       func(text string) (any, error) // nil: the text itself
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
func (t Table) Parse(name string) (MasterKey, error) { return t.Make(Spec{Name: name}) }

// Make returns the master key that a Spec names. White space around the name does
// not matter.
func (t Table) Make(s Spec) (MasterKey, error) {
	s.Name = strings.TrimSpace(s.Name)
	name := s.Name
	if name == "" {
		return nil, fmt.Errorf("a master key's name is empty: name one of %s", t.forms())
	}
	for _, p := range t {
		if k, ok, err := p.Parse(s); err != nil {
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

// Forget has all providers forget the secrets that they remember.
func (t Table) Forget() {
	for _, p := range t {
		if p.Forget != nil {
			p.Forget()
		}
	}
}

// NameOf returns the name of the key that an entry was wrapped for, as a config
// spells it also where the table has no provider for it, or else its kind.
func (t Table) NameOf(e Entry) string {
	if k, err := t.FromEntry(e); err == nil {
		return k.Name()
	}
	for _, o := range others {
		if o.kind == e.Kind && o.name != nil {
			return o.name(e.Field)
		}
	}
	return e.Kind
}

// Matches reports whether an entry was wrapped for a master key, as far as can be
// told without asking anybody.
func (t Table) Matches(k MasterKey, e Entry) bool {
	if m, ok := k.(Matcher); ok {
		return m.Matches(e)
	}
	of, err := t.FromEntry(e)
	return err == nil && of.Name() == k.Name()
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
	// name is the key string of an entry, given what its fields hold.
	name func(field func(string) string) string
}

var others = [...]other{
	{"kms", "AWS KMS", `^arn:aws[\w-]*:kms:`, nil},
	{"kms_rsa", "AWS KMS RSA", ``, nil},
	{"gcp_kms", "GCP KMS", `^(gcp-kms:|projects/[^/]+/locations/[^/]+/keyRings/)`, func(f func(string) string) string {
		return "gcp-kms:" + f("resource_id")
	}},
	{"azure_kv", "Azure Key Vault", `^(azure-kv:|https://[^/]+/keys/[^/]+)`, func(f func(string) string) string {
		return "azure-kv:" + strings.TrimRight(strings.TrimSuffix(f("vault_url"), "/")+"/keys/"+f("name")+"/"+f("version"), "/")
	}},
	{"hc_vault", "Vault transit", `^(hc-vault:|https?://[^/]+/v1/.+/keys/[^/]+$)`, func(f func(string) string) string {
		return "hc-vault:" + strings.TrimSuffix(f("vault_address"), "/") + "/v1/" + strings.Trim(f("engine_path"), "/") + "/keys/" + f("key_name")
	}},
	{"hckms", "Huawei Cloud KMS", `^(hckms:|[a-z0-9-]+:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}$)`, func(f func(string) string) string {
		return "hckms:" + f("key_id")
	}},
	{"pgp", "PGP", `^(pgp:|[0-9A-Fa-f]{40}!?$)`, nil},
	{"pkcs11", "PKCS#11", `^pkcs11:`, nil},
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
