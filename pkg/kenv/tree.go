package kenv

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/kenvhq/kenv/pkg/config"
)

// EncryptedFiles returns the files that paths stand for: files themselves, whatever
// they are, and of directories the encrypted files below them that a rule covers.
// What is a git repository's own is passed over. Symbolic links below a directory
// are not followed.
func (s Setup) EncryptedFiles(paths []string) (files []string, err error) {
	configs := map[string]*config.Config{}
	covered := func(name string) (bool, error) {
		path := s.Config
		if path == "" {
			if path, err = config.Find(name); err != nil || path == "" {
				return false, err
			}
		}
		c, ok := configs[path]
		if !ok {
			if c, err = s.load(path); err != nil {
				return false, err
			}
			configs[path] = c
		}
		_, err := c.Match(name)
		if none := (*config.NoRuleError)(nil); errors.As(err, &none) {
			return false, nil
		}
		return err == nil, err
	}
	seen := map[string]bool{}
	add := func(name string) {
		if !seen[filepath.Clean(name)] {
			seen[filepath.Clean(name)] = true
			files = append(files, name)
		}
	}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return fmt.Errorf("reading directory: %w", err)
			case name == root && !d.IsDir():
				add(name)
				return nil
			case d.IsDir() && d.Name() == ".git":
				return fs.SkipDir
			case !d.Type().IsRegular() || d.Name() == config.Name || d.Name() == config.SopsName:
				return nil
			}
			if is, err := covered(name); err != nil || !is {
				return err
			}
			data, _, err := ReadFile(name, MaxSize)
			if err != nil {
				return err
			}
			if f := encryptedFormat(name, data); f != nil && isEncrypted(data, f) {
				add(name)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
