// Package git is what kenv and git have to say to each other.
package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNoWorkTree is wrapped by the error about a directory that is in no git work tree,
// or when there is no git to ask.
var ErrNoWorkTree = errors.New("not in a git work tree")

// A WorkTree is one that git looks after.
type WorkTree struct {
	Root string // absolute and free of symbolic links

	env []string
}

// Find returns the work tree that a directory is in.
func Find(ctx context.Context, dir string) (*WorkTree, error) {
	return find(ctx, &WorkTree{Root: dir, env: environment(os.Environ(), false)})
}

// Here returns the work tree that git means when it runs a hook in the working
// directory, with the index of the commit at hand. Elsewhere that is the one that the
// working directory is in.
func Here(ctx context.Context) (*WorkTree, error) {
	return find(ctx, &WorkTree{Root: ".", env: environment(os.Environ(), true)})
}

func find(ctx context.Context, w *WorkTree) (*WorkTree, error) {
	out, err := w.run(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		for _, sign := range []string{"not a git repository", "must be run in a work tree", ErrMissing.Error()} {
			if strings.Contains(err.Error(), sign) {
				return nil, fmt.Errorf("%w: %w", ErrNoWorkTree, err)
			}
		}
		return nil, err
	}
	root := strings.TrimSuffix(strings.TrimSuffix(string(out), "\n"), "\r")
	if w.Root, err = filepath.EvalSymlinks(filepath.FromSlash(root)); err != nil {
		return nil, fmt.Errorf("looking for the git work tree: %w", err)
	}
	return w, nil
}

// ErrMissing is wrapped, beside ErrNoWorkTree, where there is no git.
var ErrMissing = errors.New("git is not on the PATH")

// Setting returns what git's settings say under a name, "" for nothing.
func (w *WorkTree) Setting(ctx context.Context, name string) string {
	out, err := w.run(ctx, "config", "--get", name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// deadline is how long one git command may take.
const deadline = time.Minute

// run returns what a git command prints. It reads the repository alone: no program that
// the repository's settings name is started, and nothing is fetched.
func (w *WorkTree) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	cmd := w.command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, failure(args[0], stderr.String(), err)
	}
	return out, nil
}

func (w *WorkTree) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-pager", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = w.Root, w.env, time.Second
	return cmd
}

// environment returns what of kenv's environment git gets: what it takes to find its
// settings and, in a hook, where repository and index are. Keys and tokens stay here.
func environment(all []string, hook bool) []string {
	settings := []string{
		"PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "USERPROFILE", "SYSTEMROOT", "TEMP", "TMP",
		"GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM",
	}
	paths := []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"}
	env := []string{"LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1", "GIT_TERMINAL_PROMPT=0"}
	for _, v := range all {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case slices.Contains(settings, strings.ToUpper(name)), strings.HasPrefix(name, "GIT_CONFIG_"), hook && name == "GIT_ALTERNATE_OBJECT_DIRECTORIES":
			env = append(env, v)
		case hook && slices.Contains(paths, name):
			if abs, err := filepath.Abs(value); err == nil && value != "" {
				env = append(env, name+"="+abs)
			}
		}
	}
	return env
}

func failure(command, stderr string, err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return ErrMissing
	}
	first, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	if first == "" {
		return fmt.Errorf("git %s: %w", command, err)
	}
	return fmt.Errorf("git %s: %s", command, strings.TrimPrefix(first, "fatal: "))
}
