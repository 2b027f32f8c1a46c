package kenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrExists is wrapped by the error of Create for a file that is there already.
var ErrExists = errors.New("it exists already and is not overwritten")

// Create writes a new file that only its owner can read, such as one with a secret
// key, and never over another. Missing directories are made, for the owner alone.
// A failure leaves no file behind, and neither does a kill where the system has unnamed
// files (O_TMPFILE on Linux): the file gets its name when it is complete.
func Create(path string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write %s: %w", path, cause(err))
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	err = createWhole(path, data)
	if errors.Is(err, ErrNoUnnamed) {
		err = createNamed(path, data)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func createWhole(path string, data []byte) error {
	// The name must be free, whatever a link of that name leads to.
	if _, err := os.Lstat(path); err == nil {
		return ErrExists
	}
	f, err := createUnnamed(filepath.Dir(path), 0o600)
	if err != nil {
		return err
	}
	s := &staged{f: f}
	defer s.discard()
	if err := s.fill(data, place{}); err != nil {
		return err
	}
	err = linkUnnamed(f, path)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	return err
}

func createNamed(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}
