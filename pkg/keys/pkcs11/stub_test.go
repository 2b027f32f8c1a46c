//go:build !cgo || nopkcs11

package pkcs11

import (
	"errors"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
)

// Without modules, encrypting for a known public half works, and all else says what
// to install.
func TestStub(t *testing.T) {
	_, half, _ := rsaPair(t, 2048)
	p := Provider(keys.Env{})
	make := func(s keys.Spec) keys.MasterKey {
		k, _, err := p.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	known := make(spec("pkcs11:token=t;object=o", "public_key", half))
	e, err := known.Wrap(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrNoPKCS11) || !errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "install the kenv-hsm build") {
			t.Errorf("%s: %v; want ErrNoPKCS11", what, err)
		}
	}
	_, err = known.Unwrap(t.Context(), e)
	check("Unwrap", err)
	_, err = make(spec("pkcs11:token=t;object=o")).Wrap(t.Context(), []byte("key"))
	check("Wrap without the public half", err)
	_, err = make(spec("pkcs11:token=t;object=o", "mech", "aes-256-gcm")).Wrap(t.Context(), []byte("key"))
	check("Wrap for a secret key", err)
	_, err = List(t.Context(), keys.Env{}, "", false)
	check("List", err)
	_, err = Enroll(t.Context(), keys.Env{}, "pkcs11:token=t;object=o", EnrollOptions{})
	check("Enroll", err)
	check("Available", Available())

	if f := p.Examine(t.Context()); len(f) != 1 || f[0].State != keys.Note {
		t.Errorf("Examine: %v", f)
	}
	if f := known.(keys.Prober).Probe(t.Context(), e); f.State != keys.Note || f.What != known.Name() {
		t.Errorf("Probe: %v", f)
	}
	if f := make(spec("pkcs11:token=t;object=o")).(keys.Prober).Probe(t.Context(), e); f.State != keys.Missing {
		t.Errorf("Probe: %v", f)
	}
}
