package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// rsaPair makes a key, with its public half as a config has it, and its
// fingerprint, worked out on its own.
func rsaPair(t *testing.T, bits int) (private *rsa.PrivateKey, half, fp string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "sha256:" + hex.EncodeToString(sum[:])[:32]
}

func offline(t *testing.T) keys.Provider {
	return Provider(keys.Env{Setting: func(name string) string {
		t.Helper()
		t.Errorf("the setting %s is looked at", name)
		return ""
	}})
}

func spec(name string, attrs ...string) keys.Spec {
	s := keys.Spec{Name: name, Attrs: map[string]any{}}
	for i := 0; i < len(attrs); i += 2 {
		s.Attrs[attrs[i]] = attrs[i+1]
	}
	return s
}

func TestNames(t *testing.T) {
	_, half, fp := rsaPair(t, 2048)
	const other = "sha256:00112233445566778899aabbccddeeff"
	p := offline(t)
	for _, tt := range []struct {
		spec keys.Spec
		want string
	}{
		{spec("pkcs11:object=o;token=t"), "pkcs11:token=t;object=o"},
		{spec("pkcs11:token=t;object=o?mech=rsa-oaep-sha256"), "pkcs11:token=t;object=o"},
		{spec("pkcs11:token=t;object=o", "mech", "rsa-oaep-sha1"), "pkcs11:token=t;object=o?mech=rsa-oaep-sha1"},
		{spec("pkcs11:token=t;object=o?mech=aes-256-gcm", "mech", "aes-256-gcm"), "pkcs11:token=t;object=o?mech=aes-256-gcm"},
		{spec("pkcs11:token=t;object=o;type=secret-key"), "pkcs11:token=t;object=o;type=secret-key?mech=aes-256-gcm"},
		{spec("pkcs11:serial=1;id=%01;type=private"), "pkcs11:serial=1;id=%01;type=private"},
		{spec("pkcs11:token=t;object=o", "public_key", half), "pkcs11:token=t;object=o#" + fp},
		{spec("pkcs11:token=t;object=o#"+strings.ToUpper(fp), "public_key", "\n"+half+"\n"), "pkcs11:token=t;object=o#" + fp},
		{spec("pkcs11:token=t;object=o?mech=rsa-oaep-sha1#" + other), "pkcs11:token=t;object=o?mech=rsa-oaep-sha1#" + other},
		{spec("pkcs11:token=t;object=o", "role", "x", "aws_profile", "y"), "pkcs11:token=t;object=o"},
	} {
		k, ok, err := p.Parse(tt.spec)
		if err != nil || !ok {
			t.Errorf("%v: %v, %v", tt.spec, ok, err)
			continue
		}
		if k.Name() != tt.want {
			t.Errorf("%v is named %q, want %q", tt.spec, k.Name(), tt.want)
		}
	}

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	small := &rsa.PublicKey{N: ec.X, E: 65537}
	uri := "pkcs11:token=t;object=o"
	for what, tt := range map[string]struct {
		spec keys.Spec
		says string
	}{
		"two mechanisms":         {spec(uri+"?mech=rsa-oaep-sha1", "mech", "rsa-oaep-sha256"), "two mechanisms"},
		"mechanism of another":   {spec(uri, "mech", "rsa-pkcs"), "rsa-oaep-sha256, rsa-oaep-sha1, aes-256-gcm"},
		"another's public half":  {spec(uri+"#"+other, "public_key", half), "another key's"},
		"public half of AES":     {spec(uri, "mech", "aes-256-gcm", "public_key", half), "no public half"},
		"no PEM":                 {spec(uri, "public_key", "MIIB"), "BEGIN PUBLIC KEY"},
		"a certificate":          {spec(uri, "public_key", strings.ReplaceAll(half, "PUBLIC KEY", "CERTIFICATE")), "BEGIN PUBLIC KEY"},
		"two of them":            {spec(uri, "public_key", half+half), "one block"},
		"damaged":                {spec(uri, "public_key", strings.Replace(half, "A", "B", 8)), "damaged"},
		"an EC key":              {spec(uri, "public_key", encode("PUBLIC KEY", ec.Public())), "not an RSA key"},
		"a short key":            {spec(uri, "public_key", encode("PUBLIC KEY", small)), "2048"},
		"no token":               {spec("pkcs11:object=o"), "token=…"},
		"no object":              {spec("pkcs11:token=t"), "object=…"},
		"a slot":                 {spec("pkcs11:token=t;object=o;slot-id=0"), "label"},
		"PIN":                    {spec(uri + "?pin-value=1234567"), "--pin-file"},
		"source of a PIN":        {spec(uri + "?pin-source=%7Ccat%20/1234567"), "--pin-file"},
		"module":                 {spec(uri + "?module-path=/1234567"), "--pkcs11-module"},
		"PIN in the wrong place": {spec("pkcs11:token=t;1234567"), "name=value"},
	} {
		k, ok, err := p.Parse(tt.spec)
		if err == nil || !ok || k != nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "1234567") {
			t.Errorf("%s: %v, %v, %v; want an error about %q", what, k, ok, err, tt.says)
		}
	}
}

// An entry is as docs/format.md says: here it is opened by hand.
func TestWire(t *testing.T) {
	private, half, fp := rsaPair(t, 3072)
	for m, hash := range map[string]crypto.Hash{"rsa-oaep-sha256": crypto.SHA256, "rsa-oaep-sha1": crypto.SHA1} {
		k, _, err := offline(t).Parse(spec("pkcs11:token=prod;object=kenv;id=%02", "mech", m, "public_key", half))
		if err != nil {
			t.Fatal(err)
		}
		dataKey := []byte("the data key, of thirty-two byte")
		e, err := k.Wrap(t.Context(), dataKey)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, e.Field("created_at"))
		if err != nil || time.Since(at) > time.Minute || !strings.HasSuffix(e.Field("created_at"), "Z") {
			t.Errorf("created_at is %q", e.Field("created_at"))
		}
		if e.Kind != "pkcs11" || e.Field("uri") != "pkcs11:token=prod;object=kenv;id=%02" || e.Field("mech") != m || e.Field("key_fp") != fp || len(e.Fields) != 6 {
			t.Errorf("entry: %v", e)
		}
		raw := func(field string) []byte {
			b, err := base64.StdEncoding.DecodeString(e.Field(field))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		seed, err := private.Decrypt(nil, raw("ek"), &rsa.OAEPOptions{Hash: hash})
		if err != nil || len(seed) != 32 {
			t.Fatalf("%d bytes, %v", len(seed), err)
		}
		kek, err := hkdf.Key(sha256.New, seed, nil, "kenv/pkcs11/v1\x00"+m+"\x00"+fp, 32)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := aes.NewCipher(kek)
		gcm, _ := cipher.NewGCM(block)
		if got, err := gcm.Open(nil, make([]byte, 12), raw("enc"), []byte("kenv pkcs11 v1")); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("opened by hand: %q, %v", got, err)
		}
	}
}

func TestMatches(t *testing.T) {
	_, half, fp := rsaPair(t, 2048)
	_, half2, _ := rsaPair(t, 2048)
	p := offline(t)
	wrap := func(s keys.Spec) keys.Entry {
		k, _, err := p.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		e, err := k.Wrap(t.Context(), make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := wrap(spec("pkcs11:token=t;object=o", "public_key", half))
	for _, tt := range []struct {
		spec keys.Spec
		want bool
	}{
		{spec("pkcs11:token=t;object=o"), true},
		{spec("pkcs11:object=o;token=%74"), true},
		{spec("pkcs11:token=t;object=o", "public_key", half), true},
		{spec("pkcs11:token=t;object=o#" + fp), true},
		{spec("pkcs11:token=t;object=o", "public_key", half2), false},
		{spec("pkcs11:token=t;object=o", "mech", "rsa-oaep-sha1"), false},
		{spec("pkcs11:token=t;object=o;type=private"), false},
		{spec("pkcs11:token=t;object=p"), false},
	} {
		k, _, err := p.Parse(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := (keys.Table{p}).Matches(k, e); got != tt.want {
			t.Errorf("%s matches: %v", k.Name(), got)
		}
		damaged := keys.Entry{Kind: e.Kind, Fields: maps.Clone(e.Fields)}
		damaged.Fields["enc"] = "x"
		if m := k.(keys.Matcher); m.Matches(keys.Entry{Kind: "age", Fields: e.Fields}) || m.Matches(damaged) || m.Matches(keys.Entry{}) {
			t.Errorf("%s matches what is no HSM entry", k.Name())
		}
	}
}

// Entries are read strictly: nothing vouches for them.
func TestEntries(t *testing.T) {
	_, half, _ := rsaPair(t, 2048)
	p := offline(t)
	k, _, err := p.Parse(spec("pkcs11:token=t;object=o", "public_key", half))
	if err != nil {
		t.Fatal(err)
	}
	good, err := k.Wrap(t.Context(), make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for what, change := range map[string][2]string{
		"a PIN in the uri":       {"uri", "pkcs11:token=t;object=o?pin-value=1234567"},
		"a module in the uri":    {"uri", "pkcs11:token=t;object=o?module-path=/1234567"},
		"a slot":                 {"uri", "pkcs11:token=t;object=o;slot-id=1234567"},
		"mech":                   {"mech", "aes-256-cbc"},
		"mech of another type":   {"mech", "aes-256-gcm"},
		"fingerprint":            {"key_fp", "sha256:1234567"},
		"no fingerprint":         {"key_fp", ""},
		"base64 with line break": {"ek", good.Field("ek") + "\n"},
		"ek too long":            {"ek", encode(9 << 10)},
		"enc without a data key": {"enc", encode(16)},
		"enc too long":           {"enc", encode(16 + keys.MaxDataKey + 1)},
	} {
		e := keys.Entry{Kind: Kind, Fields: maps.Clone(good.Fields)}
		e.Fields[change[0]] = change[1]
		for _, try := range []func() error{
			func() error { _, err := p.FromEntry(e); return err },
			func() error { _, err := k.Unwrap(t.Context(), e); return err },
		} {
			if err := try(); err == nil || !strings.Contains(err.Error(), "damaged") || strings.Contains(err.Error(), "1234567") || errors.Is(err, keys.ErrNotHere) {
				t.Errorf("%s: %v; want that the entry is damaged", what, err)
			}
		}
	}
	// A key leaves alone what is wrapped for another, though that has its name.
	_, half2, _ := rsaPair(t, 2048)
	for _, other := range []keys.Spec{spec("pkcs11:token=t;object=o", "mech", "rsa-oaep-sha1"), spec("pkcs11:token=t;object=o", "public_key", half2)} {
		k, _, err := p.Parse(other)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Unwrap(t.Context(), good); !errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "another key") {
			t.Errorf("%s unwraps what is for another key: %v", k.Name(), err)
		}
	}
}
