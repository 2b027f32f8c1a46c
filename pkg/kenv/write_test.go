package kenv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
)

// kinds are the two ways in which content is written.
func kinds(t *testing.T, f func(t *testing.T, ciphertext bool)) {
	t.Run("ciphertext", func(t *testing.T) { f(t, true) })
	t.Run("plaintext", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("plaintext is written to files on Linux only")
		}
		f(t, false)
	})
}

func write(t *testing.T, path, content string, perm fs.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// wantFiles fails unless the directory holds exactly these names and contents; ""
// stands for what is not a regular file.
func wantFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for name, data := range faulttest.Files(t, dir) {
		got[name] = string(data)
	}
	if !maps.Equal(got, want) {
		t.Errorf("files are %.300q, want %.300q", got, want)
	}
}

func TestReplaceMakesFile(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		for _, perm := range []fs.FileMode{0, 0o600, 0o640, 0o644} {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext, Perm: perm}); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, map[string]string{"f": "new"})
			if perm == 0 {
				perm = 0o600
			}
			// What the system makes of the mode (umask) is what any program gets.
			ref := filepath.Join(dir, "ref")
			f, err := os.OpenFile(ref, os.O_CREATE|os.O_WRONLY, perm)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			if got, want := mode(t, path), mode(t, ref); got != want {
				t.Errorf("Perm %o: mode %o, want %o", perm, got, want)
			}
		}
	})
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func TestReplaceKeepsMode(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		for _, perm := range []fs.FileMode{0o600, 0o640, 0o644, 0o666, 0o755} {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			write(t, path, "old", perm)
			if err := kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext, Perm: 0o611}); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, map[string]string{"f": "new"})
			if got := mode(t, path); runtime.GOOS != "windows" && got != perm {
				t.Errorf("mode %o became %o", perm, got)
			}
		}
	})
}

func TestReplaceEmptyAndLarge(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		for _, size := range []int{0, 1, 10 << 20, 0} {
			content := strings.Repeat("x", size)
			if err := kenv.Replace(path, []byte(content), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, map[string]string{"f": content})
		}
	})
}

// Names as long as the file system takes them leave no room for a suffix.
func TestReplaceLongName(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		dir := t.TempDir()
		name := strings.Repeat("é", 127) + "n"
		for _, content := range []string{"one", "two"} {
			if err := kenv.Replace(filepath.Join(dir, name), []byte(content), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, map[string]string{name: content})
		}
	})
}

func TestReplaceFollowsLinks(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		for name, c := range map[string]struct {
			links map[string]string // symbolic link → where it points
			path  string
			file  string // what is written in the end
		}{
			"relative":               {map[string]string{"l": "d/f"}, "l", "d/f"},
			"absolute":               {map[string]string{"l": "ROOT/d/f"}, "l", "d/f"},
			"chain":                  {map[string]string{"l": "d/m", "d/m": "n", "d/n": "../d/f"}, "l", "d/f"},
			"to a missing file":      {map[string]string{"l": "d/missing"}, "l", "d/missing"},
			"dots after a link":      {map[string]string{"e/deep": "../d/sub", "l": "e/deep/../f"}, "l", "d/f"},
			"directory is a link":    {map[string]string{"e/dir": "../d"}, "e/dir/f", "d/f"},
			"dots in the given path": {map[string]string{"e/deep": "../d/sub"}, "e/deep/../f", "d/f"},
		} {
			t.Run(name, func(t *testing.T) {
				root := t.TempDir()
				for _, dir := range []string{"d/sub", "e"} {
					if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				write(t, filepath.Join(root, "d/f"), "old", 0o644)
				want := map[string]string{"d": "", "d/sub": "", "e": "", "d/f": "old"}
				for link, to := range c.links {
					if err := os.Symlink(strings.Replace(to, "ROOT", root, 1), filepath.Join(root, link)); err != nil {
						t.Skip(err)
					}
					want[link] = ""
				}
				want[c.file] = "new"
				if err := kenv.Replace(root+"/"+c.path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
					t.Fatal(err)
				}
				wantFiles(t, root, want)
				for link := range c.links {
					if mode(t, filepath.Join(root, link))&fs.ModeSymlink == 0 {
						t.Errorf("%s is no link any more", link)
					}
				}
			})
		}
	})
}

func TestReplaceInWorkingDirectory(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		t.Chdir(t.TempDir())
		for _, content := range []string{"one", "two"} {
			if err := kenv.Replace("f", []byte(content), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
				t.Fatal(err)
			}
			wantFiles(t, ".", map[string]string{"f": content})
		}
	})
}

func TestReplaceRefuses(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		for name, c := range map[string]struct {
			path string
			want string
		}{
			"no path":             {"", "directory"},
			"directory":           {"dir", "it is a directory"},
			"link to a directory": {"dirlink", "it is a directory"},
			"final slash":         {"new/", "names a directory"},
			"dot":                 {"dir/.", "names a directory"},
			"link loop":           {"loop", "too many symbolic links"},
			"missing directory":   {"missing/f", "there is no directory"},
			"file as directory":   {"f/f", "not a directory"},
			"hard links":          {"hard1", "2 hard links"},
		} {
			t.Run(name, func(t *testing.T) {
				if runtime.GOOS == "windows" {
					t.Skip("links and messages are those of Unix")
				}
				dir := t.TempDir()
				t.Chdir(dir)
				write(t, "f", "old", 0o600)
				write(t, "hard1", "hard", 0o600)
				for _, err := range []error{
					os.Mkdir("dir", 0o700), os.Symlink("dir", "dirlink"),
					os.Symlink("loop", "loop"), os.Link("hard1", "hard2"),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				before := faulttest.Files(t, dir)
				err := kenv.Replace(c.path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext})
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
					t.Errorf("error %v, want one that has %q and %q", err, c.path, c.want)
				}
				if !maps.EqualFunc(before, faulttest.Files(t, dir), bytes.Equal) {
					t.Error("files changed")
				}
			})
		}
	})
}

func TestReplaceBreaksLinksWhenAsked(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		dir := t.TempDir()
		one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
		write(t, one, "old", 0o600)
		if err := os.Link(one, two); err != nil {
			t.Skip(err)
		}
		if err := kenv.Replace(one, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext, BreakLinks: true}); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, map[string]string{"1": "new", "2": "old"})
	})
}

func TestReplaceExpect(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		old := func(t *testing.T, path string) { write(t, path, "old", 0o600) }
		none := func(*testing.T, string) {}
		for name, c := range map[string]struct {
			before, meanwhile func(t *testing.T, path string)
			changed           bool
		}{
			"unchanged":     {old, none, false},
			"still missing": {none, none, false},
			"appeared":      {none, old, true},
			"removed": {old, func(t *testing.T, path string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}, true},
			"grown": {old, func(t *testing.T, path string) { write(t, path, "other, longer", 0o600) }, true},
			"other bytes, size and time as before": {old, func(t *testing.T, path string) {
				if runtime.GOOS == "windows" {
					t.Skip("there is no time of change")
				}
				info, err := os.Stat(path)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Millisecond) // coarse clocks tick in 10
				write(t, path, "odd", 0o600)
				if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
					t.Fatal(err)
				}
			}, true},
			"replaced by an equal": {old, func(t *testing.T, path string) {
				write(t, path+"~", "old", 0o600)
				if err := os.Rename(path+"~", path); err != nil {
					t.Fatal(err)
				}
			}, true},
		} {
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				c.before(t, path)
				stamp, err := kenv.StampOf(path)
				if err != nil {
					t.Fatal(err)
				}
				if data, read, err := kenv.ReadFile(path, 100); err == nil {
					if string(data) != "old" {
						t.Fatalf("read %q", data)
					}
					stamp = read
				}
				c.meanwhile(t, path)
				before := faulttest.Files(t, dir)
				err = kenv.Replace(path, []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext, Expect: &stamp})
				if !c.changed {
					if err != nil {
						t.Fatal(err)
					}
					wantFiles(t, dir, map[string]string{"f": "new"})
					return
				}
				if !errors.Is(err, kenv.ErrChanged) {
					t.Errorf("error %v, want ErrChanged", err)
				}
				if !maps.EqualFunc(before, faulttest.Files(t, dir), bytes.Equal) {
					t.Error("files changed")
				}
			})
		}
	})
}

// Of writers that read the same state one may write; nobody's work is lost.
func TestReplaceExpectHasOneWinner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("writers take no turns on Windows")
	}
	kinds(t, func(t *testing.T, ciphertext bool) {
		for _, exists := range []bool{true, false} {
			for range 20 {
				dir := t.TempDir()
				path := filepath.Join(dir, "f")
				if exists {
					write(t, path, "old", 0o600)
				}
				stamp, err := kenv.StampOf(path)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				errs := make([]error, 8)
				for i := range errs {
					wg.Go(func() {
						errs[i] = kenv.Replace(path, []byte(fmt.Sprint(i)), kenv.WriteOptions{Ciphertext: ciphertext, Expect: &stamp})
					})
				}
				wg.Wait()
				winner := slices.Index(errs, nil)
				for i, err := range errs {
					if i != winner && !errors.Is(err, kenv.ErrChanged) {
						t.Errorf("writer %d: error %v, want ErrChanged (winner is %d)", i, err, winner)
					}
				}
				wantFiles(t, dir, map[string]string{"f": fmt.Sprint(winner)})
			}
		}
	})
}

func TestReplaceSweeps(t *testing.T) {
	kinds(t, func(t *testing.T, ciphertext bool) {
		const (
			stale = ".f.kenv-abcdefghij234567"
			old   = ".f.kenv-zzzzzzzzzz777777"
		)
		dir := t.TempDir()
		keep := []string{
			"f.kenv-abcdefghij234567", ".g.kenv-abcdefghij234567", ".f.kenv-backup",
			".f.kenv-abcdefghij234567.bak", ".f.kenv-ABCDEFGHIJ234567", ".f.kenv-",
		}
		want := map[string]string{"f": "new"}
		for _, name := range keep {
			write(t, filepath.Join(dir, name), "keep", 0o600)
			want[name] = "keep"
		}
		if err := os.Mkdir(filepath.Join(dir, ".f.kenv-aaaaaaaaaaaaaaaa"), 0o700); err != nil {
			t.Fatal(err)
		}
		want[".f.kenv-aaaaaaaaaaaaaaaa"] = ""
		for _, name := range []string{stale, old} {
			write(t, filepath.Join(dir, name), "left by a kill", 0o600)
			hourAgo := time.Now().Add(-time.Hour)
			if err := os.Chtimes(filepath.Join(dir, name), hourAgo, hourAgo); err != nil {
				t.Fatal(err)
			}
		}
		if err := kenv.Replace(filepath.Join(dir, "f"), []byte("new"), kenv.WriteOptions{Ciphertext: ciphertext}); err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, want)
	})
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, c := range []struct {
		size int
		max  int64
		ok   bool
	}{
		{0, 0, true}, {0, 10, true}, {10, 10, true}, {11, 10, false}, {1 << 20, 10, false},
		{511, 1 << 20, true}, {512, 1 << 20, true}, {513, 1 << 20, true}, {1 << 20, 1 << 20, true}, {1<<20 + 1, 1 << 20, false},
	} {
		content := strings.Repeat("0123456789", c.size/10+1)[:c.size]
		write(t, path, content, 0o600)
		data, _, err := kenv.ReadFile(path, c.max)
		streamed, serr := kenv.Read(strings.NewReader(content), "standard input", c.max)
		if c.ok {
			if err != nil || serr != nil || string(data) != content || string(streamed) != content {
				t.Errorf("%d bytes, max %d: %d bytes, %v; %d bytes, %v", c.size, c.max, len(data), err, len(streamed), serr)
			}
			continue
		}
		for _, err := range []error{err, serr} {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d bytes", c.max)) {
				t.Errorf("%d bytes, max %d: error %v", c.size, c.max, err)
			}
		}
		if data != nil || streamed != nil || !strings.Contains(serr.Error(), "standard input") || !strings.Contains(err.Error(), path) {
			t.Errorf("%d bytes, max %d: data with the error, or no name: %v, %v", c.size, c.max, err, serr)
		}
	}
	if _, _, err := kenv.ReadFile(dir, 10); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("directory: error %v", err)
	}
	if _, _, err := kenv.ReadFile(filepath.Join(dir, "missing"), 10); !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), "missing") != 1 {
		t.Errorf("missing file: error %v", err)
	}
}
