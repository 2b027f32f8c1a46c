package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// maxDepth bounds the walk upwards, as a path could be made arbitrarily deep.
const maxDepth = 1000

// Find returns the path of the config file that is in force for a file, or "" when
// there is none. It looks in the file's own directory, then in those above it,
// and stops after the root of a git work tree or the user's home directory. The
// file need not exist; symbolic links are followed first.
//
// A config that is there but cannot be used (a directory, no permission) is an
// error: to pass over it would be to encrypt for the keys of another one.
func Find(file string) (string, error) {
	real, err := resolve(file)
	if err != nil {
		return "", fmt.Errorf("looking for a config: %w", err)
	}
	home := homeDir()
	dir := filepath.Dir(real)
	for range maxDepth {
		if path, err := configIn(dir); err != nil || path != "" {
			return path, err
		}
		if isTop(dir, home) {
			break
		}
		dir = filepath.Dir(dir)
	}
	return "", nil
}

// configIn returns the path of the config file in a directory, "" if it has none.
func configIn(dir string) (string, error) {
	for _, name := range []string{Name, SopsName} {
		path := filepath.Join(dir, name)
		switch fi, err := os.Stat(path); {
		case err == nil && !fi.Mode().IsRegular():
			return "", fmt.Errorf("looking for a config: %s is not a regular file", path)
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("looking for a config: %w", err)
		}
		if _, err := os.Lstat(path); err == nil {
			return "", fmt.Errorf("looking for a config: %s is a symbolic link to nothing", path)
		}
	}
	if path := filepath.Join(dir, ".kenv.yml"); exists(path) {
		return "", fmt.Errorf("looking for a config: %s is not read; rename it to %s", path, Name)
	}
	return "", nil
}

// isTop reports whether no config above a directory is in force in it.
func isTop(dir, home string) bool {
	return dir == home || filepath.Dir(dir) == dir || exists(filepath.Join(dir, ".git"))
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// homeDir returns the home directory free of links, or "" when there is none.
func homeDir() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	real, err := filepath.EvalSymlinks(home)
	if err != nil {
		return ""
	}
	return filepath.Clean(real)
}

// resolve returns the absolute path of name without symbolic links. What does not
// exist yet is kept as it is.
func resolve(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := abs; ; {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return abs, nil
		}
		dir, rest = parent, filepath.Join(filepath.Base(dir), rest)
	}
}
