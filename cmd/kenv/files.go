package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// stdinName is what messages call standard input.
const stdinName = "standard input"

// fileOptions are the flags of commands that turn files into others.
type fileOptions struct {
	inPlace           bool
	output, outputDir string

	nameOverride          string
	inputType, outputType string
}

func (o *fileOptions) addFlags(cmd *cobra.Command, converts bool) {
	f := cmd.Flags()
	f.BoolVarP(&o.inPlace, "in-place", "i", false, "write the result back to the file")
	f.StringVarP(&o.output, "output", "o", "", "write the result to this `file`; - is standard output")
	f.StringVar(&o.outputDir, "output-dir", "", "write the results to this `directory`, under the files' own names")
	f.StringVar(&o.nameOverride, "filename-override", "", "choose format and rule as for a file of this `name`")
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the input: yaml, json, dotenv, ini or binary")
	if !converts {
		return
	}
	f.StringVar(&o.outputType, "output-type", "", "the `format` of the output, if it is another one")
}

// A job is one file on its way.
type job struct {
	name   string // as given
	source kenv.Source
	stamp  kenv.Stamp
	output doc.Format // nil: that of the input
	to     string     // a path; "" is standard output
	anyway bool       // standard output takes binary data even if it is a terminal
}

// jobs finds every contradiction in the flags before a file is touched.
func (o *fileOptions) jobs(cmd *cobra.Command, u *ui, files []string) ([]*job, error) {
	if err := noEmptyFlags(cmd); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		if isTerminal(u.stdin) {
			return nil, misused(cmd, "name a file; - is standard input")
		}
		files = []string{"-"}
	}
	given := 0
	for _, yes := range []bool{o.inPlace, o.output != "", o.outputDir != ""} {
		if yes {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, misused(cmd, "only one of --in-place, --output and --output-dir can be given")
	case len(files) > 1 && !o.inPlace && o.outputDir == "":
		return nil, misused(cmd, "several files need --in-place or --output-dir")
	case len(files) > 1 && o.nameOverride != "":
		return nil, misused(cmd, "--filename-override is for a single file")
	}
	var input, output doc.Format
	for _, word := range []struct {
		flag, value string
		format      *doc.Format
	}{{"--input-type", o.inputType, &input}, {"--output-type", o.outputType, &output}} {
		if word.value == "" {
			continue
		}
		f, err := kenv.FormatNamed(word.value)
		if err != nil {
			return nil, misused(cmd, "%s: %w", word.flag, err)
		}
		*word.format = f
	}

	var jobs []*job
	seen := map[string]string{}
	for _, name := range files {
		j := &job{name: name, output: output, anyway: o.output == "-"}
		j.source.Format = input
		switch {
		case name == "-" && (o.inPlace || o.outputDir != ""):
			return nil, misused(cmd, "standard input has no place to write to; use --output")
		case name == "-":
			j.name = stdinName
		case name == "":
			return nil, misused(cmd, "the name of a file is empty")
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
			j.to = filepath.Join(o.outputDir, filepath.Base(name))
		case o.output != "-":
			j.to = o.output
		}
		if o.inPlace && output != nil {
			from := input
			if from == nil {
				from, _ = kenv.FormatOf(j.source.Name, nil)
			}
			if from == nil || from.Name() != output.Name() {
				return nil, misused(cmd, "--output-type %s with --in-place would leave %s in a format that is not its name's; use --output", output.Name(), name)
			}
		}
		if !o.inPlace && j.to != "" && name != "-" && sameFile(j.to, name) {
			return nil, &usageError{command: cmd.CommandPath(), err: errors.New("input and output are the same file: " + name),
				hint: "to write the result back to the file: -i"}
		}
		if other, twice := seen[filepath.Clean(j.to)]; twice && j.to != "" {
			return nil, misused(cmd, "%s and %s would both be written to %s", other, name, j.to)
		}
		seen[filepath.Clean(j.to)] = name
		jobs = append(jobs, j)
	}
	return jobs, nil
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

// each runs work for every job. One that fails does not keep the others from it.
func each(jobs []*job, work func(*job) error) error {
	var failed failures
	for _, j := range jobs {
		if err := work(j); err != nil {
			failed = append(failed, err)
		}
	}
	return failed.err()
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

// about says which file an error is about.
func (j *job) about(err error) error {
	if err == nil {
		return nil
	}
	return &fileError{j.name, err}
}

// write puts the result where it belongs.
func (j *job) write(p *process, data []byte, o kenv.WriteOptions) error {
	if j.to == "" {
		return p.ui.print(data)
	}
	if j.to == j.name {
		o.Expect = &j.stamp
	}
	return p.uninterrupted(func() error { return kenv.Replace(j.to, data, o) })
}
