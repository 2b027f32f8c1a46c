package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
)

func newExec(p *process) *cobra.Command {
	var unsafe bool
	cmd := &cobra.Command{
		Use:   "exec [flags] FILE… -- COMMAND ARG…",
		Short: "Run a command with secrets in its environment",
		Long: `Run a command with the values at the top level of encrypted files in its
environment. kenv becomes the command: no shell is involved, and nothing of kenv
stays behind. Of several files with one name the last counts.

Names by which a program can be made to run other code (LD_PRELOAD, PATH,
BASH_ENV, NODE_OPTIONS and so on) are refused.

Exit codes: the command's own, 125 if kenv fails, 126 if the command cannot be
executed, 127 if it is not found.`,
		Example: `  kenv exec .env -- ./server --port 8080`,
	}
	cmd.Flags().BoolVar(&unsafe, "allow-unsafe-env", false, "set also variables that can make programs run other code")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return execError{misused(cmd, "%w", err)} })
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		n := cmd.ArgsLenAtDash()
		switch {
		case n < 0:
			return execError{misused(cmd, "-- is expected between the files and the command")}
		case n == 0:
			return execError{misused(cmd, "no file is named before --")}
		case n == len(args):
			return execError{misused(cmd, "no command is named after --")}
		}
		return runExec(cmd.Context(), p, args[:n], args[n:], unsafe)
	}
	return cmd
}

// runExec returns only if the command has ended or could not be started.
func runExec(ctx context.Context, p *process, files, argv []string, unsafe bool) (err error) {
	defer func() {
		if err != nil {
			err = execError{err}
		}
	}()
	var vars []run.Var
	for _, name := range files {
		more, err := variables(ctx, p, name)
		if err != nil {
			return err
		}
		vars = append(vars, more...)
	}
	base := os.Environ()
	if unsafe {
		if base, vars, err = setUnsafe(base, vars); err != nil {
			return err
		}
	}
	env, err := run.Environ(base, vars)
	if err != nil {
		return hinted{err, "if the files are to be trusted with that: --allow-unsafe-env"}
	}
	p.coreDump()
	return run.Exec(argv, env)
}

func variables(ctx context.Context, p *process, name string) ([]run.Var, error) {
	j := &job{name: name, source: kenv.Source{Name: name}}
	if name == "-" {
		j.name, j.source.Name = stdinName, ""
	}
	if err := j.read(p.ui); err != nil {
		return nil, err
	}
	if err := p.setup().CheckExec(j.source.Name); err != nil {
		return nil, j.about(err)
	}
	f, err := p.setup().Open(ctx, j.source)
	if err != nil {
		return nil, j.about(err)
	}
	defer f.Wipe()
	list, err := kenv.Environment(f)
	if err != nil {
		return nil, j.about(err)
	}
	var vars []run.Var
	for _, v := range list {
		vars = append(vars, run.Var(v))
	}
	return vars, nil
}

// setUnsafe moves what Environ would refuse over to the base.
func setUnsafe(base []string, vars []run.Var) ([]string, []run.Var, error) {
	var safe []run.Var
	set := map[string]string{}
	for _, v := range vars {
		switch {
		case run.SafeName(v.Name, v.Value) == nil:
			safe = append(safe, v)
		case v.Name == "" || strings.ContainsAny(v.Name, "=\x00"):
			return nil, nil, fmt.Errorf("%q cannot be the name of a variable", v.Name)
		case strings.Contains(v.Value, "\x00"):
			return nil, nil, fmt.Errorf("the value of %q holds a NUL byte, which no variable can", v.Name)
		default:
			set[v.Name] = v.Value
		}
	}
	var out []string
	for _, entry := range base {
		name, _, _ := strings.Cut(entry, "=")
		if _, replaced := set[name]; !replaced {
			out = append(out, entry)
		}
	}
	for name, value := range set {
		out = append(out, name+"="+value)
	}
	return out, safe, nil
}
