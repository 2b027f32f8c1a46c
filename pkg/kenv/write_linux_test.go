package kenv_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
	"golang.org/x/sys/unix"
)

const nobody = 65534

// needRoot skips what only root can set up.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// helper returns a command that runs replaceHelper in a process of its own.
func helper(path string, content string, more ...string) *exec.Cmd {
	// By this path it also runs as a user who may not look into its directory.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv(path, content, more...)...)
	return cmd
}

func helperEnv(path string, content string, more ...string) []string {
	return append([]string{"KENV_TEST_PATH=" + path, "KENV_TEST_CONTENT=" + content}, more...)
}

const (
	asCiphertext = "KENV_TEST_CIPHERTEXT=1"
	oftenAsTen   = "KENV_TEST_TIMES=10"
)

// size is the length to which replaceHelper repeats its content: more than a page,
// more than the small disk.
const size = 100_000

func whole(content string) string { return strings.Repeat(content, size/len(content)) }

// strace counts the calls of each thread, so the helper has to do all of its own
// where those of its start are counted: in the first thread, which only an init
// function can hold on to.
func init() {
	if os.Getenv("KENV_TEST_PATH") != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if path := os.Getenv("KENV_TEST_PATH"); path != "" {
		replaceHelper(path)
	}
	os.Exit(m.Run())
}

// replaceHelper is the process that tests kill.
func replaceHelper(path string) {
	times := 1
	if os.Getenv("KENV_TEST_TIMES") != "" {
		times = 10
	}
	for range times {
		err := kenv.Replace(path, []byte(whole(os.Getenv("KENV_TEST_CONTENT"))), kenv.WriteOptions{
			Ciphertext: os.Getenv("KENV_TEST_CIPHERTEXT") != "",
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(0)
}

func TestReplaceKeepsOwner(t *testing.T) {
	needRoot(t)
	kinds(t, func(t *testing.T, ciphertext bool) {
		path := filepath.Join(t.TempDir(), "f")
		write(t, path, "old", 0o640)
		if err := os.Chown(path, 1234, 5678); err != nil {
			t.Fatal(err)
		}
		if err := kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
			t.Fatal(err)
		}
		wantAccess(t, path, 1234, 5678, 0o640)
	})
}

func wantAccess(t *testing.T, path string, uid, gid uint32, perm fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != uid || st.Gid != gid || info.Mode() != perm {
		t.Errorf("%d:%d %v, want %d:%d %v", st.Uid, st.Gid, info.Mode(), uid, gid, perm)
	}
}

// acl returns the value of an ACL attribute, by acl(5) and the kernel's
// posix_acl_xattr.h: owner rw, user uid with perm, group r, mask rw, others none.
func acl(uid uint32, perm uint16) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, perm, uid}, {4, 4, ^uint32(0)}, {0x10, 6, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func TestReplaceKeepsAttributes(t *testing.T) {
	const accessACL, defaultACL = "system.posix_acl_access", "system.posix_acl_default"
	get := func(t *testing.T, path, name string) string {
		t.Helper()
		buf := make([]byte, 1000)
		n, err := unix.Getxattr(path, name, buf)
		if err == unix.ENODATA {
			return ""
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	set := func(t *testing.T, path, name, value string) {
		t.Helper()
		if err := unix.Setxattr(path, name, []byte(value), 0); err != nil {
			t.Skipf("this file system has no such attributes: %v", err)
		}
	}
	kinds(t, func(t *testing.T, ciphertext bool) {
		replace := func(t *testing.T, path string) {
			t.Helper()
			if err := kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
				t.Fatal(err)
			}
		}
		t.Run("user attribute", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "old", 0o600)
			set(t, path, "user.note", strings.Repeat("n", 500))
			replace(t, path)
			if got := get(t, path, "user.note"); got != strings.Repeat("n", 500) {
				t.Errorf("user.note is %q", got)
			}
		})
		t.Run("ACL", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			write(t, path, "old", 0o600)
			set(t, path, accessACL, string(acl(nobody, 4)))
			replace(t, path)
			if got := get(t, path, accessACL); got != string(acl(nobody, 4)) {
				t.Errorf("ACL is %q", got)
			}
			if got := mode(t, path); got != 0o660 { // the group's bits are the mask
				t.Errorf("mode is %o", got)
			}
		})
		t.Run("the directory's default ACL gives nobody access", func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			write(t, path, "old", 0o640)
			set(t, dir, defaultACL, string(acl(nobody, 6)))
			replace(t, path)
			if got := get(t, path, accessACL); got != "" {
				t.Errorf("ACL is %q", got)
			}
			if got := mode(t, path); got != 0o640 {
				t.Errorf("mode is %o", got)
			}
		})
	})
}

// Without privileges, the process of nobody: what it may not write it does not
// replace, and what it may it does not open to others.
func TestReplaceUnprivileged(t *testing.T) {
	needRoot(t)
	const group = 4321
	for name, c := range map[string]struct {
		uid, gid int
		perm     fs.FileMode
		dirPerm  fs.FileMode
		want     string // part of the error; empty for success
		wantGid  uint32
		wantPerm fs.FileMode
	}{
		"own file":                           {nobody, nobody, 0o644, 0o777, "", nobody, 0o644},
		"own file, read only":                {nobody, nobody, 0o444, 0o777, "it is not writable (mode 0444)", 0, 0},
		"another's file":                     {0, 0, 0o644, 0o777, "it is not writable (mode 0644)", 0, 0},
		"read-only directory":                {nobody, nobody, 0o644, 0o555, "is not writable, and a file is only replaced", 0, 0},
		"directory that cannot be listed":    {nobody, nobody, 0o644, 0o333, "", nobody, 0o644},
		"another's file, of our group":       {0, group, 0o664, 0o777, "", group, 0o664},
		"own file of a group that is closed": {nobody, 1, 0o604, 0o777, "", nobody, 0o600},
		"own file of a group not ours":       {nobody, 1, 0o666, 0o777, "", nobody, 0o606},
		"own file of a group with less":      {nobody, 1, 0o646, 0o777, "", nobody, 0o604},
		"another's file, for everybody":      {0, 1, 0o646, 0o777, "", nobody, 0o604},
	} {
		t.Run(name, func(t *testing.T) {
			kinds(t, func(t *testing.T, ciphertext bool) {
				dir, err := os.MkdirTemp("", "kenv")
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				path := filepath.Join(dir, "f")
				write(t, path, "old", c.perm)
				for _, err := range []error{os.Chown(path, c.uid, c.gid), os.Chmod(path, c.perm), os.Chmod(dir, c.dirPerm)} {
					if err != nil {
						t.Fatal(err)
					}
				}
				cmd := helper(path, "new")
				if ciphertext {
					cmd.Env = append(cmd.Env, asCiphertext)
				}
				cmd.Dir = "/"
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{group}}}
				out, err := cmd.CombinedOutput()
				if c.want != "" {
					if err == nil || !strings.Contains(string(out), c.want) {
						t.Errorf("%v, said %q, want %q", err, out, c.want)
					}
					wantFiles(t, dir, map[string]string{"f": "old"})
					return
				}
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				wantFiles(t, dir, map[string]string{"f": whole("new")})
				wantAccess(t, path, nobody, c.wantGid, c.wantPerm)
			})
		})
	}
}

func TestReplaceRefusesSpecialFiles(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		dir := t.TempDir()
		fifo := filepath.Join(dir, "fifo")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{fifo, "/dev/null"} {
			err := kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext})
			if err == nil || !strings.Contains(err.Error(), "not a regular file") {
				t.Errorf("%s: error %v", path, err)
			}
		}
		if mode(t, fifo)&fs.ModeNamedPipe == 0 || mode(t, "/dev/null")&fs.ModeCharDevice == 0 {
			t.Error("a special file was replaced")
		}
	})
}

// /dev/stdout is the open file, wherever it leads and whatever is already in it.
func TestReplaceStandardOutput(t *testing.T) {
	for _, path := range []string{"/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stdout"} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out")
		write(t, out, "", 0o600)
		f, err := os.OpenFile(out, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("before\n"); err != nil {
			t.Fatal(err)
		}
		cmd := helper(path, "new")
		cmd.Stdout = f
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, map[string]string{"out": "before\n" + whole("new")})

		got, err := helper(path, "new").Output() // a pipe
		if err != nil || string(got) != whole("new") {
			t.Errorf("%s to a pipe: %d bytes, %v", path, len(got), err)
		}
	}
	err := kenv.Replace("/dev/fd/999", []byte("new"), kenv.WriteOptions{})
	if err == nil || !strings.Contains(err.Error(), "no open file 999") {
		t.Errorf("a closed descriptor: error %v", err)
	}
}

func TestReadFileOfFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(path, []byte(whole("new")), 0)
	if data, _, err := kenv.ReadFile(path, size); err != nil || string(data) != whole("new") {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// The temporary file of a writer at work is not swept, however old; that of a dead
// one is, however new.
func TestReplaceSweepsByWriter(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		const dead, alive, fifo = ".f.kenv-dddddddddddddddd", ".f.kenv-aaaaaaaaaaaaaaaa", ".f.kenv-ffffffffffffffff"
		dir := t.TempDir()
		write(t, filepath.Join(dir, dead), "dead", 0o600)
		write(t, filepath.Join(dir, alive), "alive", 0o600)
		hourAgo := time.Now().Add(-time.Hour)
		if err := os.Chtimes(filepath.Join(dir, alive), hourAgo, hourAgo); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(filepath.Join(dir, fifo), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(filepath.Join(dir, alive))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		if err := kenv.Replace(filepath.Join(dir, "f"), []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, map[string]string{"f": "new", alive: "alive", fifo: ""})
	})
}

func TestReplaceConcurrently(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		write(t, path, "old", 0o640)
		var wg sync.WaitGroup
		contents := map[string]bool{}
		for i := range 20 {
			content := fmt.Sprintf("%02d", i)
			contents[whole(content)] = true
			cmd := helper(path, content, oftenAsTen)
			if ciphertext {
				cmd.Env = append(cmd.Env, asCiphertext)
			}
			wg.Go(func() {
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		files := faulttest.Files(t, dir)
		if len(files) != 1 || !contents[string(files["f"])] {
			t.Errorf("%d files, or a mixture", len(files))
		}
		if got := mode(t, path); got != 0o640 {
			t.Errorf("mode %o", got)
		}
	})
}

func TestReplaceOnFullDisk(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		for name, old := range map[string]string{"new file": "", "old file": whole("old")} {
			t.Run(name, func(t *testing.T) {
				dir := faulttest.SmallDisk(t, 160<<10) // the old file fits, another does not
				path := filepath.Join(dir, "f")
				want := map[string]string{}
				write(t, filepath.Join(dir, "other"), whole("other")[:80_000], 0o600)
				if old != "" {
					if err := os.Remove(filepath.Join(dir, "other")); err != nil {
						t.Fatal(err)
					}
					write(t, path, old, 0o600)
					want["f"] = old
				} else {
					want["other"] = whole("other")[:80_000]
				}
				err := kenv.Replace(path, []byte(whole("new")), kenv.WriteOptions{Ciphertext: ciphertext})
				if !errors.Is(err, unix.ENOSPC) || strings.Contains(err.Error(), ".kenv-") {
					t.Errorf("error %v, want ENOSPC, and no temporary name in it", err)
				}
				wantFiles(t, dir, want)
			})
		}
	})
}
