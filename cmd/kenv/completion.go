package main

import "github.com/spf13/cobra"

func newCompletion(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a script that completes commands in a shell",
		Long: `Print a script that makes a shell complete commands and flags, the paths in files
that get and set take, and the keys that the config names. SHELL is bash, zsh, fish
or powershell.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  source <(kenv completion bash)
  kenv completion zsh > "${fpath[1]}/_kenv"
  kenv completion fish > ~/.config/fish/completions/kenv.fish`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused(cmd, "name one shell: bash, zsh, fish or powershell")
			}
			root, out := cmd.Root(), p.ui.stdout
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return misused(cmd, "there is no completion for %q, only for bash, zsh, fish and powershell", args[0])
		},
	}
}
