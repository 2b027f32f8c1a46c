package main

import (
	"runtime"

	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/spf13/cobra"
)

func newVersion(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: `Print the version of kenv, and the version of sops whose files it writes.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  kenv version`,
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return printVersion(p) },
	}
}

func printVersion(p *process) error {
	return p.ui.printf("kenv %s\nfile format: sops %s\n%s %s/%s",
		version, envelope.SopsVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
