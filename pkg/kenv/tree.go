package kenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kenvhq/kenv/pkg/config"
)

// ErrNotCovered is wrapped by the error of PlainFiles about a directory in which no
// rule covers a file.
var ErrNotCovered = errors.New("no file there is covered by a rule")

// EncryptedFiles returns the files that paths stand for: files themselves, whatever
// they are, and of directories the encrypted files below them that a rule covers, or
// all of them where no config is in force. What is a git repository's own is passed
// over, and so are the temporary files of Replace. Symbolic links below a directory are not followed. A file that cannot be read
// is returned, too, so that whoever works on it says so.
func (s Setup) EncryptedFiles(paths []string) (files []string, err error) {
	w := walk{s: s, configs: map[string]*config.Config{}}
	seen := map[string]bool{}
	for _, root := range paths {
		err := w.files(root, func(name string) error {
			if seen[filepath.Clean(name)] {
				return nil
			}
			if name != root {
				switch c, err := w.covers(name); {
				case err != nil:
					return err
				case c == uncovered:
					return nil
				}
				if is, err := looksEncrypted(name); err == nil && !is {
					return nil
				}
			}
			seen[filepath.Clean(name)] = true
			files = append(files, name)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// PlainFiles returns the files below a directory that a rule covers and that are not
// encrypted yet, or cannot be read, passing over what EncryptedFiles does.
func (s Setup) PlainFiles(dir string) (files []string, err error) {
	w := walk{s: s, configs: map[string]*config.Config{}}
	any := false
	err = w.files(dir, func(name string) error {
		c, err := w.covers(name)
		if err != nil || c != covered {
			return err
		}
		any = true
		if is, err := looksEncrypted(name); err != nil || !is {
			files = append(files, name)
		}
		return nil
	})
	if err == nil && !any {
		err = fmt.Errorf("%s: %w", dir, ErrNotCovered)
	}
	return files, err
}

func looksEncrypted(name string) (bool, error) {
	data, _, err := ReadFile(name, MaxSize)
	if err != nil {
		return false, err
	}
	defer clear(data)
	f := encryptedFormat(name, data)
	return f != nil && isEncrypted(data, f), nil
}

// A walk through directories reads each config once.
type walk struct {
	s       Setup
	configs map[string]*config.Config
}

// files calls visit for a root that is a file, and else for the regular files below
// it that are neither configs nor temporary.
func (w *walk) files(root string, visit func(name string) error) error {
	if info, err := os.Stat(root); err != nil || !info.IsDir() {
		return visit(root)
	}
	// The separator has a link to a directory followed.
	return filepath.WalkDir(root+string(filepath.Separator), func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("reading directory: %w", err)
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case !d.Type().IsRegular() || d.Name() == config.Name || d.Name() == config.SopsName || isTemporary(d.Name()):
			return nil
		}
		return visit(name)
	})
}

// A coverage says what the config in force for a file has to do with it.
type coverage int

const (
	covered coverage = iota
	uncovered
	noConfig // there is none
)

func (w *walk) covers(name string) (coverage, error) {
	path := w.s.Config
	if path == "" {
		var err error
		if path, err = config.Find(name); err != nil {
			return uncovered, err
		}
	}
	if path == "" {
		return noConfig, nil
	}
	c, ok := w.configs[path]
	if !ok {
		var err error
		if c, err = w.s.load(path); err != nil {
			return uncovered, err
		}
		w.configs[path] = c
	}
	_, err := c.Match(name)
	switch none := (*config.NoRuleError)(nil); {
	case errors.As(err, &none):
		return uncovered, nil
	case err != nil:
		return uncovered, err
	}
	return covered, nil
}
