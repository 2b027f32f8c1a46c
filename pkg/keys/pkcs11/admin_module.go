//go:build cgo && !nopkcs11

package pkcs11

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/miekg/pkcs11"
)

// Available returns ErrNoPKCS11 if this program cannot load a module.
func Available() error { return nil }

// List returns the tokens that the module shows, and the keys on them: those that
// anybody sees, or with login those of one token that its user sees. A name that is
// not empty is a PKCS #11 URI that says which token is meant.
func List(ctx context.Context, env keys.Env, name string, login bool) ([]Token, error) {
	d := newDevice(env)
	if err := d.ready(); err != nil {
		return nil, err
	}
	var u uri
	if name != "" {
		var err error
		if u, err = parseURI(name); err != nil {
			return nil, err
		}
		if len(u.query) > 0 {
			return nil, errors.New("to list a token, give its URI without the part after the question mark")
		}
	}
	all, err := do(ctx, d, func() ([]token, error) {
		err := d.again(d.scan)
		return d.tokens, explain(err)
	})
	if err != nil {
		return nil, plainly(err)
	}
	if name != "" || login {
		// A PIN is for one token, and would be a wrong one for the others.
		if login && name == "" && len(all) > 1 {
			return nil, fmt.Errorf("the module shows %d tokens: %s; say which to log in to, with its URI: pkcs11:token=…", len(all), describe(all))
		}
		t, err := do(ctx, d, func() (t token, err error) {
			if name == "" && len(all) == 1 {
				return all[0], nil
			}
			err = d.again(func() error { t, err = d.find(u); return err })
			return t, explain(err)
		})
		if err != nil {
			return nil, plainly(err)
		}
		all = []token{t}
	}
	var list []Token
	for _, t := range all {
		mine := tokenURI(t, d.tokens)
		keysOf := func(t token, _ *crypto11.Context) (one Token, err error) {
			err = d.again(func() error {
				return d.look(func(c *pkcs11.Ctx) (err error) { one, err = show(c, t, mine); return err })
			})
			return one, explain(err)
		}
		var one Token
		if login {
			one, err = withToken(ctx, d, mine, keysOf)
		} else {
			one, err = do(ctx, d, func() (Token, error) { return keysOf(t, nil) })
		}
		if err != nil {
			return nil, fmt.Errorf("token %q: %w", t.label, plainly(err))
		}
		list = append(list, one)
	}
	return list, nil
}

// tokenURI names a token among others.
func tokenURI(t token, others []token) uri {
	var u uri
	if t.label != "" {
		u = u.with("token", t.label)
	}
	alone := t.label != ""
	for _, o := range others {
		alone = alone && (o.label != t.label || o.id() == t.id())
	}
	if !alone {
		u = u.with("serial", t.serial)
	}
	return u
}

func show(c *pkcs11.Ctx, t token, mine uri) (Token, error) {
	state, _ := t.pinState()
	one := Token{Label: t.label, Serial: t.serial, Manufacturer: t.manufacturer, Model: t.model, PIN: state, Keys: []Key{}}
	for _, class := range []uint{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY} {
		objects, err := visible(c, t.slot, uri{}, class)
		if err != nil {
			return Token{}, err
		}
		for _, o := range objects {
			if k := o.key(mine); !slices.Contains(one.Keys, k) {
				one.Keys = append(one.Keys, k)
			}
		}
	}
	slices.SortStableFunc(one.Keys, func(a, b Key) int { return cmp.Compare(a.URI, b.URI) })
	return one, nil
}

// key names an object. The halves of a pair have one name.
func (o object) key(token uri) Key {
	u := token
	if o.label != "" {
		u = u.with("object", o.label)
	}
	if len(o.id) > 0 {
		u = u.with("id", string(o.id))
	}
	k := Key{Algorithm: "other", Bits: o.bits}
	switch o.keyType {
	case pkcs11.CKK_RSA:
		k.Algorithm = "RSA"
		if k.Usable = o.public != nil; k.Usable {
			k.Fingerprint = o.public.fp
		}
	case pkcs11.CKK_AES:
		k.Algorithm, k.Usable = "AES", o.bits == 256 || o.bits == 0
	case pkcs11.CKK_EC:
		k.Algorithm = "EC"
	}
	if o.class == pkcs11.CKO_SECRET_KEY {
		u = u.with("type", "secret-key")
	}
	k.Usable = k.Usable && (o.label != "" || len(o.id) > 0)
	k.URI = u.String()
	return k
}

// Enroll proves a key by wrapping and unwrapping with it, and returns how a config
// names it. It refuses a key that the HSM does not keep to itself.
func Enroll(ctx context.Context, env keys.Env, name string, o EnrollOptions) (*Enrolled, error) {
	d := newDevice(env)
	if o.Generate {
		d.patience = 10 * time.Minute // which a smart card may need for an RSA key
	}
	k, err := parseKey(d, keys.Spec{Name: name})
	if err != nil {
		return nil, err
	}
	if err := d.ready(); err != nil {
		return nil, err
	}
	asked := keys.Short(k.uri.String())
	fail := func(err error) (*Enrolled, error) {
		return nil, fmt.Errorf("HSM key %s: %w", asked, plainly(err))
	}
	_, typed := k.uri.get("type")
	typed = typed || strings.Contains(name, "?mech=")
	if o.Generate {
		if typed && (k.mech == aesGCM) != o.Secret {
			return fail(errors.New("the URI and --type say two different things"))
		}
		if k.uri, err = d.generate(ctx, k.uri, o.Secret); err != nil {
			return fail(err)
		}
		if o.Secret {
			k.mech = aesGCM
		}
		typed = true
	}
	found, err := d.inspect(ctx, k, typed)
	if err != nil {
		return fail(err)
	}
	done := &Enrolled{}
	for _, weakness := range found.weaknesses() {
		if !o.AllowWeak {
			return fail(fmt.Errorf("%s; make a new one with --generate, or take it with --allow-weak", strings.Join(found.weaknesses(), "; ")))
		}
		done.Notes = append(done.Notes, weakness)
	}
	k.uri = completed(k.uri, found)
	mechs := []mech{k.mech}
	if found.class == pkcs11.CKO_SECRET_KEY {
		mechs = []mech{aesGCM}
	} else {
		k.public, k.fp = found.public, found.public.fp
		if !strings.Contains(name, "?mech=") {
			mechs = []mech{oaepSHA256, oaepSHA1}
		}
		if done.PublicKey, err = k.public.pem(); err != nil {
			return fail(err)
		}
	}
	var tried []string
	for _, k.mech = range mechs {
		if err = keys.Prove(ctx, k); err == nil {
			done.Name, done.URI, done.Mech = k.Name(), k.uri.String(), string(k.mech)
			for _, why := range tried {
				done.Notes = append(done.Notes, fmt.Sprintf("%s, so it is %s", why, k.mech))
			}
			return done, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrPIN) {
			return nil, err
		}
		why := err.Error()
		if f := (*failure)(nil); errors.As(err, &f) {
			why = f.name
		}
		tried = append(tried, fmt.Sprintf("%s does not work with this HSM (%s)", k.mech, why))
	}
	return fail(errors.New(strings.Join(tried, "; ")))
}

// ready returns an error if no module is set.
func (d *device) ready() error {
	if _, err := d.path(); err != nil {
		return errors.New("no PKCS#11 module is set; name the library of the HSM's maker with --pkcs11-module or KENV_PKCS11_MODULE, or as pkcs11_module in your own config.yaml")
	}
	return nil
}

// plainly is an error for whoever asked about one key or token: there is no other to
// try.
func plainly(err error) error {
	if away := (*keys.NotHereError)(nil); errors.As(err, &away) {
		return errors.New("not found in " + strings.Join(away.Looked, ", "))
	}
	return err
}

// completed adds to a URI what makes it name one key only.
func completed(u uri, o object) uri {
	if _, given := u.get("object"); !given && o.label != "" {
		u = u.with("object", o.label)
	}
	if _, given := u.get("id"); !given && len(o.id) > 0 {
		u = u.with("id", string(o.id))
	}
	return u
}

// with returns the URI with an attribute of the path set.
func (u uri) with(name, value string) uri {
	u.path = slices.DeleteFunc(slices.Clone(u.path), func(a attribute) bool { return a.name == name })
	i := slices.IndexFunc(u.path, func(a attribute) bool { return rank(a.name) > rank(name) })
	if i < 0 {
		i = len(u.path)
	}
	u.path = slices.Insert(u.path, i, attribute{name, value})
	return u
}

// inspect logs in and returns the one object that a key stands for. Unless it is
// typed, that may be a secret key as well.
func (d *device) inspect(ctx context.Context, k *key, typed bool) (object, error) {
	return withToken(ctx, d, k.uri, func(t token, _ *crypto11.Context) (object, error) {
		var found []object
		err := d.look(func(c *pkcs11.Ctx) error {
			for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY} {
				if typed && (class == pkcs11.CKO_SECRET_KEY) != (k.mech == aesGCM) {
					continue
				}
				more, err := visible(c, t.slot, k.uri, class)
				if err != nil {
					return err
				}
				found = append(found, more...)
			}
			return nil
		})
		if err != nil {
			return object{}, err
		}
		if k.fp != "" {
			found = slices.DeleteFunc(found, func(o object) bool { return o.public == nil || o.public.fp != k.fp })
		}
		switch {
		case len(found) == 0:
			return object{}, noKey(k.uri, "there is no such key; kenv hsm list --login shows what there is, --generate makes one")
		case len(found) > 1:
			var names []string
			for _, o := range found {
				names = append(names, o.key(uri{}.with("token", t.label)).URI)
			}
			slices.Sort(names)
			return object{}, fmt.Errorf("%d keys have this name: %s", len(found), strings.Join(names[:min(8, len(names))], ", "))
		}
		switch o := found[0]; {
		case o.class == pkcs11.CKO_PRIVATE_KEY && o.keyType == pkcs11.CKK_RSA && o.public == nil:
			return object{}, errors.New("it is an RSA key that kenv does not use: too short, too long, or of no known length")
		case o.class == pkcs11.CKO_PRIVATE_KEY && o.keyType != pkcs11.CKK_RSA,
			o.class == pkcs11.CKO_SECRET_KEY && (o.keyType != pkcs11.CKK_AES || o.bits != 256 && o.bits != 0):
			return object{}, errors.New("it is neither an RSA key nor an AES key of 256 bits")
		}
		return found[0], nil
	})
}

// weaknesses says what the HSM would let others do with a key.
func (o object) weaknesses() (list []string) {
	for _, rule := range []struct {
		attribute uint
		want      bool
		words     string
	}{
		{pkcs11.CKA_PRIVATE, true, "it can be used without a PIN (CKA_PRIVATE is not set)"},
		{pkcs11.CKA_SENSITIVE, true, "the HSM shows it in clear to whoever is logged in (CKA_SENSITIVE is not set)"},
		{pkcs11.CKA_EXTRACTABLE, false, "the HSM gives it out (CKA_EXTRACTABLE is not false)"},
		{pkcs11.CKA_DECRYPT, true, "it may not decrypt (CKA_DECRYPT is not set)"},
	} {
		if is, known := o.flags[rule.attribute]; !known || is != rule.want {
			list = append(list, rule.words)
		}
	}
	return list
}

// generate makes a key that stays in the HSM, and returns its URI.
func (d *device) generate(ctx context.Context, u uri, secret bool) (uri, error) {
	label, given := u.get("object")
	if !given {
		return u, errors.New("the URI of a key to make needs a label: object=…")
	}
	if _, given := u.get("id"); !given {
		id := make([]byte, 4)
		if _, err := rand.Read(id); err != nil {
			return u, err
		}
		u = u.with("id", string(id))
	}
	return withToken(ctx, d, u, func(t token, c *crypto11.Context) (uri, error) {
		err := d.look(func(c *pkcs11.Ctx) error {
			for _, class := range []uint{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_SECRET_KEY} {
				taken, err := visible(c, t.slot, uri{}.with("object", label), class)
				if err != nil {
					return err
				}
				if len(taken) > 0 {
					return fmt.Errorf("token %q has a key with the label %q already; leave --generate out to enroll that, or take another label", t.label, label)
				}
			}
			return nil
		})
		if err != nil {
			return u, err
		}
		return u, generate(c, u, secret)
	})
}

func generate(c *crypto11.Context, u uri, secret bool) error {
	label, _ := u.get("object")
	id, _ := u.get("id")
	public, err := crypto11.NewAttributeSetWithIDAndLabel([]byte(id), []byte(label))
	if err != nil {
		return err
	}
	private := public.Copy()
	set := func(s crypto11.AttributeSet, attribute crypto11.AttributeType, value bool) {
		err = errors.Join(err, s.Set(attribute, value))
	}
	set(private, crypto11.CkaPrivate, true)
	set(private, crypto11.CkaSensitive, true)
	set(private, crypto11.CkaExtractable, false)
	if secret {
		set(private, crypto11.CkaEncrypt, true)
		set(private, crypto11.CkaDecrypt, true)
		if err == nil {
			_, err = c.GenerateSecretKeyWithAttributes(private, 256, crypto11.CipherAES)
		}
		return err
	}
	set(public, crypto11.CkaEncrypt, true)
	set(public, crypto11.CkaVerify, false)
	set(public, crypto11.CkaPrivate, false)
	set(private, crypto11.CkaDecrypt, true)
	set(private, crypto11.CkaSign, false)
	if err == nil {
		_, err = c.GenerateRSAKeyPairWithAttributes(public, private, 3072)
	}
	return err
}

// probe says how a key stands, as far as that shows without a login.
func (d *device) probe(ctx context.Context, k *key) keys.Finding {
	const setModule = "name the library of the HSM's maker with KENV_PKCS11_MODULE, or pkcs11_module in kenv's config.yaml"
	if _, err := d.path(); err != nil {
		if k.public != nil {
			return keys.Finding{State: keys.Note, Detail: "it can be encrypted for; to decrypt, a PKCS#11 module has to be set", Hint: setModule}
		}
		return keys.Finding{State: keys.Missing, Detail: "no PKCS#11 module is set", Hint: setModule}
	}
	f, err := do(ctx, d, func() (f keys.Finding, err error) {
		err = d.again(func() error {
			t, err := d.find(k.uri)
			if err != nil {
				return err
			}
			return d.look(func(c *pkcs11.Ctx) (err error) { f, err = k.look(c, t); return err })
		})
		return f, explain(err)
	})
	if err != nil {
		detail := err.Error()
		if away := (*keys.NotHereError)(nil); errors.As(err, &away) {
			detail = "its token is not there: " + strings.Join(away.Looked, ", ")
		}
		return keys.Finding{State: keys.Missing, Detail: detail, Hint: "kenv hsm list"}
	}
	return f
}

// look is the part of a probe that looks at the token.
func (k *key) look(c *pkcs11.Ctx, t token) (keys.Finding, error) {
	pin, bad := t.pinState()
	f := keys.Finding{State: keys.OK, Detail: fmt.Sprintf("token %q is there, its PIN is %s", t.label, pin)}
	if bad {
		f.State, f.Detail = keys.Warning, fmt.Sprintf("token %q is there; its PIN: %s", t.label, pin)
		if err := t.refusal(); err != nil {
			f.State, f.Detail = keys.Missing, err.Error()
			return f, nil
		}
	}
	class := uint(pkcs11.CKO_PUBLIC_KEY)
	if k.mech == aesGCM {
		class = pkcs11.CKO_SECRET_KEY
	}
	objects, err := visible(c, t.slot, k.uri, class)
	if err != nil {
		return keys.Finding{}, err
	}
	prints := []string{}
	for _, p := range publicKeys(objects) {
		prints = append(prints, p.fp)
	}
	say := func(state, format string, args ...any) {
		if state != keys.OK {
			f.State = state
		}
		f.Detail += "; " + fmt.Sprintf(format, args...)
	}
	switch {
	case len(objects) == 0:
		say(keys.OK, "the key does not show without a login")
		f.Hint = "kenv hsm check, to prove it"
	case k.mech == aesGCM:
		if o := objects[0]; !o.flags[pkcs11.CKA_PRIVATE] {
			say(keys.Warning, "the key can be used without a PIN")
		}
	case k.fp != "" && !slices.Contains(prints, k.fp):
		say(keys.Missing, "the key of this name is another one, %s", strings.Join(prints, ", "))
	default:
		say(keys.OK, "the key is there, %s", cmp.Or(k.fp, strings.Join(prints, ", ")))
	}
	return f, nil
}

// examine says what is set up for HSMs here.
func (d *device) examine(ctx context.Context) []keys.Finding {
	const what = "PKCS#11"
	path, err := d.path()
	if err != nil {
		return []keys.Finding{{What: what, State: keys.Note, Detail: "no module is set, so HSM keys cannot decrypt", Hint: "if you have an HSM: KENV_PKCS11_MODULE"}}
	}
	tokens, err := do(ctx, d, func() ([]token, error) {
		err := d.again(d.scan)
		return d.tokens, explain(err)
	})
	if err != nil {
		return []keys.Finding{{What: what, State: keys.Missing, Detail: err.Error()}}
	}
	list := []keys.Finding{{What: what, State: keys.OK, Detail: "the module " + path + " can be loaded"}}
	if len(tokens) == 0 {
		list[0].State, list[0].Detail = keys.Warning, "the module "+path+" shows no token"
	}
	for _, t := range tokens {
		f := keys.Finding{What: tokenURI(t, tokens).String(), State: keys.OK}
		state, bad := t.pinState()
		if f.Detail = "PIN: " + state; bad {
			f.State = keys.Warning
		}
		list = append(list, f)
	}
	return list
}
