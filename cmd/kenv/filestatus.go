package main

import (
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

func newFileStatus(p *process) *cobra.Command {
	var inputType string
	cmd := &cobra.Command{
		Use:   "filestatus FILE",
		Short: "Say whether a file is encrypted, as sops does",
		Long: `Print {"encrypted":true} or {"encrypted":false}. Nothing is verified, and no key
is needed.

Exit codes: 0 done, whatever the answer, 1 the file cannot be read, 2 wrong usage.`,
		Example: `  kenv filestatus secrets.yaml`,
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) != 1 {
				return misused(cmd, "name one file")
			}
			format, err := formatFlag(cmd, "--input-type", inputType)
			if err != nil {
				return err
			}
			j := &job{name: files[0], source: kenv.Source{Name: files[0], Format: format}}
			if err := j.read(p.ui); err != nil {
				return err
			}
			is, err := p.setup().IsEncrypted(j.source)
			if err != nil {
				return j.about(err)
			}
			if is {
				return p.ui.printf(`{"encrypted":true}`)
			}
			return p.ui.printf(`{"encrypted":false}`)
		},
	}
	cmd.Flags().StringVar(&inputType, "input-type", "", "the `format` of the file: "+formatWords())
	return cmd
}
