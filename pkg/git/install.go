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
	"regexp"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/kenv"
)

const (
	textconv = "kenv git textconv"
	check    = "kenv check --staged"
	shebang  = "#!/bin/sh\n"
	hookLine = check + " || exit\n"
)

// A setting is one of git's.
type setting struct{ key, value string }

func settings() []setting {
	return []setting{
		{"diff." + Driver + ".textconv", textconv},
		{"merge." + Driver + ".name", "merge of encrypted files"},
		{"merge." + Driver + ".driver", "kenv git merge %O %A %B %P"},
	}
}

// A scope is whose git config is meant.
type scope string

const (
	local  scope = "local"  // that of a repository
	global scope = "global" // that of a user
)

// A Plan is what Install or Uninstall would change.
type Plan struct {
	Steps []Step
	Notes []string // what is left to do by hand
}

// A Step is one change.
type Step struct {
	Text string // what it does, for people; lines
	do   func(context.Context) error
}

// Apply makes the changes. Those up to the first that fails stay.
func (p *Plan) Apply(ctx context.Context) error {
	for _, s := range p.Steps {
		if err := s.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// InstallGlobal plans to tell all of a user's repositories about kenv's drivers.
// Nothing uses them before a repository's attributes say so.
func InstallGlobal(ctx context.Context) (*Plan, error) {
	p := &Plan{}
	return p, p.addDrivers(ctx, here(false), global)
}

// UninstallGlobal plans to undo InstallGlobal.
func UninstallGlobal(ctx context.Context) (*Plan, error) {
	p := &Plan{}
	return p, p.dropDrivers(ctx, here(false), global)
}

// Install plans to have a work tree use kenv: its drivers, the attributes for the
// files that the configs name, and the hook before a commit. What is there already is
// no step.
func (w *WorkTree) Install(ctx context.Context, configs []*config.Config) (*Plan, error) {
	p := &Plan{}
	if err := p.addDrivers(ctx, w, local); err != nil {
		return nil, err
	}
	for _, c := range configs {
		if err := w.addAttributes(p, c); err != nil {
			return nil, err
		}
	}
	if len(configs) == 0 {
		p.Notes = append(p.Notes, "no config in this work tree says which files are encrypted: kenv init writes one; then run kenv git install again")
	}
	return p, w.addHook(ctx, p)
}

// Uninstall plans to undo Install, byte by byte.
func (w *WorkTree) Uninstall(ctx context.Context) (*Plan, error) {
	p := &Plan{}
	if err := p.dropDrivers(ctx, w, local); err != nil {
		return nil, err
	}
	files, err := w.files(ctx, ".gitattributes")
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		if isLink(path) {
			continue // nothing was put into it
		}
		if err := w.dropBlock(p, path, ""); err != nil {
			return nil, err
		}
	}
	hook, _, err := w.hook(ctx)
	if err != nil {
		return nil, err
	}
	for _, path := range []string{hook, filepath.Join(w.Root, ".husky", "pre-commit")} {
		if err := w.dropBlock(p, path, shebang); err != nil {
			return nil, err
		}
	}
	for _, f := range w.frameworks() {
		if f.has {
			p.Notes = append(p.Notes, fmt.Sprintf("%s runs kenv, and is not changed: take that out by hand", f.name))
		}
	}
	return p, nil
}

// addDrivers has git know kenv's drivers. textconv's output is never to be cached.
func (p *Plan) addDrivers(ctx context.Context, w *WorkTree, of scope) error {
	if driver := Caching(ctx); driver != "" {
		return &CacheError{driver}
	}
	for _, s := range settings() {
		old, err := w.run(ctx, "config", "--"+string(of), "--get", s.key)
		if err != nil && !isExit(err, 1) {
			return err
		}
		switch was := strings.TrimSuffix(string(old), "\n"); {
		case err == nil && was == s.value:
			continue
		case err == nil:
			p.add(fmt.Sprintf("%s git config: %s = %s\n  (it was %q)", of, s.key, s.value, was), func(ctx context.Context) error {
				_, err := w.run(ctx, "config", "--"+string(of), "--replace-all", s.key, s.value)
				return err
			})
		default:
			p.add(fmt.Sprintf("%s git config: %s = %s", of, s.key, s.value), func(ctx context.Context) error {
				_, err := w.run(ctx, "config", "--"+string(of), s.key, s.value)
				return err
			})
		}
	}
	return nil
}

func (p *Plan) dropDrivers(ctx context.Context, w *WorkTree, of scope) error {
	for _, s := range settings() {
		old, err := w.run(ctx, "config", "--"+string(of), "--get", s.key)
		switch was := strings.TrimSuffix(string(old), "\n"); {
		case isExit(err, 1):
		case err != nil:
			return err
		case was != s.value:
			p.Notes = append(p.Notes, fmt.Sprintf("%s is %q, which kenv git install did not set, and stays", s.key, was))
		default:
			p.add(fmt.Sprintf("%s git config: remove %s", of, s.key), func(ctx context.Context) error {
				_, err := w.run(ctx, "config", "--"+string(of), "--unset-all", s.key)
				return err
			})
		}
	}
	return nil
}

func isExit(err error, code int) bool {
	exit := (*exec.ExitError)(nil)
	return errors.As(err, &exit) && exit.ExitCode() == code
}

// A CacheError says that git would store what the textconv of a driver prints.
type CacheError struct{ Driver string }

func (e *CacheError) Error() string {
	return fmt.Sprintf("diff.%s.cachetextconv is set: git would store the plaintext of encrypted files in its notes, for everybody to read", e.Driver)
}

func (w *WorkTree) addAttributes(p *Plan, c *config.Config) error {
	lines, byHand := Attributes(c)
	for _, rule := range byHand {
		p.Notes = append(p.Notes, ruleNote(w.short(c.Path), rule))
	}
	dir := c.Dir
	if _, err := w.within(filepath.Join(dir, "x")); err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is not in this work tree, so its paths cannot be put into .gitattributes", c.Path))
		return nil
	}
	path := filepath.Join(dir, ".gitattributes")
	if isLink(path) {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is a symbolic link, which git does not follow; make it a file, and run kenv git install again", w.short(path)))
		return nil
	}
	text, was, err := readOwn(path)
	switch {
	case err != nil:
		return err
	case len(lines) == 0:
		return w.dropBlock(p, path, "") // of rules that are gone
	}
	mark := ""
	if was.Missing() {
		mark = madeFile
	}
	now, err := putBlock(text, len(text), mark, strings.Join(lines, "\n")+"\n")
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !bytes.Equal(now, text) {
		p.write(fmt.Sprintf("%s: give these files to kenv's drivers\n  %s", w.short(path), strings.Join(lines, "\n  ")), path, was, now, 0o666)
	}
	return nil
}

// hook returns the path of the hook before a commit; ours is false if it belongs
// neither to the work tree nor to its repository.
func (w *WorkTree) hook(ctx context.Context) (path string, ours bool, err error) {
	out, err := w.run(ctx, "rev-parse", "--git-path", "hooks")
	if err != nil {
		return "", false, err
	}
	common, err := w.run(ctx, "rev-parse", "--git-common-dir")
	if err != nil {
		return "", false, err
	}
	abs := func(out []byte) string {
		path := filepath.FromSlash(strings.TrimSuffix(string(out), "\n"))
		if !filepath.IsAbs(path) {
			path = filepath.Join(w.Root, path)
		}
		return path
	}
	path = filepath.Join(abs(out), "pre-commit")
	if _, err := w.within(path); err == nil {
		return path, true, nil
	}
	rel, err := filepath.Rel(abs(common), path)
	return path, err == nil && filepath.IsLocal(rel), nil
}

// A framework is a program that manages the hooks of a work tree by a file of its own.
type framework struct {
	name   string // of the file
	has    bool   // it runs kenv
	stanza string // to add there
}

// frameworks returns those that a work tree uses.
func (w *WorkTree) frameworks() (list []framework) {
	add := func(name, stanza, sign string) {
		if text, err := os.ReadFile(filepath.Join(w.Root, name)); err == nil {
			list = append(list, framework{name, regexp.MustCompile(sign).Match(text), stanza})
		}
	}
	for _, name := range []string{"lefthook.yml", ".lefthook.yml", "lefthook.yaml", ".lefthook.yaml"} {
		add(name, "pre-commit:\n  commands:\n    kenv:\n      run: "+check+"\n", `kenv check`)
	}
	add(".pre-commit-config.yaml", "repos:\n  - repo: https://github.com/kenvhq/kenv\n    rev: v1.0.0   # the version to use\n    hooks:\n      - id: kenv-check\n",
		`kenv-check|kenv check`)
	return list
}

// addHook has a commit checked beforehand, by whatever manages the hooks here.
func (w *WorkTree) addHook(ctx context.Context, p *Plan) error {
	if list := w.frameworks(); len(list) > 0 {
		for _, f := range list {
			if !f.has {
				p.Notes = append(p.Notes, fmt.Sprintf("%s manages the hooks here, and is not changed; add to it\n  %s", f.name,
					strings.TrimSuffix(strings.ReplaceAll(f.stanza, "\n", "\n  "), "\n  ")))
			}
		}
		return nil
	}
	path, ours, err := w.hook(ctx)
	if err != nil {
		return err
	}
	if info, err := os.Stat(filepath.Join(w.Root, ".husky")); err == nil && info.IsDir() {
		path, ours = filepath.Join(w.Root, ".husky", "pre-commit"), true
	}
	if !ours {
		p.Notes = append(p.Notes, fmt.Sprintf("core.hooksPath leads to %s, which other repositories may use too; add to it\n  %s", path, hookLine))
		return nil
	}
	text, was, err := readOwn(path)
	switch {
	case err != nil:
		return err
	case was.Missing():
		now, err := putBlock([]byte(shebang), len(shebang), madeFile, hookLine)
		if err != nil {
			return err
		}
		p.write(fmt.Sprintf("%s: a hook that runs %s before each commit", w.short(path), check), path, was, now, 0o777)
		return nil
	case !isShell(text):
		p.Notes = append(p.Notes, fmt.Sprintf("%s is no shell script, and is not changed; have it run %s, and fail if that fails", w.short(path), check))
		return nil
	}
	if _, found, _, err := cutBlock(text); err == nil && !found && bytes.Contains(text, []byte(check)) {
		return nil // somebody put it there by hand
	}
	// It goes to the top, since a hook may end anywhere.
	at := 0
	if bytes.HasPrefix(text, []byte("#!")) {
		at = len(text)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			at = i + 1
		}
	}
	now, err := putBlock(text, at, "", hookLine)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !bytes.Equal(now, text) {
		p.write(fmt.Sprintf("%s: run %s first", w.short(path), check), path, was, now, 0o777)
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 == 0 && filepath.Base(filepath.Dir(path)) != ".husky" {
		p.Notes = append(p.Notes, fmt.Sprintf("%s is not executable, so git does not run it", w.short(path)))
	}
	return nil
}

// isShell reports whether a hook is a shell script. husky's have no first line that
// says so.
func isShell(text []byte) bool {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if !bytes.HasPrefix(first, []byte("#!")) {
		return !bytes.ContainsRune(text, 0)
	}
	return regexp.MustCompile(`^#!\s*\S*?(/|\benv\s+(-\S+\s+)*)(ba|da|z|k|a)?sh\b`).Match(first)
}

// dropBlock takes kenv's lines out of a file, and the file away if it was made for
// them and holds nothing but what it began with.
func (w *WorkTree) dropBlock(p *Plan, path, bare string) error {
	text, was, err := readOwn(path)
	if err != nil || was.Missing() {
		return err
	}
	rest, found, made, err := cutBlock(text)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case !found:
	case made && string(rest) == bare:
		p.add(fmt.Sprintf("%s: remove it", w.short(path)), func(context.Context) error {
			now, err := kenv.StampOf(path)
			if err == nil && !now.Same(was) {
				err = fmt.Errorf("cannot remove %s: %w", path, kenv.ErrChanged)
			}
			if err != nil {
				return err
			}
			return os.Remove(path)
		})
	default:
		p.write(fmt.Sprintf("%s: take kenv's lines out", w.short(path)), path, was, rest, 0o666)
	}
	return nil
}

func (p *Plan) add(text string, do func(context.Context) error) {
	p.Steps = append(p.Steps, Step{text, do})
}

// write plans to replace a file that is still what it was.
func (p *Plan) write(text, path string, was kenv.Stamp, data []byte, perm fs.FileMode) {
	p.add(text, func(context.Context) error {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return fmt.Errorf("cannot write %s: %w", path, err)
		}
		return kenv.Replace(path, data, kenv.WriteOptions{Ciphertext: true, Perm: perm, Expect: &was})
	})
}

// readOwn reads a small file, which need not be there.
func readOwn(path string) (text []byte, was kenv.Stamp, err error) {
	text, was, err = kenv.ReadFile(path, 1<<20)
	if _, missing := os.Stat(path); errors.Is(missing, fs.ErrNotExist) {
		return nil, kenv.Stamp{}, nil
	}
	return text, was, err
}

// short returns a path as seen from the root.
func (w *WorkTree) short(path string) string {
	if rel, err := w.within(path); err == nil {
		return rel
	}
	return path
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}
