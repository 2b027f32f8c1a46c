package main

import (
	"bytes"
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

	"github.com/kenvhq/kenv/pkg/keys/age"
)

// running is a kenv that runs a command with a secret, hunter2/hunter2 in $PASSWORD.
func running(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	kenv, err := exec.LookPath("kenv") // TestMain puts it there
	if err != nil {
		t.Fatal(err)
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"keys.txt": identity, "s.env": []byte("PASSWORD=hunter2/hunter2\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encrypt := exec.Command(kenv, "encrypt", "-i", "--key", recipient, "s.env")
	encrypt.Dir = dir
	if out, err := encrypt.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(kenv, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "KENV_AGE_KEY_FILE="+filepath.Join(dir, "keys.txt"), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	heed()
	watchdog := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() })
	t.Cleanup(func() { watchdog.Stop() })
	return cmd
}

// heed keeps programs that are started from ignoring signals because whoever started the
// test has it ignore them, as shells do with what they run in the background.
func heed() {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}

// Signals are the command's business as soon as there is one: its exit code counts, and
// kenv only clears up.
func TestExecLeavesSignalsToCommand(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code int
		said string
	}{
		"exec":                    {[]string{"exec", "s.env", "--", "sh", "-c", `trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done`}, 5, "bye\n"},
		"exec --mask":             {[]string{"exec", "--mask", "s.env", "--", "sh", "-c", `trap 'echo $PASSWORD; exit 5' TERM; echo ready; while :; do sleep 0.05; done`}, 5, "***\n"},
		"exec-env":                {[]string{"exec-env", "s.env", `trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done`}, 5, "bye\n"},
		"exec-file":               {[]string{"exec-file", "--no-fifo", "s.env", `trap 'cat {}; exit 5' TERM; dirname {} >where; echo ready; while :; do sleep 0.05; done`}, 5, "PASSWORD=hunter2/hunter2\n"},
		"exec-file, nobody minds": {[]string{"exec-file", "--no-fifo", "s.env", `dirname {} >where; echo ready; exec sleep 60`}, 143, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := running(t, c.args...)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			cmd.Process.Signal(syscall.SIGTERM)
			said, _ := io.ReadAll(stdout)
			if code := exitCodeOf(t, cmd.Wait()); code != c.code || string(said) != c.said {
				t.Errorf("exit code %d, said %q, want %d, %q", code, said, c.code, c.said)
			}
			if where, err := os.ReadFile(filepath.Join(cmd.Dir, "where")); err == nil {
				if _, err := os.Lstat(strings.TrimSpace(string(where))); !os.IsNotExist(err) {
					t.Errorf("%s is left: %v", where, err)
				}
			} else if strings.HasPrefix(name, "exec-file") {
				t.Error(err)
			}
		})
	}
}

// Without supervision there is one process, and no kenv beside it.
func TestExecLeavesNothing(t *testing.T) {
	for _, args := range [][]string{
		{"exec", "s.env", "--", "sh", "-c", "echo $$ $PASSWORD"}, {"exec-env", "s.env", "echo $$ $PASSWORD"},
	} {
		cmd := running(t, args...)
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(stdout.String()); len(got) != 2 || got[0] != strconv.Itoa(cmd.Process.Pid) || got[1] != "hunter2/hunter2" {
			t.Errorf("%s: process %d said %q", args[0], cmd.Process.Pid, stdout.String())
		}
	}
}

// On a terminal a command under --mask has one, too, and the person at it can type.
func TestExecMaskOnTerminal(t *testing.T) {
	control, terminal := openPTY(t)
	cmd := running(t, "exec", "--mask", "s.env", "--", "sh", "-c", `test -t 0 && test -t 1 && echo "tty $PASSWORD"; read x; echo "got $x"; exec sleep 60`)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	wait := func(text string) {
		t.Helper()
		for chunk := make([]byte, 1024); !strings.Contains(shown.String(), text); {
			n, err := control.Read(chunk)
			shown.Write(chunk[:n])
			if err != nil {
				t.Fatalf("%q is not shown: %v; %q", text, err, shown.String())
			}
		}
	}
	wait("tty ***\r\n")
	control.WriteString("hello\r")
	wait("got hello\r\n")
	control.WriteString("\x03") // Ctrl-C
	if code := exitCodeOf(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if strings.Contains(shown.String(), "hunter2") {
		t.Errorf("the secret is shown: %q", shown.String())
	}
}
