package main

import (
	"context"
	"errors"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/git"
	"github.com/spf13/cobra"
)

// gitOptions are the flags of commands that change git's set-up.
type gitOptions struct{ global, local, dryRun bool }

func (o *gitOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&o.local, "local", false, "this repository (what is done if nothing is said)")
	f.BoolVar(&o.global, "global", false, "the drivers in your own git config, and nothing in a repository")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be done, and change nothing")
	cmd.Args = noArguments
}

func newGitInstall(p *process) *cobra.Command {
	o := &gitOptions{}
	cmd := &cobra.Command{
		Use:   "install [flags]",
		Short: "Set up a repository's diffs, merges and checks",
		Long: `Set up the git repository of this directory, and say what that changed:

  - in its git config, the drivers by which git diff shows plaintext and merges
    are made on it;
  - in .gitattributes beside each config, between two marks, lines that give the
    files of its rules to the drivers. Commit them;
  - a hook that runs kenv check --staged before each commit. A hook that is there
    gets a line more, as does .husky/pre-commit. core.hooksPath is followed. Of
    lefthook and pre-commit, whose files are yours, it shows what to add.

Doing it again changes only what is not so. kenv git uninstall takes all of it out.

With --global the drivers are set up for all of your repositories, and used in
those that have the lines in .gitattributes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 5 git would store the plaintext, as
diff.kenv.cachetextconv is set.`,
		Example: `  kenv git install --dry-run
  kenv git install`,
	}
	o.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runGit(cmd, p, o, "kenv is set up here already", git.InstallGlobal, func(ctx context.Context, w *git.WorkTree) (*git.Plan, error) {
			configs, err := p.configs(ctx, w)
			if err != nil {
				return nil, err
			}
			return w.Install(ctx, configs)
		})
	}
	return cmd
}

func newGitUninstall(p *process) *cobra.Command {
	o := &gitOptions{}
	cmd := &cobra.Command{
		Use:   "uninstall [flags]",
		Short: "Undo what kenv git install did",
		Long: `Take out of the git repository of this directory what kenv git install put there.
What else is in these files stays as it is, byte for byte.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  kenv git uninstall`,
	}
	o.addFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runGit(cmd, p, o, "nothing of kenv's is here", git.UninstallGlobal, func(ctx context.Context, w *git.WorkTree) (*git.Plan, error) {
			return w.Uninstall(ctx)
		})
	}
	return cmd
}

// runGit makes a plan, shows it and carries it out.
func runGit(cmd *cobra.Command, p *process, o *gitOptions, nothing string, global func(context.Context) (*git.Plan, error), local func(context.Context, *git.WorkTree) (*git.Plan, error)) error {
	if o.global && o.local {
		return misused(cmd, "--global and --local are two places; say one")
	}
	ctx := cmd.Context()
	plan, err := func() (*git.Plan, error) {
		if o.global {
			return global(ctx)
		}
		w, err := git.Find(ctx, ".")
		if err != nil {
			return nil, err
		}
		return local(ctx, w)
	}()
	if err != nil {
		return err
	}
	for _, s := range plan.Steps {
		if err := p.ui.printf("%s", s.Text); err != nil {
			return err
		}
	}
	if len(plan.Steps) == 0 {
		if err := p.ui.printf("%s", nothing); err != nil {
			return err
		}
	}
	if !o.dryRun {
		if err := p.uninterrupted(func() error { return plan.Apply(ctx) }); err != nil {
			return err
		}
	}
	for _, note := range plan.Notes {
		if err := p.ui.printf("to do by hand: %s", note); err != nil {
			return err
		}
	}
	return nil
}

// configs returns the configs that a work tree's files are encrypted by: the one that
// the user names, or all there are.
func (p *process) configs(ctx context.Context, w *git.WorkTree) ([]*config.Config, error) {
	var paths []string
	if c := p.setup().Config; c != "" {
		paths = []string{c}
	} else {
		var err error
		if paths, err = w.Configs(ctx); err != nil {
			return nil, err
		}
	}
	var configs []*config.Config
	for _, path := range paths {
		c, err := config.Load(path)
		if err != nil {
			return nil, err
		}
		configs = append(configs, c)
	}
	return configs, nil
}

// gitHint says what to type after an error of pkg/git, or "".
func gitHint(err error) string {
	cache := (*git.CacheError)(nil)
	switch {
	case errors.As(err, &cache):
		return "git config --unset-all diff." + cache.Driver + ".cachetextconv; git update-ref -d refs/notes/textconv/" + cache.Driver
	case errors.Is(err, git.ErrNoWorkTree):
		return "git init makes one"
	}
	return ""
}
