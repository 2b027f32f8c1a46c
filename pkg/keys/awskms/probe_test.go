package awskms_test

import (
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
)

func probe(t *testing.T, k keys.MasterKey, e keys.Entry) keys.Finding {
	t.Helper()
	p, ok := k.(keys.Prober)
	if !ok {
		t.Fatal("not a Prober")
	}
	f := p.Probe(t.Context(), e)
	if f.What != k.Name() {
		t.Errorf("the finding is about %s", f.What)
	}
	return f
}

func finds(t *testing.T, f keys.Finding, state string, texts ...string) {
	t.Helper()
	all := f.Detail + " | " + f.Hint
	for _, text := range texts {
		if !strings.Contains(all, text) {
			t.Errorf("the finding has no %q: %s", text, all)
		}
	}
	if f.State != state {
		t.Errorf("the state is %s, want %s: %s", f.State, state, all)
	}
}

func TestProbe(t *testing.T) {
	s := serve(t)
	arn := s.Env["KENV_TEST_KMS_ARN"]
	denied := func(op string) {
		s.Fault(t, kmstest.Fault{Op: op, Type: "AccessDeniedException", Count: 1})
	}
	none := keys.Entry{}
	key := func(name string) keys.MasterKey { return parse(t, rows(), name) }

	finds(t, probe(t, key(arn), none), keys.OK, "may encrypt and decrypt")
	finds(t, probe(t, key(s.Env["KENV_TEST_KMS_ALIAS_ARN"]+"?a=b"), none), keys.OK, "may encrypt and decrypt")
	for _, c := range s.Calls(t, "Decrypt")[1:] {
		if c.Context["a"] != "b" {
			t.Errorf("probed in the context %v", c.Context)
		}
	}
	denied("Encrypt")
	finds(t, probe(t, key(arn), none), keys.OK, "may decrypt, not encrypt")
	denied("Decrypt")
	finds(t, probe(t, key(arn), none), keys.Note, "may encrypt, not decrypt")
	denied("Encrypt")
	denied("Decrypt")
	finds(t, probe(t, key(arn), none), keys.Missing, "may not call kms:Decrypt")
	finds(t, probe(t, key(s.Env["KENV_TEST_KMS_DISABLED_ARN"]), none), keys.Missing, "disabled in us-east-1", "aws kms enable-key")
	finds(t, probe(t, key(strings.Replace(arn, "us-east-1", "us-east-2", 1)), none), keys.Missing, "no such key in us-east-2")

	_, print, err := awskms.PublicKey(t.Context(), env(), s.Env["KENV_TEST_KMS_RSA_ARN"])
	if err != nil {
		t.Fatal(err)
	}
	rsaKey := s.Env["KENV_TEST_KMS_RSA_ARN"] + "#" + print
	finds(t, probe(t, key(rsaKey), none), keys.OK, "may encrypt and decrypt")
	denied("Encrypt")
	finds(t, probe(t, key(rsaKey), none), keys.OK, "encrypting needs no permission")

	kmstest.Clean(t)
	t.Setenv("AWS_PROFILE", "nope")
	finds(t, probe(t, key(arn), none), keys.Missing, "no AWS credentials; looked in AWS profile nope")
}

// A server that pays no heed to dry runs is no proof of anything.
func TestProbePlain(t *testing.T) {
	s := plain(t)
	setenv(t, s)
	finds(t, probe(t, parse(t, rows(), s.Env["KENV_TEST_KMS_ARN"]), keys.Entry{}), keys.Note, "not supported here")
}

func TestProbeSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 10 seconds")
	}
	kmstest.Clean(t)
	t.Setenv("AWS_ENDPOINT_URL", silent(t))
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	start := time.Now()
	finds(t, probe(t, parse(t, rows(), keyARN), keys.Entry{}), keys.Missing, "no answer from KMS in eu-west-1 within 10s")
	if d := time.Since(start); d > 11*time.Second {
		t.Errorf("it took %v", d)
	}
}

// With an entry the finding says whether the key was rotated since.
func TestProbeEntry(t *testing.T) {
	s := serve(t)
	arn := s.KMS(t, "us-east-1", "CreateKey", nil)["KeyMetadata"].(map[string]any)["Arn"].(string)
	k := parse(t, rows(), arn)
	dataKey, old := wrap(t, k)
	f := probe(t, k, old)
	finds(t, f, keys.OK, "may encrypt and decrypt")
	if strings.Contains(f.Detail, "older") {
		t.Error("the entry is not older than its key material")
	}
	s.KMS(t, "us-east-1", "RotateKeyOnDemand", map[string]any{"KeyId": arn[strings.LastIndex(arn, "/")+1:]})
	_, current := wrap(t, k)
	finds(t, probe(t, k, old), keys.Note, "may encrypt and decrypt", "older key material", "kenv rotate")
	if f := probe(t, k, current); strings.Contains(f.Detail, "older") {
		t.Errorf("the new entry: %s", f.Detail)
	}
	opens(t, rows(), old, dataKey)
	// Best effort: without the right to describe keys it is not known.
	s.Fault(t, kmstest.Fault{Op: "DescribeKey", Type: "AccessDeniedException"})
	finds(t, probe(t, k, old), keys.OK, "may encrypt and decrypt")
	// An entry of another kind, or damaged, is no reason to fail.
	finds(t, probe(t, k, entryOf("age", "enc", "x")), keys.OK)
	finds(t, probe(t, k, entryOf("kms", "arn", arn, "enc", "AAAA")), keys.OK)
}

func TestExamine(t *testing.T) {
	s := serve(t)
	look := func(settings ...string) map[string]keys.Finding {
		t.Helper()
		start := time.Now()
		all := make(map[string]keys.Finding)
		for _, f := range row(t, awskms.Kind, settings...).Examine(t.Context()) {
			all[f.What] = f
			if strings.Contains(f.Detail+f.Hint, secretKey) {
				t.Errorf("a finding holds a secret: %v", f)
			}
		}
		if d := time.Since(start); d > 3500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		return all
	}
	all := look()
	finds(t, all["AWS credentials"], keys.OK, "from environment variables: arn:aws:sts::123456789012:")
	finds(t, all["AWS Region"], keys.OK, "us-east-1")
	finds(t, all["KMS endpoint"], keys.Note, s.URL)
	finds(t, all["STS endpoint"], keys.Note, s.URL)
	for _, c := range s.Calls(t, "") {
		if c.Op != "GetCallerIdentity" {
			t.Errorf("it calls %s", c.Op)
		}
	}

	profiles(t, "[profile p]\naws_access_key_id = a\naws_secret_access_key = "+secretKey+"\n[profile q]\ncredential_process = exit 1\n")
	finds(t, look("aws_profile", "p")["AWS credentials"], keys.OK, "from AWS profile p: arn:")
	finds(t, look("aws_profile", "q")["AWS credentials"], keys.Note, "AWS profile q (needs an MFA code or a program")
	s.Fault(t, kmstest.Fault{Op: "GetCallerIdentity", Type: "ExpiredToken", Status: 403, Count: 9})
	finds(t, look()["AWS credentials"], keys.Warning, "session of environment variables has ended")

	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	finds(t, look()["AWS Region"], keys.Note, "not set")

	kmstest.Clean(t)
	f := look()["AWS credentials"]
	finds(t, f, keys.Missing, "none; looked in AWS_ACCESS_KEY_ID (not set)", "aws configure")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent(t))
	finds(t, look()["AWS credentials"], keys.Missing, "EC2 instance metadata (no answer")

	// An STS that is out of reach does not hold it up.
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_ENDPOINT_URL", strings.Replace(silent(t), "http://", "http://user:"+secretKey+"@", 1))
	all = look()
	finds(t, all["AWS credentials"], keys.Warning, "no answer from STS")
	if all["KMS endpoint"].Detail == "" || strings.Contains(all["KMS endpoint"].Detail, secretKey) {
		t.Error("the endpoint shows a password")
	}
}
