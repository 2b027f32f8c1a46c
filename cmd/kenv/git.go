package main

import (
	"github.com/spf13/cobra"
)

func newGit(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git COMMAND",
		Short: "Have git show, merge and check encrypted files",
		Long: `Have git show the plaintext of encrypted files in diffs, to those who can decrypt
them, merge them value by value, and check what is about to be committed.

Exit codes: 0 done, 1 failed or a conflict, 2 wrong usage.`,
		Example: `  kenv git install --dry-run
  kenv git install
  git diff`,
		Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGitInstall(p), newGitUninstall(p), newGitTextconv(p), newGitMerge(p))
	return cmd
}
