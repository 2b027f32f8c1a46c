package awskms_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
)

const (
	keyARN   = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	aliasARN = "arn:aws:kms:eu-west-1:111122223333:alias/app/prod"
	mrkARN   = "arn:aws:kms:eu-west-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
	roleARN  = "arn:aws:iam::111122223333:role/path/deploy+er=1,@.x"
	fp       = "#sha256:0123456789abcdef0123456789abcdef"
)

// rsaPEM makes an RSA key and returns its public half and the fingerprint of that.
func rsaPEM(t *testing.T, bits int) (*rsa.PrivateKey, string, string) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return k, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), "sha256:" + hex.EncodeToString(sum[:16])
}

func TestNames(t *testing.T) {
	_, public, print := rsaPEM(t, 2048)
	type attrs = map[string]any
	for _, tt := range []struct {
		name  string
		attrs attrs
		want  string
		kind  string
	}{
		{keyARN, nil, keyARN, "kms"},
		{" " + keyARN + "\n", nil, keyARN, "kms"},
		{aliasARN, nil, aliasARN, "kms"},
		{mrkARN, nil, mrkARN, "kms"},
		{"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/k", nil, "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/k", "kms"},
		{"arn:aws-cn:kms:cn-north-1:111122223333:key/k", nil, "arn:aws-cn:kms:cn-north-1:111122223333:key/k", "kms"},
		{keyARN + "+" + roleARN, nil, keyARN + "+" + roleARN, "kms"},
		{keyARN, attrs{"role": roleARN}, keyARN + "+" + roleARN, "kms"},
		{keyARN + "+" + roleARN, attrs{"role": roleARN}, keyARN + "+" + roleARN, "kms"}, // as config gives it
		{keyARN + "?b=2&a=1", nil, keyARN + "?a=1&b=2", "kms"},
		{keyARN + "?a=%26%3D%2b+%C3%A9", nil, keyARN + "?a=%26%3D%2B+%C3%A9", "kms"},
		{keyARN, attrs{"context": map[string]string{"b": "x y", "a": ""}}, keyARN + "?a=&b=x+y", "kms"},
		{keyARN + "?a=1", attrs{"context": map[string]string{"a": "1"}}, keyARN + "?a=1", "kms"},
		{keyARN, attrs{"context": map[string]string{}}, keyARN, "kms"},
		{aliasARN + "+" + roleARN + "?a=1", nil, aliasARN + "+" + roleARN + "?a=1", "kms"},
		{keyARN, attrs{"aws_profile": "dev", "mech": "x"}, keyARN, "kms"},
		{"alias/x", nil, "alias/x@ap-south-1", "kms"},
		{"alias/x@eu-west-1", nil, "alias/x@eu-west-1", "kms"},
		{"alias/x@eu-west-1+" + roleARN + "?a=1", nil, "alias/x@eu-west-1+" + roleARN + "?a=1", "kms"},
		{"1234abcd-12ab-34cd-56ef-1234567890ab", nil, "1234abcd-12ab-34cd-56ef-1234567890ab@ap-south-1", "kms"},
		{"mrk-1234abcd12ab34cd56ef1234567890ab@us-east-1", nil, "mrk-1234abcd12ab34cd56ef1234567890ab@us-east-1", "kms"},
		{keyARN + fp, nil, keyARN + fp, "kms_rsa"},
		{aliasARN + "+" + roleARN + fp, nil, aliasARN + "+" + roleARN + fp, "kms_rsa"},
		{keyARN, attrs{"public_key": public}, keyARN + "#" + print, "kms_rsa"},
		{keyARN + "#" + print, attrs{"public_key": public, "role": roleARN}, keyARN + "+" + roleARN + "#" + print, "kms_rsa"},
	} {
		t.Setenv("AWS_REGION", "")
		t.Setenv("AWS_DEFAULT_REGION", "ap-south-1")
		table := rows()
		k, err := table.Make(keys.Spec{Name: tt.name, Attrs: tt.attrs})
		if err != nil {
			t.Errorf("%q %v: %v", tt.name, tt.attrs, err)
			continue
		}
		if k.Name() != tt.want {
			t.Errorf("%q %v is named %q, want %q", tt.name, tt.attrs, k.Name(), tt.want)
		}
		if again, err := table.Parse(k.Name()); err != nil || again.Name() != k.Name() {
			t.Errorf("the name %q does not name it: %v", k.Name(), err)
		}
		for _, p := range table {
			if _, ok, _ := p.Parse(keys.Spec{Name: strings.TrimSpace(tt.name), Attrs: tt.attrs}); ok != (p.Kind == tt.kind) {
				t.Errorf("%q %v: the row of %s says ok = %v", tt.name, tt.attrs, p.Kind, ok)
			}
		}
	}
	// AWS_REGION comes before AWS_DEFAULT_REGION.
	t.Setenv("AWS_REGION", "us-west-2")
	if k := parse(t, rows(), "alias/x"); k.Name() != "alias/x@us-west-2" {
		t.Errorf("with both Regions set alias/x is %s", k.Name())
	}
}

func TestWrongNames(t *testing.T) {
	_, public, _ := rsaPEM(t, 2048)
	_, short, _ := rsaPEM(t, 1024)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(ec.Public())
	if err != nil {
		t.Fatal(err)
	}
	curve := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	type attrs = map[string]any
	for _, tt := range []struct {
		name  string
		attrs attrs
		want  string
	}{
		{"alias/x", nil, "alias/x@REGION"},
		{"arn:aws:iam::111122223333:role/r", nil, "not the ARN of a KMS key"},
		{keyARN + "+" + roleARN, attrs{"role": "arn:aws:iam::1:role/r"}, "two roles"},
		{keyARN, attrs{"role": "admin"}, "not the ARN of a role"},
		{keyARN + "?a=1", attrs{"context": map[string]string{"a": "2"}}, "two encryption contexts"},
		{keyARN, attrs{"context": "a"}, "not a map of strings"},
		{keyARN, attrs{"context": map[string]string{"": "2"}}, "empty name"},
		{keyARN, attrs{"context": map[string]string{"a": strings.Repeat("x", 9000)}}, "too long"},
		{keyARN + "?a=1+" + roleARN, nil, "role stands before"},
		{keyARN + "?a=1&a=1", nil, `"a" twice`},
		{keyARN, attrs{"public_key": public, "context": map[string]string{"a": "b"}}, "no encryption context"},
		{keyARN + "?a=b", attrs{"public_key": public}, "no encryption context"},
		{keyARN + fp, attrs{"public_key": public}, "another fingerprint"},
		{"alias/x@eu-west-1", attrs{"public_key": public}, "named by its ARN"},
		{keyARN, attrs{"public_key": "ssh-rsa AAAA"}, "not a public key in PEM"},
		{keyARN, attrs{"public_key": strings.Replace(public, "MII", "AII", 1)}, "damaged"},
		{keyARN, attrs{"public_key": short}, "1024 bits"},
		{keyARN, attrs{"public_key": curve}, "not an RSA key"},
		{keyARN + "\x1b[2J", nil, `\x1b[2J`}, // escaped
	} {
		k, err := rows().Make(keys.Spec{Name: tt.name, Attrs: tt.attrs})
		if err == nil || k != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "KMS key") {
			t.Errorf("%q %.60q: %v, %v; want %q and which key", tt.name, tt.attrs, k, err, tt.want)
		}
	}
	t.Setenv("AWS_REGION", "evil.example.com/")
	if _, err := rows().Parse("alias/x"); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("with a Region that is none: %v", err)
	}
}

func TestContextFlag(t *testing.T) {
	for _, a := range row(t, awskms.Kind).Attrs {
		if a.Name != "context" {
			continue
		}
		for text, want := range map[string]map[string]string{
			"":              {},
			"app:web":       {"app": "web"},
			"App:web,Env:":  {"App": "web", "Env": ""},
			"url:http://x,": nil,
			"a:b:c":         {"a": "b:c"},
			"a":             nil,
			":x":            nil,
			"a:1,a:1":       nil,
		} {
			got, err := a.Parse(text)
			if (err != nil) != (want == nil) || err == nil && !maps.Equal(got.(map[string]string), want) {
				t.Errorf("%q is %v, %v; want %v", text, got, err, want)
			}
		}
		return
	}
	t.Error("no flag for the context")
}

func entryOf(kind string, fields ...any) keys.Entry {
	e := keys.Entry{Kind: kind, Fields: make(map[string]any)}
	for i := 0; i < len(fields); i += 2 {
		e.Fields[fields[i].(string)] = fields[i+1]
	}
	return e
}

func TestFromEntry(t *testing.T) {
	ctx := map[string]string{"a": "1"}
	for _, tt := range []struct {
		e    keys.Entry
		want string // of the name, or of the error
	}{
		{entryOf("kms", "arn", keyARN), keyARN},
		{entryOf("kms", "arn", keyARN, "role", "", "context", map[string]string{}, "aws_profile", "x"), keyARN},
		{entryOf("kms", "arn", aliasARN), aliasARN}, // as sops stores an alias
		{entryOf("kms", "arn", keyARN, "alias", aliasARN, "role", roleARN, "context", ctx), keyARN + "+" + roleARN + "?a=1"},
		{entryOf("kms_rsa", "arn", keyARN, "key_fp", fp[1:]), keyARN + fp},
		{entryOf("kms"), "no arn field"},
		{entryOf("kms", "arn", 7), "no arn field"},
		{entryOf("kms", "arn", "alias/x@eu-west-1"), "no arn field"},
		{entryOf("kms", "arn", keyARN, "role", "admin"), "role"},
		{entryOf("kms", "arn", keyARN, "role", 7), "role"},
		{entryOf("kms", "arn", keyARN, "context", "a"), "context"},
		{entryOf("kms", "arn", keyARN, "context", map[string]any{"a": 1}), "context"},
		{entryOf("kms", "arn", keyARN, "context", map[string]string{"": "1"}), "empty name"},
		{entryOf("kms_rsa", "arn", keyARN), "key_fp"},
		{entryOf("kms_rsa", "arn", keyARN, "key_fp", "sha256:x"), "key_fp"},
		{entryOf("kms_rsa", "arn", keyARN, "key_fp", fp[1:], "context", ctx), "no encryption context"},
	} {
		k, err := rows().FromEntry(tt.e)
		switch {
		case err == nil && k.Name() != tt.want:
			t.Errorf("%v is %s, want %s", tt.e, k.Name(), tt.want)
		case err != nil && (k != nil || strings.HasPrefix(tt.want, "arn:") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v: %v, %v; want %s", tt.e, k, err, tt.want)
		}
	}
}

func TestMatches(t *testing.T) {
	otherRegion := strings.Replace(mrkARN, "eu-west-1", "us-east-1", 1)
	e := func(fields ...any) keys.Entry { return entryOf("kms", fields...) }
	for _, tt := range []struct {
		name string
		e    keys.Entry
		want bool
	}{
		{keyARN, e("arn", keyARN), true},
		{keyARN, e("arn", keyARN, "aws_profile", "x"), true},
		{keyARN, e("arn", mrkARN), false},
		{keyARN, e("arn", keyARN, "role", roleARN), false},
		{keyARN + "+" + roleARN, e("arn", keyARN), false},
		{keyARN + "+" + roleARN, e("arn", keyARN, "role", roleARN), true},
		{keyARN, e("arn", keyARN, "context", map[string]string{"a": "1"}), false},
		{keyARN + "?a=1", e("arn", keyARN), false},
		{keyARN + "?a=1", e("arn", keyARN, "context", map[string]string{"a": "1"}), true},
		{keyARN + "?a=1", e("arn", keyARN, "context", map[string]string{"a": "1", "b": "2"}), false},

		{aliasARN, e("arn", keyARN, "alias", aliasARN), true},
		{aliasARN, e("arn", aliasARN), true},
		{aliasARN, e("arn", keyARN), false},
		{keyARN, e("arn", keyARN, "alias", aliasARN), true},
		{aliasARN, e("arn", keyARN, "alias", aliasARN+"2"), false},
		{aliasARN, e("arn", strings.Replace(keyARN, "111122223333", "444455556666", 1), "alias", aliasARN), false},
		{aliasARN, e("arn", strings.Replace(keyARN, "eu-west-1", "us-east-1", 1), "alias", aliasARN), false},
		{aliasARN, e("arn", strings.Replace(keyARN, "arn:aws:", "arn:aws-cn:", 1), "alias", aliasARN), false},
		{aliasARN, e("arn", keyARN, "alias", 7), false},

		{mrkARN, e("arn", otherRegion), true},
		{mrkARN, e("arn", strings.Replace(otherRegion, "111122223333", "444455556666", 1)), false},
		{keyARN, e("arn", strings.Replace(keyARN, "eu-west-1", "us-east-1", 1)), false},
		{aliasARN, e("arn", keyARN, "alias", strings.Replace(aliasARN, "eu-west-1", "us-east-1", 1)), false},

		{"alias/app/prod@eu-west-1", e("arn", keyARN, "alias", aliasARN), true},
		{"alias/app/prod@eu-west-2", e("arn", keyARN, "alias", aliasARN), false},
		{"alias/app/prod@eu-west-1", e("arn", aliasARN), true},
		{"1234abcd-12ab-34cd-56ef-1234567890ab@eu-west-1", e("arn", keyARN), true},
		{"1234abcd-12ab-34cd-56ef-1234567890ab@eu-west-2", e("arn", keyARN), false},
		{"mrk-1234abcd12ab34cd56ef1234567890ab@eu-west-2", e("arn", mrkARN), true},

		{keyARN + fp, entryOf("kms_rsa", "arn", keyARN, "key_fp", fp[1:]), true},
		{keyARN + fp, entryOf("kms_rsa", "arn", keyARN, "key_fp", strings.Replace(fp[1:], "0", "1", 1)), false},
		{keyARN + fp, e("arn", keyARN), false},
		{keyARN, entryOf("kms_rsa", "arn", keyARN, "key_fp", fp[1:]), true}, // the config lacks its public half
		{mrkARN + fp, entryOf("kms_rsa", "arn", otherRegion, "key_fp", fp[1:]), true},
		{keyARN, entryOf("age", "arn", keyARN), false},
		{keyARN, e(), false},
	} {
		table := rows()
		if got := table.Matches(parse(t, table, tt.name), tt.e); got != tt.want {
			t.Errorf("%s matches %v: %v", tt.name, tt.e, got)
		}
	}
}

// What the parts of a name are comes out of it again, and nothing panics.
func FuzzName(f *testing.F) {
	for _, s := range append(append(append([]string{keyARN, mrkARN + "?a=b", aliasARN + "+" + roleARN + fp}, wrong[:len(wrong)-1]...), wrongContext...), wrongRSA...) {
		f.Add(s, "a", "b")
	}
	f.Fuzz(func(t *testing.T, name, k, v string) {
		table := rows()
		m, err := table.Parse(name)
		if err == nil {
			again, err := table.Parse(m.Name())
			if err != nil || again.Name() != m.Name() {
				t.Fatalf("%q is named %q, which is %v, %v", name, m.Name(), again, err)
			}
		}
		context := map[string]string{k: v}
		m, err = table.Make(keys.Spec{Name: keyARN, Attrs: map[string]any{"context": context}})
		if err != nil {
			return
		}
		again, err := table.Parse(m.Name())
		if err != nil {
			t.Fatal(err)
		}
		e := entryOf("kms", "arn", keyARN, "context", context)
		if !table.Matches(again, e) {
			t.Fatalf("%v does not come out of %q", context, m.Name())
		}
		if of, err := table.FromEntry(e); err != nil || of.Name() != m.Name() || !reflect.DeepEqual(e.Fields["context"], context) {
			t.Fatalf("%v, %v", of, err)
		}
	})
}
