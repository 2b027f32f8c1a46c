//go:build linux

package kenv_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
)

// replacing is the command that writes the file f, under disturbance.
type replacing struct {
	ciphertext bool
	old        string // what is in f before; empty for no file
}

func (c replacing) command(t *testing.T, check func(t testing.TB, r faulttest.Result, temporaries []string)) faulttest.Command {
	env := helperEnv("f", "new")
	if c.ciphertext {
		env = append(env, asCiphertext)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return faulttest.Command{
		Args: []string{self},
		Env:  env,
		Setup: func(t testing.TB, dir string) {
			if c.old != "" {
				if err := os.WriteFile(filepath.Join(dir, "f"), []byte(c.old), 0o640); err != nil {
					t.Fatal(err)
				}
			}
		},
		Check: func(t testing.TB, r faulttest.Result) {
			files := faulttest.Files(t, r.Dir)
			now := string(files["f"])
			_, exists := files["f"]
			switch {
			case now == whole("new"):
			case now == c.old && exists == (c.old != ""):
				if r.Err == nil {
					t.Errorf("%s: success, but the file is the old one", r.Fault)
				}
			default:
				t.Errorf("%s: f is neither old nor new: %d bytes (%s)", r.Fault, len(now), r.Hit)
			}
			delete(files, "f")
			temporaries := slices.Sorted(maps.Keys(files))
			if len(temporaries) > 1 {
				t.Errorf("%s: left %q", r.Fault, temporaries)
			}
			if !r.Killed && len(temporaries) > 0 {
				t.Errorf("%s: alive and left %q: %s", r.Fault, temporaries, r.Stderr)
			}
			for _, name := range temporaries {
				if !strings.HasPrefix(name, ".f.kenv-") {
					t.Errorf("%s: left %q", r.Fault, name)
				}
			}
			check(t, r, temporaries)

			err := kenv.Replace(filepath.Join(r.Dir, "f"), []byte("next"), kenv.WriteOptions{Ciphertext: c.ciphertext})
			if err != nil {
				t.Errorf("%s: the next write: %v", r.Fault, err)
			}
			if left := faulttest.Files(t, r.Dir); len(left) != 1 || string(left["f"]) != "next" {
				t.Errorf("%s: after the next write: %q", r.Fault, slices.Sorted(maps.Keys(left)))
			}
		},
	}
}

// wantHit fails unless a disturbed call contained each text: a harness that hits
// nothing would find nothing.
func wantHit(t *testing.T, hits []string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !slices.ContainsFunc(hits, func(hit string) bool { return strings.Contains(hit, text) }) {
			t.Errorf("no disturbed call has %q; they are:\n%s", text, strings.Join(hits, "\n"))
		}
	}
}

// A kill leaves what the system has in memory; a power cut does not. What must hold
// then is a matter of order: the content is on the disk before the name, and the
// name before success.
func TestReplaceSyncsInOrder(t *testing.T) {
	for _, c := range []replacing{{true, ""}, {true, "old"}, {false, ""}, {false, "old"}} {
		cmd := c.command(t, func(testing.TB, faulttest.Result, []string) {})
		cmd.Calls = []string{"write", "fsync", "linkat", "rename", "renameat", "renameat2"}
		var order []string
		for _, line := range cmd.Trace(t) {
			_, call, _ := strings.Cut(line, " ")
			name, _, _ := strings.Cut(call, "(")
			if name == "write" && !strings.Contains(call, ", 99999)") {
				continue // the runtime's own
			}
			order = append(order, name)
		}
		want := []string{"write", "fsync", "renameat", "fsync"}
		if !c.ciphertext {
			want = []string{"write", "fsync", "linkat", "fsync"}
			if c.old != "" {
				want = []string{"write", "fsync", "linkat", "renameat", "fsync"}
			}
		}
		if !slices.Equal(order, want) {
			t.Errorf("ciphertext %v, old %q: calls %q, want %q", c.ciphertext, c.old, order, want)
		}
	}
}

var ciphertextCalls = []string{
	`O_CREAT|O_EXCL`, `flock(`, `/.f.kenv-`, `fsync(`, `renameat(`, `write(`,
}

func TestKillReplaceCiphertext(t *testing.T) {
	for name, old := range map[string]string{"new file": "", "old file": "old"} {
		t.Run(name, func(t *testing.T) {
			left := 0
			hits := replacing{true, old}.command(t, func(t testing.TB, r faulttest.Result, temporaries []string) {
				left += len(temporaries)
				for _, name := range temporaries {
					info, err := os.Stat(filepath.Join(r.Dir, name))
					if err != nil || info.Mode()&^0o640 != 0 {
						t.Errorf("%s: %s is open to more than f: %v, %v", r.Fault, name, info.Mode(), err)
					}
				}
			}).Kill(t)
			wantHit(t, hits, ciphertextCalls...)
			if old != "" {
				wantHit(t, hits, "fchmod(")
			}
			// If no kill ever left a file, none came between its birth and its renaming.
			if left == 0 {
				t.Error("no kill came while there was a temporary file")
			}
		})
	}
}

func TestFailReplaceCiphertext(t *testing.T) {
	hits := replacing{true, "old"}.command(t, func(testing.TB, faulttest.Result, []string) {}).
		Fail(t, "ENOSPC", "EIO")
	wantHit(t, hits, append(ciphertextCalls, "fchmod(")...)
}

func TestKillReplacePlaintext(t *testing.T) {
	calls := []string{"O_TMPFILE", "flock(", "write(", "fsync(", "linkat("}
	t.Run("new file", func(t *testing.T) {
		hits := replacing{false, ""}.command(t, func(t testing.TB, r faulttest.Result, temporaries []string) {
			if len(temporaries) > 0 {
				t.Errorf("%s: left plaintext in %q", r.Fault, temporaries)
			}
		}).Kill(t)
		wantHit(t, hits, calls...)
	})
	t.Run("old file", func(t *testing.T) {
		hits := replacing{false, "old"}.command(t, func(t testing.TB, r faulttest.Result, temporaries []string) {
			// The exception that Replace documents: complete, and as open as f.
			for _, name := range temporaries {
				path := filepath.Join(r.Dir, name)
				data, err := os.ReadFile(path)
				if err != nil || string(data) != whole("new") || !strings.HasPrefix(r.Hit, "renameat(") {
					t.Errorf("%s: left plaintext in %s: %d bytes, %v (%s)", r.Fault, name, len(data), err, r.Hit)
				}
				if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
					t.Errorf("%s: %s has mode %v, %v", r.Fault, name, info.Mode(), err)
				}
			}
		}).Kill(t)
		wantHit(t, hits, append(calls, "fchmod(", "renameat(")...)
	})
}

func TestFailReplacePlaintext(t *testing.T) {
	for name, old := range map[string]string{"new file": "", "old file": "old"} {
		t.Run(name, func(t *testing.T) {
			hits := replacing{false, old}.command(t, func(testing.TB, faulttest.Result, []string) {}).Fail(t, "EDQUOT")
			wantHit(t, hits, "O_TMPFILE", "write(", "fsync(", "linkat(")
		})
	}
}

// Where there are no unnamed files plaintext is not written at all, whether the file
// system lacks them (EOPNOTSUPP) or /proc to name them by (ENOENT).
func TestReplacePlaintextUnnamedOrNotAtAll(t *testing.T) {
	for errno, at := range map[string]struct{ call, hit string }{
		"EOPNOTSUPP": {"openat", "O_TMPFILE"}, "ENOENT": {"linkat", "/proc/self/fd"},
	} {
		t.Run(errno, func(t *testing.T) {
			tried := false
			c := replacing{false, "old"}.command(t, func(t testing.TB, r faulttest.Result, _ []string) {
				if !strings.Contains(r.Hit, at.hit) {
					return
				}
				tried = true
				f, err := os.ReadFile(filepath.Join(r.Dir, "f"))
				if string(f) != "old" || r.Err == nil || !strings.Contains(r.Stderr, kenv.ErrNoUnnamed.Error()) {
					t.Errorf("%s: f is %.10q, %v; said %q", r.Fault, f, err, r.Stderr)
				}
			})
			c.Calls = []string{at.call}
			c.Fail(t, errno)
			if !tried {
				t.Error("the call never failed")
			}
		})
	}
}
