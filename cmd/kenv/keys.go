package main

import (
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/spf13/cobra"
)

func newKeys(p *process) *cobra.Command {
	var o keysListOptions
	cmd := &cobra.Command{
		Use:   "keys [flags] FILE…",
		Short: "Show who can decrypt files, or change it",
		Long: `Show the master keys of encrypted files: who can decrypt what. A directory stands for
the encrypted files below it that a rule covers, or for all of them where there is no
config.

This takes no key and asks nobody. So nothing is verified: what is shown is what the
file says, and only decrypting tells whether it was changed. --online asks each key,
or the service behind it, whether it can be used from here. No passphrase or PIN is
asked for, and no plugin is started.

Exit codes: 0 done, 1 a file cannot be read or is not encrypted, 2 wrong usage,
4 a file is damaged.`,
		Example: `  kenv keys secrets.yaml
  kenv keys --online prod/*.yaml
  kenv keys --json . | jq -r '.[].keys[].name'
  kenv keys generate -o ~/.config/kenv/age/keys.txt`,
		Args: keysArguments,
		RunE: func(cmd *cobra.Command, files []string) error {
			switch {
			case len(files) == 0 && cmd.Flags().NFlag() == 0:
				return cmd.Help()
			case len(files) == 0:
				return misused(cmd, "name a file; - is standard input")
			}
			return runKeysList(cmd.Context(), p, o, files)
		},
	}
	cmd.Flags().BoolVar(&o.online, "online", false, "ask each key whether it can be used")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON, with all names whole")
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
by which the key is named, is in the comment above it and on standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
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
