//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/all"
)

// Calls are disturbed by their number within a thread. In an init function this
// keeps all of a disturbed kenv that matters in one.
func init() {
	if os.Getenv(oneThread) != "" {
		runtime.LockOSThread()
	}
}

const oneThread = "KENV_TEST_ONE_THREAD"

const canary = "canary-Zk3vPq81"

// A victim is a plaintext file and the real kenv that encrypts it in place.
type victim struct {
	kenv      string // the program
	identity  string
	recipient string
	plaintext []byte
	setup     kenv.Setup // that can decrypt
}

func newVictim(t *testing.T, lines int) *victim {
	path, err := exec.LookPath("kenv-in-sight") // TestMain puts it there
	if err != nil {
		t.Fatal(err)
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	env := keys.Env{Getenv: func(name string) string {
		if name == "KENV_AGE_KEY" {
			return string(identity)
		}
		return ""
	}}
	return &victim{
		kenv:      path,
		identity:  secretOf(identity),
		recipient: recipient,
		plaintext: []byte("# " + canary + "\n" + strings.Repeat("password: "+canary+"\n---\n", lines) + "last: 1\n"),
		setup:     kenv.Setup{Keys: all.Table(env)},
	}
}

// secretOf returns the line with the secret of an identity file.
func secretOf(file []byte) string {
	for line := range strings.Lines(string(file)) {
		if !strings.HasPrefix(line, "#") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func (v *victim) args() []string {
	return []string{v.kenv, "encrypt", "-i", "--key", v.recipient, "secrets.yaml"}
}

func (v *victim) place(t testing.TB, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "secrets.yaml"), v.plaintext, 0o640); err != nil {
		t.Fatal(err)
	}
}

// isNew reports whether data is the encrypted file, whole.
func (v *victim) isNew(data []byte) bool {
	f, err := v.setup.Open(context.Background(), kenv.Source{Name: "secrets.yaml", Data: data})
	if err != nil {
		return false
	}
	defer f.Wipe()
	return bytes.Equal(f.Plaintext(), v.plaintext) && !bytes.Contains(data, []byte(canary))
}

// check fails unless the old file or the new one is there, whole, and beside it at
// most one temporary file, of ciphertext, and that only after a kill.
func (v *victim) check(t testing.TB, r faulttest.Result) {
	files := faulttest.Files(t, r.Dir)
	now := files["secrets.yaml"]
	switch {
	case bytes.Equal(now, v.plaintext):
		if r.Err == nil {
			t.Errorf("%s: success, and the file is still plaintext (%s)", r.Fault, r.Hit)
		}
	case !v.isNew(now):
		t.Errorf("%s: the file is neither old nor new: %d bytes (%s)", r.Fault, len(now), r.Hit)
	}
	delete(files, "secrets.yaml")
	if len(files) > 1 || len(files) > 0 && !r.Killed {
		t.Errorf("%s: %d files were left (%s)", r.Fault, len(files), r.Hit)
	}
	for name, data := range files {
		if !strings.HasPrefix(name, ".secrets.yaml.kenv-") {
			t.Errorf("%s: left %s", r.Fault, name)
		}
		if bytes.Contains(data, []byte(canary)) {
			t.Errorf("%s: left plaintext in %s", r.Fault, name)
		}
	}
	if strings.Contains(r.Stderr, canary) {
		t.Errorf("%s: plaintext was said", r.Fault)
	}
}

func (v *victim) command() faulttest.Command {
	return faulttest.Command{
		Args:  v.args(),
		Env:   []string{"HOME=/nonexistent", oneThread + "=1"},
		Setup: v.place,
		Check: v.check,
	}
}

func wantHits(t *testing.T, hits []string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(strings.Join(hits, "\n"), text) {
			t.Errorf("no disturbed call has %q", text)
		}
	}
}

func TestKillEncrypt(t *testing.T) {
	hits := newVictim(t, 1).command().Kill(t)
	wantHits(t, hits, "O_CREAT|O_EXCL", "write(", "fsync(", "renameat(", "secrets.yaml")
}

func TestFailEncrypt(t *testing.T) {
	hits := newVictim(t, 1).command().Fail(t, "ENOSPC")
	wantHits(t, hits, "O_CREAT|O_EXCL", "write(", "fsync(", "renameat(")
}

// The real thing: the plaintext fits on the disk, the ciphertext does not.
func TestFullDiskEncrypt(t *testing.T) {
	disk := faulttest.SmallDisk(t, 64<<10)
	v := newVictim(t, 600)
	v.place(t, disk)
	cmd := exec.Command(v.kenv, v.args()[1:]...)
	cmd.Dir, cmd.Env = disk, append(os.Environ(), "HOME=/nonexistent")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	v.check(t, faulttest.Result{Dir: disk, Fault: "full disk", Err: err, Stderr: stderr.String()})
	if want := "kenv: cannot write secrets.yaml: no space left on device\n"; err == nil || stderr.String() != want {
		t.Errorf("%v, said %q, want %q", err, stderr.String(), want)
	}
}

// An interrupt that comes while the file is being written comes after that.
func TestInterruptWhileWriting(t *testing.T) {
	needPrograms(t, "strace")
	v := newVictim(t, 1)
	dir := t.TempDir()
	v.place(t, dir)
	cmd := exec.Command("strace", append([]string{"-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"),
		"-e", "trace=fsync", "-e", "inject=fsync:signal=INT:delay_exit=300000:when=1", "--"}, v.args()...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME=/nonexistent")
	code := exitCodeOf(t, cmd.Run())
	if code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	files := faulttest.Files(t, dir)
	if len(files) != 1 || !v.isNew(files["secrets.yaml"]) {
		t.Errorf("%d files are there, or the file is not the new one", len(files))
	}
}

// One that comes while an edit is being saved finds it saved, and keeps no second copy.
func TestInterruptWhileSaving(t *testing.T) {
	needPrograms(t, "strace")
	s := newShared(t)
	s.write(t, "editor", "#!/bin/sh\necho 'edited: 1' >>\"$1\"\n")
	s.env = append(s.env, "EDITOR="+filepath.Join(s.dir, "editor"))
	said, err := s.run("strace", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"),
		"-e", "trace=fsync", "-e", "inject=fsync:signal=INT:delay_exit=300000:when=1", "--", "kenv", "edit", "secrets.yaml")
	if text := s.opened(t); text != "first: 1\nedited: 1\n" || said != "" {
		t.Errorf("it ended with %v and said %q; the file says\n%s", err, said, text)
	}
	s.wantOnly(t, ".kenv.yaml", "editor", "secrets.yaml")
}

// An interrupt in the middle of many files comes after those that are being written,
// and leaves the others as they were.
func TestInterruptManyFiles(t *testing.T) {
	needPrograms(t, "strace")
	const n = 200
	v := newVictim(t, 1)
	dir := t.TempDir()
	var names []string
	for i := range n {
		name := fmt.Sprintf("%03d.yaml", i)
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), v.plaintext, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pid := filepath.Join(t.TempDir(), "pid")
	args := append([]string{"-f", "-qq", "-o", filepath.Join(t.TempDir(), "trace"), "-e", "trace=fsync", "-e", "inject=fsync:delay_exit=20000",
		"--", "sh", "-c", `echo $$ >` + pid + `; exec "$@"`, "sh", v.kenv, "encrypt", "-i", "--key", v.recipient}, names...)
	cmd := exec.Command("strace", args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME=/nonexistent")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		// Several are written side by side, so which come first is open.
		done := 0
		for _, name := range names[:40] {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && !bytes.Equal(data, v.plaintext) {
				done++
			}
		}
		if done >= 20 {
			break
		}
		if time.Now().After(deadline) {
			cmd.Process.Kill()
			t.Fatal("nothing is encrypted")
		}
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	var process int
	if _, err := fmt.Sscan(string(text), &process); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(process, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := exitCodeOf(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	files := faulttest.Files(t, dir)
	if len(files) != n {
		t.Errorf("%d files are there, want %d", len(files), n)
	}
	encrypted := 0
	for name, data := range files {
		switch {
		case v.isNew(data):
			encrypted++
		case !bytes.Equal(data, v.plaintext):
			t.Errorf("%s is neither old nor new: %d bytes", name, len(data))
		}
	}
	if encrypted < 20 || encrypted == n {
		t.Errorf("%d of %d files are encrypted: was it interrupted in the middle?", encrypted, n)
	}
}

// An interrupt at any other time ends kenv at once. While it runs, it leaves no core
// dump, whatever the shell allows.
func TestInterruptWhileReading(t *testing.T) {
	v := newVictim(t, 1)
	for delay := 50 * time.Millisecond; ; delay *= 2 {
		cmd := exec.Command("sh", "-c", `ulimit -c 1; exec "$0" decrypt -`, v.kenv)
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		code := exitCodeOf(t, cmd.Wait())
		if code == 130 {
			if !regexp.MustCompile(`(?m)^Max core file size +0 `).Match(limits) {
				t.Errorf("core dumps were allowed:\n%s", limits)
			}
			return
		}
		// Before it listens, the signal itself ends it; a slow machine needs longer.
		if code != -1 || delay > 5*time.Second {
			t.Fatalf("exit code %d, want 130", code)
		}
	}
}
