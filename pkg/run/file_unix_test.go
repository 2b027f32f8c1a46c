//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/run"
)

// withFile runs a script that finds the path of a file in $F.
func withFile(how, script string, env ...string) *exec.Cmd {
	return supervised(script, append(env, "KENV_TEST_HOW="+how)...)
}

func TestFile(t *testing.T) {
	for name, c := range map[string]struct {
		how, script string
		code        int
		want        string
	}{
		"regular":                  {"regular", `cat "$F"; cat "$F"; exit 3`, 3, secret + "\n" + secret + "\n"},
		"regular, its kind":        {"regular", `test -f "$F" && basename "$F"; test -d "$(dirname "$F")" && ls -ld "$F" "$(dirname "$F")" | cut -c1-10`, 0, "plain.txt\ndrwx------\n-rw-------\n"},
		"regular, alone":           {"regular", `ls -A "$(dirname "$F")"`, 0, "plain.txt\n"},
		"regular, changed":         {"regular", `echo more >>"$F"; mv "$F" "$F".moved; touch "$F"`, 0, ""},
		"FIFO":                     {"fifo", `cat "$F"; exit 3`, 3, secret + "\n"},
		"FIFO, several times":      {"fifo", `cat "$F"; cat "$F" "$F"; head -c 3 "$F"`, 0, strings.Repeat(secret+"\n", 3) + "hun"},
		"FIFO, its kind":           {"fifo", `test -p "$F" && ls -ld "$F" "$(dirname "$F")" | cut -c1-10`, 0, "drwx------\nprw-------\n"},
		"FIFO, opened late":        {"fifo", `ln "$F" "$F.late"; cat "$F"; cat "$F.late"; echo end`, 0, secret + "\nend\n"},
		"FIFO, nobody reads":       {"fifo", `exit 4`, 4, ""},
		"FIFO, opened and closed":  {"fifo", `: <"$F"; cat "$F"`, 0, secret + "\n"},
		"FIFO, removed":            {"fifo", `rm "$F"`, 0, ""},
		"ended by a signal":        {"fifo", `kill -KILL $$`, 137, ""},
		"regular, by a signal":     {"regular", `kill -TERM $$`, 143, ""},
		"the output is not masked": {"fifo", `echo $S`, 0, secret + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := withFile(c.how, `dirname "$F" >"$D/where"; `+c.script, "D="+dir)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if code := exitCode(t, err); code != c.code || string(out) != c.want || stderr.String() != "" {
				t.Errorf("exit code %d, said %q and %q, want %d, %q", code, out, stderr.String(), c.code, c.want)
			}
			checkRemoved(t, filepath.Join(dir, "where"))
		})
	}
}

// checkRemoved fails unless the directory that a file names is gone.
func checkRemoved(t *testing.T, where string) {
	t.Helper()
	path, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	if dir := strings.TrimSpace(string(path)); dir == "" {
		t.Error("there was no directory")
	} else if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
}

// A text that fits into no pipe is served whole, and given up when it is not wanted.
func TestFileLarge(t *testing.T) {
	const size = "3000000"
	start := time.Now()
	out, err := withFile("fifo", `wc -c <"$F"; head -c 10 "$F" | wc -c; wc -c <"$F"; sleep 20 <"$F" >/dev/null 2>&1 & sleep 0.2; kill $!`, "KENV_TEST_SIZE="+size).Output()
	got := strings.Join(strings.Fields(string(out)), " ")
	if took := time.Since(start); err != nil || got != size+" 10 "+size || took > 15*time.Second {
		t.Errorf("%v, %q after %v", err, got, took)
	}
}

// The file goes, whatever ends us.
func TestFileIsRemovedOnSignals(t *testing.T) {
	for _, how := range []string{"regular", "fifo"} {
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(how+", "+sig.String(), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				cmd := withFile(how, `dirname "$F" >"$D/where"; echo ready; exec sleep 60`, "D="+dir)
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				waitFor(t, stdout, "ready\n")
				cmd.Process.Signal(sig)
				if code := exitCode(t, cmd.Wait()); code != 128+int(sig) {
					t.Errorf("exit code %d", code)
				}
				checkRemoved(t, filepath.Join(dir, "where"))
			})
		}
	}
}

// A program that has its reasons to go on has its file as long.
func TestFileStaysWithItsProgram(t *testing.T) {
	dir := t.TempDir()
	cmd := withFile("regular", `dirname "$F" >"$D/where"; trap '' TERM; echo ready; sleep 0.5; cat "$F"`, "D="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, stdout, "ready\n")
	cmd.Process.Signal(syscall.SIGTERM)
	waitFor(t, stdout, secret)
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	checkRemoved(t, filepath.Join(dir, "where"))
}

func TestFileIsRemovedOnPanic(t *testing.T) {
	cmd := withFile("panic", "unused")
	out, err := cmd.Output()
	if exitCode(t, err) == 0 {
		t.Error("no panic")
	}
	path, _, _ := strings.Cut(string(out), "\n")
	if !filepath.IsAbs(path) {
		t.Fatalf("said %q", out)
	}
	if _, err := os.Lstat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", path, err)
	}
}

// The plaintext is in memory where that can be, in a directory of the user's own.
func TestFileIsInMemory(t *testing.T) {
	if !isLinux {
		t.Skip("which file systems are in memory is known on Linux only")
	}
	if info, err := os.Stat("/dev/shm"); err != nil || info.Mode()&fs.ModeSticky == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no /dev/shm")
		}
		t.Skip("there is no /dev/shm")
	}
	runtimeDir, err := os.MkdirTemp("/dev/shm", "kenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(runtimeDir)
	for name, c := range map[string]struct{ env, want string }{
		"the user's":         {runtimeDir, runtimeDir + "/kenv-"},
		"none of the user's": {"", "/dev/shm/kenv-"},
		"on disk":            {"/proc", "/dev/shm/kenv-"},
		"relative":           {"shm", "/dev/shm/kenv-"},
	} {
		cmd := withFile("regular", `echo "$F"`, "XDG_RUNTIME_DIR="+c.env)
		if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), c.want) {
			t.Errorf("%s: %v, %q", name, err, out)
		}
	}
}

func TestFileNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "/a", "../a", "a/"} {
		err := run.File{Name: name}.Run(func(string) run.Program {
			t.Errorf("%q was made", name)
			return run.Program{Argv: []string{"true"}}
		})
		if err == nil || !strings.Contains(err.Error(), "not the name of a file") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Several readers at a time each see the end.
func TestFileManyReaders(t *testing.T) {
	done := make(chan error, 1)
	var out []byte
	go func() {
		var err error
		out, err = withFile("fifo", `for i in 1 2 3 4 5 6 7 8 9; do cat "$F" >/dev/null & done; wait; echo done`).Output()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil || string(out) != "done\n" {
			t.Errorf("%v, %q", err, out)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("a reader still waits for the end")
	}
}
