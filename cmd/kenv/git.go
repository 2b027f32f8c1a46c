package main

import "github.com/spf13/cobra"

func newGit(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git COMMAND",
		Short: "What git calls for encrypted files",
		Long: `What git calls for encrypted files: its merge driver.

Exit codes: those of the commands below.`,
		Example: `  git config merge.kenv.driver 'kenv git merge %O %A %B %P'`,
		Args:    subcommandOnly,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGitMerge(p))
	return cmd
}
