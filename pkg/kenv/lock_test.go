//go:build linux || darwin || freebsd

package kenv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
)

// A lock keeps others out until it is given back, also when its holder has replaced the
// file, and under whatever name they come.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "f"), filepath.Join(dir, "link")
	write(t, path, "old", 0o600)
	if err := os.Symlink("f", link); err != nil {
		t.Fatal(err)
	}
	locked := func(path string) bool {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("in vain"))
		defer cancel()
		l, err := kenv.LockFile(ctx, path)
		if err == nil {
			l.Unlock()
		} else if err.Error() != "cannot lock "+path+": in vain" {
			t.Errorf("error %v", err)
		}
		return err != nil
	}
	lock, err := kenv.LockFile(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	if !locked(path) || !locked(link) {
		t.Error("a second lock was given")
	}
	for _, data := range []string{"new", "newer"} {
		if err := kenv.Replace(link, []byte(data), kenv.WriteOptions{Ciphertext: true, Lock: lock}); err != nil {
			t.Fatal(err)
		}
		if !locked(path) || !locked(link) {
			t.Errorf("the lock was lost when the file was replaced by %q", data)
		}
	}
	done := make(chan error)
	go func() { done <- kenv.Replace(path, []byte("newest"), kenv.WriteOptions{Ciphertext: true}) }()
	time.Sleep(50 * time.Millisecond)
	if data, err := os.ReadFile(path); string(data) != "newer" {
		t.Errorf("f is %q under the lock, %v", data, err)
	}
	lock.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantFiles(t, dir, map[string]string{"f": "newest", "link": ""})
	lock.Unlock() // which does no harm
	if locked(path) {
		t.Error("it is still locked")
	}
	if l, err := kenv.LockFile(t.Context(), filepath.Join(dir, "missing")); err != nil {
		t.Errorf("there is nothing to lock: %v", err)
	} else {
		l.Unlock()
	}
}

// What is written to and not replaced is not locked: whoever reads standard output may
// have it locked.
func TestLockOfStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	write(t, path, "old", 0o600)
	lock, err := kenv.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for _, name := range []string{fmt.Sprintf("/dev/fd/%d", f.Fd()), "/dev/stdout", "/dev/stderr"} {
		l, err := kenv.LockFile(ctx, name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l.Unlock()
	}
	// What is no file at all, Replace says.
	l, err := kenv.LockFile(ctx, filepath.Join(path, "below"))
	if err != nil {
		t.Error(err)
	}
	l.Unlock()
}

// Save waits for whoever has the file locked no longer than its context says.
func TestSaveWaits(t *testing.T) {
	s, _ := newSetup(t)
	path := saved(t, s, "a.yaml", threeValues)
	f := openFile(t, s, path)
	lock, err := kenv.LockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	before := text(t, path)
	if err := errors.Join(f.Set("a", "new"), f.Save(ctx)); !errors.Is(err, context.DeadlineExceeded) || text(t, path) != before {
		t.Errorf("under another's lock: %v", err)
	}
	lock.Unlock()
	if err := f.Save(t.Context()); err != nil || text(t, path) == before {
		t.Errorf("when it is free: %v", err)
	}
}
