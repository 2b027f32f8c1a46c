package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

// changeOptions are what set and unset have in common.
type changeOptions struct {
	kenv.ChangeOptions
	idempotent bool
	inputType  string
}

func (o *changeOptions) addFlags(cmd *cobra.Command, idempotent string) {
	f := cmd.Flags()
	f.BoolVar(&o.idempotent, "idempotent", false, idempotent)
	f.BoolVar(&o.FollowAliases, "follow-aliases", false, "change also what YAML aliases (*name) repeat of it elsewhere")
	f.BoolVar(&o.AcceptRecipients, "accept-recipients", false, "allow keys that the file's rule does not name")
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the file: yaml, json, dotenv, ini or binary")
}

type setOptions struct {
	changeOptions
	literal   bool
	fromStdin bool
	fromFile  bool
}

func newSet(p *process) *cobra.Command {
	o := &setOptions{}
	cmd := &cobra.Command{
		Use:   "set [flags] FILE PATH [VALUE]",
		Short: "Set one value of a file",
		Long: `Set the value at a path in the first document of an encrypted file, in place. Only the
lines of that value change, and the integrity lines. PATH is a.b[0] or ["a"]["b"][0];
missing maps on the way are made, and an index that is the length of a list appends. In
INI it is SECTION.KEY, and DEFAULT is the section of the keys before any header.

VALUE is JSON: "text", 5, true, null, {"a": 1} or [1, 2]. With --string it is text as it
stands. What is on a command line, others on the machine can see, and the shell
remembers it: leave VALUE out to be asked for a text, or use --value-stdin, or
--value-file, with which VALUE is the name of a file that holds it. Of the text of
--string --value-stdin one line feed at the end is dropped.

What is written in clear, or encrypted, is as the file's rules have it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 the file has recipients that its rule does not name.`,
		Example: `  kenv set secrets.yaml db.password                 # asks
  pwgen 32 1 | kenv set --string --value-stdin secrets.yaml db.password
  kenv set --string --value-file secrets.yaml tls.key server.key
  kenv set secrets.yaml 'hosts[0]' '{"name": "a", "port": 5432}'`,
	}
	o.addFlags(cmd, "do nothing if the value is that already")
	f := cmd.Flags()
	f.BoolVar(&o.literal, "string", false, "the value is text, no JSON")
	f.BoolVar(&o.fromStdin, "value-stdin", false, "read the value from standard input")
	f.BoolVar(&o.fromFile, "value-file", false, "VALUE is the name of a file to read the value from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j, err := newChange(cmd, args, o.inputType)
		if err != nil {
			return err
		}
		v, err := o.value(cmd, p, j, args[2:])
		if err != nil {
			return err
		}
		return j.set(cmd.Context(), p, o, v)
	}
	return cmd
}

func newUnset(p *process) *cobra.Command {
	o := &changeOptions{}
	cmd := &cobra.Command{
		Use:   "unset [flags] FILE PATH",
		Short: "Take one value out of a file",
		Long: `Take what stands at a path in the first document out of an encrypted file, in place.
PATH is a.b[0] or ["a"]["b"][0]. Of a map or list without items {} or [] stays,
and of an INI section its header.

The comment on the same line goes too. So do the comment lines directly above, unless
the next key stands directly below, which they may be about as well, or the file begins
with them.

Exit codes: 0 done, 1 failed or nothing is there, 2 wrong usage, 3 no usable master
key, 4 integrity failure, 5 the file has recipients that its rule does not name.`,
		Example: `  kenv unset secrets.yaml db.password`,
	}
	o.addFlags(cmd, "do nothing if nothing is there")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		j, err := newChange(cmd, args, o.inputType)
		if err != nil {
			return err
		}
		if len(args) > 2 {
			return misused(cmd, "%q is one argument too many", args[2])
		}
		return j.unset(cmd.Context(), p, o)
	}
	return cmd
}

// newChange is newValueJob for a file that is written back.
func newChange(cmd *cobra.Command, args []string, inputType string) (*valueJob, error) {
	j, err := newValueJob(cmd, args, inputType)
	if err != nil {
		return nil, err
	}
	if j.name == stdinName {
		return nil, misused(cmd, "standard input has no place to write to; name a file")
	}
	j.to = j.name
	return j, nil
}

// value returns the value that is given in one of four ways.
func (o *setOptions) value(cmd *cobra.Command, p *process, j *valueJob, args []string) (*doc.Document, error) {
	literal := o.literal
	var data []byte
	var err error
	switch {
	case len(args) > 1:
		return nil, misused(cmd, "VALUE is one argument; quote it for the shell")
	case o.fromStdin && (o.fromFile || len(args) > 0):
		return nil, misused(cmd, "only one of VALUE, --value-stdin and --value-file can be given")
	case o.fromFile && (len(args) == 0 || args[0] == ""):
		return nil, misused(cmd, "--value-file needs the name of the file as VALUE")
	case o.fromFile:
		if data, _, err = kenv.ReadFile(args[0], kenv.MaxSize); err != nil {
			return nil, err
		}
	case len(args) == 1:
		data = []byte(args[0])
	case o.fromStdin:
		if data, err = kenv.Read(p.ui.stdin, stdinName, kenv.MaxSize); err != nil {
			return nil, err
		}
		if line, ok := bytes.CutSuffix(data, []byte("\n")); ok && literal {
			data = bytes.TrimSuffix(line, []byte("\r"))
		}
	case !isTerminal(p.ui.stdin):
		return nil, &usageError{command: cmd.CommandPath(), err: errors.New("no value is given"), hint: "to read it from standard input: --value-stdin"}
	default:
		// What is wrong with the file is said before somebody types.
		if err := j.read(p.ui); err != nil {
			return nil, err
		}
		literal = true
		data, err = p.ui.prompt(cmd.Context(), "New value of "+j.path.String()+": ")
		if errors.Is(err, keys.ErrNoTerminal) || err == nil && len(data) == 0 {
			return nil, misused(cmd, "no value is given; an empty one is --string ''")
		}
		if err != nil {
			return nil, err
		}
	}
	defer clear(data)
	if literal {
		if !utf8.Valid(data) {
			return nil, errors.New("the value is not UTF-8 text; base64 would be")
		}
		return doc.StringValue(string(data)), nil
	}
	v, err := doc.ParseValue(bytes.Clone(data)) // which keeps it
	if err != nil {
		return nil, &usageError{command: cmd.CommandPath(), err: fmt.Errorf("the value: %w", err), hint: `text needs double quotes inside the shell's quotes, '"like this"', or --string`}
	}
	return v, nil
}

func (j *valueJob) set(ctx context.Context, p *process, o *setOptions, v *doc.Document) error {
	done, err := j.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	out, err := p.setup().Set(ctx, j.source, j.path, v, o.ChangeOptions)
	if err != nil {
		return j.about(err)
	}
	if err := j.finish(ctx, p, out, o.idempotent); err != nil || out.Same {
		return err
	}
	if out.Added {
		p.ui.notef("%s: %q is new", j.name, j.path.String())
	}
	if out.Clear {
		p.ui.notef("%s: %q is in clear, as the file's rules have it", j.name, j.path.String())
	}
	return nil
}

func (j *valueJob) unset(ctx context.Context, p *process, o *changeOptions) error {
	done, err := j.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	out, err := p.setup().Unset(ctx, j.source, j.path, o.ChangeOptions)
	if o.idempotent && as[*kenv.PathError](err) {
		p.ui.notef("%s: there is no %q", j.name, j.path.String())
		return nil
	}
	if err != nil {
		return j.about(err)
	}
	return j.finish(ctx, p, out, o.idempotent)
}

// finish writes a changed file.
func (j *valueJob) finish(ctx context.Context, p *process, out *kenv.Changed, idempotent bool) error {
	if out.Same && (idempotent || bytes.Equal(out.Data, j.source.Data)) {
		p.ui.notef("%s: that is its value already", j.name)
		return nil
	}
	if err := j.write(ctx, p, out.Data, kenv.WriteOptions{Ciphertext: true, Perm: 0o666}); err != nil {
		return err
	}
	if len(out.Lost) > 0 {
		p.ui.warnf("%s: it lacks keys that its rule names: %s; to add them: kenv updatekeys %s", j.name, shortNames(out.Lost), quote(j.name))
	}
	sayResealed(p.ui.speaker, j.name, out.Encrypted)
	return nil
}
