// Package git is how kenv works with git: what git diff shows of encrypted files,
// which files git hands to kenv, the hook before a commit, and files of other commits.
// It runs the git program, never by a shell.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/config"
)

// gitLimit is how long a git program may take. It reads what is on this machine, but
// for a partial clone.
const gitLimit = time.Minute

// ErrNoRepository is wrapped by the error of Open where there is no work tree.
var ErrNoRepository = errors.New("not in a git work tree")

// A Repository is a git work tree.
type Repository struct {
	Root string // its top directory, absolute and free of links
}

// Open returns the work tree that a directory is in.
func Open(ctx context.Context, dir string) (*Repository, error) {
	out, err := run(ctx, dir, "rev-parse", "--show-toplevel")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, fmt.Errorf("git: %w", exec.ErrNotFound)
	}
	root := strings.TrimSuffix(string(out), "\n")
	if err != nil || root == "" {
		return nil, ErrNoRepository
	}
	if root, err = filepath.EvalSymlinks(filepath.FromSlash(root)); err != nil {
		return nil, fmt.Errorf("looking for the work tree: %w", err)
	}
	return &Repository{Root: root}, nil
}

func (r *Repository) git(ctx context.Context, args ...string) ([]byte, error) {
	return run(ctx, r.Root, args...)
}

// run runs git in a directory and returns what it printed. Its error is a
// *exec.ExitError if git itself ended with one, and holds what git said.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	// What git has set for a hook stays: which repository, and which index.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "GIT_") && strings.HasSuffix(name, "_PATHSPECS")
	})
	cmd.Env = append(cmd.Env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		what, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		if what == "" {
			return nil, fmt.Errorf("git %s: %w", args[0], err)
		}
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, what)
	}
	return out, nil
}

// fields splits what git prints with -z.
func fields(out []byte) []string {
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

// files returns the files of the work tree with one of these names, tracked or not,
// but for ignored ones.
func (r *Repository) files(ctx context.Context, names ...string) ([]string, error) {
	args := []string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}
	for _, name := range names {
		args = append(args, name, "*/"+name)
	}
	out, err := r.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, name := range fields(out) {
		path := filepath.Join(r.Root, filepath.FromSlash(name))
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// Configs returns the paths of the configs in the work tree, one a directory.
func (r *Repository) Configs(ctx context.Context) ([]string, error) {
	paths, err := r.files(ctx, config.Name, config.SopsName)
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
func (r *Repository) within(path string) (string, error) {
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
	rel, err := filepath.Rel(r.Root, filepath.Join(dir, rest))
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not in the work tree %s", path, r.Root)
	}
	return filepath.ToSlash(rel), nil
}

// ErrNoRevision is wrapped by the error of Show about what is no commit.
var ErrNoRevision = errors.New("git knows no such revision")

// Show returns what a file held in a revision; ok is false if it was not there.
func (r *Repository) Show(ctx context.Context, revision, path string) (data []byte, ok bool, err error) {
	name, err := r.within(path)
	if err != nil {
		return nil, false, err
	}
	tree, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{tree}")
	if err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("%q: %w", revision, ErrNoRevision)
		}
		return nil, false, err
	}
	entry, err := r.git(ctx, "ls-tree", "-z", "--full-tree", strings.TrimSpace(string(tree)), "--", name)
	if err != nil || len(entry) == 0 {
		return nil, false, err
	}
	about, _, _ := strings.Cut(string(entry), "\t")
	part := strings.Fields(about) // mode, type, object
	if len(part) != 3 || part[1] != "blob" || part[0] == "120000" {
		return nil, false, fmt.Errorf("%s is no regular file in %s", path, revision)
	}
	data, err = r.git(ctx, "cat-file", "blob", part[2])
	return data, err == nil, err
}

// Caching returns the name of a diff driver of kenv's whose plaintext git would store
// in its own database, "" if there is none.
func Caching(ctx context.Context, dir string) (driver string) {
	out, err := run(ctx, dir, "config", "-z", "--type=bool", "--get-regexp", `^diff\..*\.cachetextconv$`)
	if err != nil {
		return "" // no such setting, or no git to store anything
	}
	for _, entry := range fields(out) {
		key, value, _ := strings.Cut(entry, "\n")
		name := strings.TrimSuffix(strings.TrimPrefix(key, "diff."), ".cachetextconv")
		switch command, err := run(ctx, dir, "config", "--get", "diff."+name+".textconv"); {
		case value != "true":
			if driver == name {
				driver = "" // a later file says otherwise
			}
		case name == Driver, err == nil && strings.Contains(string(command), textconv):
			driver = name
		}
	}
	return driver
}
