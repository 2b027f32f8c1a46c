package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
)

// execOptions say what a program gets of files, and how it is run. Those that are flags
// win over the config's defaults.
type execOptions struct {
	env      kenv.EnvOptions
	pristine bool
	keep     string // "true", "false", or patterns
	mask     string // "true", "false" or "github"
	unsafe   bool
	anyName  bool
	user     *run.User

	flagged func(name string) bool
}

func newExec(p *process) *cobra.Command {
	o := &execOptions{}
	cmd := &cobra.Command{
		Use:   "exec [flags] FILE… -- COMMAND ARG…",
		Short: "Run a command with secrets in its environment",
		Long: `Run a command with the values at the top level of encrypted files in its
environment. kenv becomes the command: no shell is involved, and nothing of kenv
stays behind. Of several files with one name the last counts, and files count before
the environment that kenv was started in. A null takes a variable away.

Names by which a program can be made to run other code (LD_PRELOAD, PATH,
BASH_ENV, NODE_OPTIONS and so on) are refused.

With --mask kenv stays beside the command and replaces secrets of 6 characters or
more in what it prints by ***. With --mask=github, in GitHub Actions, kenv tells the
runner to do that instead.

The config may say exec: {pristine, keep_env, only, prefix, mask}, which flags
override: --mask=false.

Exit codes: the command's own, 128+n if signal n ended it, 125 if kenv fails, 126 if
the command cannot be executed, 127 if it is not found.`,
		Example: `  kenv exec .env -- ./server --port 8080
  kenv exec --flatten --upper --only 'DB_*' secrets.yaml -- ./migrate
  kenv exec --mask base.yaml prod.yaml -- make deploy`,
	}
	f := cmd.Flags()
	o.addFlags(cmd)
	f.StringVar(&o.keep, "keep-env", "", "do not replace variables that are set already or, with `names`, those: KEY,DB_*")
	f.Lookup("keep-env").NoOptDefVal = "true"
	f.StringSliceVar(&o.env.Only, "only", nil, "set only variables with such `names`: KEY,DB_*")
	f.StringVar(&o.env.Prefix, "prefix", "", "put this `text` before every name")
	f.BoolVar(&o.env.Upper, "upper", false, "set variables with names in upper case")
	f.BoolVar(&o.env.Flatten, "flatten", false, "set nested values too: password in db is db_password, the first of hosts is hosts_0")
	f.StringVar(&o.mask, "mask", "", "replace secrets in what the command prints; `how` is true, false or github")
	f.Lookup("mask").NoOptDefVal = "true"
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
		if err := o.check(cmd); err != nil {
			return execError{err}
		}
		return execFailed(o.run(cmd.Context(), p, args[:n], args[n:]))
	}
	return cmd
}

// addFlags adds what exec and exec-env have in common.
func (o *execOptions) addFlags(cmd *cobra.Command) {
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return execError{flagError(cmd, err)} })
	o.flagged = cmd.Flags().Changed
	cmd.Flags().BoolVar(&o.pristine, "pristine", false, "pass on nothing of the environment that kenv was started in")
	cmd.Flags().BoolVar(&o.unsafe, "allow-unsafe-env", false, "set also variables that can make programs run other code")
}

// check finds what makes no sense in the flags of exec.
func (o *execOptions) check(cmd *cobra.Command) error {
	if !slices.Contains([]string{"", "true", "false", "github"}, o.mask) {
		return misused(cmd, "--mask=%s: it is true, false or github", o.mask)
	}
	if o.flagged("only") && len(o.env.Only) == 0 {
		return misused(cmd, "the value of --only is empty")
	}
	for _, pattern := range o.env.Only {
		if err := kenv.CheckNamePattern(pattern); err != nil {
			return misused(cmd, "--only: %w", err)
		}
	}
	switch {
	case !o.flagged("keep-env"):
	case o.keep == "true" && o.pristine:
		return misused(cmd, "--keep-env keeps what --pristine leaves out; name variables: --keep-env=HOME,LANG")
	case o.keep != "true" && o.keep != "false":
		for pattern := range strings.SplitSeq(o.keep, ",") {
			if err := kenv.CheckNamePattern(pattern); err != nil {
				return misused(cmd, "--keep-env: %w", err)
			}
		}
	}
	return nil
}

// An execution is what is known of a program to run when all files have been read.
type execution struct {
	argv, env      []string
	mask           string
	secrets, clear []string
}

// run returns only if the command has ended or could not be started.
func (o *execOptions) run(ctx context.Context, p *process, files, argv []string) error {
	e, err := o.prepare(ctx, p, files, argv)
	if err != nil {
		return err
	}
	program := run.Program{Argv: e.argv, Env: e.env, User: o.user}
	switch e.mask {
	case "github":
		if err := tellGitHub(p, e); err != nil {
			return err
		}
	case "true":
		if program.Mask, err = run.NewMask(e.secrets, e.clear); err != nil {
			return err
		}
		p.supervise(&program)
		return program.Run()
	}
	p.coreDump()
	return program.Exec()
}

func (o *execOptions) prepare(ctx context.Context, p *process, files, argv []string) (*execution, error) {
	e := &execution{argv: argv, mask: o.mask}
	var vars []run.Var
	if o.user != nil {
		vars = o.user.Vars()
	}
	rules := run.Rules{Pristine: o.pristine, Unsafe: o.unsafe, AnyName: o.anyName}
	keepAll, keep := o.keep == "true", []string(nil)
	if o.flagged("keep-env") && o.keep != "true" && o.keep != "false" {
		keep = strings.Split(o.keep, ",")
	}
	for _, name := range files {
		j := &job{name: name, source: kenv.Source{Name: name}}
		if name == "-" {
			j.name, j.source.Name = stdinName, ""
		}
		d, err := p.setup().ExecDefaults(j.source.Name)
		if err != nil {
			return nil, j.about(err)
		}
		options := o.env
		if !o.flagged("only") {
			options.Only = d.Only
		}
		if !o.flagged("prefix") {
			options.Prefix = d.Prefix
		}
		if !o.flagged("pristine") {
			rules.Pristine = rules.Pristine || d.Pristine
		}
		// What the config keeps of an environment must not come back through --pristine.
		if !o.flagged("keep-env") && !o.pristine {
			keepAll, keep = keepAll || d.KeepAll, append(keep, d.Keep...)
		}
		if !o.flagged("mask") && d.Mask {
			e.mask = "true"
		}
		list, err := variables(ctx, p, j, options)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			vars = append(vars, run.Var{Name: v.Name, Value: v.Value, Unset: v.Unset})
			if v.Secret {
				e.secrets = append(e.secrets, v.Value)
			} else {
				e.clear = append(e.clear, v.Value)
			}
		}
	}
	if o.flagged("only") {
		for _, pattern := range o.env.Only {
			if !slices.ContainsFunc(vars, func(v run.Var) bool {
				return kenv.MatchName([]string{pattern}, strings.TrimPrefix(v.Name, o.env.Prefix))
			}) {
				return nil, fmt.Errorf("--only %s: no variable has such a name", pattern)
			}
		}
	}
	rules.Keep = func(name string) bool {
		return keepAll && !rules.Pristine || kenv.MatchName(keep, name)
	}
	var err error
	e.env, err = rules.Environ(p.environ(), vars)
	if errors.Is(err, run.ErrUnsafe) {
		err = hinted{err, "if the files are to be trusted with that: --allow-unsafe-env"}
	}
	return e, err
}

func variables(ctx context.Context, p *process, j *job, o kenv.EnvOptions) ([]kenv.Variable, error) {
	if err := j.read(p.ui); err != nil {
		return nil, err
	}
	f, err := p.setup().Open(ctx, j.source)
	if err != nil {
		return nil, j.about(err)
	}
	defer f.Wipe()
	list, err := kenv.Environment(f, o)
	if errors.Is(err, kenv.ErrNested) && !o.Raw {
		err = hinted{err, "to make variables of nested values: --flatten; to leave them out: --only"}
	}
	return list, j.about(err)
}

// tellGitHub prints the secrets for the runner of a job, and for nobody else.
func tellGitHub(p *process, e *execution) error {
	if os.Getenv("GITHUB_ACTIONS") != "true" {
		return errors.New("--mask=github prints the secrets for a runner of GitHub Actions to mask, and here is none")
	}
	if info, err := p.ui.stdout.Stat(); err == nil && info.Mode().IsRegular() {
		return errors.New("--mask=github prints the secrets for the runner to mask, but standard output goes to a file")
	}
	return p.ui.print([]byte(run.GitHubMasks(e.secrets, e.clear)))
}

// supervise leaves signals to the program, which may dump its core as far as kenv's
// parent lets it. kenv itself must not.
func (p *process) supervise(program *run.Program) {
	p.handOver()
	p.forget()
	p.coreDump()
	program.Started = func() { forbidCoreDumps() }
}

// execFailed marks an error that is not the program's own.
func execFailed(err error) error {
	if err == nil || as[*run.Exited](err) {
		return err
	}
	return execError{err}
}
