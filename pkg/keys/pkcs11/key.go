// Package pkcs11 wraps data keys for keys in hardware security modules, smart cards
// and TPMs, reached through the PKCS#11 module of their maker: RSA keys, whose
// public half is enough to encrypt, and AES keys.
//
// A module is code that runs in this process, and a PIN is a secret. So both come
// from the user's own settings only, and never from a file or a repository's
// config: see [Provider]. A PIN is tried once in the life of a Provider.
//
// Without cgo, or with the build tag nopkcs11, no module can be loaded. Encrypting
// for an RSA key whose public half is known works all the same.
package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

// Kind is the name of the metadata list for HSM entries, which sops does not have.
const Kind = "pkcs11"

// ErrNoPKCS11 is wrapped by what fails because this program cannot load a module.
var ErrNoPKCS11 error = noPKCS11{}

type noPKCS11 struct{}

func (noPKCS11) Error() string {
	return "this kenv was built without PKCS#11, so it cannot use an HSM; install the kenv-hsm build, or build with CGO_ENABLED=1 and a C compiler"
}
func (noPKCS11) Unwrap() error { return keys.ErrNotHere }

// ErrPIN is wrapped by the error of a PIN that the HSM refused. The same PIN is not
// tried again, since a few wrong ones lock the HSM.
var ErrPIN = errors.New("the HSM refused the PIN")

// Provider returns the row for HSM keys. No module is loaded before a key needs it.
//
// A key string is a PKCS #11 URI (RFC 7512) that names token and object, for example
// pkcs11:token=prod;object=kenv. What else belongs to the key's identity follows:
// ?mech=… if it wraps by another mechanism than rsa-oaep-sha256, which a URI with
// type=secret-key does anyway, and #sha256:… with the fingerprint of its public
// half, if that is known. A Spec's attributes "mech" and "public_key" (PEM) say the
// same in a config; with public_key, wrapping takes no HSM.
//
// The module is the one that the setting pkcs11_module names. The PIN comes from the
// file that pkcs11_pin_file names, else from the variable KENV_PKCS11_PIN, else
// somebody is asked.
//
// All keys of a Provider share one connection to an HSM. Two Providers of one
// process must not use the same module at the same time.
func Provider(env keys.Env) keys.Provider { return provider(newDevice(env)) }

func provider(d *device) keys.Provider {
	return keys.Provider{
		Kind: Kind,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			if !isURI(s.Name) {
				return nil, false, nil
			}
			k, err := parseKey(d, s)
			if err != nil {
				return nil, true, err
			}
			return k, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			if e.Kind != Kind {
				return nil, fmt.Errorf("an entry of kind %q is not an HSM entry", keys.Short(e.Kind))
			}
			n, err := readEntry(e)
			if err != nil {
				return nil, fmt.Errorf("the HSM entry is damaged: %w; restore it from an earlier version of the file", err)
			}
			return &key{device: d, uri: n.uri, mech: n.mech, fp: n.fp}, nil
		},
		Forms:   []string{"pkcs11:token=…;object=…"},
		Examine: d.examine,
		Forget:  d.forget,
	}
}

// A key is the master key of one key in an HSM.
type key struct {
	device *device
	uri    uri
	mech   mech
	fp     string     // of the public half, "" if it is not known
	public *publicKey // nil if it is not known
}

// parseKey reads a key string and what a config says beside it.
func parseKey(d *device, s keys.Spec) (*key, error) {
	k := &key{device: d}
	text, fragment, hasFragment := strings.Cut(s.Name, "#")
	var err error
	if k.uri, err = parseURI(text); err != nil {
		return nil, err
	}
	given := s.Text("mech")
	for _, a := range k.uri.query {
		switch a.name {
		case "mech":
			if given != "" && given != a.value {
				return nil, errors.New("the key string and mech beside it name two mechanisms")
			}
			given = a.value
		case "pin-value", "pin-source":
			return nil, fmt.Errorf("an HSM key's URI may not hold %s; give the PIN in a file (--pin-file, KENV_PKCS11_PIN_FILE), and change it if others have seen it", a.name)
		case "module-path", "module-name":
			return nil, fmt.Errorf("an HSM key's URI may not hold %s; name the module with --pkcs11-module or KENV_PKCS11_MODULE", a.name)
		default:
			return nil, fmt.Errorf("an HSM key's URI may not hold %s after the question mark", keys.Short(a.name))
		}
	}
	k.uri.query = nil
	if given == "" {
		given = string(oaepSHA256)
		if kind, _ := k.uri.get("type"); kind == "secret-key" {
			given = string(aesGCM)
		}
	}
	fail := func(err error) (*key, error) {
		return nil, fmt.Errorf("HSM key %s: %w", keys.Short(k.uri.String()), err)
	}
	if k.mech, err = parseMech(given); err != nil {
		return fail(err)
	}
	if err := check(k.uri, k.mech); err != nil {
		return fail(err)
	}
	if hasFragment {
		if k.fp = strings.ToLower(fragment); !isFingerprint(k.fp) {
			return fail(errors.New("after # the fingerprint of its public half is expected: sha256: and 32 hexadecimal digits"))
		}
	}
	if text := s.Text("public_key"); text != "" {
		p, err := parsePublicKey(text)
		if err != nil {
			return fail(err)
		}
		if k.fp != "" && k.fp != p.fp {
			return fail(fmt.Errorf("public_key is another key's: its fingerprint is %s", p.fp))
		}
		k.public, k.fp = &p, p.fp
	}
	if k.mech == aesGCM && k.fp != "" {
		return fail(errors.New("a secret key has no public half"))
	}
	return k, nil
}

// check returns what keeps a URI from naming a key that can be stored.
func check(u uri, m mech) error {
	for _, a := range u.path {
		switch a.name {
		case "slot-id":
			return errors.New("slot-id changes from machine to machine; name the token by its label: token=…")
		case "token", "serial", "object", "id":
			if a.value == "" {
				return fmt.Errorf("%s is empty", a.name)
			}
		}
	}
	has := func(name string) bool { _, given := u.get(name); return given }
	switch kind, _ := u.get("type"); {
	case !has("token") && !has("serial"):
		return errors.New("it names no token: add token=…; kenv hsm list shows them")
	case !has("object") && !has("id"):
		return errors.New("it names no key: add object=… or id=…; kenv hsm list shows them")
	case kind == "" && !has("type"):
	case kind == "private" && m != aesGCM, kind == "secret-key" && m == aesGCM:
	case kind == "private", kind == "secret-key":
		return fmt.Errorf("mech %s is not for a key with type=%s", m, kind)
	default:
		return errors.New("type is neither private nor secret-key")
	}
	return nil
}

func (k *key) Name() string {
	name := k.uri.String()
	if k.mech != oaepSHA256 {
		name += "?mech=" + string(k.mech)
	}
	if k.fp != "" {
		name += "#" + k.fp
	}
	return name
}

// short names the key in a message, where the fingerprint would hide which it is.
func (k *key) short() string { return keys.Short(k.uri.String()) }

// Matches implements keys.Matcher: a key named without its public half matches the
// entries of every key of that name.
func (k *key) Matches(e keys.Entry) bool {
	if e.Kind != Kind {
		return false
	}
	n, err := readEntry(e)
	return err == nil && n.uri.String() == k.uri.String() && n.mech == k.mech && (k.fp == "" || k.fp == n.fp)
}

func (k *key) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	fail := func(err error) (keys.Entry, error) {
		return keys.Entry{}, fmt.Errorf("wrapping the data key for %s: %w", k.short(), err)
	}
	if len(dataKey) == 0 || len(dataKey) > keys.MaxDataKey {
		return fail(fmt.Errorf("a data key has 1 to %d bytes, not %d", keys.MaxDataKey, len(dataKey)))
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	seed := make([]byte, seedSize)
	defer clear(seed)
	if _, err := rand.Read(seed); err != nil {
		return fail(err)
	}
	n := entry{uri: k.uri, mech: k.mech}
	var err error
	if k.mech == aesGCM {
		n.ek, err = k.device.encrypt(ctx, k.uri, slices.Clone(seed))
	} else {
		p := k.public
		if p == nil {
			if p, err = k.device.publicHalf(ctx, k.uri, k.fp); err != nil {
				return fail(err)
			}
		}
		n.fp = p.fp
		n.ek, err = p.wrap(k.mech, seed)
	}
	if err != nil {
		return fail(err)
	}
	if err := n.seal(seed, dataKey); err != nil {
		return fail(err)
	}
	return keys.Entry{Kind: Kind, Fields: n.fields()}, nil
}

// PublicKey implements keys.Publisher: it asks the HSM, logging in only if it has to.
func (k *key) PublicKey(ctx context.Context) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("fetching the public half of %s: %w", k.short(), err)
	}
	if k.mech == aesGCM {
		return fail(errors.New("a secret key has none"))
	}
	p, err := k.public, error(nil)
	if p == nil {
		if p, err = k.device.publicHalf(ctx, k.uri, k.fp); err != nil {
			return fail(err)
		}
	}
	text, err := p.pem()
	if err != nil {
		return fail(err)
	}
	return text, nil
}

// Unwrap looks for the key that k names; which one the entry names makes no
// difference to that, since nothing vouches for it.
func (k *key) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("unwrapping the data key with %s: %w", k.short(), err)
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	if e.Kind != Kind {
		return nil, fmt.Errorf("an entry of kind %q is not an HSM entry", keys.Short(e.Kind))
	}
	n, err := readEntry(e)
	if err != nil {
		return nil, fmt.Errorf("the HSM entry for %s is damaged: %w; restore it from an earlier version of the file", k.short(), err)
	}
	if n.mech != k.mech || k.fp != "" && k.fp != n.fp {
		return fail(fmt.Errorf("the entry is for another key: %w", keys.ErrNotHere))
	}
	seed, err := k.device.decrypt(ctx, k.uri, n.mech, n.fp, n.ek)
	if err != nil {
		return fail(err)
	}
	defer clear(seed)
	dataKey, err := n.open(seed)
	if err != nil {
		return nil, fmt.Errorf("the HSM entry for %s is damaged: its enc does not fit its ek; restore it from an earlier version of the file", k.short())
	}
	return dataKey, nil
}

// Probe implements keys.Prober. It does not log in.
func (k *key) Probe(ctx context.Context, e keys.Entry) keys.Finding {
	f := k.device.probe(ctx, k)
	f.What = k.Name()
	if n, err := readEntry(e); e.Kind == Kind && err == nil && f.State == keys.OK && k.fp != "" && n.fp != k.fp {
		f.State = keys.Warning
		f.Detail = fmt.Sprintf("the entry was wrapped for an earlier key, %s", n.fp)
		f.Hint = "kenv updatekeys FILE"
	}
	return f
}
