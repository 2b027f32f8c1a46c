package main

import "github.com/spf13/cobra"

func newGit(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git COMMAND",
		Short: "What git calls for encrypted files",
		Args:  subcommandOnly,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGitMerge(p))
	return cmd
}
