//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11/hsmtest"
)

// wrapped returns a data key, and it wrapped for the RSA key kenv-rsa2.
func wrapped(t *testing.T, h *hsmtest.Token) (dataKey []byte, e keys.Entry) {
	t.Helper()
	one := enrolled(t, here(h), "pkcs11:token=kenv-test;object=kenv-rsa2", EnrollOptions{})
	dataKey = keystest.NewDataKey(t, 32)
	e, err := parse(t, Provider(keys.Env{}), spec(one.Name, "public_key", one.PublicKey)).Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatal(err)
	}
	return dataKey, e
}

// with returns an entry with a field changed.
func with(e keys.Entry, field, value string) keys.Entry {
	fields := map[string]any{}
	for name, v := range e.Fields {
		fields[name] = v
	}
	fields[field] = value
	return keys.Entry{Kind: e.Kind, Fields: fields}
}

func unwrap(t *testing.T, env keys.Env, e keys.Entry) ([]byte, error) {
	t.Helper()
	p := Provider(env)
	k, err := p.FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	return k.Unwrap(t.Context(), e)
}

// spy returns the variables that put a log before a module, and what counts a call
// in it.
func spy(t *testing.T, module string) (env []string, count func(call string) int) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/*/pkcs11-spy.so")
	if len(found) == 0 {
		found, _ = filepath.Glob("/usr/lib*/pkcs11-spy.so")
	}
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("pkcs11-spy.so is not installed: apt-get install opensc")
		}
		t.Skip("pkcs11-spy.so is not installed: apt-get install opensc")
	}
	log := filepath.Join(t.TempDir(), "log")
	env = []string{"PKCS11SPY=" + module, "PKCS11SPY_OUTPUT=" + log, "KENV_PKCS11_MODULE=" + found[0]}
	return env, func(call string) int {
		text, err := os.ReadFile(log)
		if err != nil || !bytes.Contains(text, []byte("C_Initialize")) {
			t.Fatalf("the log of calls has nothing in it: %v", err)
		}
		return bytes.Count(text, []byte(": "+call+"\n"))
	}
}

// A PIN that is refused is not tried again, however many entries want it.
func TestWrongPIN(t *testing.T) {
	h := hsm(t)
	dataKey, e := wrapped(t, h)
	env, count := spy(t, h.Module)
	results := elsewhere(t, order{Entry: e.Fields, Times: 3}, append(env, "KENV_PKCS11_PIN=wrong-pin-2486")...)
	for _, r := range results {
		if !r.PIN || r.NotHere || !strings.Contains(r.Err, "KENV_PKCS11_PIN") || !strings.Contains(r.Err, "not tried again") || strings.Contains(r.Err, "2486") {
			t.Errorf("with a wrong PIN: %+v", r)
		}
	}
	if n := count("C_Login"); n != 1 {
		t.Errorf("%d logins with a wrong PIN, want 1", n)
	}
	// SoftHSM keeps a flag after that, which does not keep the right PIN out.
	f := parse(t, Provider(here(h)), spec(e.Field("uri"))).(keys.Prober).Probe(t.Context(), keys.Entry{})
	if f.State != keys.Warning || !strings.Contains(f.Detail, "a wrong one was tried") {
		t.Errorf("Probe after a wrong PIN: %+v", f)
	}
	for _, r := range elsewhere(t, order{Entry: e.Fields, Times: 2}, append(env, "KENV_PKCS11_PIN="+hsmtest.PIN)...) {
		if r.Key != hex.EncodeToString(dataKey) {
			t.Errorf("with the right PIN: %+v", r)
		}
	}
	if n := count("C_Login"); n != 2 {
		t.Errorf("%d logins in all, want 2", n)
	}
}

// Where a wrong PIN could lock the token, or it is locked, none is tried.
func TestFinalTry(t *testing.T) {
	h := hsm(t)
	_, e := wrapped(t, h)
	shim := odd(t, h)
	for flag, says := range map[string]string{"0x20000": "one more wrong PIN would lock", "0x40000": "is locked", "0x100": "keypad"} {
		env, count := spy(t, shim[0])
		env = append(append(env, shim[1:]...), "KENV_TEST_ODD_FLAGS="+flag, "KENV_PKCS11_PIN="+hsmtest.PIN)
		for _, r := range elsewhere(t, order{Entry: e.Fields, Times: 2}, env...) {
			if r.Key != "" || !strings.Contains(r.Err, says) || r.NotHere {
				t.Errorf("flag %s: %+v; want that it %s", flag, r, says)
			}
		}
		if n := count("C_Login"); n != 0 {
			t.Errorf("flag %s: %d logins, want none", flag, n)
		}
	}
}

// odd returns the path of the module that makes SoftHSM odd, and the variables it
// needs.
func odd(t *testing.T, h *hsmtest.Token) []string {
	t.Helper()
	shim, err := hsmtest.Shim(t.TempDir(), "odd_shim.c")
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	return []string{shim, "KENV_TEST_ODD_MODULE=" + h.Module}
}

// A call that hangs is left behind.
func TestHang(t *testing.T) {
	h := hsm(t)
	_, e := wrapped(t, h)
	shim := odd(t, h)
	env := append(shim[1:], "KENV_PKCS11_MODULE="+shim[0], "KENV_PKCS11_PIN="+hsmtest.PIN, "KENV_TEST_ODD_SECONDS=60")
	start := time.Now()
	results := elsewhere(t, order{Entry: e.Fields, Times: 20, Patience: time.Second}, env...)
	for _, r := range results {
		if !strings.Contains(r.Err, "did not answer within 1s") || r.NotHere {
			t.Errorf("an HSM that hangs: %+v", r)
		}
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("20 entries of an HSM that hangs took %v: one wait should do", took)
	}
	for _, r := range elsewhere(t, order{Entry: e.Fields, Times: 2, Cancel: 300 * time.Millisecond}, env...) {
		if !r.Cancelled || r.NotHere || r.Took > 5*time.Second {
			t.Errorf("given up: %+v", r)
		}
	}
}

func TestDo(t *testing.T) {
	d := newDevice(keys.Env{})
	d.patience = 50 * time.Millisecond
	ctx := context.Background()
	release, secret := make(chan bool), []byte("secret")
	_, err := do(ctx, d, func() ([]byte, error) { <-release; return secret, nil })
	if err == nil || !strings.Contains(err.Error(), "did not answer") {
		t.Fatalf("late: %v", err)
	}
	var ran atomic.Bool
	f := func() (int, error) { ran.Store(true); return 1, nil }
	start := time.Now()
	if _, err := do(ctx, d, f); err == nil || time.Since(start) > 40*time.Millisecond || ran.Load() {
		t.Errorf("while a call hangs: %v, after %v", err, time.Since(start))
	}
	close(release)
	for range 100 {
		if _, err = do(ctx, d, f); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil || !ran.Load() {
		t.Errorf("after the call ended at last: %v", err)
	}
	if string(secret) == "secret" {
		t.Error("what nobody waits for any more is not wiped")
	}

	// Others wait for their turn, and no longer than they want.
	d = newDevice(keys.Env{})
	hold := make(chan bool)
	go do(ctx, d, func() (int, error) { hold <- true; <-hold; return 0, nil })
	<-hold
	cancelled, cancel := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := do(cancelled, d, f); !errors.Is(err, context.Canceled) {
		t.Errorf("given up while waiting: %v", err)
	}
	close(hold)
	if _, err := do(ctx, d, f); err != nil {
		t.Error(err)
	}

	// A long queue is no module that does not answer.
	d = newDevice(keys.Env{})
	d.patience = 200 * time.Millisecond
	var queue sync.WaitGroup
	for range 10 {
		queue.Go(func() {
			if _, err := do(ctx, d, func() (int, error) { time.Sleep(d.patience / 4); return 0, nil }); err != nil {
				t.Errorf("in a queue that moves: %v", err)
			}
		})
	}
	queue.Wait()
}

// SoftHSM rewrites a token's file at each login, and so processes disturb each
// other.
func TestManyProcesses(t *testing.T) {
	h := hsm(t)
	dataKey, e := wrapped(t, h)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			results, err := tryElsewhere(order{Entry: e.Fields, Times: 2}, h.Env...)
			if err != nil {
				t.Error(err)
			}
			for _, r := range results {
				if r.Key != hex.EncodeToString(dataKey) {
					t.Errorf("beside others: %+v", r)
				}
			}
		})
	}
	wg.Wait()
}

// What is not there, or there twice, is told apart and named.
func TestWhichKey(t *testing.T) {
	h := hsm(t)
	dataKey, e := wrapped(t, h)
	twin := enrolled(t, here(h), "pkcs11:token=kenv-test;object=twin-rsa;id=%06", EnrollOptions{})
	twinEntry, err := parse(t, Provider(keys.Env{}), spec(twin.Name, "public_key", twin.PublicKey)).Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatal(err)
	}
	aes, err := parse(t, Provider(here(h)), spec(h.AES)).Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		entry   keys.Entry
		says    string // "" if it opens
		notHere bool
	}{
		"it":                       {e, "", false},
		"another serial":           {with(e, "uri", "pkcs11:token=kenv-test;serial=00;object=kenv-rsa2"), "", false},
		"by serial alone":          {with(e, "uri", "pkcs11:serial="+h.Serial+";object=kenv-rsa2"), "", false},
		"by id alone":              {with(e, "uri", "pkcs11:token=kenv-test;id=%04"), "", false},
		"one of two with a label":  {with(twinEntry, "uri", "pkcs11:token=kenv-test;object=twin-rsa"), "", false},
		"AES":                      {aes, "", false},
		"no such token":            {with(e, "uri", "pkcs11:token=prod;object=kenv-rsa2"), `its tokens are "kenv-test" (serial ` + h.Serial, true},
		"no such serial":           {with(e, "uri", "pkcs11:serial=00;object=kenv-rsa2"), `its tokens are`, true},
		"no such model":            {with(e, "uri", "pkcs11:token=kenv-test;model=x;object=kenv-rsa2"), `its tokens are`, true},
		"two tokens":               {with(e, "uri", "pkcs11:token=twins;object=kenv-rsa2"), `2 tokens answer to this name: "twins" (serial `, false},
		"no such key":              {with(e, "uri", "pkcs11:token=kenv-test;object=prod"), `there is no such RSA key`, true},
		"no such id":               {with(e, "uri", "pkcs11:token=kenv-test;object=kenv-rsa2;id=%99"), `there is no such RSA key`, true},
		"no such AES key":          {with(aes, "uri", "pkcs11:token=kenv-test;object=prod"), `there is no such AES key`, true},
		"a key of another kind":    {with(aes, "uri", "pkcs11:token=kenv-test;object=kenv-rsa2"), `there is no such AES key`, true},
		"two AES keys":             {with(aes, "uri", "pkcs11:token=kenv-test;object=twin-aes"), "2 keys on the token have this name; add id=", false},
		"another key of that name": {with(e, "uri", "pkcs11:token=kenv-test;object=kenv-rsa"), "the key of this name is another one, sha256:", true},
		"another AES key":          {with(aes, "uri", "pkcs11:token=kenv-test;object=kenv-aes2"), "CKR_", false},
	} {
		got, err := unwrap(t, here(h), tt.entry)
		switch {
		case tt.says == "" && (err != nil || !bytes.Equal(got, dataKey)):
			t.Errorf("%s: %v", what, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, keys.ErrNotHere) != tt.notHere):
			t.Errorf("%s: %v; want %q", what, err, tt.says)
		}
	}

	// Wrapping has to know which key is meant as well.
	for name, says := range map[string]string{
		"pkcs11:token=kenv-test;object=twin-rsa":                                         "2 keys on the token have this name, with the fingerprints sha256:",
		"pkcs11:token=kenv-test;object=prod":                                             "there is no such RSA key",
		"pkcs11:token=prod;object=kenv":                                                  "its tokens are",
		"pkcs11:token=kenv-test;object=kenv-rsa#sha256:00112233445566778899aabbccddeeff": "is another one",
	} {
		if _, err := parse(t, Provider(here(h)), spec(name)).Wrap(t.Context(), dataKey); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Wrap for %s: %v; want %q", name, err, says)
		}
	}
}

// Reading the public half takes no PIN where the HSM shows it.
func TestPublicHalfWithoutPIN(t *testing.T) {
	h := hsm(t)
	k := parse(t, Provider(set("pkcs11_module", h.Module)), spec("pkcs11:token=kenv-test;object=kenv-rsa2?mech=rsa-oaep-sha1"))
	e, err := k.Wrap(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unwrap(t, here(h), e); err != nil || string(got) != "key" {
		t.Errorf("%q, %v", got, err)
	}
}

// Tokens that entries name are looked for a few times, not once an entry.
func TestManyMissingTokens(t *testing.T) {
	h := hsm(t)
	_, e := wrapped(t, h)
	env, count := spy(t, h.Module)
	start := time.Now()
	results := elsewhere(t, order{Entry: with(e, "uri", "pkcs11:token=nowhere;object=x").Fields, Times: 500}, append(env, "KENV_PKCS11_PIN="+hsmtest.PIN)...)
	for _, r := range results {
		if !r.NotHere || !strings.Contains(r.Err, "its tokens are") {
			t.Fatalf("%+v", r)
		}
	}
	if n := count("C_Initialize"); n > maxMisses+1 {
		t.Errorf("the module was started %d times for 500 entries", n)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("500 entries took %v", took)
	}
}

func TestModules(t *testing.T) {
	h := hsm(t)
	_, e := wrapped(t, h)
	dir := t.TempDir()
	write := func(name string, text []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lib, err := os.ReadFile(h.Module)
	if err != nil {
		t.Fatal(err)
	}
	foreign := bytes.Clone(lib)
	foreign[18] = 0x16 // e_machine: S390
	libc, _ := filepath.Glob("/lib/*/libz.so.1")
	if len(libc) == 0 {
		libc, _ = filepath.Glob("/lib/*/libc.so.6")
	}
	tests := map[string]struct{ path, says string }{
		"none":                 {"", "none is set: --pkcs11-module, KENV_PKCS11_MODULE"},
		"missing":              {filepath.Join(dir, "none.so"), "does not exist"},
		"bare name":            {"no-such-module.so", "whole path"},
		"a directory":          {dir, "is a directory"},
		"a text":               {write("x.so", []byte("hello"), 0o600), "not a library at all"},
		"for another machine":  {write("s390.so", foreign, 0o600), "is for another processor"},
		"a library of another": {libc[0], "has no C_GetFunctionList"},
	}
	if os.Geteuid() != 0 {
		tests["unreadable"] = struct{ path, says string }{write("secret.so", lib, 0), "may not be read"}
	}
	for what, tt := range tests {
		_, err := unwrap(t, set("pkcs11_module", tt.path, "pkcs11_pin_file", h.PINFile), e)
		if err == nil || !strings.Contains(err.Error(), tt.says) || errors.Is(err, keys.ErrNotHere) != (tt.path == "") {
			t.Errorf("%s: %v; want %q", what, err, tt.says)
		}
		p := Provider(set("pkcs11_module", tt.path))
		f := parse(t, p, spec(e.Field("uri"))).(keys.Prober).Probe(t.Context(), keys.Entry{})
		if f.State != keys.Missing {
			t.Errorf("%s: Probe: %+v", what, f)
		}
		list := p.Examine(t.Context())
		if want := map[bool]string{true: keys.Note, false: keys.Missing}[tt.path == ""]; len(list) != 1 || list[0].State != want {
			t.Errorf("%s: Examine: %+v", what, list)
		}
	}
	results := elsewhere(t, order{Entry: e.Fields, Times: 1}, append(h.Env, "SOFTHSM2_CONF="+filepath.Join(dir, "none.conf"))...)
	if r := results[0]; !strings.Contains(r.Err, "SOFTHSM2_CONF") || !strings.Contains(r.Err, "CKR_GENERAL_ERROR") {
		t.Errorf("a module without its configuration: %+v", r)
	}
}

func TestPINs(t *testing.T) {
	h := hsm(t)
	dataKey, e := wrapped(t, h)
	file := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "pin")
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// In this process the token is logged in already, and takes every PIN.
	get := func(env keys.Env) (string, string, error) {
		p := newPINs(env)
		text, place, err := p.given("kenv-test")
		return string(text), place, err
	}
	for text, want := range map[string]string{"1234": "1234", "1234\n": "1234", "1234\r\n": "1234", "1234\n\n": "1234\n", " 1 \n": " 1 ", "1\r": "1\r"} {
		path := file(text, 0o600)
		got, place, err := get(keys.Env{Setting: vars("pkcs11_pin_file", path), Getenv: vars("KENV_PKCS11_PIN", "x"),
			Warn: func(string, ...any) { t.Error("a warning") }})
		if got != want || place != path || err != nil {
			t.Errorf("a PIN file with %q: %q, %s, %v", text, got, place, err)
		}
	}
	for text, says := range map[string]string{"": "empty", "\n": "empty", strings.Repeat("1", 1025): "1024"} {
		if got, _, err := get(set("pkcs11_pin_file", file(text, 0o600))); err == nil || !strings.Contains(err.Error(), says) || got != "" && says == "empty" {
			t.Errorf("a PIN file with %.10q: %q, %v", text, got, err)
		}
	}
	if _, err := unwrap(t, set("pkcs11_module", h.Module, "pkcs11_pin_file", "/no/such/file"), e); err == nil || !strings.Contains(err.Error(), "/no/such/file") || errors.Is(err, keys.ErrNotHere) {
		t.Errorf("a PIN file that is not there: %v", err)
	}
	if got, place, err := get(keys.Env{Getenv: vars("KENV_PKCS11_PIN", "77")}); got != "77" || place != "KENV_PKCS11_PIN" || err != nil {
		t.Errorf("from the environment: %q, %s, %v", got, place, err)
	}

	// A PIN that is bound to a token is for that token alone.
	mine, theirs, rest := file("1", 0o600), file("2", 0o600), file("3", 0o600)
	for list, want := range map[string]string{
		"kenv-test=" + mine:                          "1",
		"prod=" + theirs + ",kenv-test=" + mine:      "1",
		"prod=" + theirs:                             "",
		"prod=" + theirs + "," + rest:                "3",
		rest + ",kenv-test=" + mine:                  "1",
		"kenv-test=" + mine + ",kenv-test=" + theirs: "1",
	} {
		got, _, err := get(keys.Env{Setting: vars("pkcs11_pin_file", list), Getenv: vars("KENV_PKCS11_PIN", "77")})
		if got != want || err != nil {
			t.Errorf("%s: %q, %v, want %q", list, got, err, want)
		}
	}

	// A file that others can read is used, and complained of once.
	warnings := 0
	env := here(h)
	env.Setting = vars("pkcs11_module", h.Module, "pkcs11_pin_file", file(hsmtest.PIN, 0o644))
	env.Warn = func(string, ...any) { warnings++ }
	p := Provider(env)
	k := parse(t, p, spec(e.Field("uri"), "mech", e.Field("mech")))
	for range 3 {
		if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
			t.Fatal(err)
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings about a PIN file that others can read, want 1", warnings)
	}
}

func TestAsking(t *testing.T) {
	h := hsm(t)
	dataKey, e := wrapped(t, h)
	asked := 0
	ask := func(answer string, fail error) (keys.Provider, keys.MasterKey) {
		asked = 0
		env := set("pkcs11_module", h.Module)
		env.Prompt = func(_ context.Context, text string) ([]byte, error) {
			asked++
			if !strings.Contains(text, `"kenv-test"`) || !strings.HasSuffix(text, ": ") {
				t.Errorf("the question is %q", text)
			}
			time.Sleep(10 * time.Millisecond)
			return []byte(answer), fail
		}
		p := Provider(env)
		k, err := p.FromEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		return p, k
	}
	_, k := ask(hsmtest.PIN, nil)
	if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrQuiet) || !errors.Is(err, keys.ErrNotHere) || asked != 0 {
		t.Errorf("quietly: %v; asked %d times", err, asked)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("with the answer: %v", err)
			}
		})
	}
	wg.Wait()
	if got, err := k.Unwrap(keys.Quiet(t.Context()), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("quietly, after the answer: %v", err)
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}

	for _, tt := range []struct {
		answer string
		err    error
		says   string
		asked  int
	}{
		{"", nil, "none was given", 1},
		{"", fmt.Errorf("x: %w", keys.ErrNoTerminal), "no terminal", 2},
	} {
		_, k = ask(tt.answer, tt.err)
		for range 2 {
			if _, err := k.Unwrap(t.Context(), e); !errors.Is(err, keys.ErrNotHere) || errors.Is(err, keys.ErrQuiet) || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "KENV_PKCS11_PIN") {
				t.Errorf("answer %q, %v: %v", tt.answer, tt.err, err)
			}
		}
		if asked != tt.asked {
			t.Errorf("answer %q, %v: asked %d times, want %d", tt.answer, tt.err, asked, tt.asked)
		}
	}

	// Nobody is asked about a token that is not there.
	p, _ := ask(hsmtest.PIN, nil)
	gone := with(e, "uri", "pkcs11:token=prod;object=x")
	k, err := p.FromEntry(gone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(keys.Quiet(t.Context()), gone); !errors.Is(err, keys.ErrNotHere) || errors.Is(err, keys.ErrQuiet) {
		t.Errorf("quietly, without the token: %v", err)
	}
	if _, err := k.Unwrap(t.Context(), gone); err == nil || asked != 0 {
		t.Errorf("without the token: %v; asked %d times", err, asked)
	}
}
