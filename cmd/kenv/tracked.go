package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kenvhq/kenv/pkg/git"
)

var errTracked = errors.New("git tracks it, and plaintext would be written over it")

// untracked returns an error if a job would write over a file that git tracks, in
// which plaintext is one commit away from everybody. Without git, or outside of its
// work trees, nothing is tracked.
func untracked(ctx context.Context, dir string, jobs []*job) error {
	place, err := realPath(dir)
	is := map[string]bool{}
	if err == nil {
		is, err = tracked(ctx, place)
	}
	if err != nil {
		return hinted{fmt.Errorf("cannot tell whether git tracks files in %s: %w", dir, err), "to write plaintext there all the same: --force"}
	}
	for _, j := range jobs {
		rel, err := filepath.Rel(dir, j.to)
		if err == nil && is[filepath.Join(place, rel)] {
			return hinted{&fileError{j.to, errTracked}, "choose another --output-dir, or insist with --force"}
		}
	}
	return nil
}

// tracked returns the files that git tracks below a directory, which need not exist.
func tracked(ctx context.Context, dir string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	w, err := git.Find(ctx, existing(dir))
	if errors.Is(err, git.ErrNoWorkTree) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := w.Tracked(ctx, dir)
	is := make(map[string]bool, len(list))
	for _, name := range list {
		is[name] = true
	}
	return is, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// realPath returns a path absolute and, as far as it exists, without symbolic links.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	here, below := abs, ""
	for !exists(here) && filepath.Dir(here) != here {
		here, below = filepath.Dir(here), filepath.Join(filepath.Base(here), below)
	}
	here, err = filepath.EvalSymlinks(here)
	return filepath.Join(here, below), err
}
