package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A passphrase is not shown while it is typed, and an interrupt at the prompt does
// not leave the terminal without echo.
func TestInterruptAtPrompt(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", "testdata", "script", "passphrase.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	_, sealed, ok := strings.Cut(string(script), "-- sealed.txt --\n")
	if !ok {
		t.Fatal("passphrase.txtar has no sealed.txt")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sealed.txt"), []byte(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	v := newVictim(t, 1)
	v.place(t, dir)
	encrypt := exec.Command(v.kenv, v.args()[1:]...)
	encrypt.Dir, encrypt.Env = dir, append(os.Environ(), "HOME="+dir)
	if out, err := encrypt.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	control, terminal := openPTY(t)
	echoes := func() bool {
		state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		return state.Lflag&unix.ECHO != 0
	}
	cmd := exec.Command(v.kenv, "decrypt", "secrets.yaml")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME=", "KENV_AGE_KEY_FILE=sealed.txt")
	cmd.Stdin, cmd.SysProcAttr = terminal, &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if !echoes() {
		t.Fatal("the terminal has no echo to begin with")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	for chunk := make([]byte, 1024); !strings.Contains(shown.String(), "sealed.txt: "); {
		n, err := control.Read(chunk)
		if err != nil {
			t.Fatalf("no prompt: %v; %q", err, shown.String())
		}
		shown.Write(chunk[:n])
	}
	for deadline := time.Now().Add(10 * time.Second); echoes(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the terminal echoes at the prompt")
		}
	}
	if _, err := control.Write([]byte{3}); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	if code := exitCodeOf(t, cmd.Wait()); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if !echoes() {
		t.Error("the terminal was left without echo")
	}
}

// openPTY returns the two ends of a new terminal.
func openPTY(t *testing.T) (control, terminal *os.File) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { control.Close() })
	if err := unix.IoctlSetPointerInt(int(control.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(control.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return control, terminal
}
