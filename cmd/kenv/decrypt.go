package main

import (
	"context"
	"errors"
	"unicode"
	"unicode/utf8"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

type decryptOptions struct {
	fileOptions
	extract   string
	path      kenv.Path
	ignoreMAC bool
	force     bool
}

func newDecrypt(p *process) *cobra.Command {
	o := &decryptOptions{}
	cmd := &cobra.Command{
		Use:   "decrypt [flags] FILE…",
		Short: "Decrypt files",
		Long: `Decrypt files, to standard output unless --in-place or --output says otherwise. The
result is what was encrypted, byte for byte. Nothing is shown before all of the
file was checked.

With --extract PATH only what stands there in the first document is shown: a string
as it is, without a line feed, anything else in the file's format. PATH is a.b[0]
or ["a"]["b"][0].

Several files are worked on side by side, and one that fails does not keep the others
from it. With --recursive a directory stands for the encrypted files below it that a
rule covers, or for all of them where there is no config. With --output-dir no file is
written over that git tracks, but with --force.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 git tracks a file that would be written over; of several failures that of
the first file.`,
		Example: `  kenv decrypt secrets.yaml
  kenv decrypt --extract db.password secrets.yaml
  kenv decrypt --output-type json secrets.yaml
  kenv decrypt -r --output-dir /run/secrets deploy`,
	}
	o.addFlags(cmd, true)
	cmd.Flags().StringVar(&o.extract, "extract", "", "show only what stands at this `path`")
	cmd.Flags().BoolVar(&o.force, "force", false, "write plaintext with --output-dir also over files that git tracks")
	cmd.Flags().BoolVar(&o.ignoreMAC, "ignore-mac", false, "to rescue data from a damaged file: show it unverified, whoever may have changed it")
	cmd.RunE = func(cmd *cobra.Command, files []string) error { return runDecrypt(cmd, p, o, files) }
	return cmd
}

func runDecrypt(cmd *cobra.Command, p *process, o *decryptOptions, files []string) error {
	setup := p.setup()
	jobs, err := o.jobs(cmd, p.ui, files, below(setup))
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		p.ui.notef("no encrypted file there is covered by a rule")
		return nil
	}
	if o.extract != "" {
		if o.path, err = kenv.ParsePath(o.extract); err != nil {
			return misused(cmd, "--extract: %w", err)
		}
		switch {
		case o.inPlace:
			return misused(cmd, "--extract with --in-place would replace the file by a part of it; use --output")
		case len(jobs) > 1 || o.recursive:
			return misused(cmd, "--extract is for a single file")
		}
	}
	if o.ignoreMAC && (o.inPlace || o.output != "" && o.output != "-" || o.outputDir != "") {
		return misused(cmd, "--ignore-mac shows what is in a file, on standard output; it writes no files")
	}
	if o.outputDir != "" && !o.force {
		if err := untracked(cmd.Context(), o.outputDir, jobs); err != nil {
			return err
		}
	}
	return p.each(jobs, func(j *job) error { return o.decrypt(cmd.Context(), p, setup, j) })
}

func (o *decryptOptions) decrypt(ctx context.Context, p *process, setup kenv.Setup, j *job) error {
	done, err := j.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	open := setup.Open
	if o.ignoreMAC {
		open = setup.OpenUnverified
	}
	f, err := open(ctx, j.source)
	if err != nil {
		return j.about(err)
	}
	if o.ignoreMAC {
		j.warnf("%s: neither its mac nor its seal was looked at: anybody may have changed keys, order, types and clear values", j.name)
	}
	defer f.Wipe()
	var data []byte
	if o.path != nil {
		data, err = kenv.Extract(f, o.path, j.output)
	} else {
		data, err = kenv.Text(f, j.output)
	}
	if err != nil {
		return j.about(err)
	}
	defer clear(data)
	if j.to == "" && !j.anyway {
		if err := p.ui.fit(data); err != nil {
			return j.about(hinted{err, "write it to a file with -o FILE, or send it all the same with -o -"})
		}
	}
	if err := j.write(ctx, p, data, kenv.WriteOptions{}); err != nil {
		return err
	}
	if o.inPlace {
		j.notef("%s is plaintext now; to encrypt it again: kenv encrypt -i %s", j.name, quote(j.name))
	}
	return nil
}

// fit returns an error if data should not be shown on the terminal that standard
// output is.
func (u *ui) fit(data []byte) error {
	if isTerminal(u.stdout) && !printable(data) {
		return errors.New("its plaintext has control characters, which are not sent to a terminal")
	}
	return nil
}

// printable reports whether data is text that does nothing to a terminal but show, in
// the order in which it stands.
func printable(data []byte) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' || unicode.Is(unicode.Bidi_Control, r) {
			return false
		}
		data = data[n:]
	}
	return true
}
