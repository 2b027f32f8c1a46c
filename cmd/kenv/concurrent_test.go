//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
)

// A shared is an encrypted file that many processes write to at the same time.
type shared struct {
	*victim
	dir string
	env []string
}

func newShared(t *testing.T) *shared {
	s := &shared{victim: newVictim(t, 0), dir: t.TempDir()}
	s.env = append(os.Environ(), "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "KENV_AGE_KEY="+s.identity, "SOPS_AGE_KEY="+s.identity, "GORACE=atexit_sleep_ms=0")
	s.write(t, ".kenv.yaml", "creation_rules:\n  - age:\n      - "+s.recipient+"\n")
	s.write(t, "secrets.yaml", "first: 1\n")
	if said, err := s.run("kenv", "encrypt", "-i", "secrets.yaml"); err != nil {
		t.Fatal(err, said)
	}
	return s
}

func (s *shared) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (s *shared) run(name string, args ...string) (said string, err error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// plaintext opens the file, with all checks.
func (s *shared) opened(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, "secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.setup.Open(context.Background(), kenv.Source{Name: "secrets.yaml", Data: data})
	if err != nil {
		t.Fatalf("the file does not open: %v", err)
	}
	defer f.Wipe()
	return string(f.Plaintext())
}

// wantOnly fails unless these files and no others are there.
func (s *shared) wantOnly(t *testing.T, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	for _, e := range entries {
		there = append(there, e.Name())
	}
	if got, want := strings.Join(there, " "), strings.Join(names, " "); got != want {
		t.Errorf("files are %s, want %s", got, want)
	}
}

// Fifty processes set a value each, and every one of them is in the file.
func TestConcurrentSets(t *testing.T) {
	const n = 50
	s := newShared(t)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if said, err := s.run("kenv", "set", "secrets.yaml", fmt.Sprintf("key%d", i), fmt.Sprint(i)); err != nil {
				t.Errorf("set %d: %v: %s", i, err, said)
			}
		})
	}
	wg.Wait()
	text := s.opened(t)
	for i := range n {
		if line := fmt.Sprintf("\nkey%d: %d\n", i, i); strings.Count(text, line) != 1 {
			t.Errorf("%q is not in the file once", line)
		}
	}
	if lines := strings.Count(text, "\n"); lines != n+1 {
		t.Errorf("the file has %d lines, want %d", lines, n+1)
	}
	s.wantOnly(t, ".kenv.yaml", "secrets.yaml")
}

// All kinds of writers at the same time: what one has reported done is there in the
// end. An edit that finds the file changed says so and keeps its text.
func TestConcurrentWriters(t *testing.T) {
	const n = 8
	s := newShared(t)
	s.write(t, "editor", "#!/bin/sh\necho \"edited$EDIT: 1\" >>\"$1\"\n")
	s.env = append(s.env, "EDITOR="+filepath.Join(s.dir, "editor"))
	second := newVictim(t, 0)
	var mu sync.Mutex
	var want []string // lines
	unsaved := 0
	done := func(line string) {
		mu.Lock()
		defer mu.Unlock()
		want = append(want, line)
	}
	must := func(args ...string) bool {
		said, err := s.run("kenv", args...)
		if err != nil {
			t.Errorf("kenv %s: %v: %s", strings.Join(args, " "), err, said)
		}
		return err == nil
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if must("set", "secrets.yaml", fmt.Sprintf("set%d", i), "1") {
				done(fmt.Sprintf("set%d: 1", i))
			}
		})
		wg.Go(func() { must("rotate", "-i", "secrets.yaml") })
		wg.Go(func() {
			must("set", "secrets.yaml", fmt.Sprintf("gone%d", i), "1")
			must("unset", "secrets.yaml", fmt.Sprintf("gone%d", i))
		})
		wg.Go(func() {
			cmd := exec.Command("kenv", "edit", "secrets.yaml")
			cmd.Dir, cmd.Env = s.dir, append(s.env, fmt.Sprintf("EDIT=%d", i))
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				done(fmt.Sprintf("edited%d: 1", i))
			case strings.Contains(string(out), "is kept, encrypted, in"):
				mu.Lock()
				unsaved++
				mu.Unlock()
			case !strings.Contains(string(out), kenv.ErrBeingEdited.Error()):
				t.Errorf("edit: %v: %s", err, out)
			}
		})
	}
	wg.Go(func() { must("keys", "add", second.recipient) })
	wg.Go(func() { must("updatekeys", "--yes", ".") })
	wg.Wait()
	text := s.opened(t)
	for _, line := range want {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("%q is not in the file", line)
		}
	}
	if strings.Contains(text, "gone") || strings.Count(text, "\n") != len(want)+1 {
		t.Errorf("the file says something else besides:\n%s", text)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "secrets.yaml"))
	if err != nil || !bytes.Contains(data, []byte(second.recipient)) {
		t.Errorf("the key that was added is not in the file: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "*.unsaved*"))
	if err != nil || len(left) != unsaved {
		t.Errorf("%d texts are kept, and %d were announced: %v", len(left), unsaved, err)
	}
}

// Of keys that several people add at the same time, the config and the file get all.
func TestConcurrentKeysAdd(t *testing.T) {
	const n = 6
	s := newShared(t)
	var recipients []string
	for range n {
		recipients = append(recipients, newVictim(t, 0).recipient)
	}
	var wg sync.WaitGroup
	for _, r := range recipients {
		wg.Go(func() {
			if said, err := s.run("kenv", "keys", "add", r); err != nil {
				t.Errorf("keys add: %v: %s", err, said)
			}
		})
	}
	wg.Wait()
	s.opened(t)
	for _, name := range []string{".kenv.yaml", "secrets.yaml"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range recipients {
			if !bytes.Contains(text, []byte(r)) {
				t.Errorf("%s lacks a key that was added", name)
			}
		}
	}
	s.wantOnly(t, ".kenv.yaml", "secrets.yaml")
}

// sops knows no lock. What it writes while kenv is at work is not overwritten, and what
// comes of both writing at once is one of the two.
func TestConcurrentSops(t *testing.T) {
	needPrograms(t, "sops")
	s := newShared(t)
	// The command that has the identity is run when kenv has read the file.
	s.write(t, "identity", "#!/bin/sh\nif mkdir once 2>&-; then SOPS_AGE_KEY="+s.identity+
		" sops set secrets.yaml '[\"other\"]' '\"was here\"' >&2 || exit; fi\necho "+s.identity+"\n")
	s.env = append(s.env, "KENV_AGE_KEY=", "SOPS_AGE_KEY=", "SOPS_AGE_KEY_CMD="+filepath.Join(s.dir, "identity"))
	said, err := s.run("kenv", "set", "secrets.yaml", "kenv", "1")
	if err == nil || !strings.Contains(said, kenv.ErrChanged.Error()) || !strings.Contains(said, "secrets.yaml") {
		t.Errorf("sops wrote meanwhile, and kenv set ended with %v: %s", err, said)
	}
	if text := s.opened(t); text != "first: 1\nother: was here\n" {
		t.Errorf("the file says\n%s", text)
	}
	if said, err := s.run("kenv", "set", "secrets.yaml", "kenv", "1"); err != nil {
		t.Errorf("the next time: %v: %s", err, said)
	}
	if text := s.opened(t); text != "first: 1\nother: was here\nkenv: 1\n" {
		t.Errorf("the file says\n%s", text)
	}
}

// Who waits for a lock in vain says so, and does not write.
func TestConcurrentWait(t *testing.T) {
	s := newShared(t)
	lock, err := kenv.LockFile(t.Context(), filepath.Join(s.dir, "secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("kenv", "set", "secrets.yaml", "a", "1")
	cmd.Dir, cmd.Env = s.dir, s.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if text := s.opened(t); text != "first: 1\n" {
		t.Errorf("written to under a lock: %s", text)
	}
	// An interrupt does not wait.
	cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err == nil {
		t.Error("success, and the file was locked")
	}
	lock.Unlock()
	if said, err := s.run("kenv", "set", "secrets.yaml", "a", "1"); err != nil {
		t.Errorf("%v: %s", err, said)
	}
	if text := s.opened(t); text != "first: 1\na: 1\n" {
		t.Errorf("the file says\n%s", text)
	}
}

// Every command that writes to a file reads it under the file's lock: what another kenv
// writes meanwhile is neither lost nor in the way.
func TestConcurrentTurns(t *testing.T) {
	other := newVictim(t, 0).recipient
	const both = "first: 1\nmeanwhile: 2\n"
	turns := map[string]string{ // the texts in the end
		"set secrets.yaml a 1":          both + "a: 1\n",
		"unset secrets.yaml first":      "meanwhile: 2\n",
		"rotate -i secrets.yaml":        both,
		"updatekeys --yes secrets.yaml": both,
		"keys add " + other:             both,
		"keys remove " + other:          both,
		"encrypt -i secrets.yaml":       both,
		"decrypt -i secrets.yaml":       both,
	}
	for args, want := range turns {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			path := filepath.Join(s.dir, "secrets.yaml")
			must := func(args string) {
				t.Helper()
				if said, err := s.run("kenv", strings.Fields(args)...); err != nil {
					t.Fatalf("kenv %s: %v: %s", args, err, said)
				}
			}
			meanwhile, err := s.setup.Encrypt(t.Context(), kenv.Source{Name: path, Data: []byte(both)}, kenv.EncryptOptions{Keys: []string{s.recipient}})
			if err != nil {
				t.Fatal(err)
			}
			switch args {
			case "updatekeys --yes secrets.yaml":
				s.write(t, ".kenv.yaml", "creation_rules:\n  - keys: ["+s.recipient+", "+other+"]\n")
			case "keys remove " + other:
				must("keys add " + other)
			case "encrypt -i secrets.yaml":
				s.write(t, "secrets.yaml", "first: 1\n")
				meanwhile.Data = []byte(both)
			}
			lock, err := kenv.LockFile(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			cmd := exec.Command("kenv", strings.Fields(args)...)
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := kenv.Replace(path, meanwhile.Data, kenv.WriteOptions{Ciphertext: true, Lock: lock}); err != nil {
				t.Fatal(err)
			}
			lock.Unlock()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, &said)
			}
			if strings.HasPrefix(args, "decrypt") {
				must("encrypt -i secrets.yaml")
			}
			if got := s.opened(t); got != want {
				t.Errorf("the file says\n%s", got)
			}
			s.wantOnly(t, ".kenv.yaml", "secrets.yaml")
		})
	}
}
