package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/git"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

// textconvLimit is how long the keys of a file may take to answer.
const textconvLimit = 20 * time.Second

func newGitTextconv(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "textconv FILE",
		Short: "Print what git diff shows of a file",
		Long: `Print the text that git compares and shows in place of an encrypted file: its
plaintext, and below that lines that say whose keys open the file and by which rules.
kenv git install has git run this.

Nobody is asked for anything, and no plugin is started. Of keys that ask a server
only those are used that a config of the work tree names. If the file is damaged or
cannot be decrypted, the first line says so and the encrypted text follows, so there
is a diff in any case. A file that is not encrypted is printed as it is.

If CI is true, values are left out: each is *** and some characters that change when
the value does.

Exit codes: 0 done, 1 the file cannot be read, 2 wrong usage, 5 git would store the
plaintext, as diff.kenv.cachetextconv is set.`,
		Example: `  git config diff.kenv.textconv 'kenv git textconv'
  kenv git textconv secrets.yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused(cmd, "name one file")
			}
			return runGitTextconv(cmd.Context(), p, args[0])
		},
	}
}

func runGitTextconv(ctx context.Context, p *process, name string) error {
	// Asking git takes as long as decrypting.
	caching := make(chan string, 1)
	go func() { caching <- git.Caching(ctx) }()
	data, _, err := kenv.ReadFile(name, kenv.MaxSize)
	if err != nil {
		return err
	}
	setup := p.setup()
	setup.Config = "" // the content alone decides: one blob, one text
	setup.Keys = p.askingNobody()
	setup = setup.Trusting(func() []*config.Config {
		w, err := git.Here(ctx)
		if err != nil {
			return nil
		}
		configs, _ := p.configs(ctx, w) // one that cannot be read names no keys
		return configs
	})
	limited, cancel := context.WithTimeout(ctx, textconvLimit)
	defer cancel()
	text := git.Text(limited, setup, data, os.Getenv("CI") == "true")
	defer clear(text)
	if driver := <-caching; driver != "" {
		return &git.CacheError{Driver: driver}
	}
	return p.ui.print([]byte(escapeText(string(text))))
}

// escapeText is escape for text with line ends of any kind.
func escapeText(s string) string {
	lines := strings.Split(s, "\r\n")
	for i, line := range lines {
		lines[i] = escape(line)
	}
	return strings.Join(lines, "\r\n")
}
