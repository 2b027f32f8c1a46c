package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// stdinName is what messages call standard input.
const stdinName = "standard input"

// fileOptions are the flags of commands that turn files into others.
type fileOptions struct {
	inPlace, recursive bool
	output, outputDir  string

	nameOverride          string
	inputType, outputType string
}

func (o *fileOptions) addFlags(cmd *cobra.Command, converts bool) {
	f := cmd.Flags()
	f.BoolVarP(&o.inPlace, "in-place", "i", false, "write the result back to the file")
	f.StringVarP(&o.output, "output", "o", "", "write the result to this `file`; - is standard output")
	f.StringVar(&o.outputDir, "output-dir", "", "write the results to this `directory`, under the files' own names")
	f.BoolVarP(&o.recursive, "recursive", "r", false, "of a directory, take the files below it; with --output-dir the tree stays as it is")
	f.StringVar(&o.nameOverride, "filename-override", "", "choose format and rule as for a file of this `name`")
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the input: "+formatWords())
	if !converts {
		return
	}
	f.StringVar(&o.outputType, "output-type", "", "the `format` of the output, if it is another one")
}

// formatWords lists the formats for a usage text.
func formatWords() string {
	words := kenv.Formats()
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// A job is one file on its way.
type job struct {
	speaker
	name   string // as given
	source kenv.Source
	stamp  kenv.Stamp
	lock   *kenv.Lock // nil: the job does not hold it
	output doc.Format // nil: that of the input
	to     string     // a path; "" is standard output
	deep   bool       // the directories that to is in are made if need be
	anyway bool       // standard output takes binary data even if it is a terminal
}

// jobs finds every contradiction in the flags before a file is touched. With
// --recursive a directory stands for the files that below returns for it.
func (o *fileOptions) jobs(cmd *cobra.Command, u *ui, files []string, below func(dir string) ([]string, error)) ([]*job, error) {
	if err := noEmptyFlags(cmd); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		if isTerminal(u.stdin) {
			return nil, misused(cmd, "name a file; - is standard input")
		}
		files = []string{"-"}
	}
	if err := o.check(cmd, len(files)); err != nil {
		return nil, err
	}
	input, err := formatFlag(cmd, "--input-type", o.inputType)
	if err != nil {
		return nil, err
	}
	output, err := formatFlag(cmd, "--output-type", o.outputType)
	if err != nil {
		return nil, err
	}
	found, err := o.find(files, below)
	if err != nil {
		return nil, err
	}
	var jobs []*job
	seen := map[string]string{}
	for _, f := range found {
		j := &job{speaker: u.speaker, name: f.name, output: output, anyway: o.output == "-", deep: o.recursive}
		j.source.Format = input
		if err := o.place(cmd, j, f); err != nil {
			return nil, err
		}
		if other, twice := seen[filepath.Clean(j.to)]; twice && j.to != "" {
			return nil, misused(cmd, "%s and %s would both be written to %s", other, f.name, j.to)
		}
		seen[filepath.Clean(j.to)] = f.name
		jobs = append(jobs, j)
	}
	return jobs, nil
}

// check finds contradictions between flags, and between them and the number of files.
func (o *fileOptions) check(cmd *cobra.Command, files int) error {
	given := 0
	for _, yes := range []bool{o.inPlace, o.output != "", o.outputDir != ""} {
		if yes {
			given++
		}
	}
	switch {
	case given > 1:
		return misused(cmd, "only one of --in-place, --output and --output-dir can be given")
	case o.recursive && o.nameOverride != "":
		return misused(cmd, "--filename-override is for a single file")
	case o.recursive && !o.inPlace && o.outputDir == "":
		return misused(cmd, "--recursive needs --in-place or --output-dir")
	case files > 1 && !o.inPlace && o.outputDir == "":
		return misused(cmd, "several files need --in-place or --output-dir")
	case files > 1 && o.nameOverride != "":
		return misused(cmd, "--filename-override is for a single file")
	}
	return nil
}

// formatFlag returns the format that a flag names, nil if it is not given.
func formatFlag(cmd *cobra.Command, flag, word string) (doc.Format, error) {
	if word == "" {
		return nil, nil
	}
	f, err := kenv.FormatNamed(word)
	if err != nil {
		return nil, misused(cmd, "%s: %w", flag, err)
	}
	return f, nil
}

// place says what a job's file goes by, and where the result belongs.
func (o *fileOptions) place(cmd *cobra.Command, j *job, f found) error {
	name := f.name
	switch {
	case name == "-" && (o.inPlace || o.outputDir != ""):
		return misused(cmd, "standard input has no place to write to; use --output")
	case name == "-":
		j.name = stdinName
	case name == "":
		return misused(cmd, "the name of a file is empty")
	default:
		j.source.Name = name
	}
	if o.nameOverride != "" {
		j.source.Name = o.nameOverride
	}
	switch {
	case o.inPlace:
		j.to = name
	case o.outputDir != "":
		j.to = filepath.Join(o.outputDir, f.rel)
	case o.output != "-":
		j.to = o.output
	}
	if o.inPlace && j.output != nil {
		from := j.source.Format
		if from == nil {
			from, _ = kenv.FormatOf(j.source.Name, nil)
		}
		if from == nil || from.Name() != j.output.Name() {
			return misused(cmd, "--output-type %s with --in-place would leave %s in a format that is not its name's; use --output", j.output.Name(), name)
		}
	}
	if !o.inPlace && j.to != "" && name != "-" && sameFile(j.to, name) {
		return &usageError{command: cmd.CommandPath(), err: errors.New("input and output are the same file: " + name),
			hint: "to write the result back to the file: -i"}
	}
	return nil
}

// A found is a file to work on, and its path in a directory of results.
type found struct{ name, rel string }

// find returns the files that arguments stand for, each once if it is found below
// several directories.
func (o *fileOptions) find(files []string, below func(dir string) ([]string, error)) (list []found, err error) {
	seen := map[string]bool{}
	for _, name := range files {
		if info, err := os.Stat(name); !o.recursive || err != nil || !info.IsDir() {
			list = append(list, found{name, filepath.Base(name)})
			seen[filepath.Clean(name)] = true
			continue
		}
		names, err := below(name)
		if err != nil {
			return nil, err
		}
		for _, path := range names {
			if seen[filepath.Clean(path)] {
				continue
			}
			seen[filepath.Clean(path)] = true
			rel, err := filepath.Rel(name, path)
			if err != nil {
				return nil, err
			}
			list = append(list, found{path, rel})
		}
	}
	return list, nil
}

// noEmptyFlags refuses flags with an empty value, which come of shell variables
// that are not set: --output "$OUT" must not mean standard output.
func noEmptyFlags(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if err == nil && f.Value.Type() == "string" && f.Value.String() == "" {
			err = misused(cmd, "the value of --%s is empty", f.Name)
		}
	})
	return err
}

// shortPath returns an absolute path as seen from here, if that is shorter.
func shortPath(path string) string {
	dir, err := filepath.EvalSymlinks(".")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		if rel, err := filepath.Rel(dir, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}

func sameFile(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	if errA == nil && errB == nil && absA == absB {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB) && infoA.Mode().IsRegular()
}

// read fills in the job's data.
func (j *job) read(u *ui) (err error) {
	if j.name == stdinName {
		j.source.Data, err = kenv.Read(u.stdin, stdinName, kenv.MaxSize)
		return err
	}
	// Opening a FIFO to find that it cannot be replaced would wait for its writer.
	if info, err := os.Stat(j.name); err == nil && j.to == j.name && !info.IsDir() && !info.Mode().IsRegular() {
		return &fileError{j.name, errors.New("not a regular file, so it cannot be written in place")}
	}
	j.source.Data, j.stamp, err = kenv.ReadFile(j.name, kenv.MaxSize)
	return err
}

// take is read for a job that writes to a file. If that is the one it reads, it has no
// other kenv write to it in between, until done is called.
func (j *job) take(ctx context.Context, u *ui) (done func(), err error) {
	if j.to == j.name && j.name != stdinName {
		if err := j.takeLock(ctx, u); err != nil {
			return nil, err
		}
	}
	if err := j.read(u); err != nil {
		j.dropLock()
		return nil, err
	}
	return j.dropLock, nil
}

// lockNote is after how long those who wait for a lock are told so.
const lockNote = time.Second

func (j *job) takeLock(ctx context.Context, u *ui) (err error) {
	note := time.AfterFunc(lockNote, func() { u.notef("%s: waiting for another kenv that writes to it", j.to) })
	defer note.Stop()
	j.lock, err = kenv.LockFile(ctx, j.to)
	return err
}

func (j *job) dropLock() {
	if j.lock != nil {
		j.lock.Unlock()
		j.lock = nil
	}
}

// about says which file an error is about.
func (j *job) about(err error) error {
	if err == nil {
		return nil
	}
	return &fileError{j.name, err}
}

// write puts the result where it belongs.
func (j *job) write(ctx context.Context, p *process, data []byte, o kenv.WriteOptions) error {
	if j.to == "" {
		return p.ui.print(data)
	}
	if j.lock == nil {
		if err := j.takeLock(ctx, p.ui); err != nil {
			return err
		}
		defer j.dropLock()
	}
	o.Lock = j.lock
	if j.to == j.name {
		o.Expect = &j.stamp
	} else if j.deep {
		perm := fs.FileMode(0o700)
		if o.Ciphertext {
			perm = 0o777
		}
		if err := os.MkdirAll(filepath.Dir(j.to), perm); err != nil {
			return fmt.Errorf("cannot make the directory of %s: %w", j.to, err)
		}
	}
	return p.uninterrupted(func() error { return kenv.Replace(j.to, data, o) })
}

// below returns the encrypted files below a directory.
func below(setup kenv.Setup) func(dir string) ([]string, error) {
	return func(dir string) ([]string, error) { return setup.EncryptedFiles([]string{dir}) }
}
