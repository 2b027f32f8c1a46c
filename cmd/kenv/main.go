// Command kenv keeps secrets in files that can be committed.
package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() {
	hideMemory()
	tuneGC()
	os.Exit(Main(context.Background(), os.Args[1:]))
}

// Main runs kenv with the arguments that follow the program's name and returns its
// exit code.
func Main(ctx context.Context, args []string) int {
	p := newProcess()
	root := newRoot(p)
	if isCompletion(args) {
		addCompletions(p, root)
	}
	args, err := fromSops(root, args)
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(ctx)
	}
	return p.close(p.ui.exit(err))
}

// newRoot builds the tree of commands. Nothing is looked at before one runs.
func newRoot(p *process) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "kenv",
		Short: "Keep secrets in files that can be committed",
		Long: `kenv encrypts the values in YAML, JSON, dotenv and INI files, and leaves keys and
layout readable. The files are sops files: sops decrypts them too.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 a check or a policy objects.`,
		Example: `  kenv init
  kenv encrypt -i secrets.yaml
  kenv decrypt secrets.yaml
  kenv exec secrets.env -- ./server`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && !isMistyped(args[0]) {
				return nil
			}
			return subcommandOnly(cmd, args)
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if showVersion {
				return printVersion(p)
			}
			if len(args) > 0 {
				return runEdit(cmd, p, &editOptions{}, args[0])
			}
			return cmd.Help()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&p.config, "config", "", "the config `file` to go by (KENV_CONFIG, SOPS_CONFIG)")
	p.addSetting(root, "decryption_order", "decryption-order", "`kinds` of keys to try first, separated by commas (KENV_DECRYPTION_ORDER, SOPS_DECRYPTION_ORDER)")
	p.addSetting(root, "pkcs11_module", "pkcs11-module", "the PKCS#11 module of an HSM, a `library` (KENV_PKCS11_MODULE)")
	p.addSetting(root, "pkcs11_pin_file", "pin-file", "`file` with the PIN of an HSM (KENV_PKCS11_PIN_FILE)")
	root.Flags().BoolVar(&showVersion, "version", false, "print the version")
	root.AddCommand(
		newInit(p), newEncrypt(p), newDecrypt(p), newEdit(p), newExec(p), newExecEnv(p), newExecFile(p), newKeys(p),
		newGet(p), newSet(p), newUnset(p), newRotate(p), newUpdateKeys(p), newDiff(p), newGit(p), newHSM(p), newGroups(p), newFileStatus(p),
		newCheck(p), newDoctor(p), newVersion(p), newCompletion(p),
	)
	root.SetHelpCommand(newHelp())
	return root
}
