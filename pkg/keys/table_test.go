package keys_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
)

type fake struct {
	keys.MasterKey
	name string
}

func (f fake) Name() string { return f.name }

// fakes is a provider of keys named kind:…
func fakes(kind string) keys.Provider {
	return keys.Provider{
		Kind: kind, Forms: []string{kind + ":NAME"},
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			name := s.Name
			if !strings.HasPrefix(name, kind+":") {
				return nil, false, nil
			}
			if name == kind+":" {
				return nil, true, errors.New("half a name")
			}
			return fake{name: name}, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			return fake{name: kind + ":" + e.Field("id")}, nil
		},
	}
}

func TestTable(t *testing.T) {
	table := keys.Table{fakes("one"), fakes("two")}
	if k, err := table.Parse(" two:x\n"); err != nil || k.Name() != "two:x" {
		t.Errorf("Parse: %v, %v", k, err)
	}
	if _, err := table.Parse("one:"); err == nil || err.Error() != "half a name" {
		t.Errorf("a provider's own error is lost: %v", err)
	}
	if k, err := table.FromEntry(keys.Entry{Kind: "two", Fields: map[string]any{"id": "x"}}); err != nil || k.Name() != "two:x" {
		t.Errorf("FromEntry: %v, %v", k, err)
	}
	if p, ok := table.Provider("two"); !ok || p.Kind != "two" {
		t.Error("Provider does not find two")
	}
	if _, ok := table.Provider("three"); ok {
		t.Error("Provider finds three")
	}

	for _, name := range []string{"three:x", "x\x1b[2Jy", strings.Repeat("long", 1<<18)} {
		_, err := table.Parse(name)
		if err == nil || errors.Is(err, keys.ErrUnsupported) || !strings.Contains(err.Error(), "one:NAME, two:NAME") {
			t.Fatalf("Parse(%.20q): %v; want the forms that are known", name, err)
		}
		if strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 300 {
			t.Errorf("Parse(%.20q) repeats it raw or whole", name)
		}
	}
	if _, err := table.Parse(" "); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("Parse of nothing: %v", err)
	}
	for _, secret := range []string{"AGE-SECRET-KEY-1QQ", "x age-secret-key-pq-1qq", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl"} {
		if _, err := table.Parse(secret); err == nil || strings.Contains(err.Error(), secret[:12]) {
			t.Errorf("Parse of a secret key repeats it, or takes it: %v", err)
		}
	}
	_, err := table.FromEntry(keys.Entry{Kind: "three"})
	if !errors.Is(err, keys.ErrUnsupported) || !strings.Contains(err.Error(), `"three"`) {
		t.Errorf("FromEntry of an unknown kind: %v", err)
	}
}

func TestUnsupported(t *testing.T) {
	table := keys.Table{fakes("one")}
	for name, what := range map[string]string{
		"arn:aws:kms:eu-west-2:111122223333:key/1234":                                 "AWS KMS",
		"arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/x+arn:aws:iam::1:role/r": "AWS KMS",
		"pgp:EF3829C76267B7074F4383F7BF5999B069DACA52":                                "PGP",
		"EF3829C76267B7074F4383F7BF5999B069DACA52":                                    "PGP",
		"projects/p/locations/global/keyRings/r/cryptoKeys/k":                         "GCP KMS",
		"https://x.vault.azure.net/keys/k/0123":                                       "Azure Key Vault",
		"https://vault.example.com:8200/v1/transit/keys/k":                            "Vault transit",
		"http://127.0.0.1:8200/v1/a/b/keys/k":                                         "Vault transit",
		"tr-west-1:01234567-89ab-cdef-0123-456789abcdef":                              "Huawei Cloud KMS",
		"pkcs11:token=prod;object=kenv":                                               "PKCS#11",
		"gcp-kms:projects/p/locations/global/keyRings/r/cryptoKeys/k":                 "GCP KMS",
		"azure-kv:https://x.vault.azure.net/keys/k":                                   "Azure Key Vault",
		"hc-vault:https://vault.example.com:8200/v1/transit/keys/k":                   "Vault transit",
		"hckms:tr-west-1:01234567-89ab-cdef-0123-456789abcdef":                        "Huawei Cloud KMS",
	} {
		_, err := table.Parse(name)
		if !errors.Is(err, keys.ErrUnsupported) || !strings.Contains(err.Error(), what+" keys are not supported by this kenv yet") || !strings.Contains(err.Error(), name) {
			t.Errorf("Parse(%q): %v; want its name and %s", name, err, what)
		}
	}
	for _, kind := range []string{"kms", "kms_rsa", "gcp_kms", "azure_kv", "hc_vault", "hckms", "pgp", "pkcs11"} {
		_, err := table.FromEntry(keys.Entry{Kind: kind})
		if !errors.Is(err, keys.ErrUnsupported) || !strings.Contains(err.Error(), kind) {
			t.Errorf("FromEntry of %s: %v", kind, err)
		}
	}
	// A table that has the provider asks it first.
	table = append(table, fakes("pgp"))
	if k, err := table.Parse("pgp:EF38"); err != nil || k.Name() != "pgp:EF38" {
		t.Errorf("Parse of a kind that the table has: %v", err)
	}
}

func TestNotHereError(t *testing.T) {
	err := error(&keys.NotHereError{Looked: []string{"A (not set)", "B (no such file)"}})
	if !errors.Is(err, keys.ErrNotHere) || errors.Is(err, keys.ErrQuiet) {
		t.Error("NotHereError is ErrNotHere, and ErrQuiet only if it says so")
	}
	if want := "no matching secret key at hand; looked in A (not set), B (no such file)"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := error(&keys.NotHereError{Asks: true}); !errors.Is(err, keys.ErrQuiet) || !errors.Is(err, keys.ErrNotHere) {
		t.Error("with Asks it is both")
	}
}

func TestEnv(t *testing.T) {
	var none keys.Env
	none.Warnf("%d", 1)
	if _, err := none.Ask(context.Background(), "x: "); !errors.Is(err, keys.ErrNoTerminal) || none.Var("HOME") != "" {
		t.Errorf("the zero Env: %v, %q", err, none.Var("HOME"))
	}
	ctx := context.Background()
	if keys.IsQuiet(ctx) || !keys.IsQuiet(keys.Quiet(ctx)) {
		t.Error("Quiet does not make a context quiet")
	}
}

func TestShort(t *testing.T) {
	arn := "arn:aws:kms:eu-west-2:111122223333:key/12345678-1234-1234-1234-123456789012"
	if keys.Short(arn) != arn {
		t.Error("an ARN is not too long")
	}
	long := "age1pq1" + strings.Repeat("é", 2000) + "the end here"
	if got := keys.Short(long); len([]rune(got)) > 60 || !strings.HasPrefix(got, "age1pq1é") || !strings.HasSuffix(got, "…the end here") {
		t.Errorf("Short gives %q", got)
	}
}
