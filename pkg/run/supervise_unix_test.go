//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/kenvhq/kenv/pkg/run"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// secret is what the supervised programs of these tests print. They get it as $S.
const secret = "hunter2-secret"

// TestRunHelper is no test: it is the process that runs a program beside itself.
func TestRunHelper(t *testing.T) {
	script := os.Getenv("KENV_TEST_RUN")
	if script == "" {
		return
	}
	p := run.Program{Argv: run.Shell(script), Env: append(os.Environ(), "S="+secret)}
	var err error
	switch os.Getenv("KENV_TEST_HOW") {
	case "fifo", "regular", "panic":
		f := run.File{Text: []byte(secret + "\n"), Name: "plain.txt", Regular: os.Getenv("KENV_TEST_HOW") == "regular"}
		if n, err := strconv.Atoi(os.Getenv("KENV_TEST_SIZE")); err == nil {
			f.Text = bytes.Repeat([]byte("x"), n)
		}
		err = f.Run(func(path string) run.Program {
			if os.Getenv("KENV_TEST_HOW") == "panic" {
				fmt.Println(path)
				panic("at the disco")
			}
			p.Env = append(p.Env, "F="+path)
			return p
		})
	case "argv":
		p.Argv = strings.Split(script, "|")
		fallthrough
	default:
		if p.Mask, err = run.NewMask([]string{secret}, nil); err == nil {
			err = p.Run()
		}
	}
	signal.Reset()
	var exited *run.Exited
	switch {
	case errors.As(err, &exited):
		os.Exit(exited.Code)
	case errors.Is(err, run.ErrNotExecutable):
		os.Exit(126)
	case errors.Is(err, run.ErrNotFound):
		os.Exit(127)
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(0)
}

// TestWriterHelper is no test: it is a program that writes 100 MB in odd pieces.
func TestWriterHelper(t *testing.T) {
	if os.Getenv("KENV_TEST_WRITE") == "" {
		return
	}
	line := largeLine(os.Getenv("S"))
	for written, size := 0, 1; written < largeSize; size = size*7%8191 + 1 {
		piece := make([]byte, 0, size)
		for len(piece) < size && written+len(piece) < largeSize {
			from := (written + len(piece)) % len(line)
			piece = append(piece, line[from:min(len(line), from+size-len(piece), from+largeSize-written-len(piece))]...)
		}
		os.Stdout.Write(piece)
		written += len(piece)
	}
	os.Exit(0)
}

var largeSize = 100 << 20 / len(largeLine(secret)) * len(largeLine(secret))

func largeLine(secret string) string {
	return "2026-11-25 some words that a server writes to its log, token=" + secret + ", and more of them\n"
}

// TestMain keeps programs that are started from ignoring signals because whoever started
// the tests has them ignore those, as shells do with what they run in the background.
func TestMain(m *testing.M) {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP} {
		if os.Getenv("KENV_TEST_RUN") == "" && signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	os.Exit(m.Run())
}

// supervised returns a process without a terminal that runs a script of sh, its output
// masked.
func supervised(script string, env ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, "-test.run=^TestRunHelper$")
	cmd.Env = append(os.Environ(), append(env, "KENV_TEST_RUN="+script, "GORACE=atexit_sleep_ms=0")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return -1
}

func TestRun(t *testing.T) {
	self, _ := os.Executable()
	for name, c := range map[string]struct {
		script, how    string
		code           int
		stdout, stderr string
	}{
		"both streams":            {`echo "a $S b"; echo "c $S d" >&2`, "", 0, "a *** b\n", "c *** d\n"},
		"exit code":               {`echo $S; exit 7`, "", 7, "***\n", ""},
		"ended by SIGTERM":        {`printf x; kill -TERM $$`, "", 143, "x", ""},
		"ended by SIGKILL":        {`printf x; kill -KILL $$`, "", 137, "x", ""},
		"over writes":             {`printf "a hun"; sleep 0.4; printf "ter2-sec"; sleep 0.4; printf "ret b"`, "", 0, "a *** b", ""},
		"cut":                     {`printf "a hunter2-"`, "", 0, "a hunter2-", ""},
		"no output":               {`:`, "", 0, "", ""},
		"standard input":          {`cat`, "", 0, "in ***\n", ""},
		"closes its output":       {`echo a; exec >&- 2>&-; sleep 0.1; exit 6`, "", 6, "a\n", ""},
		"not found":               {"no-such-command", "argv", 127, "", ""},
		"not executable":          {filepath.Dir(self), "argv", 126, "", ""},
		"what it leaves writes":   {`(sleep 0.5; echo late $S) & echo now`, "", 0, "now\nlate ***\n", ""},
		"and more":                {`(for i in 1 2 3 4 5; do sleep 0.9; echo $i; done) & :`, "", 0, "1\n2\n3\n4\n5\n", ""},
		"no terminal of its own":  {`test -t 1 || test -t 0 || echo none; (: </dev/tty) 2>/dev/null || echo none`, "", 0, "none\nnone\n", ""},
		"no supervisor's signals": {`trap`, "", 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := supervised(c.script, "KENV_TEST_HOW="+c.how)
			var stdout, stderr strings.Builder
			cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("in "+secret+"\n"), &stdout, &stderr
			code := exitCode(t, cmd.Run())
			if code != c.code || stdout.String() != c.stdout || stderr.String() != c.stderr {
				t.Errorf("exit code %d, said %q and %q, want %d, %q and %q", code, stdout.String(), stderr.String(), c.code, c.stdout, c.stderr)
			}
		})
	}
}

// The order in which a program writes to two streams that are one is kept.
func TestRunKeepsOrder(t *testing.T) {
	cmd := supervised(`for i in 1 2 3 4 5 6 7 8 9; do echo "o$i"; echo "e$i" >&2; done`)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\no6\ne6\no7\ne7\no8\ne8\no9\ne9\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// A program that is left running with our output does not keep us waiting for ever.
func TestRunLeavesDaemons(t *testing.T) {
	start := time.Now()
	cmd := supervised(`sleep 60 & echo $!`)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(stdout)
	err = cmd.Wait()
	if took := time.Since(start); err != nil || took < 2*time.Second || took > 20*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("what it left running is gone: %v", err)
	}
}

// If nobody reads the output any more, the program learns of it as it would without us.
func TestRunWithoutReader(t *testing.T) {
	cmd := supervised(`while :; do echo "$S and more"; done`)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	io.ReadFull(stdout, make([]byte, 10))
	stdout.Close()
	if code := exitCode(t, cmd.Wait()); code != 128+int(syscall.SIGPIPE) {
		t.Errorf("exit code %d", code)
	}
}

func TestRunLargeOutput(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := supervised(self+"|-test.run=^TestWriterHelper$", "KENV_TEST_HOW=argv", "KENV_TEST_WRITE=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	got, want := sha256.New(), sha256.New()
	n, _ := io.Copy(got, stdout)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	lines := largeSize / len(largeLine(secret))
	io.WriteString(want, strings.Repeat(largeLine(run.Masked), lines))
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("%d bytes of output are not those of %d lines", n, lines)
	}
}

// waitFor reads until text has come, and returns all that came.
func waitFor(t *testing.T, from io.Reader, text string) string {
	t.Helper()
	from.(*os.File).SetReadDeadline(time.Now().Add(20 * time.Second))
	var all strings.Builder
	buf := make([]byte, 1024)
	for !strings.Contains(all.String(), text) {
		n, err := from.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			t.Fatalf("%q did not come: %v; %q", text, err, all.String())
		}
	}
	return all.String()
}

func TestRunPassesSignalsOn(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		script string
		code   int
		want   string
	}{
		"SIGTERM":          {syscall.SIGTERM, `trap 'echo got TERM; exit 5' TERM; echo ready; while :; do sleep 0.05; done`, 5, "got TERM\n"},
		"SIGINT":           {syscall.SIGINT, `trap 'echo got INT; exit 5' INT; echo ready; while :; do sleep 0.05; done`, 5, "got INT\n"},
		"SIGHUP":           {syscall.SIGHUP, `trap 'echo got HUP; exit 5' HUP; echo ready; while :; do sleep 0.05; done`, 5, "got HUP\n"},
		"SIGUSR1":          {syscall.SIGUSR1, `trap 'echo got USR1; exit 5' USR1; echo ready; while :; do sleep 0.05; done`, 5, "got USR1\n"},
		"nobody minds":     {syscall.SIGTERM, `echo ready; exec sleep 60`, 143, ""},
		"its children":     {syscall.SIGTERM, `trap 'wait; exit 5' TERM; (trap 'echo got TERM; exit' TERM; echo ready; while :; do sleep 0.05; done) & wait; exit 6`, 5, "got TERM\n"},
		"it goes on":       {syscall.SIGTERM, `trap '' TERM; echo ready; sleep 1; echo $S; exit 5`, 5, "***\n"},
		"once":             {syscall.SIGTERM, `n=0; trap 'n=$((n+1))' TERM; echo ready; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done; echo $n`, 0, "1\n"},
		"SIGWINCH, no tty": {syscall.SIGWINCH, `echo ready; sleep 0.3; exit 5`, 5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := supervised(c.script)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, stdout, "ready\n")
			if err := cmd.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(stdout)
			if code := exitCode(t, cmd.Wait()); code != c.code || string(rest) != c.want {
				t.Errorf("exit code %d, said %q, want %d, %q", code, rest, c.code, c.want)
			}
		})
	}
}

// What whoever started us ignores stays ignored.
func TestRunKeepsSignalsIgnored(t *testing.T) {
	cmd := supervised("")
	script := `trap '' HUP; exec "$0" -test.run=^TestRunHelper$`
	cmd = exec.Command("sh", "-c", script, cmd.Path)
	cmd.Env = append(os.Environ(), `KENV_TEST_RUN=kill -HUP $$; echo alive`)
	if out, err := cmd.Output(); err != nil || string(out) != "alive\n" {
		t.Errorf("%v, %q", err, out)
	}
}

// Killed ourselves, we leave no program behind whose output is not masked.
func TestRunKilled(t *testing.T) {
	cmd := supervised(`trap '' TERM INT HUP; echo $$; while :; do sleep 0.1; done`)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(waitFor(t, stdout, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if !isLinux {
		syscall.Kill(pid, syscall.SIGKILL)
		t.Skip("only Linux ends a program with its parent")
	}
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && strings.Contains(string(state), ") Z ") {
			break // dead, and nobody has looked yet
		}
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program goes on")
		}
	}
}

// A terminal is what a person sees and types on.
type terminal struct {
	*testing.T
	control, file *os.File
}

func newTerminal(t *testing.T) *terminal {
	control, file, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(control, &pty.Winsize{Rows: 33, Cols: 77}); err != nil {
		t.Fatal(err)
	}
	// A file that does not block can be waited for until a deadline.
	fd, err := unix.Dup(int(control.Fd()))
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	control.Close()
	control = os.NewFile(uintptr(fd), "control")
	t.Cleanup(func() { control.Close(); file.Close() })
	return &terminal{t, control, file}
}

// run starts a script on the terminal, with other streams where they are given.
func (tt *terminal) run(script string, stdin, stdout *os.File) *exec.Cmd {
	tt.Helper()
	cmd := supervised(script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tt.file, tt.file, tt.file
	if stdin != nil {
		cmd.Stdin = stdin
	}
	if stdout != nil {
		cmd.Stdout = stdout
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 2}
	if err := cmd.Start(); err != nil {
		tt.Fatal(err)
	}
	watchdog := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	tt.Cleanup(func() { watchdog.Stop() })
	return cmd
}

func (tt *terminal) typed(keys string) {
	tt.Helper()
	if _, err := io.WriteString(tt.control, keys); err != nil {
		tt.Fatal(err)
	}
}

func TestRunOnTerminal(t *testing.T) {
	tt := newTerminal(t)
	settings, err := unix.IoctlGetTermios(int(tt.file.Fd()), getTermios)
	if err != nil {
		t.Fatal(err)
	}
	settings.Cc[unix.VERASE] = '\b'
	if err := unix.IoctlSetTermios(int(tt.file.Fd()), setTermios, settings); err != nil {
		t.Fatal(err)
	}
	before, err := term.GetState(int(tt.file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	cmd := tt.run(`test -t 0 && test -t 1 && test -t 2 && echo three; echo a $S b; echo c $S d >&2; stty size; printf 'Name: hunter2-'; read x; echo "[$x]"; test -c "$(tty)" && : </dev/tty && echo own; exit 7`, nil, nil)
	if got := waitFor(t, tt.control, "hunter2-"); got != "three\r\na *** b\r\nc *** d\r\n33 77\r\nName: hunter2-" {
		t.Errorf("shown: %q", got)
	}
	tt.typed("me " + secret + "\b!\r")
	if got := waitFor(t, tt.control, "own\r\n"); !strings.HasSuffix(got, "\r\n[me hunter2-secre!]\r\nown\r\n") {
		t.Errorf("shown: %q", got)
	}
	if code := exitCode(t, cmd.Wait()); code != 7 {
		t.Errorf("exit code %d", code)
	}
	after, err := term.GetState(int(tt.file.Fd()))
	if err != nil || fmt.Sprint(*after) != fmt.Sprint(*before) {
		t.Errorf("the terminal is left changed: %v, %v, %v", before, after, err)
	}
}

// What is typed is not shown if it is a secret.
func TestRunEchoIsMasked(t *testing.T) {
	tt := newTerminal(t)
	cmd := tt.run(`echo ready; read x; test "$x" = "$S" && echo right`, nil, nil)
	waitFor(t, tt.control, "ready\r\n")
	tt.typed(secret + "\r")
	if got := waitFor(t, tt.control, "right"); !strings.HasPrefix(got, "***\r\n") {
		t.Errorf("shown: %q", got)
	}
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestCounterHelper is no test: it is a program that counts interrupts. A shell would take
// several that come at a time for one.
func TestCounterHelper(t *testing.T) {
	if os.Getenv("KENV_TEST_COUNT") == "" {
		return
	}
	interrupts := make(chan os.Signal, 10)
	signal.Notify(interrupts, os.Interrupt)
	fmt.Println("ready")
	time.Sleep(700 * time.Millisecond)
	fmt.Printf("interrupts: %d.\n", len(interrupts))
	os.Exit(3)
}

// A key that interrupts does so once, whichever streams are the terminal.
func TestRunInterruptByKey(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (stdin, stdout, from *os.File){
		"all on the terminal": func(t *testing.T) (stdin, stdout, from *os.File) { return nil, nil, nil },
		"only the input": func(t *testing.T) (stdin, stdout, from *os.File) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			return nil, w, r
		},
		"only the output": func(t *testing.T) (stdin, stdout, from *os.File) {
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			return null, nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt := newTerminal(t)
			stdin, stdout, from := open(t)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := tt.run("KENV_TEST_COUNT=1 exec "+self+" -test.run=^TestCounterHelper$", stdin, stdout)
			if stdout != nil {
				stdout.Close()
			}
			if from == nil {
				from = tt.control
			}
			waitFor(t, from, "ready")
			tt.typed("\x03")
			if got := waitFor(t, from, "."); !strings.Contains(got, "interrupts: 1.") {
				t.Errorf("shown: %q", got)
			}
			if code := exitCode(t, cmd.Wait()); code != 3 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// With its input from elsewhere a program still sees a terminal on its output, and what
// it writes there is not changed twice.
func TestRunOutputOnTerminal(t *testing.T) {
	tt := newTerminal(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	cmd := tt.run(`test -t 1 && test -t 2 && echo $S; stty size <&1; printf hunter; sleep 1; echo .`, null, nil)
	start := time.Now()
	if got := waitFor(t, tt.control, "hunter"); got != "***\r\n33 77\r\nhunter" {
		t.Errorf("shown: %q", got)
	}
	if took := time.Since(start); took > 900*time.Millisecond {
		t.Errorf("the tail was held for %v", took)
	}
	waitFor(t, tt.control, ".")
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A pipe for the output and the terminal for errors: each is to the program what it is
// to us.
func TestRunErrorsOnTerminal(t *testing.T) {
	tt := newTerminal(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := tt.run(`test -t 0 && test -t 2 && ! test -t 1 && echo $S; echo $S >&2`, nil, w)
	w.Close()
	out, _ := io.ReadAll(r)
	if got := waitFor(t, tt.control, "\n"); got != "***\r\n" || string(out) != "***\n" {
		t.Errorf("shown: %q, written: %q", got, out)
	}
	if code := exitCode(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestRunWindowSize(t *testing.T) {
	for name, null := range map[string]bool{"all on the terminal": false, "only the output": true} {
		t.Run(name, func(t *testing.T) {
			tt := newTerminal(t)
			var stdin *os.File
			if null {
				var err error
				if stdin, err = os.Open(os.DevNull); err != nil {
					t.Fatal(err)
				}
			}
			cmd := tt.run(`trap 'stty size <&1; n=1' WINCH; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done; test "$n"`, stdin, nil)
			waitFor(t, tt.control, "ready")
			if err := pty.Setsize(tt.control, &pty.Winsize{Rows: 44, Cols: 88}); err != nil {
				t.Fatal(err)
			}
			waitFor(t, tt.control, "44 88\r\n")
			if code := exitCode(t, cmd.Wait()); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// Ended from elsewhere, we leave the terminal as it was and no program behind.
func TestRunTerminatedOnTerminal(t *testing.T) {
	tt := newTerminal(t)
	cmd := tt.run(`echo ready; while :; do sleep 0.1; done`, nil, nil)
	waitFor(t, tt.control, "ready")
	echoes := func() bool {
		state, err := unix.IoctlGetTermios(int(tt.file.Fd()), getTermios)
		if err != nil {
			t.Fatal(err)
		}
		return state.Lflag&unix.ECHO != 0
	}
	if echoes() {
		t.Error("the terminal echoes what the program's own will echo")
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if code := exitCode(t, cmd.Wait()); code != 143 {
		t.Errorf("exit code %d", code)
	}
	if !echoes() {
		t.Error("the terminal is left without echo")
	}
}

// What ignores that its terminal is gone does not keep us waiting for ever either.
func TestRunLeavesDaemonsOnTerminal(t *testing.T) {
	tt := newTerminal(t)
	start := time.Now()
	cmd := tt.run(`trap '' HUP; sleep 60 & echo "pid $!."`, nil, nil)
	_, pid, _ := strings.Cut(waitFor(t, tt.control, "."), "pid ")
	code := exitCode(t, cmd.Wait())
	if took := time.Since(start); code != 0 || took > 20*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	if n, err := strconv.Atoi(strings.TrimRight(pid, ".\r\n")); err == nil {
		syscall.Kill(n, syscall.SIGKILL)
	}
}
