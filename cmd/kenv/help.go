package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Long: `Explain a command, with its flags.

Exit codes: 0 done, 2 there is no such command.`,
		Example: `  kenv help encrypt
  kenv help keys add`,
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(cmd.Root(), args)
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// notYet are commands that people who know sops, or the plans, will try.
var notYet = []string{
	"diff", "git",
}

// subcommandOnly is the argument check of commands that only hold others.
func subcommandOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args)
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if refused[args[0]] != "" && !cmd.HasParent() {
		return refusal(cmd, args[0])
	}
	if slices.Contains(notYet, args[0]) && !cmd.HasParent() {
		return misused(cmd, "%q is not there yet, in this version", cmd.CommandPath()+" "+args[0])
	}
	err := misused(cmd, "there is no command %q", cmd.CommandPath()+" "+strings.Join(args, " "))
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return hinted{err, "did you mean " + cmd.CommandPath() + " " + strings.Join(near, " or ") + "?"}
	}
	return err
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misused(cmd, "%q is one argument too many", args[0])
	}
	return nil
}
