package main

import (
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
)

func newExecEnv(p *process) *cobra.Command {
	o := &execOptions{env: kenv.EnvOptions{Raw: true}, anyName: true}
	var user string
	var background, sameProcess bool
	cmd := &cobra.Command{
		Use:   "exec-env [flags] FILE COMMAND",
		Short: "Run a shell command with secrets in its environment, as sops does",
		Long: `Run a command in the shell with the values at the top level of an encrypted file in
its environment, under the names and with the texts that sops exec-env gives them. In
dotenv files quotes are part of a value. kenv exec reads such files as programs do.

A null takes a variable away. Names by which a program can be made to run other code
are refused. The exec defaults of the config are followed.

Exit codes: the command's own, 125 if kenv fails.`,
		Example: `  kenv exec-env secrets.env './server --token "$TOKEN"'`,
	}
	o.addFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&user, "user", "", "run the command as this `user`")
	f.BoolVar(&sameProcess, "same-process", false, "become the command, which kenv does in any case")
	f.BoolVar(&background, "background", false, "start the command, without input or output, and do not wait for it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneFileOneCommand(cmd, args); err != nil {
			return execError{err}
		}
		if err := o.setUser(user); err != nil {
			return execError{err}
		}
		argv := run.Shell(args[1])
		if !background {
			return execFailed(o.run(cmd.Context(), p, args[:1], argv))
		}
		e, err := o.prepare(cmd.Context(), p, args[:1], argv)
		if err != nil {
			return execError{err}
		}
		p.coreDump()
		return execFailed(run.Program{Argv: e.argv, Env: e.env, User: o.user}.Start())
	}
	return cmd
}

func oneFileOneCommand(cmd *cobra.Command, args []string) error {
	if err := noEmptyFlags(cmd); err != nil {
		return err
	}
	switch len(args) {
	case 2:
		return nil
	case 0:
		return misused(cmd, "no file is named")
	case 1:
		return misused(cmd, "no command is given after %s", args[0])
	}
	return misused(cmd, "%q is one argument too many; the command is a single one, in quotes", args[2])
}

func (o *execOptions) setUser(name string) (err error) {
	if name != "" {
		o.user, err = run.LookupUser(name)
	}
	return err
}
