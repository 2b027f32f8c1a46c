package pgp

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTerminal(t *testing.T) {
	if _, err := exec.LookPath("tty"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tty is not installed")
		}
		t.Skip("tty is not installed")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no pseudo terminals here: %v", err)
		}
		t.Skipf("no pseudo terminals here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/pts/%d", n)
	tty, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if got := terminal(t.Context(), null, tty); got != name {
		t.Errorf("terminal is %q, want %q", got, name)
	}
	if got := terminal(t.Context(), null); got != "" {
		t.Errorf("terminal is %q where there is none", got)
	}
}
