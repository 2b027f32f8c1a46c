package main

import (
	"bytes"
	"context"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

// A valueJob is one value of one file.
type valueJob struct {
	job
	path kenv.Path
}

// newValueJob takes the arguments FILE PATH.
func newValueJob(cmd *cobra.Command, args []string, inputType string) (*valueJob, error) {
	switch {
	case len(args) < 2:
		return nil, misused(cmd, "name a file and a path in it, such as db.password")
	case args[0] == "":
		return nil, misused(cmd, "the name of the file is empty")
	}
	if err := noEmptyFlags(cmd); err != nil {
		return nil, err
	}
	j := &valueJob{job: job{name: args[0], source: kenv.Source{Name: args[0]}}}
	if args[0] == "-" {
		j.name, j.source.Name = stdinName, ""
	}
	var err error
	if j.path, err = kenv.ParsePath(args[1]); err != nil {
		return nil, misused(cmd, "%w", err)
	}
	if j.source.Format, err = formatFlag(cmd, "--input-type", inputType); err != nil {
		return nil, err
	}
	return j, nil
}

func newGet(p *process) *cobra.Command {
	var format, inputType string
	cmd := &cobra.Command{
		Use:   "get [flags] FILE PATH",
		Short: "Show one value of a file",
		Long: `Show what stands at a path in the first document of an encrypted file. PATH is a.b[0]
or ["a"]["b"][0].

A single value is shown as it is, without quotes or escapes, and in dotenv as programs
read it; a line feed follows on a terminal only. Maps and lists are shown in the file's
format. With --format both are shown in that. The whole file is checked first.

Exit codes: 0 done, 1 failed or nothing is there, 2 wrong usage, 3 no usable master
key, 4 integrity failure.`,
		Example: `  kenv get secrets.yaml db.password
  kenv get secrets.yaml 'hosts[0]' --format json
  psql "$(kenv get prod.env DATABASE_URL)"`,
	}
	cmd.Flags().StringVar(&format, "format", "", "the `format` to show it in: raw, json, yaml or dotenv")
	cmd.Flags().StringVar(&inputType, "input-type", "", "the `format` of the file: yaml, json, dotenv, ini or binary")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 2 {
			return misused(cmd, "%q is one argument too many", args[2])
		}
		j, err := newValueJob(cmd, args, inputType)
		if err != nil {
			return err
		}
		raw := false
		switch format {
		case "":
		case "raw":
			raw = true
		case "json", "yaml", "dotenv":
			if j.output, err = kenv.FormatNamed(format); err != nil {
				return err
			}
		default:
			return misused(cmd, "--format is raw, json, yaml or dotenv, and not %q", format)
		}
		return j.get(cmd.Context(), p, raw)
	}
	return cmd
}

func (j *valueJob) get(ctx context.Context, p *process, raw bool) error {
	if err := j.read(p.ui); err != nil {
		return err
	}
	f, err := p.setup().Open(ctx, j.source)
	if err != nil {
		return j.about(err)
	}
	defer f.Wipe()
	var data []byte
	if raw {
		data, err = kenv.GetRaw(f, j.path)
	} else {
		data, err = kenv.Get(f, j.path, j.output)
	}
	if err != nil {
		return j.about(err)
	}
	defer clear(data)
	if err := p.ui.fit(data); err != nil {
		return j.about(hinted{err, "send it to a file or a program"})
	}
	if isTerminal(p.ui.stdout) && !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	return p.ui.print(data)
}
