package git

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// newRepo makes a repository and returns a function that runs git in it.
func newRepo(t *testing.T) (dir string, git func(args ...string)) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GIT_CONFIG_GLOBAL", filepath.Join(dir, ".no-settings"))
	git = func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	return dir, git
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(dir string, list []Entry) (out []string) {
	for _, e := range list {
		rel, _ := filepath.Rel(dir, e.Path)
		out = append(out, filepath.ToSlash(rel))
	}
	return out
}

// What is staged is what the next commit changes, as it stands in the index; before the
// first commit, too.
func TestStaged(t *testing.T) {
	ctx := context.Background()
	dir, git := newRepo(t)
	odd := "sub/a b\n\"ü\".yaml"
	write(t, dir, odd, "staged")
	write(t, dir, "old", "old")
	write(t, dir, "gone", "gone")
	write(t, dir, "untracked", "x")
	if err := os.Symlink("old", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	git("add", odd, "old", "gone", "link")
	write(t, dir, odd, "work tree")
	w, err := Find(ctx, filepath.Join(dir, "sub"))
	if err != nil || w.Root != dir {
		t.Fatal(w, err)
	}
	want := func(what string, got []Entry, err error, want ...string) {
		t.Helper()
		if n := names(dir, got); err != nil || !slices.Equal(n, want) {
			t.Errorf("%s: %q, %v, want %q", what, n, err, want)
		}
	}
	got, err := w.Staged(ctx)
	want("before the first commit", got, err, "gone", "old", odd)
	blobs, err := w.Blobs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	if _, err := blobs.Open(strings.Repeat("1", 40)); err == nil {
		t.Error("an object that is not there was opened")
	}
	for range 2 { // what is not read is passed over
		r, err := blobs.Open(got[2].ID)
		if err != nil {
			t.Fatal(err)
		}
		r.Read(make([]byte, 2))
		r.Close()
	}
	r, err := blobs.Open(got[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "staged" {
		t.Errorf("%q, %v", text, err)
	}
	r.Close()

	git("commit", "-qm", "x")
	git("mv", "old", "new")
	git("rm", "-q", "gone")
	write(t, dir, "a/.kenv.yaml", "x")
	write(t, dir, ".kenv.yaml", "x")
	write(t, dir, "b/.sops.yaml", "untracked")
	write(t, dir, "x.kenv.yaml", "no config")
	git("add", "a", ".kenv.yaml", "x.kenv.yaml")
	got, err = w.Staged(ctx)
	want("after it", got, err, ".kenv.yaml", "a/.kenv.yaml", "new", "x.kenv.yaml")
	got, err = w.Indexed(ctx, ".kenv.yaml", ".sops.yaml")
	want("indexed", got, err, ".kenv.yaml", "a/.kenv.yaml")

	write(t, dir, ".gitignore", "*.log\n")
	write(t, dir, "sub/x.log", "ignored")
	write(t, dir, "sub/y", "not")
	files, err := w.Files(ctx, filepath.Join(dir, "sub"))
	if err != nil || len(files) != 2 || !slices.Contains(files, filepath.Join(dir, "sub/y")) || !slices.Contains(files, filepath.Join(dir, odd)) {
		t.Errorf("files: %q, %v", files, err)
	}
	if all, err := w.Files(ctx, dir); err != nil || len(all) != 10 {
		t.Errorf("all files: %q, %v", all, err)
	}
	if _, err := Find(ctx, filepath.Join(dir, ".git")); !errors.Is(err, ErrNoWorkTree) {
		t.Errorf("the repository's own directory: %v", err)
	}
	outside := t.TempDir()
	if _, err := Find(ctx, outside); !errors.Is(err, ErrNoWorkTree) {
		t.Errorf("elsewhere: %v", err)
	}
	// In a hook git says where everything is, as seen from the top.
	t.Chdir(dir)
	t.Setenv("GIT_DIR", ".git")
	t.Setenv("GIT_INDEX_FILE", ".git/other")
	git("read-tree", "--empty")
	git("add", "sub")
	h, err := Here(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got, err = h.Staged(ctx)
	want("in a hook", got, err, odd, "sub/y")
	got, err = w.Staged(ctx)
	want("beside it", got, err, ".kenv.yaml", "a/.kenv.yaml", "new", "x.kenv.yaml")
}

// Many may read at the same time, each its own.
func TestBlobsAtOnce(t *testing.T) {
	ctx := context.Background()
	dir, git := newRepo(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		write(t, dir, name, strings.Repeat(name, 100_000))
	}
	git("add", ".")
	w, err := Find(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	list, err := w.Staged(ctx)
	if err != nil || len(list) != 4 {
		t.Fatal(list, err)
	}
	blobs, err := w.Blobs(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	var wg sync.WaitGroup
	for i := range 40 {
		e := list[i%4]
		wg.Go(func() {
			r, err := blobs.Open(e.ID)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			text, err := io.ReadAll(r)
			if err != nil || string(text) != strings.Repeat(filepath.Base(e.Path), 100_000) {
				t.Errorf("%s: %d bytes, %v", e.Path, len(text), err)
			}
		})
	}
	wg.Wait()
}

// git learns nothing of keys and tokens, and no setting of the caller's changes what it
// prints.
func TestEnvironment(t *testing.T) {
	all := []string{"PATH=/bin", "KENV_AGE_KEY=AGE-SECRET-KEY-1X", "AWS_SECRET_ACCESS_KEY=x", "GIT_EXTERNAL_DIFF=evil", "GIT_TRACE=1", "GIT_DIR=/x", "LC_ALL=de_DE"}
	got := strings.Join(environment(all, false), "\n")
	if strings.Contains(got, "SECRET") || strings.Contains(got, "EXTERNAL") || strings.Contains(got, "TRACE") || strings.Contains(got, "GIT_DIR") || strings.Contains(got, "de_DE") {
		t.Error(got)
	}
	if !slices.Contains(environment(all, true), "GIT_DIR="+filepath.FromSlash("/x")) || !strings.Contains(got, "PATH=/bin") {
		t.Error(got)
	}
}

// What the settings of a repository name is not started.
func TestNothingStarted(t *testing.T) {
	ctx := context.Background()
	dir, git := newRepo(t)
	ran := filepath.Join(dir, "ran")
	program := filepath.Join(dir, "program")
	write(t, dir, "program", "#!/bin/sh\ntouch "+ran+"\ncat\n")
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.txt", "x")
	write(t, dir, ".gitattributes", "*.txt diff=evil filter=evil\n")
	git("add", ".")
	for _, name := range []string{"core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command", "filter.evil.clean", "filter.evil.smudge", "core.pager"} {
		git("config", name, program)
	}
	write(t, dir, "a.txt", "longer")
	w, err := Find(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Staged(ctx); err != nil {
		t.Error(err)
	}
	if _, err := w.Files(ctx, dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(ran); err == nil {
		t.Error("git started a program that the repository's settings name")
	}
}
