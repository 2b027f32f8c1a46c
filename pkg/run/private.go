package run

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A PrivateDir is a directory for plaintext that another program has to read: for
// this user alone, and in memory where the system has a place for that.
type PrivateDir struct {
	Path   string
	Memory bool // nothing in it reaches a disk

	lock *os.File // held as long as the directory is in use
}

const privatePrefix = "kenv-private-"

// NewPrivateDir makes one, in $XDG_RUNTIME_DIR or /dev/shm where those are in memory
// and else where temporary files go. It removes what a process of the same user
// that was killed has left behind there. One that is to be given to another user is not
// made in $XDG_RUNTIME_DIR, which nobody else can reach.
func NewPrivateDir(otherUser bool) (*PrivateDir, error) {
	runtimeDir := os.Getenv("XDG_RUNTIME_DIR")
	if otherUser || runtimeDir == "" {
		runtimeDir = "-"
	}
	var errs []error
	for _, place := range []string{runtimeDir, "/dev/shm", ""} {
		memory := filepath.IsAbs(place) && inMemory(place)
		switch {
		case place == "": // the last resort
			place = os.TempDir()
		case !memory:
			continue
		}
		sweepPrivate(place)
		d, err := newPrivateDir(place)
		if err == nil {
			d.Memory = memory
			return d, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no place for plaintext that another program has to read: %w", errors.Join(errs...))
}

func newPrivateDir(place string) (*PrivateDir, error) {
	for {
		path, err := os.MkdirTemp(place, privatePrefix) // mode 0700
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(path)
		if err != nil {
			os.Remove(path)
			return nil, err
		}
		// Somebody who swept just now took it for one that was left behind.
		if _, err := os.Stat(path); err == nil {
			return &PrivateDir{Path: path, lock: lock}, nil
		}
		lock.Close()
	}
}

// Remove removes the directory and all that is in it.
func (d *PrivateDir) Remove() error {
	if d.lock != nil {
		// As it is open, this works when there is no descriptor left to open it with.
		names, _ := d.lock.Readdirnames(-1)
		for _, name := range names {
			os.Remove(filepath.Join(d.Path, name))
		}
	}
	err := os.RemoveAll(d.Path)
	if d.lock != nil {
		d.lock.Close()
	}
	if err != nil { // what failed may have passed
		err = os.RemoveAll(d.Path)
	}
	return err
}

// sweepPrivate removes this user's directories that no process holds any more.
func sweepPrivate(place string) {
	entries, err := os.ReadDir(place)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(place, e.Name())
		if !strings.HasPrefix(e.Name(), privatePrefix) || !e.IsDir() || !owned(path) {
			continue
		}
		if lock, err := lockDir(path); err == nil {
			os.RemoveAll(path)
			lock.Close()
		}
	}
}
