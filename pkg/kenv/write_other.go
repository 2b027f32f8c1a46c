//go:build !linux

package kenv

import (
	"io/fs"
	"os"
)

// The systems below have no unnamed files that can be named later, so plaintext is
// only written to streams there.

func createUnnamed(string, fs.FileMode) (*os.File, error) { return nil, ErrNoUnnamed }

func linkUnnamed(*os.File, string) error { return ErrNoUnnamed }

func replaceByUnnamed(*os.File, string, string) error { return ErrNoUnnamed }

// renameNew renames a file to a name that should be free. Somebody who takes the
// name between the two calls loses.
func renameNew(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}
