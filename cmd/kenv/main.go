// Command kenv keeps secrets in files that can be committed.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(Main(context.Background(), os.Args[1:])) }

// Main runs kenv with the arguments that follow the program's name and returns its
// exit code.
func Main(ctx context.Context, args []string) int {
	p := newProcess()
	root := newRoot(p)
	root.SetArgs(args)
	return p.close(p.ui.exit(root.ExecuteContext(ctx)))
}

// newRoot builds the tree of commands. Nothing is looked at before one runs.
func newRoot(p *process) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "kenv",
		Short: "Keep secrets in files that can be committed",
		Long: `kenv encrypts the values in YAML, JSON and dotenv files, and leaves keys and layout
readable. The files are sops files: sops decrypts them too.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 a check or a policy objects.`,
		Example: `  kenv init
  kenv encrypt -i secrets.yaml
  kenv decrypt secrets.yaml
  kenv exec secrets.env -- ./server`,
		Args:          subcommandOnly,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return printVersion(p)
			}
			return cmd.Help()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return misused(cmd, "%w", err) })
	root.PersistentFlags().StringVar(&p.config, "config", "", "the config `file` to go by (KENV_CONFIG, SOPS_CONFIG)")
	p.addSetting(root, "decryption_order", "decryption-order", "`kinds` of keys to try first, separated by commas (KENV_DECRYPTION_ORDER, SOPS_DECRYPTION_ORDER)")
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	root.AddCommand(
		newInit(p), newEncrypt(p), newDecrypt(p), newExec(p), newExecEnv(p), newExecFile(p),
		newKeys(p),
		newRotate(p), newUpdateKeys(p),
		newVersion(p), newCompletion(p),
	)
	root.SetHelpCommand(newHelp())
	return root
}
