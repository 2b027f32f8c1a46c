package awskms_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
)

// The entries are those of sops, with an alias beside them; nothing of this machine
// stands in them.
func TestEntries(t *testing.T) {
	s := serve(t)
	arn, alias := s.Env["KENV_TEST_KMS_ARN"], s.Env["KENV_TEST_KMS_ALIAS_ARN"]
	const role = "arn:aws:iam::123456789012:role/kenv"
	ctx := map[string]string{"app": "web"}
	for _, tt := range []struct {
		name  string
		attrs []any
		want  map[string]any
	}{
		{arn, nil, map[string]any{"arn": arn}},
		{arn + "?app=web", nil, map[string]any{"arn": arn, "context": ctx}},
		{arn, []any{"aws_profile", "dev"}, map[string]any{"arn": arn}},
		{arn + "+" + role, nil, map[string]any{"arn": arn, "role": role}},
		{alias, []any{"context", ctx}, map[string]any{"arn": arn, "alias": alias, "context": ctx}},
		{"alias/kenv-test", nil, map[string]any{"arn": arn, "alias": alias}},
		{"alias/kenv-test@us-east-1", nil, map[string]any{"arn": arn, "alias": alias}},
		{arn[strings.Index(arn, "key/")+4:], nil, map[string]any{"arn": arn}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(config, []byte("[profile dev]\naws_access_key_id = a\naws_secret_access_key = b\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", config)
			table := rows()
			k := parse(t, table, tt.name, tt.attrs...)
			before := time.Now().Add(-time.Second)
			dataKey, e := wrap(t, k)
			made, err := time.Parse("2006-01-02T15:04:05Z", e.Field("created_at"))
			if err != nil || made.Before(before) || made.After(time.Now()) {
				t.Errorf("created_at is %q", e.Field("created_at"))
			}
			if _, err := base64.StdEncoding.DecodeString(e.Field("enc")); err != nil {
				t.Error(err)
			}
			got := maps.Clone(e.Fields)
			delete(got, "created_at")
			delete(got, "enc")
			tt.want["aws_profile"] = ""
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("the entry is %v, want %v", got, tt.want)
			}
			if !table.Matches(k, e) {
				t.Error("the entry does not match the key that made it")
			}
			if tt.want["role"] == nil {
				opens(t, rows(), e, dataKey)
			}
			if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("the key itself does not open it: %v", err)
			}

			// Wrapping anew for what the entry says keeps what it says.
			if tt.want["role"] != nil {
				return
			}
			of, err := table.FromEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			_, again := wrap(t, of)
			for _, name := range []string{"arn", "alias", "context"} {
				if fmt.Sprint(again.Fields[name]) != fmt.Sprint(e.Fields[name]) {
					t.Errorf("%s was %v and is %v", name, e.Fields[name], again.Fields[name])
				}
			}
		})
	}
	for _, c := range s.Calls(t, "Decrypt") {
		if c.Key != arn {
			t.Errorf("a Decrypt names the key %q", c.Key)
		}
	}
}

// moto as it comes has aliases and contexts, too.
func TestPlain(t *testing.T) {
	s := plain(t)
	setenv(t, s)
	dataKey, e := wrap(t, parse(t, rows(), s.Env["KENV_TEST_KMS_ALIAS_ARN"]+"?app=web"))
	opens(t, rows(), e, dataKey)
	e.Fields["context"] = map[string]string{"app": "Web"}
	k, err := rows().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), e); err == nil || !strings.Contains(err.Error(), "encryption context is another") {
		t.Errorf("with another context: %v", err)
	}
}

// KMS is asked once for the same entry, whoever wants it and however often.
func TestOnce(t *testing.T) {
	s := serve(t)
	table := rows()
	dataKey, e := wrap(t, parse(t, table, s.Env["KENV_TEST_KMS_ARN"]))
	s.Fault(t, kmstest.Fault{Op: "Decrypt", Delay: 300 * time.Millisecond})
	unwrap := func(ctx context.Context) ([]byte, error) {
		k, err := table.FromEntry(e)
		if err != nil {
			return nil, err
		}
		return k.Unwrap(ctx, e)
	}
	var wg sync.WaitGroup
	impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wg.Go(func() { // the first, who leaves
		if got, err := unwrap(impatient); got != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an Unwrap whose time is up: %v", err)
		}
	})
	for range 20 {
		wg.Go(func() {
			time.Sleep(20 * time.Millisecond)
			got, err := unwrap(t.Context())
			if err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("beside one that is cancelled: %v", err)
			}
			clear(got)
		})
	}
	wg.Wait()
	for range 3 {
		if got, err := unwrap(t.Context()); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("later: %v", err)
		}
	}
	if calls := s.Calls(t, "Decrypt"); len(calls) != 1 {
		t.Errorf("%d calls, want 1", len(calls))
	}

	// The same blob under another name, with another context, or for another process is
	// another question.
	other := maps.Clone(e.Fields)
	other["arn"] = s.Env["KENV_TEST_KMS_ARN2"]
	k, err := table.FromEntry(keys.Entry{Kind: "kms", Fields: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), keys.Entry{Kind: "kms", Fields: other}); err == nil {
		t.Error("what was unwrapped for one key is given out for another")
	}
	other = maps.Clone(e.Fields)
	other["context"] = map[string]string{"a": "b"}
	k, err = table.FromEntry(keys.Entry{Kind: "kms", Fields: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), keys.Entry{Kind: "kms", Fields: other}); err == nil {
		t.Error("what was unwrapped in one context is given out for another")
	}
	opens(t, rows(), e, dataKey)
	if calls := s.Calls(t, "Decrypt"); len(calls) != 4 {
		t.Errorf("%d calls, want 4", len(calls))
	}
}

// What went wrong once is tried again, and nobody's leaving stops the others.
func TestErrorsAreNotRemembered(t *testing.T) {
	s := serve(t)
	table := rows()
	k := parse(t, table, s.Env["KENV_TEST_KMS_ARN"])
	dataKey, e := wrap(t, k)
	s.Fault(t, kmstest.Fault{Op: "Decrypt", Type: "AccessDeniedException"})
	if _, err := k.Unwrap(t.Context(), e); err == nil {
		t.Fatal("the fault does not work")
	}
	if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("after an error: %v", err)
	}

	_, e = wrap(t, k)
	s.Fault(t, kmstest.Fault{Op: "Decrypt", Delay: 2 * time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := k.Unwrap(ctx, e); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > time.Second {
		t.Errorf("an Unwrap whose time is up ends after %v: %v", time.Since(start), err)
	}
	if _, err := k.Unwrap(t.Context(), e); err != nil || time.Since(start) > time.Second {
		t.Errorf("after one that everybody left, %v: %v", time.Since(start), err)
	}
}

// Calls are made side by side, up to 32.
func TestAtOnce(t *testing.T) {
	s := serve(t)
	table := rows()
	k := parse(t, table, s.Env["KENV_TEST_KMS_ARN"])
	wrap(t, k) // sets up
	s.Fault(t, kmstest.Fault{Op: "Encrypt", Delay: 500 * time.Millisecond, Count: 64})
	start := time.Now()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := k.Wrap(t.Context(), make([]byte, 32)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if d := time.Since(start); d < time.Second || d > 10*time.Second {
		t.Errorf("64 calls of half a second took %v, want two rounds", d)
	}
}

// Each error says which key, which Region and what to do; it comes soon, and holds no
// secret.
func TestErrors(t *testing.T) {
	s := serve(t)
	arn := s.Env["KENV_TEST_KMS_ARN"]
	dataKey, e := wrap(t, parse(t, rows(), arn))
	id := func(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }
	pending := s.KMS(t, "us-east-1", "CreateKey", nil)["KeyMetadata"].(map[string]any)["Arn"].(string)
	_, pendingEntry := wrap(t, parse(t, rows(), pending))
	s.KMS(t, "us-east-1", "ScheduleKeyDeletion", map[string]any{"KeyId": id(pending)})
	disabled := s.KMS(t, "us-east-1", "CreateKey", nil)["KeyMetadata"].(map[string]any)["Arn"].(string)
	_, disabledEntry := wrap(t, parse(t, rows(), disabled))
	s.KMS(t, "us-east-1", "DisableKey", map[string]any{"KeyId": id(disabled)})
	elsewhere := strings.Replace(arn, "us-east-1", "eu-west-1", 1)
	with := func(fields ...any) keys.Entry {
		c := keys.Entry{Kind: e.Kind, Fields: maps.Clone(e.Fields)}
		for i := 0; i < len(fields); i += 2 {
			c.Fields[fields[i].(string)] = fields[i+1]
		}
		return c
	}
	// The alias means another key by now.
	s.KMS(t, "us-east-1", "CreateAlias", map[string]any{"AliasName": "alias/moved", "TargetKeyId": s.Env["KENV_TEST_KMS_ARN2"]})
	t.Cleanup(func() { s.KMS(t, "us-east-1", "DeleteAlias", map[string]any{"AliasName": "alias/moved"}) })
	moved := strings.Split(arn, "key/")[0] + "alias/moved"

	fault := func(kind string, more ...int) *kmstest.Fault {
		f := &kmstest.Fault{Op: "Decrypt", Type: kind, Count: 9}
		if more != nil {
			f.Status = more[0]
		}
		return f
	}
	for _, tt := range []struct {
		what  string
		e     keys.Entry
		fault *kmstest.Fault
		want  []string
		limit time.Duration
	}{
		{"disabled", disabledEntry, nil, []string{disabled, "disabled in us-east-1", "aws kms enable-key --region us-east-1 --key-id " + disabled}, 3 * time.Second},
		{"pending deletion", pendingEntry, nil, []string{pending, "pending deletion", "aws kms cancel-key-deletion"}, 3 * time.Second},
		{"not in this Region", with("arn", elsewhere), nil, []string{elsewhere, "no such key in eu-west-1", "check its ARN"}, 3 * time.Second},
		{"no such alias", with("arn", strings.Split(arn, "key/")[0]+"alias/none"), nil, []string{"no such alias in us-east-1"}, 3 * time.Second},
		{"context", with("context", map[string]string{"a": "1"}), nil, []string{arn + "?a=1", "encryption context is another one", "damaged"}, 3 * time.Second},
		{"of another key", with("arn", s.Env["KENV_TEST_KMS_ARN2"]), nil, []string{"made with another key"}, 3 * time.Second},
		{"alias moved", with("arn", moved), nil, []string{moved, "another key than the one that the alias means"}, 3 * time.Second},
		{"access denied", e, fault("AccessDeniedException"), []string{arn, "arn:aws:sts::123456789012:", "may not call kms:Decrypt", "AWS says: injected", "policy"}, 3 * time.Second},
		{"throttled", e, fault("ThrottlingException"), []string{"throttling requests", "us-east-1", "quota"}, 8 * time.Second},
		{"expired", e, fault("ExpiredTokenException"), []string{"session of environment variables has ended", "aws sso login"}, 3 * time.Second},
		{"unknown access key", e, fault("UnrecognizedClientException"), []string{"does not know the access key of environment variables"}, 3 * time.Second},
		{"wrong secret", e, fault("InvalidSignatureException"), []string{"secret access key of environment variables is wrong"}, 3 * time.Second},
		{"out of order", e, fault("KMSInternalException", 500), []string{"KMS in us-east-1 is out of order", "try again"}, 3 * time.Second},
		{"key usage", e, fault("InvalidKeyUsageException"), []string{"not of the kind"}, 3 * time.Second},
		{"unknown", e, fault("FutureException"), []string{"refuses Decrypt: FutureException"}, 3 * time.Second},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if tt.fault != nil {
				tt.fault.Message = "injected"
				s.Fault(t, *tt.fault)
				if tt.fault.Status != 0 {
					t.Setenv("AWS_MAX_ATTEMPTS", "1")
				}
			}
			k, err := rows().FromEntry(tt.e)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			got, err := k.Unwrap(t.Context(), tt.e)
			if d := time.Since(start); d > tt.limit {
				t.Errorf("it took %v", d)
			}
			if err == nil || got != nil || errors.Is(err, keys.ErrNotHere) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			for _, want := range append(tt.want, "unwrapping the data key with") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message has no %q: %v", want, err)
				}
			}
			for _, secret := range []string{string(dataKey), base64.StdEncoding.EncodeToString(dataKey), secretKey} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message holds a secret: %v", err)
				}
			}
		})
	}
	var missing *types.NotFoundException
	k, _ := rows().FromEntry(with("arn", elsewhere))
	if _, err := k.Unwrap(t.Context(), with("arn", elsewhere)); !errors.As(err, &missing) {
		t.Errorf("AWS's own error is not in the chain of %v", err)
	}
	// A few throttles are waited out.
	s.Fault(t, kmstest.Fault{Op: "Decrypt", Type: "ThrottlingException", Count: 2})
	opens(t, rows(), e, dataKey)
}

// Where real policies deny, the message says whom.
func TestPolicies(t *testing.T) {
	s := kmstest.Start(t, false)
	setenv(t, s)
	arn := s.Env["KENV_TEST_KMS_ARN"]
	_, e := wrap(t, parse(t, rows(), arn))
	user := func(action string) (id, secret string) {
		form := func(params string) string {
			req, err := http.NewRequest(http.MethodPost, s.URL+"/", strings.NewReader(params+"&Version=2010-05-08"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 200 {
				t.Fatalf("%v: %s", err, text)
			}
			return string(text)
		}
		name := strings.ToLower(action)
		form("Action=CreateUser&UserName=" + name)
		form("Action=PutUserPolicy&UserName=" + name + "&PolicyName=p&PolicyDocument=" +
			strings.ReplaceAll(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:`+action+`","sts:GetCallerIdentity"],"Resource":"*"}]}`, `"`, "%22"))
		text := form("Action=CreateAccessKey&UserName=" + name)
		between := func(tag string) string {
			_, rest, _ := strings.Cut(text, "<"+tag+">")
			v, _, _ := strings.Cut(rest, "<")
			return v
		}
		return between("AccessKeyId"), between("SecretAccessKey")
	}
	encryptID, encryptSecret := user("Encrypt")
	decryptID, decryptSecret := user("Decrypt")
	s.Do(t, http.MethodPost, "/moto-api/reset-auth", []byte("0"))

	t.Setenv("AWS_ACCESS_KEY_ID", encryptID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", encryptSecret)
	k := parse(t, rows(), arn)
	wrap(t, k)
	if _, err := k.Unwrap(t.Context(), e); err == nil || !strings.Contains(err.Error(), "user/encrypt may not call kms:Decrypt") {
		t.Errorf("an encryptor who decrypts: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", decryptID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", decryptSecret)
	k = parse(t, rows(), arn)
	if _, err := k.Unwrap(t.Context(), e); err != nil {
		t.Error(err)
	}
	if _, err := k.Wrap(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "user/decrypt may not call kms:Encrypt") {
		t.Errorf("a decryptor who encrypts: %v", err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", encryptSecret)
	if _, err := parse(t, rows(), arn).Wrap(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "secret access key of environment variables is wrong") {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// A fake answers what no server does. It returns its URL.
func fake(t *testing.T, answer func(w http.ResponseWriter, op string, params map[string]any)) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var params map[string]any
		if err := json.NewDecoder(r.Body).Decode(&params); err != nil {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.Header().Set("x-amzn-RequestId", "rq-42")
		answer(w, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService."), params)
	}))
	t.Cleanup(srv.Close)
	kmstest.Clean(t)
	t.Setenv("AWS_ENDPOINT_URL", srv.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
}

// A server that is not KMS cannot do harm by what it says.
func TestStrangeAnswers(t *testing.T) {
	blob := base64.StdEncoding.EncodeToString([]byte("blob"))
	for _, tt := range []struct {
		what, name, answer string
		status             int
		want               string
	}{
		{"another key", keyARN, `{"CiphertextBlob":"` + blob + `","KeyId":"` + mrkARN + `"}`, 200, "answered for another key"},
		{"another account", aliasARN, `{"CiphertextBlob":"` + blob + `","KeyId":"arn:aws:kms:eu-west-1:444455556666:key/k"}`, 200, "answered for another key"},
		{"another Region", "alias/x@eu-west-1", `{"CiphertextBlob":"` + blob + `","KeyId":"arn:aws:kms:us-east-1:444455556666:key/k"}`, 200, "answered for another key"},
		{"an alias", aliasARN, `{"CiphertextBlob":"` + blob + `","KeyId":"` + aliasARN + `"}`, 200, "without a key ARN"},
		{"no key", keyARN, `{"CiphertextBlob":"` + blob + `"}`, 200, "without a key ARN"},
		{"no blob", keyARN, `{"KeyId":"` + keyARN + `"}`, 200, "without a key ARN or a ciphertext"},
		{"huge blob", keyARN, `{"CiphertextBlob":"` + strings.Repeat("AAAA", 10000) + `","KeyId":"` + keyARN + `"}`, 200, "without a key ARN or a ciphertext"},
		{"no JSON", keyARN, `<html>`, 200, "KMS in eu-west-1"},
		{"a proxy's page", keyARN, `<html>`, 502, "HTTP status 502"},
		{"a message with what was sent", keyARN, `{"__type":"ValidationException","message":"hunter2"}`, 400, "refuses Encrypt: ValidationException"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			fake(t, func(w http.ResponseWriter, op string, _ map[string]any) {
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.answer)
			})
			e, err := parse(t, rows(), tt.name).Wrap(t.Context(), []byte("0123456789abcdef0123456789abcdef"))
			if err == nil || e.Fields != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, %v; want %q", e, err, tt.want)
			}
		})
	}
	for _, plaintext := range []string{"", base64.StdEncoding.EncodeToString(make([]byte, 65))} {
		fake(t, func(w http.ResponseWriter, op string, _ map[string]any) {
			fmt.Fprintf(w, `{"Plaintext":%q,"KeyId":%q}`, plaintext, keyARN)
		})
		k := parse(t, rows(), keyARN)
		got, err := k.Unwrap(t.Context(), entryOf("kms", "arn", keyARN, "enc", blob))
		if err == nil || got != nil || !strings.Contains(err.Error(), "a data key has 1 to 64") {
			t.Errorf("a plaintext of %d characters: %v", len(plaintext), err)
		}
	}
	fake(t, func(w http.ResponseWriter, op string, _ map[string]any) {
		w.WriteHeader(400)
		io.WriteString(w, `{"__type":"DisabledException","message":"x"}`)
	})
	_, err := parse(t, rows(), keyARN).Unwrap(t.Context(), entryOf("kms", "arn", keyARN, "enc", blob))
	if err == nil || !strings.HasSuffix(err.Error(), `(request "rq-42")`) {
		t.Errorf("the request's id is not at the end: %v", err)
	}
}

// A server cannot have kenv read without end, nor send it elsewhere with a data key.
func TestEndlessAnswer(t *testing.T) {
	sent := make(chan int, 1)
	fake(t, func(w http.ResponseWriter, op string, _ map[string]any) {
		io.WriteString(w, `{"KeyId":"`)
		total, piece := 0, bytes.Repeat([]byte("A"), 1<<20)
		for total < 1<<30 {
			n, err := w.Write(piece)
			if total += n; err != nil {
				break
			}
		}
		sent <- total
	})
	if _, err := parse(t, rows(), keyARN).Wrap(t.Context(), make([]byte, 32)); err == nil {
		t.Error("it took an endless answer")
	}
	if n := <-sent; n > 64<<20 {
		t.Errorf("the server could send %d bytes", n)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer other.Close()
	for _, status := range []int{301, 302, 307, 308} {
		fake(t, func(w http.ResponseWriter, op string, _ map[string]any) {
			w.Header().Set("Location", other.URL)
			w.WriteHeader(status)
		})
		if _, err := parse(t, rows(), keyARN).Wrap(t.Context(), make([]byte, 32)); err == nil || asked {
			t.Errorf("status %d: %v, and the other server was asked: %v", status, err, asked)
		}
	}
}

// A server that does not answer is given up in time.
func TestUnreachable(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 seconds")
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	kmstest.Clean(t)
	config := filepath.Join(t.TempDir(), "config")
	text := ""
	for name, at := range map[string]string{"silent": silent.Addr().String(), "closed": closed.Addr().String()} {
		text += fmt.Sprintf("[profile %s]\naws_access_key_id = a\naws_secret_access_key = %s\nendpoint_url = http://%s\n", name, secretKey, at)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", config)
	var wg sync.WaitGroup
	for _, tt := range []struct{ profile, name, want string }{
		{"silent", keyARN, "no answer from KMS in eu-west-1 within 15s"},
		{"closed", keyARN, "KMS in eu-west-1 cannot be reached: connection refused"},
		{"silent", mrkARN, "no answer from KMS in eu-west-1 within 15s"},
		{"silent", keyARN + "+arn:aws:iam::1:role/r", "no answer from STS in eu-west-1 within 15s"},
	} {
		wg.Go(func() {
			start := time.Now()
			_, err := parse(t, rows(), tt.name, "aws_profile", tt.profile).Wrap(t.Context(), make([]byte, 32))
			if d := time.Since(start); d > 16*time.Second {
				t.Errorf("%s %s: it took %v", tt.profile, tt.name, d)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "check the network") {
				t.Errorf("%s %s: %v; want %q", tt.profile, tt.name, err, tt.want)
			}
		})
	}
	wg.Go(func() {
		start := time.Now()
		finds(t, probe(t, parse(t, rows(), keyARN, "aws_profile", "silent"), keys.Entry{}), keys.Missing, "no answer from KMS in eu-west-1 within 10s")
		if d := time.Since(start); d > 11*time.Second {
			t.Errorf("probing took %v", d)
		}
	})
	wg.Wait()
}

// A multi-Region key works where its own Region does not.
func TestFailOver(t *testing.T) {
	s := serve(t)
	primary, replica := s.Env["KENV_TEST_KMS_MRK_ARN"], s.Env["KENV_TEST_KMS_MRK_REPLICA_ARN"]
	named := func(name string) context.Context {
		return keys.WithNamed(t.Context(), func() []keys.MasterKey { return []keys.MasterKey{parse(t, rows(), name)} })
	}
	k := parse(t, rows(), primary)
	dataKey, e := wrap(t, k)
	k, err := rows().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		name   string
		status int
	}{{"ThrottlingException", 400}, {"KMSInternalException", 500}, {"DependencyTimeoutException", 503}} {
		s.Reset(t)
		s.Fault(t, kmstest.Fault{Region: "us-east-1", Type: kind.name, Status: kind.status, Count: 99})
		k, err := rows().FromEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Unwrap(named(replica), e); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("%s: %v", kind.name, err)
		}
		calls := s.Calls(t, "Decrypt")
		if last := calls[len(calls)-1]; last.Region != "eu-west-1" || last.Key != replica {
			t.Errorf("%s: the last call was for %s in %s", kind.name, last.Key, last.Region)
		}
	}
	// The user's own Region is tried as well.
	t.Setenv("AWS_REGION", "eu-west-1")
	if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("by AWS_REGION: %v", err)
	}
	// An entry that is wrapped elsewhere names the key as the config does.
	_, e = wrap(t, parse(t, rows(), primary))
	if e.Field("arn") != primary {
		t.Errorf("the entry is for %s", e.Field("arn"))
	}
	t.Setenv("AWS_REGION", "us-east-1")
	s.Reset(t)
	opens(t, rows(), e, wrapped(t, e))

	// A no is a no.
	for _, kind := range []string{"AccessDeniedException", "DisabledException", "InvalidCiphertextException", "KMSInvalidStateException", "NotFoundException"} {
		s.Reset(t)
		s.Fault(t, kmstest.Fault{Op: "Decrypt", Region: "us-east-1", Type: kind, Count: 99})
		k, _ := rows().FromEntry(e)
		if _, err := k.Unwrap(named(replica), e); err == nil {
			t.Errorf("after %s another Region was asked", kind)
		}
		if calls := s.Calls(t, "Decrypt"); len(calls) != 1 {
			t.Errorf("%s: %d calls", kind, len(calls))
		}
	}
	// So it is for keys that are in one Region.
	_, e = wrap(t, parse(t, rows(), s.Env["KENV_TEST_KMS_ARN"]))
	t.Setenv("AWS_REGION", "eu-west-1")
	s.Reset(t)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	s.Fault(t, kmstest.Fault{Region: "us-east-1", Type: "KMSInternalException", Status: 500, Count: 99})
	k, _ = rows().FromEntry(e)
	if _, err := k.Unwrap(t.Context(), e); err == nil || !strings.Contains(err.Error(), "us-east-1") {
		t.Errorf("a key of one Region: %v", err)
	}
	for _, c := range s.Calls(t, "Decrypt") {
		if c.Region != "us-east-1" {
			t.Errorf("a key of one Region is looked for in %s", c.Region)
		}
	}
}

// wrapped returns what an entry holds, by its own Region.
func wrapped(t *testing.T, e keys.Entry) []byte {
	t.Helper()
	k, err := rows().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := k.Unwrap(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return dataKey
}

// Where the names and values of a context end matters.
func TestContext(t *testing.T) {
	s := serve(t)
	arn := s.Env["KENV_TEST_KMS_ARN"]
	_, e := wrap(t, parse(t, rows(), arn, "context", map[string]string{"a": "bc"}))
	if got := s.Calls(t, "Encrypt"); !maps.Equal(got[0].Context, map[string]string{"a": "bc"}) {
		t.Errorf("the context that is sent is %v", got[0].Context)
	}
	for _, c := range []map[string]string{nil, {"ab": "c"}, {"a": "BC"}, {"a": "bc", "b": ""}} {
		bad := keys.Entry{Kind: e.Kind, Fields: maps.Clone(e.Fields)}
		bad.Fields["context"] = c
		k, err := rows().FromEntry(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Unwrap(t.Context(), bad); err == nil {
			t.Errorf("it opens in the context %v", c)
		}
	}
}

// RSA keys wrap without AWS, and unwrap with it.
func TestRSA(t *testing.T) {
	s := serve(t)
	arn := s.Env["KENV_TEST_KMS_RSA_ARN"]
	text, print, err := publicKey(t.Context(), env(), arn)
	if err != nil {
		t.Fatal(err)
	}
	s.Reset(t)

	// Nobody is asked to wrap.
	t.Setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	k := parse(t, rows(), arn, "public_key", text)
	dataKey, e := wrap(t, k)
	if want := []string{"arn", "created_at", "enc", "key_fp"}; !slices.Equal(slices.Sorted(maps.Keys(e.Fields)), want) || e.Kind != "kms_rsa" {
		t.Errorf("the entry is %v", e)
	}
	if e.Field("key_fp") != print || k.Name() != arn+"#"+print {
		t.Errorf("%s, %s; want the fingerprint %s", e.Field("key_fp"), k.Name(), print)
	}
	if !rows().Matches(k, e) {
		t.Error("the entry does not match the key that made it")
	}
	setenv(t, s)
	opens(t, rows(), e, dataKey)
	for _, c := range s.Calls(t, "") {
		if c.Op != "Decrypt" || c.Key != arn {
			t.Errorf("%s of %s", c.Op, c.Key)
		}
	}

	// What the entry names wraps by the public half that KMS gives, asked for once.
	table := rows()
	for range 3 {
		of, err := table.FromEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		dataKey, again := wrap(t, of)
		opens(t, rows(), again, dataKey)
	}
	if calls := s.Calls(t, "GetPublicKey"); len(calls) != 1 {
		t.Errorf("%d calls of GetPublicKey", len(calls))
	}
	// A key that was exchanged is not wrapped for.
	e.Fields["key_fp"] = "sha256:" + strings.Repeat("0", 32)
	of, err := rows().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := of.Wrap(t.Context(), dataKey); err == nil || !strings.Contains(err.Error(), "another public half") || !strings.Contains(err.Error(), print) {
		t.Errorf("with another fingerprint: %v", err)
	}

	// The wrong kinds of keys.
	if _, err := parse(t, rows(), arn).Wrap(t.Context(), dataKey); err == nil || !strings.Contains(err.Error(), "kenv keys add "+arn) {
		t.Errorf("an RSA key without its public half: %v", err)
	}
	if _, _, err := publicKey(t.Context(), env(), s.Env["KENV_TEST_KMS_SIGN_ARN"]); err == nil || !strings.Contains(err.Error(), "for signing") {
		t.Errorf("the public half of a key for signing: %v", err)
	}
	if _, _, err := publicKey(t.Context(), env(), arn+"#sha256:"+strings.Repeat("0", 32)); err == nil || !strings.Contains(err.Error(), print) {
		t.Errorf("the public half of a key with another fingerprint: %v", err)
	}
	if _, _, err := publicKey(t.Context(), env(), "arn:aws:s3:::x"); err == nil {
		t.Error("the public half of a bucket")
	}

	// Anybody can encrypt to a public key, also by other means; what KMS decrypts is
	// what kenv gets.
	private, public, _ := rsaPEM(t, 2048)
	_, e = wrap(t, parse(t, rows(), keyARN, "public_key", public))
	blob, err := base64.StdEncoding.DecodeString(e.Field("enc"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := rsa.DecryptOAEP(sha256.New(), rand.Reader, private, blob, nil); err != nil || len(got) != 32 {
		t.Errorf("RSA-OAEP with SHA-256 and no label does not open it: %v", err)
	}
}

func TestClearTextWarning(t *testing.T) {
	kmstest.Clean(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "a")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	for endpoint, want := range map[string]int{
		"http://user:" + secretKey + "@198.51.100.7:1/": 1,
		"https://198.51.100.7:1":                        0,
		"http://127.0.0.1:1":                            0,
		"http://[::1]:1":                                0,
		"http://localhost:1":                            0,
	} {
		t.Setenv("AWS_ENDPOINT_URL", endpoint)
		var warnings []string
		e := env()
		var mu sync.Mutex
		e.Warn = func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			warnings = append(warnings, fmt.Sprintf(format, args...))
		}
		k := parse(t, awskms.Providers(e), keyARN)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			k.Wrap(ctx, make([]byte, 32))
			cancel()
		}
		if len(warnings) != want || want > 0 && (!strings.Contains(warnings[0], "198.51.100.7") || strings.Contains(warnings[0], secretKey)) {
			t.Errorf("%s: %q", endpoint, warnings)
		}
	}
}

// A program without an environment has no credentials.
func TestZeroEnv(t *testing.T) {
	serve(t)
	k := parse(t, awskms.Providers(keys.Env{}), keyARN)
	if _, err := k.Unwrap(t.Context(), entryOf("kms", "arn", keyARN, "enc", "AAAA")); !errors.Is(err, keys.ErrNotHere) {
		t.Error(err)
	}
	if _, err := k.Wrap(t.Context(), keystest.NewDataKey(t, 32)); err == nil || !strings.Contains(err.Error(), "no AWS credentials") {
		t.Error(err)
	}
}
