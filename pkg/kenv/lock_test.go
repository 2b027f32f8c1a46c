//go:build linux || darwin || freebsd

package kenv_test

import (
	"context"
	"errors"
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
