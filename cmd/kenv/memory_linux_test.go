package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/all"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"github.com/kenvhq/kenv/pkg/secret"
)

// A waiting is a kenv that has used a file's data key and waits for a program.
type waiting struct {
	kenv    []string // how it is started
	dir     string
	env     []string
	dataKey []byte
	stderr  bytes.Buffer
}

// newWaiting makes an encrypted file, s.env, for a master key that the environment leads to.
func newWaiting(t *testing.T, key string) *waiting {
	t.Helper()
	w := &waiting{kenv: []string{"kenv"}, dir: t.TempDir()}
	w.env = append(os.Environ(), "HOME="+w.dir, "XDG_CONFIG_HOME=", "GORACE=atexit_sleep_ms=0")
	path := filepath.Join(w.dir, "s.env")
	if err := os.WriteFile(path, []byte("PASSWORD=hunter2/hunter2\nUSER=kenv\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := w.command("encrypt", "-i", "--key", key, "s.env").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := envelope.Inspect(data, doc.Dotenv{})
	if err != nil {
		t.Fatal(err)
	}
	entry := meta.Groups[0][0]
	k, err := all.Table(keys.Env{Getenv: os.Getenv}).FromEntry(entry)
	if err != nil {
		t.Fatal(err)
	}
	if w.dataKey, err = k.Unwrap(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *waiting) command(args ...string) *exec.Cmd {
	argv := slices.Concat(w.kenv, args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = w.dir, w.env
	return cmd
}

// during runs kenv, with its program saying "ready" and then waiting for its input to end,
// and calls look while it waits.
func (w *waiting) during(t *testing.T, args []string, look func(pid int)) {
	t.Helper()
	cmd := w.command(args...)
	cmd.Env = append(cmd.Env, "KENV_EDITOR=sh -c 'echo ready; read x'")
	cmd.Stderr = &w.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		cmd.Wait()
	}()
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		t.Fatalf("%v: %s", err, w.stderr.String())
	}
	look(cmd.Process.Pid)
}

// TestHiddenMemory has somebody look at a process who may do what that may and no more.
// What kenv starts or becomes is not hidden.
func TestHiddenMemory(t *testing.T) {
	file, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KENV_AGE_KEY", string(file))
	w := newWaiting(t, recipient)
	var plainly []string // root without what only root can
	if os.Geteuid() == 0 {
		needPrograms(t, "setpriv")
		plainly = []string{"setpriv", "--bounding-set=-all", "--inh-caps=-all"}
	}
	canLook := func(pid int) bool {
		argv := slices.Concat(plainly, []string{"cat", fmt.Sprintf("/proc/%d/environ", pid)})
		return exec.Command(argv[0], argv[1:]...).Run() == nil
	}
	shell := []string{"s.env", "--", "sh", "-c", "echo ready; read x"}
	for _, c := range []struct {
		kenv    string
		args    []string
		canLook bool
	}{
		{"kenv", []string{"edit", "s.env"}, false},
		{"kenv", append([]string{"exec", "--mask"}, shell...), false},
		{"kenv", append([]string{"exec"}, shell...), true},
		{"kenv-in-sight", []string{"edit", "s.env"}, true}, // else this test is blind
	} {
		w.kenv = append(plainly, c.kenv)
		w.during(t, c.args, func(pid int) {
			if got := canLook(pid); got != c.canLook {
				t.Errorf("%s %s: can others look into it: %v", c.kenv, c.args[0], got)
			}
		})
	}
}

// TestCrash: a kenv that crashes while it waits says where, and nothing of what it holds.
func TestCrash(t *testing.T) {
	file, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KENV_AGE_KEY", string(file))
	t.Setenv("GOTRACEBACK", "all")
	w := newWaiting(t, recipient)
	w.during(t, []string{"exec", "--mask", "s.env", "--", "sh", "-c", "echo ready; read x"}, func(pid int) {
		syscall.Kill(pid, syscall.SIGABRT)
	})
	said := w.stderr.String()
	if !strings.Contains(said, "SIGABRT") || !strings.Contains(said, "goroutine") {
		t.Errorf("it did not crash as it should have: %s", said)
	}
	for _, secret := range []string{"hunter2", "AGE-SECRET-KEY", fmt.Sprintf("%x", w.dataKey[:8])} {
		if strings.Contains(said, secret) {
			t.Errorf("it says %q", secret)
		}
	}
}

// copies returns how often some bytes stand in the memory that a process can write to.
func copies(t *testing.T, pid int, of []byte) (n int) {
	t.Helper()
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if errors.Is(err, os.ErrPermission) {
		lack(t, "another process's memory cannot be read here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		buf := make([]byte, to-from)
		got, _ := memory.ReadAt(buf, from)
		read += got
		n += bytes.Count(buf[:got], of)
	}
	if read < 1<<20 {
		t.Fatalf("only %d bytes of memory were read", read)
	}
	return n
}

// TestMemory looks through the memory of a kenv that waits for a program. One that erases
// what it uses has the data key nowhere, but for the one copy that an edited file is to be
// encrypted with, and the identity nowhere at all. Others must not have it in buffers of
// our own, which pkg/envelope tests.
func TestMemory(t *testing.T) {
	file, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	identity := file[bytes.Index(file, []byte("AGE-SECRET-KEY-1")):]
	identity = bytes.TrimSpace(identity)
	keyFile := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(keyFile, file, 0o600); err != nil {
		t.Fatal(err)
	}
	shell := []string{"sh", "-c", "echo ready; read x"}
	ways := map[string][]string{
		"exec --mask":         append([]string{"exec", "--mask", "s.env", "--"}, shell...),
		"exec-file":           {"exec-file", "s.env", shell[2]},
		"exec-file --no-fifo": {"exec-file", "--no-fifo", "s.env", shell[2]},
		"edit":                {"edit", "s.env"},
	}
	look := func(t *testing.T, w *waiting, secrets map[string][]byte) {
		for name, args := range ways {
			t.Run(name, func(t *testing.T) {
				w.during(t, args, func(pid int) {
					for what, text := range secrets {
						most := 0
						if name == "edit" && what == "the data key" { // to encrypt with
							most = 1
						}
						got := copies(t, pid, text)
						if secret.Erases && got > most {
							t.Errorf("%s is in memory %d times, want %d", what, got, most)
						}
						if !secret.Erases {
							t.Logf("%s is in memory %d times", what, got)
						}
					}
					if got := copies(t, pid, []byte("hunter2/hunter2")); name == "edit" && got == 0 {
						t.Error("the plaintext is not found in memory either, where it must be")
					}
				})
			})
		}
	}
	t.Run("age", func(t *testing.T) {
		t.Setenv("KENV_AGE_KEY_FILE", keyFile)
		w := newWaiting(t, recipient)
		look(t, w, map[string][]byte{
			"the data key": w.dataKey[:16], "the identity": identity, "the identity in lower case": bytes.ToLower(identity),
		})
	})
	// The answer of KMS, with the key as text, stays in the buffers of the HTTP client.
	t.Run("kms", func(t *testing.T) {
		s := kmstest.Start(t, false)
		s.Setenv(t)
		w := newWaiting(t, s.Env["KENV_TEST_KMS_ARN"])
		look(t, w, map[string][]byte{"the data key": w.dataKey[:16]})
	})
}
