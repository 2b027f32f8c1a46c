package main

import (
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/spf13/cobra"
)

func newKeys(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys COMMAND",
		Short: "Make keys",
		Args:  subcommandOnly,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeysGenerate(p), newKeysAdd(p), newKeysRemove(p))
	return cmd
}

func newKeysGenerate(p *process) *cobra.Command {
	var output string
	var postQuantum bool
	cmd := &cobra.Command{
		Use:   "generate [flags]",
		Short: "Make an age identity",
		Long: `Make an age identity, the secret half of a key, and print it. Its public half,
by which the key is named, is in the comment above it and on standard error.`,
		Example: `  kenv keys generate -o ~/.config/kenv/age/keys.txt`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := noEmptyFlags(cmd); err != nil {
				return err
			}
			return runKeysGenerate(p, output, postQuantum)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write it to this `file`, which must not exist")
	cmd.Flags().BoolVar(&postQuantum, "pq", false, "make a post-quantum key, whose names are 2,000 characters long")
	return cmd
}

func runKeysGenerate(p *process, output string, postQuantum bool) error {
	file, recipient, err := age.Generate(postQuantum)
	if err != nil {
		return err
	}
	defer clear(file)
	toTerminal := false
	if output == "" || output == "-" {
		toTerminal = isTerminal(p.ui.stdout)
		err = p.ui.print(file)
	} else {
		err = p.uninterrupted(func() error { return kenv.Create(output, file) })
	}
	if err == nil && !toTerminal {
		p.ui.sayf("Public key: %s", recipient)
	}
	return err
}
