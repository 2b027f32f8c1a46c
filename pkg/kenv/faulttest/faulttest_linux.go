package faulttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Command is the program to disturb.
type Command struct {
	Args []string // Args[0] is its path
	Env  []string // besides this process's own; $DIR stands for the directory
	In   string   // where below the directory it runs
	Base string   // where the directories are made; "" is where the test's own are
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
// which they ended, as strace shows them, the number of the thread before each.
func (c Command) Trace(t *testing.T) []string {
	t.Helper()
	calls := c.Calls
	if calls == nil {
		calls = Changing()
	}
	r, trace := c.run(t, need(t, "strace"), "-e", "trace="+strings.Join(calls, ","))
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
		_, line, _ := strings.Cut(line, " ")
		if call, _, ok := strings.Cut(line, "("); ok && !slices.Contains(calls, call) {
			calls = append(calls, call)
		}
	}
	if c.Base == "" {
		c.Base = t.TempDir()
	}
	var hits []string
	for _, call := range calls {
		for n := 1; ; n++ {
			if n > maxCalls {
				t.Fatalf("more than %d calls of %s", maxCalls, call)
			}
			r := c.disturb(t, strace, Point{Call: call, N: n}, fault, name)
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

// A Point is a moment of a run.
type Point struct {
	Call string // the kind of the call that is entered
	N    int    // which of them it is in its thread, from 1
	Line string // the call, as strace shows it
}

// Points runs the command once, undisturbed, and returns the points that there were.
func (c Command) Points(t *testing.T) []Point {
	t.Helper()
	var points []Point
	seen := map[Point]bool{}
	count := map[string]int{} // by thread and kind
	for _, line := range c.Trace(t) {
		thread, line, _ := strings.Cut(line, " ")
		call, _, ok := strings.Cut(line, "(")
		if !ok {
			continue
		}
		count[thread+call]++
		p := Point{Call: call, N: count[thread+call]}
		if !seen[p] {
			seen[p] = true
			p.Line = line
			points = append(points, p)
		}
	}
	return points
}

// At runs the command with a fault at a point: a signal or an error, by its name. The
// result is checked.
func (c Command) At(t *testing.T, p Point, fault string) Result {
	t.Helper()
	how := "error=" + fault
	if name, ok := strings.CutPrefix(fault, "SIG"); ok {
		how = "signal=" + name
	}
	r := c.disturb(t, need(t, "strace"), p, how, fault)
	c.Check(t, r)
	os.RemoveAll(r.Dir)
	return r
}

func (c Command) disturb(t *testing.T, strace string, p Point, fault, name string) Result {
	t.Helper()
	r, trace := c.run(t, strace, "-e", "trace="+p.Call, "-e", fmt.Sprintf("inject=%s:%s:when=%d", p.Call, fault, p.N))
	for _, line := range trace {
		if r.Hit == "" && (strings.Contains(line, "(INJECTED)") || r.Killed && strings.HasSuffix(line, "= ?")) {
			_, r.Hit, _ = strings.Cut(line, " ")
		}
	}
	if r.Killed && r.Hit == "" {
		r.Hit = p.Call // strace was killed before it could say more
	}
	r.Fault = fmt.Sprintf("%s at %s %d", name, p.Call, p.N)
	return r
}

// Pause runs the command, stops it once the call of a point is done, and lets it go on
// when meanwhile has been called with its directory. The result is not checked.
func (c Command) Pause(t *testing.T, p Point, meanwhile func(dir string)) Result {
	t.Helper()
	strace := need(t, "strace")
	base := c.Base
	if base == "" {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Setup(t, dir)
	pidFile := dir + ".pid"
	c.Setup = func(testing.TB, string) {}
	c.Args = append([]string{"/bin/sh", "-c", `echo $$ >"$0"; exec "$@"`, pidFile}, c.Args...)
	over := make(chan struct{})
	done := make(chan bool)
	go func() {
		pid := awaitStop(pidFile, dir+".trace", over)
		if pid > 0 {
			meanwhile(dir)
			// Each thread counts its own calls, so another may stop the process again.
			for going := true; going; {
				syscall.Kill(pid, syscall.SIGCONT)
				select {
				case <-over:
					going = false
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
		done <- pid > 0
	}()
	r, _ := c.runIn(t, dir, strace, "-e", "trace="+p.Call, "-e", fmt.Sprintf("inject=%s:signal=STOP:when=%d", p.Call, p.N))
	close(over)
	if <-done {
		r.Hit = p.Line
	}
	r.Fault = fmt.Sprintf("stopped at %s %d", p.Call, p.N)
	return r
}

// awaitStop returns the number of the process in a file once the signal to stop shows in
// its trace and all of its threads have stopped; 0 if it ended before.
func awaitStop(pidFile, trace string, over <-chan struct{}) int {
	for seen := 0; ; {
		select {
		case <-over:
			return 0
		case <-time.After(5 * time.Millisecond):
		}
		text, _ := os.ReadFile(pidFile)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			continue
		}
		// strace stops each thread for a moment now and then, which is not meant.
		if log, _ := os.ReadFile(trace); !bytes.Contains(log, []byte("--- stopped by SIGSTOP ---")) {
			continue
		}
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		stopped := len(tasks) > 1 // the shell before it has one
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			_, after, _ := strings.Cut(string(stat), ") ")
			stopped = stopped && err == nil && len(after) > 0 && (after[0] == 't' || after[0] == 'T')
		}
		if seen++; !stopped {
			seen = 0
		}
		if seen == 3 {
			return pid
		}
	}
}

// Run runs the command once, without strace, behind a shell's words such as
// "ulimit -n 5;", and checks the result.
func (c Command) Run(t *testing.T, words string) Result {
	t.Helper()
	base := c.Base
	if base == "" {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Setup(t, dir)
	r := c.start(t, dir, append([]string{"/bin/sh", "-c", words + ` exec "$@"`, "sh"}, c.Args...))
	r.Fault = words
	c.Check(t, r)
	os.RemoveAll(dir)
	return r
}

// run runs the command once under strace in a new directory, and returns the trace
// with the calls whole, one a line, the number of the thread first.
func (c Command) run(t *testing.T, strace string, options ...string) (Result, []string) {
	t.Helper()
	base := c.Base
	if base == "" {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Setup(t, dir)
	return c.runIn(t, dir, strace, options...)
}

func (c Command) start(t *testing.T, dir string, args []string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stderr bytes.Buffer
	cmd.Dir, cmd.Stderr = filepath.Join(dir, c.In), &stderr
	// A program built with the race detector else sleeps a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	for _, v := range c.Env {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(v, "$DIR", dir))
	}
	r := Result{Dir: dir, Err: cmd.Run(), Stderr: stderr.String()}
	// strace and the shell end as the program did.
	if exit := new(exec.ExitError); errors.As(r.Err, &exit) {
		ws, ok := exit.Sys().(syscall.WaitStatus)
		r.Killed = ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
	} else if r.Err != nil {
		t.Fatal(r.Err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q has not ended: %s", args, r.Stderr)
	}
	return r
}

func (c Command) runIn(t *testing.T, dir, strace string, options ...string) (Result, []string) {
	t.Helper()
	log := dir + ".trace"
	defer os.Remove(log)
	args := append([]string{"-f", "-qq", "-y", "-s", "0", "-o", log}, options...)
	r := c.start(t, dir, append(append([]string{strace}, append(args, "--")...), c.Args...))
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
		trace = append(trace, thread+" "+call)
	}
	return r, trace
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

// ReadOnly makes a directory one in which nothing can be changed, until undo is called:
// root's rights end at read-only mounts alone.
func ReadOnly(t *testing.T, dir string) (undo func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		info, err := os.Stat(dir)
		if err == nil {
			err = os.Chmod(dir, 0o500)
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() { os.Chmod(dir, info.Mode().Perm()) }
	}
	mount := need(t, "mount")
	if out, err := exec.Command(mount, "--bind", dir, dir).CombinedOutput(); err != nil {
		lack(t, fmt.Sprintf("cannot mount a directory on itself: %s", bytes.TrimSpace(out)))
	}
	undo = func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount %s: %s", dir, out)
		}
	}
	if out, err := exec.Command(mount, "-o", "remount,ro,bind", dir).CombinedOutput(); err != nil {
		undo()
		lack(t, fmt.Sprintf("cannot mount a directory read-only: %s", bytes.TrimSpace(out)))
	}
	return undo
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
