//go:build cgo && !nopkcs11

package pkcs11

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11/hsmtest"
)

var wrong = []string{
	"pkcs11:", "pkcs11:token=x", "pkcs11:object=x", "PKCS11:token=x;object=", "pkcs11:token=;object=x",
	"pkcs11:token=x;object=y;token=z", "pkcs11:token=x;object", "pkcs11:token=x;object=%4", "pkcs11:token=x;object=%gg",
	"pkcs11:token=x;object=y;slot-id=3", "pkcs11:token=x;object=y;type=public", "pkcs11:token=x;object=y;type=",
	"pkcs11:token=x;object=y?pin-value=" + hsmtest.PIN, "pkcs11:token=x;object=y?pin-source=file:/x&mech=aes-256-gcm",
	"pkcs11:token=x;object=y?module-path=/tmp/x.so", "pkcs11:token=x;object=y?module-name=x",
	"pkcs11:token=x;object=y?mech=rsa-pkcs", "pkcs11:token=x;object=y?x=y",
	"pkcs11:token=x;object=y;type=private?mech=aes-256-gcm", "pkcs11:token=x;object=y;type=secret-key?mech=rsa-oaep-sha1",
	"pkcs11:token=x;object=y#", "pkcs11:token=x;object=y#sha256:12", "pkcs11:token=x;object=y#md5:00112233445566778899aabbccddeeff",
	"pkcs11:token=x;object=y?mech=aes-256-gcm#sha256:00112233445566778899aabbccddeeff",
	"pkcs11:token=" + strings.Repeat("x", 33) + ";object=y", "pkcs11:token=x;object=" + strings.Repeat("y", 1<<20),
}

// withPublic returns a provider that knows the public halves of keys, as a config
// does.
func withPublic(t *testing.T, p keys.Provider, halves map[string]string) keys.Provider {
	parse := p.Parse
	p.Parse = func(s keys.Spec) (keys.MasterKey, bool, error) {
		if half := halves[strings.ToLower(s.Name)]; half != "" {
			s.Attrs = map[string]any{"public_key": half}
		}
		return parse(s)
	}
	return p
}

// enrolled returns how a config names a key.
func enrolled(t *testing.T, env keys.Env, uri string, o EnrollOptions) *Enrolled {
	t.Helper()
	e, err := Enroll(t.Context(), env, uri, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestConformance(t *testing.T) {
	h := hsm(t)
	one := enrolled(t, here(h), h.RSA, EnrollOptions{})
	two := enrolled(t, here(h), "pkcs11:object=kenv-rsa2;token=kenv-test", EnrollOptions{})
	if one.Mech != "rsa-oaep-sha1" || len(one.Notes) != 1 || !strings.Contains(one.Notes[0], "rsa-oaep-sha256 does not work with this HSM (CKR_ARGUMENTS_BAD), so it is rsa-oaep-sha1") {
		t.Errorf("SoftHSM has nothing but SHA-1 for OAEP; enrolled: %+v", one)
	}
	atHand := func(*testing.T) keys.Provider { return Provider(here(h)) }
	noModule := func(*testing.T) keys.Provider { return Provider(keys.Env{}) }
	noPIN := func(*testing.T) keys.Provider { return Provider(set("pkcs11_module", h.Module)) }

	rsa := keystest.Suite{
		Here: atHand, Name: one.Name, Other: two.Name, OtherHere: true,
		Wrong: wrong, Blob: []string{"ek", "enc"}, Secrets: []string{hsmtest.PIN},
		Same: []string{
			strings.Replace(one.Name, "pkcs11:", "PKCS11:", 1),
			strings.Replace(one.Name, "token=kenv-test;object=kenv-rsa;id=%02", "id=%02;object=%6benv-rsa;token=kenv-test", 1),
		},
	}
	t.Run("RSA, public half known", func(t *testing.T) {
		s := rsa
		halves := map[string]string{strings.ToLower(one.Name): one.PublicKey, strings.ToLower(two.Name): two.PublicKey}
		s.Here = func(t *testing.T) keys.Provider { return withPublic(t, atHand(t), halves) }
		s.Away = func(t *testing.T) keys.Provider { return withPublic(t, noModule(t), halves) }
		keystest.Run(t, s)
	})
	t.Run("RSA", func(t *testing.T) {
		s := rsa
		s.Away, s.WrapAsks = noPIN, true
		s.Cuts = 10
		keystest.Run(t, s)
	})
	t.Run("AES", func(t *testing.T) {
		keystest.Run(t, keystest.Suite{
			Here: atHand, Away: noPIN, WrapAsks: true, OtherHere: true,
			Name:  h.AES + "?mech=aes-256-gcm",
			Other: "pkcs11:token=kenv-test;object=kenv-aes2?mech=aes-256-gcm",
			Same:  []string{h.AES}, Wrong: wrong, Blob: []string{"ek", "enc"}, Secrets: []string{hsmtest.PIN},
		})
	})
}

// NSS is another code base than SoftHSM, and has the default mechanism.
func TestConformanceNSS(t *testing.T) {
	env := nss(t)
	one := enrolled(t, env, "pkcs11:token=kenv-nss;object=one", EnrollOptions{Generate: true})
	two := enrolled(t, env, "pkcs11:token=kenv-nss;object=two", EnrollOptions{Generate: true})
	if one.Mech != "rsa-oaep-sha256" || len(one.Notes) != 0 || strings.Contains(one.Name, "?") {
		t.Errorf("enrolled: %+v", one)
	}
	keystest.Run(t, keystest.Suite{
		Here: func(*testing.T) keys.Provider { return Provider(env) },
		Away: func(*testing.T) keys.Provider { return Provider(set("pkcs11_module", env.Set("pkcs11_module"))) },
		Name: one.Name, Other: two.Name, OtherHere: true, WrapAsks: true,
		Wrong: wrong, Blob: []string{"ek", "enc"}, Cuts: 6, Secrets: []string{hsmtest.PIN},
	})
}

// nss makes an NSS database and returns the Env that uses it.
func nss(t *testing.T) keys.Env {
	t.Helper()
	dir := t.TempDir()
	missing := func(what string) {
		t.Helper()
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Skip(what)
	}
	lib := ""
	for _, pattern := range []string{"/usr/lib/*/libsoftokn3.so", "/usr/lib/*/nss/libsoftokn3.so", "/usr/lib64/libsoftokn3.so", "/usr/lib/libsoftokn3.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			lib = found[0]
		}
	}
	if _, err := exec.LookPath("certutil"); err != nil || lib == "" {
		missing("NSS is not installed: apt-get install libnss3 libnss3-tools")
	}
	shim, err := hsmtest.Shim(dir, "nss_shim.c")
	if err != nil {
		missing(err.Error())
	}
	db, pin := filepath.Join(dir, "db"), filepath.Join(dir, "pin")
	if err := os.Mkdir(db, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pin, []byte(hsmtest.PIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("certutil", "-N", "-d", "sql:"+db, "-f", pin).CombinedOutput(); err != nil {
		t.Fatalf("certutil: %v\n%s", err, out)
	}
	t.Setenv("KENV_TEST_NSS_MODULE", lib)
	t.Setenv("KENV_TEST_NSS_PARAMS", "configdir='sql:"+db+"' certPrefix='' keyPrefix='' secmod='secmod.db' flags= dbTokenDescription='kenv-nss'")
	return set("pkcs11_module", shim, "pkcs11_pin_file", pin)
}
