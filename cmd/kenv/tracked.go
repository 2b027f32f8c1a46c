package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

var errTracked = errors.New("git tracks it, and plaintext would be written over it")

// untracked returns an error if a job would write over a file that git tracks, in
// which plaintext is one commit away from everybody. Without git, or outside of its
// work trees, nothing is tracked.
func untracked(ctx context.Context, dir string, jobs []*job) error {
	is, err := tracked(ctx, dir)
	if err != nil {
		return hinted{fmt.Errorf("cannot tell whether git tracks files in %s: %w", dir, err), "to write plaintext there all the same: --force"}
	}
	for _, j := range jobs {
		rel, err := filepath.Rel(dir, j.to)
		if err == nil && is[filepath.ToSlash(rel)] {
			return hinted{&fileError{j.to, errTracked}, "choose another --output-dir, or insist with --force"}
		}
	}
	return nil
}

// tracked returns the paths of the files that git tracks below dir, from there, with
// slashes. The directory need not exist.
func tracked(ctx context.Context, dir string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	here, below := filepath.Clean(dir), "."
	for {
		if _, err := os.Stat(here); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(here) == here {
			break
		}
		here, below = filepath.Dir(here), filepath.Join(filepath.Base(here), below)
	}
	below = filepath.ToSlash(below)
	cmd := exec.CommandContext(ctx, "git", "--literal-pathspecs", "-c", "core.fsmonitor=false", "ls-files", "-z", "--", below)
	cmd.Dir, cmd.Env = here, append(os.Environ(), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	said, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
	switch {
	case errors.Is(err, exec.ErrNotFound), strings.Contains(said, "not a git repository"), strings.Contains(said, "must be run in a work tree"):
		return nil, nil
	case err != nil && said != "":
		return nil, errors.New(said)
	case err != nil:
		return nil, err
	}
	list := map[string]bool{}
	for name := range strings.SplitSeq(string(out), "\x00") {
		if below != "." {
			name = strings.TrimPrefix(name, below+"/")
		}
		list[name] = true
	}
	return list, nil
}
