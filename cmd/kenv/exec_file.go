package main

import (
	"bytes"
	"context"
	"strings"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
)

type execFileOptions struct {
	inputType, outputType string
	filename, user        string
	noFIFO, background    bool
}

func newExecFile(p *process) *cobra.Command {
	o := &execFileOptions{}
	cmd := &cobra.Command{
		Use:   "exec-file [flags] FILE COMMAND",
		Short: "Run a shell command with the decrypted file at a path",
		Long: `Run a command in the shell, in which {} stands for the path of the decrypted file. The
file is a FIFO: whoever opens it is handed the text, which is stored nowhere. Programs
that want to know its size or to seek need --no-fifo: a file that only you can read,
in memory where the system has file systems there. It is removed when the command
ends and when a signal ends kenv.

Exit codes: the command's own, 128+n if signal n ended it, 125 if kenv fails.`,
		Example: `  kenv exec-file secrets.json 'curl --data @{} https://example.com'
  kenv exec-file --no-fifo --filename kubeconfig.yaml k.yaml 'kubectl --kubeconfig {} get pods'`,
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return execError{flagError(cmd, err)} })
	f := cmd.Flags()
	f.BoolVar(&o.noFIFO, "no-fifo", false, "make a regular file")
	f.StringVar(&o.filename, "filename", "tmp-file", "the `name` of the file, without a directory")
	f.StringVar(&o.user, "user", "", "run the command as this `user`")
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the input: yaml, json, dotenv or binary")
	f.StringVar(&o.outputType, "output-type", "", "the `format` of the file, if it is another one")
	f.BoolVar(&o.background, "background", false, "not possible: somebody has to remove the file")
	f.Lookup("background").Hidden = true
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneFileOneCommand(cmd, args); err != nil {
			return execError{err}
		}
		if o.background {
			return execError{hinted{misused(cmd, "--background is not possible here, since kenv has to remove the file when the command ends"),
				"run kenv itself in the background: kenv exec-file … &"}}
		}
		return execFailed(o.run(cmd.Context(), cmd, p, args[0], args[1]))
	}
	return cmd
}

func (o *execFileOptions) run(ctx context.Context, cmd *cobra.Command, p *process, name, command string) error {
	files := &fileOptions{inputType: o.inputType, outputType: o.outputType}
	jobs, err := files.jobs(cmd, p.ui, []string{name}, nil)
	if err != nil {
		return err
	}
	j := jobs[0]
	exec := execOptions{}
	if err := exec.setUser(o.user); err != nil {
		return err
	}
	if err := j.read(p.ui); err != nil {
		return err
	}
	text, err := decrypted(ctx, p, j)
	if err != nil {
		return j.about(err)
	}
	defer clear(text)
	env := p.environ()
	if exec.user != nil {
		if env, err = (run.Rules{}).Environ(env, exec.user.Vars()); err != nil {
			return err
		}
	}
	p.handOver()
	file := run.File{Text: text, Name: o.filename, Regular: o.noFIFO, User: exec.user, Warn: p.ui.warnf}
	return file.Run(func(path string) run.Program {
		program := run.Program{Argv: run.Shell(strings.ReplaceAll(command, "{}", path)), Env: env, User: exec.user}
		p.supervise(&program)
		return program
	})
}

// decrypted returns a plaintext, and leaves nothing of the file that it comes from.
func decrypted(ctx context.Context, p *process, j *job) ([]byte, error) {
	f, err := p.setup().Open(ctx, j.source)
	if err != nil {
		return nil, err
	}
	defer f.Wipe()
	text, err := kenv.Text(f, j.output)
	defer clear(text) // it may be the file's own
	return bytes.Clone(text), err
}
