//go:build cgo && !nopkcs11

package pkcs11

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/miekg/pkcs11"
)

func TestList(t *testing.T) {
	h := hsm(t)
	noPIN := set("pkcs11_module", h.Module)
	all, err := List(t.Context(), noPIN, "", false)
	if err != nil || len(all) != 3 || all[0].Label != "kenv-test" || all[0].Serial != h.Serial {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := List(t.Context(), here(h), "", true); err == nil || !strings.Contains(err.Error(), "say which to log in to") {
		t.Errorf("a PIN is tried on one of three tokens: %v", err)
	}
	if _, err := List(t.Context(), here(h), "pkcs11:token=twins", true); err == nil || !strings.Contains(err.Error(), "2 tokens answer") {
		t.Errorf("one of two tokens with a label: %v", err)
	}
	twin, err := List(t.Context(), noPIN, "pkcs11:token=twins;serial="+theHSM.twins[1], false)
	if err != nil || len(twin) != 1 || twin[0].Serial != theHSM.twins[1] || len(twin[0].Keys) != 0 {
		t.Errorf("by serial number: %+v, %v", twin, err)
	}
	one, err := List(t.Context(), here(h), "pkcs11:token=kenv-test", true)
	if err != nil || len(one) != 1 {
		t.Fatalf("%+v, %v", one, err)
	}
	var names []string
	for _, k := range one[0].Keys {
		names = append(names, k.URI)
		if want := k.Algorithm != "EC"; k.Usable != want {
			t.Errorf("%+v", k)
		}
		// What is shown can be typed.
		if _, _, err := Provider(keys.Env{}).Parse(keys.Spec{Name: k.URI}); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{h.RSA, h.AES, h.EC, "pkcs11:token=kenv-test;object=twin-rsa;id=%06", "pkcs11:token=kenv-test;object=twin-rsa;id=%07"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %q", want, names)
		}
	}
	if len(names) != len(slices.Compact(slices.Clone(names))) {
		t.Errorf("a key is shown twice: %q", names)
	}
}

func TestEnroll(t *testing.T) {
	h := hsm(t)
	for name, tt := range map[string]struct {
		options EnrollOptions
		says    string
	}{
		"pkcs11:token=kenv-test;object=open-aes":             {EnrollOptions{}, "CKA_PRIVATE is not set"},
		"pkcs11:token=kenv-test;object=twin-rsa":             {EnrollOptions{}, "2 keys have this name: pkcs11:token=kenv-test;object=twin-rsa;id=%06"},
		"pkcs11:token=kenv-test;object=twin-aes":             {EnrollOptions{}, "2 keys have this name"},
		"pkcs11:token=kenv-test;object=none":                 {EnrollOptions{}, "there is no such key"},
		"pkcs11:token=none;object=none":                      {EnrollOptions{}, "its tokens are"},
		h.EC:                                                 {EnrollOptions{}, "neither an RSA key nor an AES key"},
		h.RSA + "?mech=rsa-oaep-sha256":                      {EnrollOptions{}, "rsa-oaep-sha256 does not work with this HSM (CKR_ARGUMENTS_BAD)"},
		h.RSA + "#sha256:00112233445566778899aabbccddeeff":   {EnrollOptions{}, "there is no such key"},
		"pkcs11:token=kenv-test;id=%77":                      {EnrollOptions{Generate: true}, "object=…"},
		"pkcs11:token=kenv-test;object=kenv-rsa;id=%77":      {EnrollOptions{Generate: true}, "already"},
		"pkcs11:token=kenv-test;object=kenv-aes":             {EnrollOptions{Generate: true, Secret: true}, "already"},
		"pkcs11:token=kenv-test;object=new;type=private":     {EnrollOptions{Generate: true, Secret: true}, "two different things"},
		"pkcs11:token=kenv-test;object=new?mech=aes-256-gcm": {EnrollOptions{Generate: true}, "two different things"},
		"pkcs11:token=kenv-test;object=new?pin-value=2486":   {EnrollOptions{}, "pin-value"},
	} {
		e, err := Enroll(t.Context(), here(h), name, tt.options)
		if err == nil || e != nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "2486") {
			t.Errorf("%s: %+v, %v; want %q", name, e, err, tt.says)
		}
	}
	weak := enrolled(t, here(h), "pkcs11:token=kenv-test;object=open-aes", EnrollOptions{AllowWeak: true})
	if weak.Mech != "aes-256-gcm" || len(weak.Notes) == 0 || weak.PublicKey != "" {
		t.Errorf("%+v", weak)
	}
	only := enrolled(t, here(h), h.RSA+"?mech=rsa-oaep-sha1", EnrollOptions{})
	if only.Mech != "rsa-oaep-sha1" || len(only.Notes) != 0 {
		t.Errorf("%+v", only)
	}
	// What is made stays in the HSM.
	made := enrolled(t, here(h), "pkcs11:token=kenv-test;object=made", EnrollOptions{Generate: true, Secret: true})
	if strings.Contains(made.Name, "#") || !strings.HasPrefix(made.URI, "pkcs11:token=kenv-test;object=made;id=%") {
		t.Errorf("%+v", made)
	}
	again := enrolled(t, here(h), made.URI, EnrollOptions{})
	if again.URI != made.URI || len(again.Notes) != 0 {
		t.Errorf("%+v", again)
	}
}

// What an HSM does not say of a key counts against it.
func TestWeaknesses(t *testing.T) {
	if got := (object{}).weaknesses(); len(got) != 4 {
		t.Errorf("of a key of which nothing is known: %q", got)
	}
	good := map[uint]bool{pkcs11.CKA_PRIVATE: true, pkcs11.CKA_SENSITIVE: true, pkcs11.CKA_EXTRACTABLE: false, pkcs11.CKA_DECRYPT: true}
	if got := (object{flags: good}).weaknesses(); len(got) != 0 {
		t.Errorf("of a good key: %q", got)
	}
	for attribute, is := range good {
		bad := maps.Clone(good)
		bad[attribute] = !is
		if got := (object{flags: bad}).weaknesses(); len(got) != 1 {
			t.Errorf("with 0x%x %v: %q", attribute, !is, got)
		}
	}
}

// NSS lists AES-GCM, but does not do it in the way that is needed, at which crypto11
// panics.
func TestEnrollPanic(t *testing.T) {
	e, err := Enroll(t.Context(), nss(t), "pkcs11:token=kenv-nss;object=aes", EnrollOptions{Generate: true, Secret: true})
	if err == nil || !strings.Contains(err.Error(), "aes-256-gcm does not work with this HSM (CKR_") {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestProbe(t *testing.T) {
	h := hsm(t)
	_, e := wrapped(t, h)
	one := enrolled(t, here(h), "pkcs11:token=kenv-test;object=kenv-rsa2", EnrollOptions{})
	noPIN := set("pkcs11_module", h.Module)
	const fp = "sha256:00112233445566778899aabbccddeeff"
	for _, tt := range []struct {
		env   keys.Env
		spec  keys.Spec
		entry keys.Entry
		state string
		says  string
	}{
		{noPIN, spec(one.Name), keys.Entry{}, keys.OK, one.Name[len(one.Name)-39:]},
		{noPIN, spec(one.Name), e, keys.OK, "the key is there"},
		{noPIN, spec(one.URI), e, keys.OK, "the key is there"},
		{noPIN, spec(one.Name), with(e, "key_fp", fp), keys.Warning, "for an earlier key, " + fp},
		{noPIN, spec(one.URI + "?mech=rsa-oaep-sha1#" + fp), keys.Entry{}, keys.Missing, "is another one"},
		{noPIN, spec("pkcs11:token=kenv-test;object=open-aes?mech=aes-256-gcm"), keys.Entry{}, keys.Warning, "without a PIN"},
		{noPIN, spec("pkcs11:token=prod;object=x"), keys.Entry{}, keys.Missing, "its token is not there"},
		{noPIN, spec("pkcs11:token=twins;object=x"), keys.Entry{}, keys.Missing, "2 tokens"},
		{keys.Env{}, spec(one.Name), keys.Entry{}, keys.Missing, "no PKCS#11 module is set"},
		{keys.Env{}, spec(one.Name, "public_key", one.PublicKey), keys.Entry{}, keys.Note, "can be encrypted for"},
	} {
		f := parse(t, Provider(tt.env), tt.spec).(keys.Prober).Probe(t.Context(), tt.entry)
		// A wrong PIN of another test leaves a flag.
		noisy := f.State == keys.Warning && tt.state == keys.OK && strings.Contains(f.Detail, "a wrong one was tried")
		if f.State != tt.state && !noisy || !strings.Contains(f.Detail, tt.says) || f.What == "" || strings.Contains(f.Detail, "\n") {
			t.Errorf("%s: %+v; want %s, %q", tt.spec.Name, f, tt.state, tt.says)
		}
	}
}

// A probe uses no PIN, though one is at hand.
func TestProbeWithoutLogin(t *testing.T) {
	h := hsm(t)
	e, err := parse(t, Provider(here(h)), spec(h.AES)).Wrap(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	env, count := spy(t, h.Module)
	results := elsewhere(t, order{Entry: e.Fields, Times: 1, Probe: true}, append(env, "KENV_PKCS11_PIN=wrong-pin-2486")...)
	if got := results[0].Err; !strings.Contains(got, `token "kenv-test" is there`) || !strings.HasSuffix(got, "the key does not show without a login") {
		t.Error(got)
	}
	if n := count("C_Login"); n != 0 {
		t.Errorf("%d logins", n)
	}
}

func TestExamine(t *testing.T) {
	h := hsm(t)
	list := Provider(set("pkcs11_module", h.Module)).Examine(t.Context())
	if len(list) != 4 || list[0].State != keys.OK || !strings.Contains(list[0].Detail, h.Module) {
		t.Fatalf("%+v", list)
	}
	var names []string
	for _, f := range list[1:] {
		names = append(names, f.What)
		if !strings.HasPrefix(f.Detail, "PIN: ") {
			t.Errorf("%+v", f)
		}
	}
	want := []string{"pkcs11:token=kenv-test", "pkcs11:token=twins;serial=" + theHSM.twins[0], "pkcs11:token=twins;serial=" + theHSM.twins[1]}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
