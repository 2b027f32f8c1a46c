// Package faulttest runs a program again and again and disturbs it, by strace, at
// another of its system calls each time: with a kill, or with an error such as
// ENOSPC. A check then looks at what is on the disk. It is for tests.
//
//	c := faulttest.Command{Args: …, Setup: …, Check: …}
//	c.Kill(t)
//	c.Fail(t, "ENOSPC", "EIO")
package faulttest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// A Command is the program to disturb.
type Command struct {
	Args []string // Args[0] is its path
	Env  []string // besides this process's own
	// Setup puts files into the empty directory in which the command will run.
	Setup func(t testing.TB, dir string)
	// Check is called after each run, also after those that no fault has hit.
	Check func(t testing.TB, r Result)
	// Calls are the names of the system calls to look at; nil means Changing().
	Calls []string
}

// A Result is what one run left.
type Result struct {
	Dir    string // where it ran
	Fault  string // such as "SIGKILL at fsync 2", for messages
	Hit    string // the call that was disturbed, as strace shows it; empty if none was
	Killed bool
	Err    error // as exec.Cmd.Run returns it
	Stderr string
}

// Changing returns the system calls by which a program changes files or the locks
// on them. Between two of them the disk is as it was, so that a kill at each of
// them is a kill at any time.
func Changing() []string {
	return []string{
		"openat", "close", "flock", "write", "pwrite64", "ftruncate", "fallocate",
		"fchmod", "fchmodat", "fchown", "fchownat", "fsetxattr", "fremovexattr",
		"fsync", "fdatasync", "link", "linkat", "rename", "renameat", "renameat2",
		"symlinkat", "mkdirat", "unlink", "unlinkat",
	}
}

// Kill runs the command with a kill at the first call of each kind, at the second
// and so on until none is left. The kill comes when the call is entered, so that
// the call is not done. It returns the calls that were hit.
//
// The calls are counted for each thread, so a program whose calls move from
// thread to thread can escape some: a test says which calls it must have hit.
func (c Command) Kill(t *testing.T) []string {
	t.Helper()
	return c.everywhere(t, "signal=KILL", "SIGKILL")
}

// Fail is Kill with errors, given by their names, in place of kills: the call is
// not done and returns the error.
func (c Command) Fail(t *testing.T, errnos ...string) []string {
	t.Helper()
	var hits []string
	for _, errno := range errnos {
		hits = append(hits, c.everywhere(t, "error="+errno, errno)...)
	}
	return hits
}

// Trace runs the command once, undisturbed, and returns its calls in the order in
// which they ended, as strace shows them.
func (c Command) Trace(t *testing.T) []string {
	t.Helper()
	calls := c.Calls
	if calls == nil {
		calls = Changing()
	}
	r, trace := c.run(t, need(t, "strace"), t.TempDir(), "-e", "trace="+strings.Join(calls, ","))
	r.Fault = "no fault"
	c.Check(t, r)
	return trace
}

// maxCalls bounds the runs for one kind of call.
const maxCalls = 500

func (c Command) everywhere(t *testing.T, fault, name string) []string {
	t.Helper()
	strace := need(t, "strace")
	var calls []string // the kinds that this program uses
	for _, line := range c.Trace(t) {
		if call, _, ok := strings.Cut(line, "("); ok && !slices.Contains(calls, call) {
			calls = append(calls, call)
		}
	}
	base := t.TempDir()
	var hits []string
	for _, call := range calls {
		for n := 1; ; n++ {
			if n > maxCalls {
				t.Fatalf("more than %d calls of %s", maxCalls, call)
			}
			r, trace := c.run(t, strace, base, "-e", "trace="+call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", call, fault, n))
			for _, line := range trace {
				if r.Hit == "" && (strings.Contains(line, "(INJECTED)") || r.Killed && strings.HasSuffix(line, "= ?")) {
					r.Hit = line
				}
			}
			if r.Killed && r.Hit == "" {
				r.Hit = call // strace was killed before it could say more
			}
			r.Fault = fmt.Sprintf("%s at %s %d", name, call, n)
			c.Check(t, r)
			os.RemoveAll(r.Dir)
			if r.Hit == "" {
				break
			}
			hits = append(hits, r.Hit)
		}
		if t.Failed() {
			break // one report is enough to understand it
		}
	}
	return hits
}

// run runs the command once under strace in a new directory in base, and returns
// the trace with the calls whole, one a line.
func (c Command) run(t *testing.T, strace, base string, options ...string) (Result, []string) {
	t.Helper()
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Setup(t, dir)
	log := filepath.Join(base, "trace")
	args := append([]string{"-f", "-qq", "-y", "-s", "0", "-o", log}, options...)
	cmd := exec.Command(strace, append(append(args, "--"), c.Args...)...)
	var stderr bytes.Buffer
	// A program built with the race detector else sleeps a second at its end.
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), append([]string{"GORACE=atexit_sleep_ms=0"}, c.Env...)...), &stderr
	r := Result{Dir: dir, Err: cmd.Run(), Stderr: stderr.String()}
	// strace ends as its program did.
	if exit := new(exec.ExitError); errors.As(r.Err, &exit) {
		ws, ok := exit.Sys().(syscall.WaitStatus)
		r.Killed = ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
	} else if r.Err != nil {
		t.Fatal(r.Err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatalf("strace does not run here: %v: %s", err, r.Stderr)
	}
	var trace []string
	begun := map[string]string{} // by thread: a call whose end is on a later line
	for line := range strings.Lines(string(text)) {
		thread, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		if strings.HasPrefix(call, "---") || strings.HasPrefix(call, "+++") || strings.HasPrefix(call, "???") {
			continue // a signal, an exit, a thread that was gone before it could be asked
		}
		if head, ok := strings.CutSuffix(call, "<unfinished ...>"); ok {
			begun[thread] = head
			continue
		}
		if _, tail, ok := strings.Cut(call, " resumed>"); ok {
			call = begun[thread] + tail
		}
		trace = append(trace, call)
	}
	return r, trace
}

// Files returns what is in a directory, by name: the content of regular files, nil
// for others.
func Files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		files[name] = nil
		if d.Type().IsRegular() {
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// SmallDisk mounts a file system of that many bytes and returns its directory. It
// needs root.
func SmallDisk(t *testing.T, size int) string {
	t.Helper()
	mount := need(t, "mount")
	dir := t.TempDir()
	out, err := exec.Command(mount, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", size), "tmpfs", dir).CombinedOutput()
	if err != nil {
		lack(t, fmt.Sprintf("cannot mount a small tmpfs (are we root?): %s", bytes.TrimSpace(out)))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %s", dir, out)
		}
	})
	return dir
}

func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		lack(t, program+" is not installed")
	}
	return path
}

// lack skips a test, and fails it where everything is meant to be there.
func lack(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
