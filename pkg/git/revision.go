package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
)

// fields splits what git prints with -z.
func fields(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// files returns the files of the work tree with one of these names, tracked or not,
// but for ignored ones. A link to a file is one.
func (w *WorkTree) files(ctx context.Context, names ...string) ([]string, error) {
	paths, err := w.list(ctx, anywhere(names), "--cached", "--others", "--exclude-standard")
	paths = slices.DeleteFunc(paths, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.Mode().IsRegular()
	})
	slices.Sort(paths)
	return paths, err
}

// Configs returns the paths of the configs in the work tree, one a directory.
func (w *WorkTree) Configs(ctx context.Context) ([]string, error) {
	paths, err := w.files(ctx, config.Name, config.SopsName)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(paths, func(path string) bool {
		beside := filepath.Join(filepath.Dir(path), config.Name)
		return filepath.Base(path) == config.SopsName && slices.Contains(paths, beside)
	}), nil
}

// within returns a path as it is below the root, with slashes. Links among its
// directories are followed.
func (w *WorkTree) within(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, rest := filepath.Dir(abs), filepath.Base(abs)
	for {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			dir = real
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return "", err
		}
		dir, rest = filepath.Dir(dir), filepath.Join(filepath.Base(dir), rest)
	}
	rel, err := filepath.Rel(w.Root, filepath.Join(dir, rest))
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not in the work tree %s", path, w.Root)
	}
	return filepath.ToSlash(rel), nil
}

// ErrNoRevision is wrapped by the error of Show about what is no commit.
var ErrNoRevision = errors.New("git knows no such revision")

// Show returns what a file held in a revision; ok is false if it was not there.
func (w *WorkTree) Show(ctx context.Context, revision, path string) (data []byte, ok bool, err error) {
	name, err := w.within(path)
	if err != nil {
		return nil, false, err
	}
	tree, err := w.run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{tree}")
	if err != nil {
		if isExit(err, 1) {
			err = fmt.Errorf("%q: %w", revision, ErrNoRevision)
		}
		return nil, false, err
	}
	entry, err := w.run(ctx, "ls-tree", "-z", "--full-tree", strings.TrimSpace(string(tree)), "--", name)
	if err != nil || len(entry) == 0 {
		return nil, false, err
	}
	about, _, _ := strings.Cut(string(entry), "\t")
	part := strings.Fields(about) // mode, type, object
	if len(part) != 3 || part[1] != "blob" || part[0] == "120000" {
		return nil, false, fmt.Errorf("%s is no regular file in %s", path, revision)
	}
	data, err = w.run(ctx, "cat-file", "blob", part[2])
	return data, err == nil, err
}

// Caching returns the name of a diff driver of kenv's whose plaintext git would store
// in its own database, "" if there is none.
func Caching(ctx context.Context) (driver string) {
	w := here(true)
	out, err := w.run(ctx, "config", "-z", "--type=bool", "--get-regexp", `^diff\..*\.cachetextconv$`)
	if err != nil {
		return "" // no such setting, or no git to store anything
	}
	var on []string
	for _, entry := range fields(out) {
		key, value, _ := strings.Cut(entry, "\n")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "diff."), ".cachetextconv")
		on = slices.DeleteFunc(on, func(s string) bool { return s == name }) // the last one counts
		if value == "true" {
			on = append(on, name)
		}
	}
	for _, name := range on {
		command, err := w.run(ctx, "config", "--get", "diff."+name+".textconv")
		if name == Driver || err == nil && strings.Contains(string(command), textconv) {
			return name
		}
	}
	return ""
}

// here is where git runs for what needs no work tree.
func here(hook bool) *WorkTree {
	return &WorkTree{Root: ".", env: environment(os.Environ(), hook)}
}
