// Package kmstest starts a server for tests that speaks the language of AWS KMS and
// STS: moto, as it comes (plain) or with the gaps in its KMS filled in.
package kmstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// noServer is the exit code of start-kms.sh where there is no moto.
const noServer = 77

// A Server runs on a loopback port.
type Server struct {
	URL string
	// Env is what programs need to use it: endpoints, a Region, credentials, and under
	// KENV_TEST_KMS_… the ARNs of its keys: ARN, ARN2, ALIAS_ARN (of the first), and
	// unless it is plain RSA_ARN, SIGN_ARN, MRK_ARN (us-east-1), MRK_REPLICA_ARN
	// (eu-west-1) and DISABLED_ARN.
	Env map[string]string
}

// Start starts a server of the test's own. Where there is none the test is skipped; in
// CI it fails.
func Start(t testing.TB, plain bool) *Server {
	t.Helper()
	dir := t.TempDir()
	s, err := launch(dir, plain)
	t.Cleanup(func() { stop(dir) })
	return check(t, s, err)
}

// Once returns a function that starts a server when it is first called, and returns the
// same one from then on. The server ends soon after the test binary.
func Once(plain bool) func(t testing.TB) *Server {
	start := sync.OnceValues(func() (*Server, error) {
		dir, err := os.MkdirTemp("", "kmstest")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		return launch(dir, plain)
	})
	return func(t testing.TB) *Server {
		t.Helper()
		s, err := start()
		return check(t, s, err)
	}
}

var errNone = errors.New("moto is not installed, and pip cannot install it (moto[server]==5.2.1)")

func check(t testing.TB, s *Server, err error) *Server {
	t.Helper()
	switch {
	case errors.Is(err, errNone) && os.Getenv("CI") != "true":
		t.Skipf("no KMS to test with: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	return s
}

// script returns the path of start-kms.sh.
func script() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "testdata", "tools", "start-kms.sh")
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("testdata/tools/start-kms.sh is in no directory above this one")
		}
		dir = up
	}
}

func pidfile(dir string) string { return filepath.Join(dir, "kms.pid") }

func launch(dir string, plain bool) (*Server, error) {
	path, err := script()
	if err != nil {
		return nil, err
	}
	args := []string{path, "start", "--pidfile", pidfile(dir), "--with", strconv.Itoa(os.Getpid())}
	if plain {
		args = append(args, "--plain")
	}
	var stderr bytes.Buffer
	cmd := exec.Command("bash", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.As(err, &exit) && exit.ExitCode() == noServer:
		return nil, errNone
	case err != nil:
		return nil, fmt.Errorf("starting a KMS server: %w\n%s", err, stderr.Bytes())
	}
	s := &Server{Env: make(map[string]string)}
	for _, m := range regexp.MustCompile(`(?m)^export (\w+)='([^']*)'$`).FindAllStringSubmatch(string(out), -1) {
		s.Env[m[1]] = m[2]
	}
	s.URL = s.Env["KENV_TEST_KMS_URL"]
	return s, nil
}

func stop(dir string) {
	if path, err := script(); err == nil {
		exec.Command("bash", path, "stop", "--pidfile", pidfile(dir)).Run()
	}
}

// Setenv puts Env into the process's environment for the time of a test, and takes out
// whatever else is there for AWS.
func (s *Server) Setenv(t *testing.T) {
	t.Helper()
	Clean(t)
	for name, value := range s.Env {
		t.Setenv(name, value)
	}
}

// Clean takes everything for AWS out of the process's environment for the time of a
// test: no credentials are found, and no instance metadata are asked for.
func Clean(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // which puts it back afterwards
			os.Unsetenv(name)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// Getenv is a keys.Env.Getenv in which only Env is set.
func (s *Server) Getenv(name string) string { return s.Env[name] }

// A Call is one that the server got. It keeps count only if it is not plain.
type Call struct {
	Op, Region string
	Caller     string // access key id
	Key        string // of KMS
	Context    map[string]string
	Role       string // of STS
	Session    string
}

// Calls returns the calls since the last Reset, of one operation or of all ("").
func (s *Server) Calls(t testing.TB, op string) []Call {
	t.Helper()
	var all, some []Call
	if err := json.Unmarshal(s.Do(t, http.MethodGet, "/_kms/calls", nil), &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if op == "" || c.Op == op {
			some = append(some, c)
		}
	}
	return some
}

// Reset forgets calls and faults.
func (s *Server) Reset(t testing.TB) {
	t.Helper()
	s.Do(t, http.MethodDelete, "/_kms/calls", nil)
	s.Do(t, http.MethodDelete, "/_kms/fault", nil)
}

// A Fault is what the server does to the next calls.
type Fault struct {
	Op      string        // "" for any
	Region  string        // "" for any
	Type    string        // "ThrottlingException"; "" for a call that only takes long
	Status  int           // of HTTP; 0 for 400
	Message string        // of the error
	Count   int           // of calls; 0 for one
	Delay   time.Duration // before the answer
}

// Fault makes the next calls fail. It is gone with the test, or with Reset.
func (s *Server) Fault(t testing.TB, f Fault) {
	t.Helper()
	m := map[string]any{"delay_ms": f.Delay.Milliseconds(), "count": max(1, f.Count)}
	for name, value := range map[string]string{"op": f.Op, "region": f.Region, "type": f.Type, "message": f.Message} {
		if value != "" {
			m[name] = value
		}
	}
	if f.Status != 0 {
		m["status"] = f.Status
	}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s.Do(t, http.MethodPost, "/_kms/fault", body)
	t.Cleanup(func() { s.Do(t, http.MethodDelete, "/_kms/fault", nil) })
}

// KMS makes a call of the server without any SDK: KMS(t, "us-east-1", "DisableKey",
// map[string]any{"KeyId": id}).
func (s *Server) KMS(t testing.TB, region, op string, params map[string]any) map[string]any {
	t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	body, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, s.URL+"/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "TrentService."+op)
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/"+region+"/kms/aws4_request, SignedHeaders=host, Signature=0")
	var out map[string]any
	if text := send(t, req); len(text) > 0 {
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Do sends the server a request that is not for AWS.
func (s *Server) Do(t testing.TB, method, path string, body []byte) []byte {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	return send(t, req)
}

func send(t testing.TB, req *http.Request) []byte {
	t.Helper()
	resp, err := (&http.Client{Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s: %s", req.Method, req.URL.Path, resp.Status, text)
	}
	return text
}
