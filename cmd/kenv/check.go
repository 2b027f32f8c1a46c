package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/git"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

type checkOptions struct {
	staged, verify, json, sarif bool
	exclude                     []string
}

func newCheck(p *process) *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check [flags] [PATH…]",
		Short: "Find secrets in clear, and encrypted files that are not as the config says",
		Long: `Look for what must not be committed: files that a rule of the config names and that
are not encrypted; values and comments in clear within encrypted files; damaged
metadata; recipients, key groups and rules that are not those of the config; .env files,
private keys, age identities and PINs in clear.

Without a PATH, this is about all files below the directory of the config in force here.
Of a directory, files that git ignores are left out. A file that is named is always
checked.

This takes no key and nothing is fetched from anywhere. --verify also checks the
integrity of files for which a key is at hand; nobody is asked for a passphrase or PIN.

Exit codes: 0 nothing was found, 1 failed, 2 wrong usage, 5 something was found.`,
		Example: `  kenv check                       # in CI
  kenv check --staged              # in a pre-commit hook
  kenv check --verify prod/
  kenv check --sarif >kenv.sarif`,
	}
	f := cmd.Flags()
	f.BoolVar(&o.staged, "staged", false, "check what the next commit adds or changes, as it stands in git's index")
	f.BoolVar(&o.verify, "verify", false, "check mac and seal, too, where a key is at hand")
	f.BoolVar(&o.json, "json", false, "print JSON: docs/check.schema.json")
	f.BoolVar(&o.sarif, "sarif", false, "print SARIF 2.1.0, for code scanning")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out files that match this `pattern`, as in .gitignore, relative to this directory; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, paths []string) error { return runCheck(cmd, p, o, paths) }
	return cmd
}

// A problemsError is what a check found, which has been shown.
type problemsError struct{ problems, files int }

func (e problemsError) Error() string {
	return count(e.problems, "problem") + " in " + count(e.files, "file")
}

func (problemsError) Is(target error) bool { return target == errObjection }

func runCheck(cmd *cobra.Command, p *process, o *checkOptions, paths []string) error {
	if o.json && o.sarif {
		return misused(cmd, "only one of --json and --sarif can be given")
	}
	excluded, err := config.Patterns(o.exclude)
	if err != nil {
		return misused(cmd, "--exclude: %w", err)
	}
	setup := p.setup()
	setup.Keys = p.askingNobody()
	here, err := filepath.Abs(".")
	if err == nil {
		here, err = filepath.EvalSymlinks(here)
	}
	if err != nil {
		return fmt.Errorf("cannot tell the working directory: %w", err)
	}
	s := &checkSet{here: here, excluded: excluded, seen: map[string]bool{}}
	options := kenv.CheckOptions{Verify: o.verify, PINFile: p.setting("pkcs11_pin_file")}
	if o.staged {
		blobs, err := s.addStaged(cmd.Context(), paths, &options)
		if err != nil {
			return err
		}
		defer blobs.Close()
	} else if err := s.addPaths(cmd.Context(), setup, paths); err != nil {
		return err
	}
	report := setup.Check(cmd.Context(), s.files, options)
	switch {
	case o.json:
		err = p.ui.json(checkResult(report, o.staged))
	case o.sarif:
		err = p.ui.json(sarifLog(report, o.staged, s.root(cmd.Context())))
	default:
		err = printProblems(p.ui, report, o.staged)
	}
	if err != nil {
		return err
	}
	if report.NoConfig && !o.staged && len(s.files) > 0 {
		p.ui.warnf("no config is in force for these files, so they were only looked through for keys in clear")
	}
	if report.Unverified > 0 {
		p.ui.warnf("%s could not be verified, as no key is at hand", count(report.Unverified, "file"))
	}
	p.ui.notef("looked at %s: %d encrypted, %d covered by a rule", count(report.Files, "file"), report.Encrypted, report.Covered)
	failed := failures(report.Failures)
	if n := len(report.Problems); n > 0 {
		files := map[string]bool{}
		for _, p := range report.Problems {
			files[p.File] = true
		}
		failed = append(failed, problemsError{n, len(files)})
	}
	return failed.err()
}

// A checkSet is the files to check, each once, named as seen from the working directory.
type checkSet struct {
	here     string // the working directory, without symbolic links
	excluded func(string) bool
	files    []kenv.CheckFile
	seen     map[string]bool
}

// add adds a file by its absolute path.
func (s *checkSet) add(path string, open func() (io.ReadCloser, error)) {
	name, err := filepath.Rel(s.here, path)
	if err != nil {
		name = path
	}
	if !s.seen[name] && !s.excluded(filepath.ToSlash(name)) {
		s.seen[name] = true
		s.files = append(s.files, kenv.CheckFile{Name: name, Open: open})
	}
}

// addPaths adds files and what is below directories, or below the directory of the
// config in force.
func (s *checkSet) addPaths(ctx context.Context, setup kenv.Setup, paths []string) error {
	if len(paths) == 0 {
		c, err := setup.ConfigHere()
		if err != nil {
			return err
		}
		paths = []string{s.here}
		if c != nil && isBelow(c.Dir, s.here) {
			paths = []string{c.Dir}
		}
	}
	for _, path := range paths {
		real, err := filepath.Abs(path)
		if err == nil {
			real, err = filepath.EvalSymlinks(real)
		}
		var info fs.FileInfo
		if err == nil {
			info, err = os.Stat(real)
		}
		switch {
		case err != nil:
			return fmt.Errorf("cannot read %s: %w", path, errors.Unwrap(err))
		case info.IsDir():
			if err := s.addDir(ctx, real); err != nil {
				return err
			}
		default:
			s.add(real, nil)
		}
	}
	return nil
}

// addDir adds what is below a directory: what git does not ignore, if it is in a work
// tree.
func (s *checkSet) addDir(ctx context.Context, dir string) error {
	w, err := git.Find(ctx, dir)
	switch {
	case err == nil:
		files, err := w.Files(ctx, dir)
		for _, path := range files {
			s.add(path, nil)
		}
		return err
	case !errors.Is(err, git.ErrNoWorkTree):
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("reading directory: %w", err)
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Type().IsRegular():
			s.add(path, nil)
		}
		return nil
	})
}

// addStaged adds what is staged, at or below the paths if there are any, and has configs
// read from the index. The caller closes the blobs when the files have been read.
func (s *checkSet) addStaged(ctx context.Context, paths []string, o *kenv.CheckOptions) (*git.Blobs, error) {
	w, err := git.Here(ctx)
	if err != nil {
		return nil, err
	}
	var roots []string
	for _, path := range paths {
		abs, err := filepath.Abs(path)
		if err != nil {
			return nil, err
		}
		// What is staged need not be there.
		if real, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
			abs = filepath.Join(real, filepath.Base(abs))
		}
		roots = append(roots, abs)
	}
	staged, err := w.Staged(ctx)
	if err != nil {
		return nil, err
	}
	configs, err := w.Indexed(ctx, config.Name, config.SopsName)
	if err != nil {
		return nil, err
	}
	blobs, err := w.Blobs(ctx)
	if err != nil {
		return nil, err
	}
	o.Configs = map[string][]byte{}
	for _, e := range configs {
		in, err := blobs.Open(e.ID)
		if err == nil {
			o.Configs[e.Path], err = kenv.Read(in, e.Path, 2<<20) // what is too much for a config is the config's business
			in.Close()
		}
		if err != nil {
			blobs.Close()
			return nil, err
		}
	}
	for _, e := range staged {
		wanted := len(roots) == 0
		for _, r := range roots {
			wanted = wanted || isBelow(r, e.Path)
		}
		if wanted {
			s.add(e.Path, func() (io.ReadCloser, error) { return blobs.Open(e.ID) })
		}
	}
	return blobs, nil
}

// root returns the directory that paths for other programs are relative to.
func (s *checkSet) root(ctx context.Context) string {
	if w, err := git.Find(ctx, s.here); err == nil {
		return w.Root
	}
	return s.here
}

// isBelow reports whether a path is a directory or in it.
func isBelow(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// problemText says what is wrong, in words alone.
func problemText(p kenv.Problem) string {
	text := p.Msg
	if p.Path != "" {
		text = p.Path + ": " + text
	}
	if p.Config != "" {
		text += fmt.Sprintf(" (%s:%d)", shortPath(p.Config), p.ConfigLine)
	}
	return text
}

// printProblems writes each problem in a line that editors and other programs can follow
// to its place, and what to do about it once a file.
func printProblems(u *ui, report *kenv.CheckReport, staged bool) error {
	var b strings.Builder
	for i, p := range report.Problems {
		place := oneLine(p.File)
		if p.Line > 0 {
			place += fmt.Sprintf(":%d", p.Line)
		}
		fmt.Fprintf(&b, "%s: %s\n", place, oneLine(problemText(p)))
		hint := problemHint(p, staged)
		if next := i + 1; next == len(report.Problems) || report.Problems[next].File != p.File || problemHint(report.Problems[next], staged) != hint {
			fmt.Fprintf(&b, "  hint: %s\n", oneLine(hint))
		}
	}
	return u.print([]byte(b.String()))
}

// problemHint says what to type.
func problemHint(p kenv.Problem, staged bool) string {
	name := quote(p.File)
	add := ""
	if staged {
		add = ", then git add " + name
	}
	switch p.Kind {
	case kenv.NotEncrypted:
		command := "kenv encrypt -i "
		if f, err := kenv.FormatOf(p.File, nil); f == nil || err != nil {
			command += "--input-type binary "
		}
		return command + name + add + `; or take it out of the rule with a pattern that begins with "!"`
	case kenv.ValueInClear, kenv.DamagedToken:
		return "undo that, and change values with kenv edit " + name + add + "; a secret that others have seen has to be changed"
	case kenv.DamagedMetadata:
		return "restore it from version control"
	case kenv.MergeConflict:
		return "resolve it; of an encrypted file take one side whole: git checkout --ours " + name + " (or --theirs)"
	case kenv.UnresolvedMerge:
		return "kenv edit " + name + add
	case kenv.MissingRecipient, kenv.ExtraRecipient, kenv.KeyGroups:
		return "kenv updatekeys " + name + add
	case kenv.WrongSelector:
		return "to encrypt it as the rule says: kenv decrypt -i " + name + ", then kenv encrypt -i " + name + add
	case kenv.Unsealed:
		return "sops wrote it last; decrypt it with sops and encrypt it with kenv if you trust what it says"
	case kenv.Integrity:
		return "if it was edited by hand, undo that; else restore it from version control, since somebody without its key changed it"
	case kenv.EnvFile:
		return "encrypt it: add it to a rule, then kenv encrypt -i " + name + add + "; or have git ignore it"
	}
	return "keep it out of the repository: git rm --cached " + name + "; what others have seen has to be replaced"
}

// A checkedSet is what --json shows.
type checkedSet struct {
	OK         bool      `json:"ok"`
	Files      int       `json:"files"`
	Covered    int       `json:"covered"`
	Encrypted  int       `json:"encrypted"`
	Verified   int       `json:"verified"`
	Unverified int       `json:"unverified"`
	Problems   []problem `json:"problems"`
	Failures   []string  `json:"failures"`
}

// A problem is a kenv.Problem, and what to do about it.
type problem struct {
	Kind       string `json:"kind"`
	File       string `json:"file"`
	Line       int    `json:"line"`
	Path       string `json:"path"`
	Message    string `json:"message"`
	Config     string `json:"config"`
	ConfigLine int    `json:"config_line"`
	Hint       string `json:"hint"`
}

func checkResult(report *kenv.CheckReport, staged bool) checkedSet {
	out := checkedSet{
		OK:    len(report.Problems)+len(report.Failures) == 0,
		Files: report.Files, Covered: report.Covered, Encrypted: report.Encrypted,
		Verified: report.Verified, Unverified: report.Unverified,
		Problems: []problem{}, Failures: []string{},
	}
	for _, p := range report.Problems {
		out.Problems = append(out.Problems, problem{p.Kind, filepath.ToSlash(p.File), p.Line, p.Path, p.Msg, shortPath(p.Config), p.ConfigLine, problemHint(p, staged)})
	}
	for _, err := range report.Failures {
		out.Failures = append(out.Failures, err.Error())
	}
	return out
}

// sarifLog is what --sarif shows. Paths are relative to a root directory.
func sarifLog(report *kenv.CheckReport, staged bool, root string) any {
	type object map[string]any
	index := map[string]int{}
	rules := []object{}
	for i, k := range kenv.CheckKinds() {
		index[k.ID] = i
		rules = append(rules, object{"id": k.ID, "shortDescription": object{"text": k.About}, "defaultConfiguration": object{"level": "error"}})
	}
	results := []object{}
	for _, p := range report.Problems {
		results = append(results, object{
			"ruleId": p.Kind, "ruleIndex": index[p.Kind], "level": "error",
			"message": object{"text": problemText(p) + "\n" + problemHint(p, staged)},
			"locations": []object{{"physicalLocation": object{
				"artifactLocation": sarifLocation(p.File, root),
				"region":           object{"startLine": max(p.Line, 1)},
			}}},
		})
	}
	notes := []object{}
	for _, err := range report.Failures {
		notes = append(notes, object{"level": "error", "message": object{"text": err.Error()}})
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json",
		"version": "2.1.0",
		"runs": []object{{
			"tool":        object{"driver": object{"name": "kenv", "version": version, "informationUri": "https://github.com/kenvhq/kenv", "rules": rules}},
			"invocations": []object{{"executionSuccessful": len(report.Failures) == 0, "toolExecutionNotifications": notes}},
			"results":     results,
		}},
	}
}

// sarifLocation names a file by a URI: below the root relative to it, as code scanning
// wants it.
func sarifLocation(name, root string) map[string]any {
	abs, err := filepath.Abs(name)
	if real, err2 := filepath.EvalSymlinks(filepath.Dir(abs)); err2 == nil {
		abs = filepath.Join(real, filepath.Base(abs))
	}
	if err != nil || !isBelow(root, abs) {
		return map[string]any{"uri": (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String()}
	}
	rel, _ := filepath.Rel(root, abs)
	return map[string]any{"uri": (&url.URL{Path: filepath.ToSlash(rel)}).String(), "uriBaseId": "%SRCROOT%"}
}
