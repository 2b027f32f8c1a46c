package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A desk is a directory with an encrypted file and a place in memory, in which kenv
// edit runs on a terminal.
type desk struct {
	t       *testing.T
	dir     string // on a disk, as far as a test can have one
	runtime string // $XDG_RUNTIME_DIR, in memory
	env     []string
	kenv    string
	shown   string // what the terminal has said
}

const before = "password: old-value # a comment\nlist: [1, 2]\n"

func newDesk(t *testing.T) *desk {
	t.Helper()
	kenv, err := exec.LookPath("kenv")
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, dir: t.TempDir(), kenv: kenv}
	if d.runtime, err = os.MkdirTemp("/dev/shm", "kenv-test-"); err != nil {
		lack(t, "there is no directory in memory: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(d.runtime) })
	tmp := filepath.Join(d.dir, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	d.env = append(os.Environ(), "HOME="+d.dir, "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR="+d.runtime, "TMPDIR="+tmp, "NO_COLOR=1",
		"KENV_EDITOR=sh "+filepath.Join(d.dir, "editor"))
	if err := os.WriteFile(filepath.Join(d.dir, "secrets.yaml"), []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	d.run("init")
	d.run("encrypt", "-i", "secrets.yaml")
	return d
}

func (d *desk) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.kenv, args...)
	cmd.Dir, cmd.Env = d.dir, d.env
	return cmd
}

func (d *desk) run(args ...string) string {
	d.t.Helper()
	cmd := d.command(args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("kenv %s: %v: %s", strings.Join(args, " "), err, said.String())
	}
	return string(out)
}

// edit starts kenv edit on a terminal of its own, with an editor that does what the
// script says.
func (d *desk) edit(script string) (cmd *exec.Cmd, control *os.File) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "editor"), []byte(script), 0o600); err != nil {
		d.t.Fatal(err)
	}
	control, terminal := openPTY(d.t)
	cmd = d.command("edit", "secrets.yaml")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	terminal.Close()
	return cmd, control
}

// wait reads the terminal until it has said something, at any time.
func (d *desk) wait(control *os.File, want string) (shown string) {
	d.t.Helper()
	control.SetReadDeadline(time.Now().Add(60 * time.Second))
	for chunk := make([]byte, 1024); !strings.Contains(d.shown, want); {
		n, err := control.Read(chunk)
		d.shown += string(chunk[:n])
		if err != nil {
			d.t.Fatalf("the terminal does not say %q: %v; %q", want, err, d.shown)
		}
	}
	return d.shown
}

// secretFree searches everything that is on a disk, and after the end also what is
// in memory, for what only the plaintext has.
func (d *desk) secretFree(places ...string) {
	d.t.Helper()
	for _, place := range places {
		filepath.WalkDir(place, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || e.Name() == "editor" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, secret := range []string{"old-value", "new-value", "a comment"} {
				if bytes.Contains(data, []byte(secret)) {
					d.t.Errorf("%s holds plaintext: %q", path, data)
				}
			}
			return nil
		})
	}
}

func (d *desk) left() []string {
	left, _ := filepath.Glob(filepath.Join(d.runtime, "*"))
	return left
}

// writes is an editor that saves a change, says so, and stays.
const writes = `sed s/old-value/new-value/ "$1" >"$1.new" && mv "$1.new" "$1"; cp "$1" "$1~"; echo ready; `

// TestEditEnds: however an edit is ended, no plaintext stays, and what the editor had
// saved is kept.
func TestEditEnds(t *testing.T) {
	for name, c := range map[string]struct {
		editor string
		end    func(d *desk, cmd *exec.Cmd, control *os.File)
		code   int
	}{
		"SIGTERM":         {writes + "exec sleep 60", signalTo(syscall.SIGTERM), 143},
		"SIGHUP":          {writes + "exec sleep 60", signalTo(syscall.SIGHUP), 129},
		"terminal closed": {writes + "exec sleep 60", func(_ *desk, _ *exec.Cmd, control *os.File) { control.Close() }, 129},
		"stubborn editor": {writes + "trap '' TERM HUP; sleep 60 & wait; wait", signalTo(syscall.SIGTERM), 143},
		"interrupted":     {writes + "exec sleep 60", func(_ *desk, _ *exec.Cmd, control *os.File) { control.Write([]byte{3}) }, 1},
		"editor killed":   {writes + "kill -9 $$", func(*desk, *exec.Cmd, *os.File) {}, 1},
		"at the question": {writes + `echo '[' >>"$1"`, func(d *desk, _ *exec.Cmd, control *os.File) {
			d.wait(control, "again?")
			control.Write([]byte{3})
		}, 130},
		"no to the question": {writes + `echo '[' >>"$1"`, func(d *desk, _ *exec.Cmd, control *os.File) {
			d.wait(control, "again?")
			control.Write([]byte("n\n"))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			cmd, control := d.edit(c.editor)
			d.wait(control, "ready")
			if name != "editor killed" && len(d.left()) == 0 {
				t.Error("the plaintext is not where it should be")
			}
			d.secretFree(d.dir)
			c.end(d, cmd, control)
			go func() {
				for chunk := make([]byte, 1024); ; {
					if _, err := control.Read(chunk); err != nil {
						return
					}
				}
			}()
			code := exitCodeOf(t, cmd.Wait())
			if name == "interrupted" && code == 130 {
				code = c.code // the editor was gone before the interrupt got to kenv
			}
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			d.secretFree(d.dir, d.runtime)
			if left := d.left(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			if got := d.run("decrypt", "secrets.yaml"); got != before {
				t.Errorf("the file is now %q", got)
			}
			if kept := d.run("decrypt", "secrets.yaml.unsaved"); !strings.HasPrefix(kept, "password: new-value # a comment\n") {
				t.Errorf("what is kept is %q", kept)
			}
		})
	}
}

func signalTo(s syscall.Signal) func(*desk, *exec.Cmd, *os.File) {
	return func(d *desk, cmd *exec.Cmd, _ *os.File) {
		if err := cmd.Process.Signal(s); err != nil {
			d.t.Error(err)
		}
	}
}

// TestEditKilled: what a kill leaves is in memory alone, and gone with the next edit.
func TestEditKilled(t *testing.T) {
	d := newDesk(t)
	cmd, control := d.edit(writes + "exec sleep 60")
	d.wait(control, "ready")
	cmd.Process.Kill()
	cmd.Wait()
	d.secretFree(d.dir)
	if len(d.left()) != 1 {
		t.Fatalf("left behind: %q, want one directory", d.left())
	}
	cmd, _ = d.edit("true")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if left := d.left(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestEditAgain: after a mistake the editor opens again, with the text as it was
// left, and what comes of that is saved.
func TestEditAgain(t *testing.T) {
	d := newDesk(t)
	cmd, control := d.edit(`
if grep -q broken "$1"; then sed 's/\[broken/new-value/' "$1" >"$1.new"; else sed 's/old-value/[broken/' "$1" >"$1.new"; fi
mv "$1.new" "$1"`)
	shown := d.wait(control, "Open the editor again? [Y/n] ")
	if want := "kenv: secrets.yaml: line 1, column "; !strings.Contains(shown, want) {
		t.Errorf("shown: %q, want %q", shown, want)
	}
	fmt.Fprintln(control)
	if code := exitCodeOf(t, cmd.Wait()); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got, want := d.run("decrypt", "secrets.yaml"), strings.Replace(before, "old", "new", 1); got != want {
		t.Errorf("the file is now %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(d.dir, "secrets.yaml.unsaved")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a saved text is kept beside it: %v", err)
	}
}

// TestEditAgainFails: a text that was refused is kept when the editor that opened again
// ends with an error.
func TestEditAgainFails(t *testing.T) {
	d := newDesk(t)
	cmd, control := d.edit(`
if grep -q broken "$1"; then exit 1; fi
sed 's/old-value/[broken/' "$1" >"$1.new" && mv "$1.new" "$1"`)
	d.wait(control, "Open the editor again? [Y/n] ")
	fmt.Fprintln(control)
	if code := exitCodeOf(t, cmd.Wait()); code == 0 {
		t.Error("exit code 0")
	}
	if got := d.run("decrypt", "secrets.yaml"); got != before {
		t.Errorf("the file is now %q", got)
	}
	if got, want := d.run("decrypt", "secrets.yaml.unsaved"), strings.Replace(before, "old-value", "[broken", 1); got != want {
		t.Errorf("kept: %q, want %q", got, want)
	}
}

// TestEditFullDisk: a text for which there is no room beside the file is kept
// elsewhere, encrypted.
func TestEditFullDisk(t *testing.T) {
	d := newDesk(t)
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=64k"); err != nil {
		lack(t, "no small disk to be had: %v", err)
	}
	defer syscall.Unmount(small, syscall.MNT_DETACH)
	for _, name := range []string{"secrets.yaml", ".kenv.yaml", ".config/kenv/age/keys.txt"} {
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(small, name)), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(small, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	full := []byte(strings.Repeat("x", 1<<17))
	os.WriteFile(filepath.Join(small, "filler"), full, 0o600) // as much as there is room for
	disk := d.dir
	script := filepath.Join(disk, "editor")
	d.dir = small
	d.env = append(d.env, "KENV_EDITOR=sh "+script)
	if err := os.WriteFile(script, []byte(writes), 0o600); err != nil {
		t.Fatal(err)
	}
	control, terminal := openPTY(t)
	cmd := d.command("edit", "secrets.yaml")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	shown := d.wait(control, "again?")
	if !strings.Contains(shown, "no space left") {
		t.Errorf("shown: %q", shown)
	}
	fmt.Fprintln(control, "n")
	d.wait(control, "is kept, encrypted, in ")
	if code := exitCodeOf(t, cmd.Wait()); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got := d.run("decrypt", "secrets.yaml"); got != before {
		t.Errorf("the file is now %q", got)
	}
	if kept := d.run("decrypt", filepath.Join(disk, "tmp", "secrets.yaml.unsaved")); !strings.HasPrefix(kept, "password: new-value") {
		t.Errorf("what is kept is %q", kept)
	}
	d.secretFree(disk, small, d.runtime)
}
