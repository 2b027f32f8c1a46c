package main

import (
	"context"
	"strings"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

type rotateOptions struct {
	fileOptions
	attrOptions
	add, remove keyOptions
	kenv.RotateOptions
}

func newRotate(p *process) *cobra.Command {
	o := &rotateOptions{}
	cmd := &cobra.Command{
		Use:   "rotate [flags] FILE…",
		Short: "Encrypt files anew, under a new data key",
		Long: `Encrypt files anew, under a new data key, to standard output unless --in-place or
--output says otherwise. The master keys stay those of the file but for what
--add-key and --rm-key say; kenv updatekeys makes them those of the config.

The file's integrity is checked first, and the new file is opened once with a key
at hand before it replaces the old one. What the old data key protected is still in
version control and in the memory of whoever has read it: after a leak, change the
secrets themselves.

With --recursive a directory stands for the encrypted files below it that a rule
covers, or for all of them where there is no config.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 the file has recipients that its rule does not name.`,
		Example: `  kenv rotate -i secrets.yaml
  kenv rotate -r -i .
  kenv rotate -i --rm-key age1… --add-key arn:aws:kms:eu-west-1:111122223333:alias/prod secrets.yaml`,
	}
	o.fileOptions.addFlags(cmd, false)
	f := cmd.Flags()
	o.add.addFlags(f, p.table, "add-", "encrypt for as well")
	o.remove.addFlags(f, p.table, "rm-", "encrypt for no longer")
	o.attrOptions.addFlags(f, p.table)
	f.BoolVar(&o.AcceptRecipients, "accept-recipients", false, "allow keys that the file's rule does not name")
	cmd.RunE = func(cmd *cobra.Command, files []string) error { return runRotate(cmd, p, o, files) }
	return cmd
}

func runRotate(cmd *cobra.Command, p *process, o *rotateOptions, files []string) error {
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	jobs, err := o.jobs(cmd, p.ui, files, below(setup))
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		p.ui.notef("no encrypted file there is covered by a rule")
		return nil
	}
	if o.Add, err = o.add.all(cmd, p.table); err != nil {
		return err
	}
	if o.Remove, err = o.remove.all(cmd, p.table); err != nil {
		return err
	}
	return p.each(jobs, func(j *job) error { return o.rotate(cmd.Context(), p, setup, j) })
}

func (o *rotateOptions) rotate(ctx context.Context, p *process, setup kenv.Setup, j *job) error {
	done, err := j.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	out, err := setup.Rotate(ctx, j.source, o.RotateOptions)
	if err != nil {
		return j.about(err)
	}
	if err := j.write(ctx, p, out.Data, kenv.WriteOptions{Ciphertext: true, Perm: 0o666}); err != nil {
		return err
	}
	if len(out.Lost) > 0 {
		j.warnf("%s: it lacks keys that its rule names: %s; to add them: kenv updatekeys %s", j.name, shortNames(out.Lost), quote(j.name))
	}
	sayResealed(j.speaker, j.name, out)
	j.notef("%s: new data key, encrypted for %s", j.name, audience(out))
	return nil
}

// sayResealed says what there is to know about a file that was encrypted anew.
func sayResealed(s speaker, name string, out *kenv.Encrypted) {
	if out.Unproven != nil {
		s.warnf("%s: no key here opens the new file, so nobody has tried whether it opens", name)
	}
	if out.FirstSeal {
		s.notef("%s: sealed for the first time: sops wrote it last, so look whether these are its recipients", name)
	}
}

func shortNames(names []string) string {
	short := make([]string, len(names))
	for i, n := range names {
		short[i] = keys.Short(n)
	}
	return strings.Join(short, ", ")
}
