package awskms_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
)

// secretKey is what signs requests in tests: no message may hold it.
const secretKey = "Zo2vLkQmXr7TnBq9"

var (
	shim  = kmstest.Once(false)
	plain = kmstest.Once(true)
)

// serve returns the server with its gaps filled in, for a test that uses it by the
// environment.
func serve(t *testing.T) *kmstest.Server {
	t.Helper()
	s := shim(t)
	s.Reset(t)
	setenv(t, s)
	return s
}

func setenv(t *testing.T, s *kmstest.Server) {
	s.Setenv(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
}

// rows returns the providers under the process's environment.
func rows(settings ...string) keys.Table {
	return awskms.Providers(env(settings...))
}

func env(settings ...string) keys.Env {
	return keys.Env{Getenv: os.Getenv, Setting: func(name string) string {
		for i := 0; i < len(settings); i += 2 {
			if settings[i] == name {
				return settings[i+1]
			}
		}
		return ""
	}}
}

// row returns the provider of a kind.
func row(t *testing.T, kind string, settings ...string) keys.Provider {
	t.Helper()
	p, ok := rows(settings...).Provider(kind)
	if !ok {
		t.Fatalf("no row for %s", kind)
	}
	return p
}

func parse(t *testing.T, table keys.Table, name string, attrs ...any) keys.MasterKey {
	t.Helper()
	s := keys.Spec{Name: name, Attrs: make(map[string]any)}
	for i := 0; i < len(attrs); i += 2 {
		s.Attrs[attrs[i].(string)] = attrs[i+1]
	}
	k, err := table.Make(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wrap returns a data key and the entry that a key makes of it.
func wrap(t *testing.T, k keys.MasterKey) ([]byte, keys.Entry) {
	t.Helper()
	dataKey := keystest.NewDataKey(t, 32)
	e, err := k.Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatal(err)
	}
	return dataKey, e
}

// opens checks that an entry opens to a data key, by the key that the entry names.
func opens(t *testing.T, table keys.Table, e keys.Entry, dataKey []byte) {
	t.Helper()
	k, err := table.FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Unwrap(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, dataKey) {
		t.Fatal("another data key comes out")
	}
}

var wrong = []string{
	"arn:", "arn:aws:kms", "arn:aws:s3:::bucket", "arn:aws:iam::111122223333:role/r",
	"arn:aws:kms:eu-west-1:111122223333:", "arn:aws:kms:eu-west-1:111122223333:key/", "arn:aws:kms:eu-west-1:111122223333:alias/",
	"arn:aws:kms:EU-WEST-1:111122223333:key/x", "arn:aws:kms:eu.example.com/:111122223333:key/x", "arn:aws:kms:eu-west-1:me:key/x",
	"arn:azure:kms:eu-west-1:111122223333:key/x", "arn:aws:kms:eu-west-1:111122223333:key/x y", "arn:aws:kms:eu-west-1:111122223333:key/x\n",
	"arn:aws:kms:eu-west-1:111122223333:key/x+", "arn:aws:kms:eu-west-1:111122223333:key/x+arn:aws:iam::1:user/u",
	"arn:aws:kms:eu-west-1:111122223333:key/x+arn:aws:iam::1:role/r+arn:aws:iam::1:role/\x1b[2J",
	"alias/", "alias/x y", "alias/x@", "alias/x@eu west", "mrk-0", "00000000-0000-0000-0000-00000000000g",
	"arn:aws:kms:eu-west-1:111122223333:key/" + strings.Repeat("x", 1<<20),
}

var wrongContext = []string{
	"arn:aws:kms:eu-west-1:111122223333:key/x?=v", "arn:aws:kms:eu-west-1:111122223333:key/x?a=1&a=2",
	"arn:aws:kms:eu-west-1:111122223333:key/x?a=%zz", "arn:aws:kms:eu-west-1:111122223333:key/x?a;b",
	"arn:aws:kms:eu-west-1:111122223333:key/x?a=b+arn:aws:iam::1:role/r",
	"arn:aws:kms:eu-west-1:111122223333:key/x?a=" + strings.Repeat("x", 10<<10),
}

var wrongRSA = []string{
	"arn:aws:kms:eu-west-1:111122223333:key/x#", "arn:aws:kms:eu-west-1:111122223333:key/x#sha256:",
	"arn:aws:kms:eu-west-1:111122223333:key/x#sha256:0123", "arn:aws:kms:eu-west-1:111122223333:key/x#sha256:0123456789ABCDEF0123456789ABCDEF",
	"arn:aws:kms:eu-west-1:111122223333:key/x?a=b#sha256:0123456789abcdef0123456789abcdef",
	"alias/x@eu-west-1#sha256:0123456789abcdef0123456789abcdef",
}

func TestConformance(t *testing.T) {
	here := func(s *kmstest.Server, kind string) func(*testing.T) keys.Provider {
		return func(t *testing.T) keys.Provider {
			setenv(t, s)
			t.Setenv("AWS_MAX_ATTEMPTS", "1") // of which a Region that is none would take all
			return row(t, kind)
		}
	}
	away := func(kind string) func(*testing.T) keys.Provider {
		return func(t *testing.T) keys.Provider {
			kmstest.Clean(t)
			return row(t, kind)
		}
	}
	symmetric := func(s *kmstest.Server, context string) keystest.Suite {
		other := s.Env["KENV_TEST_KMS_ARN2"] + context
		return keystest.Suite{
			Here: here(s, awskms.Kind), Away: away(awskms.Kind),
			Name: s.Env["KENV_TEST_KMS_ARN"] + context, Other: other, OtherHere: true, WrapAsks: true,
			Wrong: append(wrong, wrongContext...), Blob: []string{"enc"}, Cuts: 12, Secrets: []string{secretKey},
		}
	}
	t.Run("symmetric", func(t *testing.T) {
		suite := symmetric(shim(t), "")
		suite.Same = []string{suite.Name + "?"}
		keystest.Run(t, suite)
	})
	t.Run("symmetric on moto as it is", func(t *testing.T) {
		keystest.Run(t, symmetric(plain(t), ""))
	})
	t.Run("with a context", func(t *testing.T) {
		suite := symmetric(shim(t), "?app=a+b%26c&env=")
		suite.Same = []string{shim(t).Env["KENV_TEST_KMS_ARN"] + "?env&app=a%20b%26c"}
		keystest.Run(t, suite)
	})
	t.Run("multi-Region", func(t *testing.T) {
		suite := symmetric(shim(t), "")
		suite.Name = shim(t).Env["KENV_TEST_KMS_MRK_ARN"]
		keystest.Run(t, suite)
	})
	t.Run("RSA", func(t *testing.T) {
		s := shim(t)
		s.Setenv(t)
		other := s.KMS(t, "us-east-1", "CreateKey", map[string]any{"KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT"})["KeyMetadata"].(map[string]any)["Arn"].(string)
		name := func(arn string) string {
			_, fp, err := awskms.PublicKey(t.Context(), env(), arn)
			if err != nil {
				t.Fatal(err)
			}
			return arn + "#" + fp
		}
		keystest.Run(t, keystest.Suite{
			Here: here(s, awskms.KindRSA), Away: away(awskms.KindRSA),
			Name: name(s.Env["KENV_TEST_KMS_RSA_ARN"]), Other: name(other), OtherHere: true, WrapAsks: true,
			Wrong: wrongRSA, Blob: []string{"enc"}, Cuts: 12, Secrets: []string{secretKey},
		})
	})
}
