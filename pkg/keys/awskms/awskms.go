// Package awskms wraps data keys with AWS KMS: under symmetric keys by KMS itself,
// and under RSA keys by their public half, offline. The entries of symmetric keys
// are those that sops writes, those of RSA keys stand in a list of their own.
//
// Credentials come from where the AWS SDK finds them in this process's environment
// and its user's profiles; a file has no say in that, see [Providers].
package awskms

import (
	"errors"
	"fmt"

	"github.com/kenvhq/kenv/pkg/keys"
)

// The metadata lists.
const (
	Kind    = "kms"     // symmetric keys, as sops has them
	KindRSA = "kms_rsa" // RSA keys, which sops does not know
)

// Providers returns the rows for KMS keys: first that of RSA keys, which takes names
// that say so, then that of symmetric ones. Nothing is set up before a key is used.
//
// A symmetric key is named ARN[+ROLE][?NAME=VALUE&…], with the ARN of a key or of an
// alias; the part after the question mark is the encryption context. An alias, key id
// or multi-Region key id may also stand by itself, with @REGION behind it or AWS_REGION
// set; it means what the caller's account has under that name. An RSA key is named
// ARN[+ROLE] with its public half as the attribute public_key, or
// ARN[+ROLE]#sha256:FINGERPRINT.
//
// Roles and profiles that only a file names are not used unless keys.Named(ctx), or
// the user's settings aws_roles and aws_profile, say the same. A multi-Region key that
// does not answer in its Region is tried in those of its replicas that keys.Named
// knows, and in AWS_REGION.
//
// A call is given up after 15 seconds, the search for credentials after 3, or 30
// where a program or a sign-on service is behind them. At most 8 calls are made at a
// time. What was unwrapped once is not asked for again.
func Providers(env keys.Env) []keys.Provider {
	c := newClients(env)
	return []keys.Provider{
		{
			Kind:   KindRSA,
			Remote: true,
			Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
				if !ours(s.Name) || !namesRSA(s) {
					return nil, false, nil
				}
				return parsed(c.fromSpec(s))
			},
			FromEntry: c.rowFromEntry(KindRSA),
			Forms:     []string{"arn:aws:kms:…#sha256:…"},
			Forget:    c.memo.forget,
		},
		{
			Kind:   Kind,
			Remote: true,
			Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
				if !ours(s.Name) || namesRSA(s) {
					return nil, false, nil
				}
				return parsed(c.fromSpec(s))
			},
			FromEntry: c.rowFromEntry(Kind),
			Flag:      "kms",
			Env:       "SOPS_KMS_ARN",
			Attrs: []keys.Attr{
				{
					Flag:  "encryption-context",
					Usage: "encryption context of the KMS keys: NAME:VALUE,NAME:VALUE",
					Name:  "context",
					Parse: parseContext,
				},
				{
					Flag:  "aws-profile",
					Usage: "AWS profile to reach the KMS keys with",
					Name:  "aws_profile",
				},
			},
			Forms:   []string{"arn:aws:kms:…", "alias/…"},
			Examine: c.examine,
			Forget:  c.memo.forget,
		},
	}
}

// parsed is what a Parse returns: a nil interface beside an error.
func parsed(k *key, err error) (keys.MasterKey, bool, error) {
	if err != nil {
		return nil, true, err
	}
	return k, true, nil
}

func (c *clients) rowFromEntry(kind string) func(keys.Entry) (keys.MasterKey, error) {
	return func(e keys.Entry) (keys.MasterKey, error) {
		k, err := c.fromEntry(kind, e)
		if err != nil {
			return nil, err
		}
		return k, nil
	}
}

// fromSpec returns the key that a user or a config names.
func (c *clients) fromSpec(s keys.Spec) (*key, error) {
	n, err := parseName(s.Name, c.defaultRegion)
	if err != nil {
		return nil, err
	}
	bad := func(err error) (*key, error) {
		return nil, fmt.Errorf("KMS key %q: %w", keys.Short(s.Name), err)
	}
	switch role := s.Text("role"); {
	case role == "" || role == n.role:
	case n.role != "":
		return bad(errors.New("it has two roles, one in its name and one beside it"))
	case !isRole(role):
		return bad(errors.New("its role is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME"))
	default:
		n.role = role
	}
	context, ok := stringMap(s.Attrs["context"])
	switch {
	case !ok:
		return bad(errors.New("its encryption context is not a map of strings"))
	case len(context) == 0 || same(context, n.context):
	case n.context != nil:
		return bad(errors.New("it has two encryption contexts, one in its name and one beside it"))
	default:
		n.context = context
	}
	k := &key{name: n, profile: s.Text("aws_profile"), clients: c}
	if text := s.Text("public_key"); text != "" {
		public, fp, err := parsePublicKey(text)
		if err != nil {
			return bad(err)
		}
		if n.fp != "" && n.fp != fp {
			return bad(fmt.Errorf("the public key beside it has another fingerprint, %s", fp))
		}
		k.name.fp, k.public = fp, public
	}
	if err := k.name.check(); err != nil {
		return bad(err)
	}
	return k, nil
}

// fromEntry returns the key that an entry was wrapped for. Whoever wrote the file
// chose what it says.
func (c *clients) fromEntry(kind string, e keys.Entry) (*key, error) {
	if e.Kind != kind {
		return nil, fmt.Errorf("an entry of kind %q is not a %s entry", keys.Short(e.Kind), kind)
	}
	a, ok := parseARN(e.Field("arn"))
	if !ok {
		return nil, fmt.Errorf("a %s entry has no arn field that is the ARN of a KMS key, but %q", kind, keys.Short(e.Field("arn")))
	}
	bad := func(why string) (*key, error) {
		return nil, fmt.Errorf("the %s entry of %s: %s", kind, a, why)
	}
	k := &key{name: name{arn: a, role: e.Field("role")}, entry: true, profile: e.Field("aws_profile"), clients: c}
	if _, text := e.Fields["role"].(string); !text && e.Fields["role"] != nil || k.role != "" && !isRole(k.role) {
		return bad("its role is not the ARN of a role")
	}
	if alias, ok := parseARN(e.Field("alias")); ok && alias.isAlias() && alias.beside(a) {
		k.alias = alias
	}
	if k.context, ok = stringMap(e.Fields["context"]); !ok {
		return bad("its context is not a map of strings")
	}
	if kind == KindRSA {
		if k.fp = e.Field("key_fp"); !isFingerprint(k.fp) {
			return bad("its key_fp is not a fingerprint, sha256: and 32 hexadecimal digits")
		}
	}
	if err := k.check(); err != nil {
		return bad(err.Error())
	}
	return k, nil
}
