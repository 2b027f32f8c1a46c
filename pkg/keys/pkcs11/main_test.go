//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11/hsmtest"
)

// The test program is also another process that uses an HSM: see elsewhere.
func TestMain(m *testing.M) {
	if os.Getenv("KENV_TEST_ELSEWHERE") != "" {
		elsewhereMain()
		return
	}
	dir, err := os.MkdirTemp("", "kenv-pkcs11-test")
	if err != nil {
		panic(err)
	}
	theHSM.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// theHSM is the token of this process, made when a test wants it. Beside what
// hsmtest puts there it has, each with two keys, kenv-rsa2 and kenv-aes2, which are
// single, and the labels twin-rsa and twin-aes. Two more tokens are called "twins".
var theHSM struct {
	dir  string
	once sync.Once
	*hsmtest.Token
	twins []string // serial numbers
	err   error
}

func hsm(t *testing.T) *hsmtest.Token {
	t.Helper()
	theHSM.once.Do(func() { theHSM.err = makeHSM() })
	switch {
	case errors.Is(theHSM.err, hsmtest.ErrMissing) && os.Getenv("CI") != "true":
		t.Skip(theHSM.err)
	case theHSM.err != nil:
		t.Fatal(theHSM.err)
	}
	return theHSM.Token
}

func makeHSM() error {
	var err error
	if theHSM.Token, err = hsmtest.Make(filepath.Join(theHSM.dir, "hsm"), "kenv-test"); err != nil {
		return err
	}
	for _, key := range [][]string{
		{"--keypairgen", "--key-type", "RSA:2048", "--label", "kenv-rsa2", "--id", "04", "--usage-decrypt", "--sensitive"},
		{"--keygen", "--key-type", "AES:32", "--label", "kenv-aes2", "--id", "05", "--sensitive", "--private"},
		{"--keypairgen", "--key-type", "RSA:2048", "--label", "twin-rsa", "--id", "06", "--usage-decrypt", "--sensitive"},
		{"--keypairgen", "--key-type", "RSA:2048", "--label", "twin-rsa", "--id", "07", "--usage-decrypt", "--sensitive"},
		{"--keygen", "--key-type", "AES:32", "--label", "twin-aes", "--id", "08", "--sensitive", "--private"},
		{"--keygen", "--key-type", "AES:32", "--label", "twin-aes", "--id", "09", "--sensitive", "--private"},
		{"--keygen", "--key-type", "AES:32", "--label", "open-aes", "--id", "0a"},
	} {
		if err := theHSM.Tool("kenv-test", key...); err != nil {
			return err
		}
	}
	for range 2 {
		serial, err := theHSM.Add("twins")
		if err != nil {
			return err
		}
		theHSM.twins = append(theHSM.twins, serial)
	}
	for _, variable := range theHSM.Env {
		name, value, _ := strings.Cut(variable, "=")
		if name == "SOFTHSM2_CONF" {
			os.Setenv(name, value)
		}
	}
	return nil
}

// set makes an Env with these settings.
func set(kv ...string) keys.Env {
	return keys.Env{Setting: vars(kv...), Getenv: vars()}
}

func vars(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

func here(h *hsmtest.Token) keys.Env {
	return set("pkcs11_module", h.Module, "pkcs11_pin_file", h.PINFile)
}

// parse makes a key.
func parse(t *testing.T, p keys.Provider, s keys.Spec) keys.MasterKey {
	t.Helper()
	k, ok, err := p.Parse(s)
	if err != nil || !ok {
		t.Fatalf("Parse(%q): %v, %v", s.Name, ok, err)
	}
	return k
}

// An order is what another process is to do: unwrap an entry as often as it says, or
// probe its key.
type order struct {
	Probe    bool
	Entry    map[string]any
	Times    int
	Quiet    bool
	Patience time.Duration // instead of the usual one
	Cancel   time.Duration // after which each try is given up
}

// A result is what came of one try.
type result struct {
	Key string // hexadecimal
	Err string

	NotHere, Quiet, PIN, Cancelled bool
	Took                           time.Duration
}

// elsewhere has another process unwrap an entry. Its settings are the variables
// KENV_…; it has no terminal.
func elsewhere(t *testing.T, o order, env ...string) []result {
	t.Helper()
	results, err := tryElsewhere(o, env...)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func tryElsewhere(o order, env ...string) (results []result, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Stdin = bytes.NewReader(text)
	cmd.Env = append(append(os.Environ(), "KENV_TEST_ELSEWHERE=1", "GORACE=atexit_sleep_ms=0"), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, stderr.Bytes())
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return results, nil
}

func elsewhereMain() {
	var o order
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		panic(err)
	}
	d := newDevice(keys.Env{Getenv: os.Getenv, Setting: func(name string) string { return os.Getenv("KENV_" + strings.ToUpper(name)) }})
	if o.Patience > 0 {
		d.patience = o.Patience
	}
	p := provider(d)
	var results []result
	for range o.Times {
		k, err := p.FromEntry(keys.Entry{Kind: Kind, Fields: o.Entry})
		if err != nil {
			panic(err)
		}
		ctx := context.Background()
		if o.Probe {
			f := k.(keys.Prober).Probe(ctx, keys.Entry{})
			results = append(results, result{Err: f.State + ": " + f.Detail})
			continue
		}
		if o.Quiet {
			ctx = keys.Quiet(ctx)
		}
		if o.Cancel > 0 {
			later, cancel := context.WithCancel(ctx)
			time.AfterFunc(o.Cancel, cancel)
			ctx = later
		}
		start := time.Now()
		got, err := k.Unwrap(ctx, keys.Entry{Kind: Kind, Fields: o.Entry})
		r := result{Key: hex.EncodeToString(got), Took: time.Since(start)}
		if err != nil {
			r.Err = err.Error()
			r.NotHere, r.Quiet = errors.Is(err, keys.ErrNotHere), errors.Is(err, keys.ErrQuiet)
			r.PIN, r.Cancelled = errors.Is(err, ErrPIN), errors.Is(err, context.Canceled)
		}
		results = append(results, r)
	}
	json.NewEncoder(os.Stdout).Encode(results)
}
