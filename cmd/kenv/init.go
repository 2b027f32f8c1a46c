package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/spf13/cobra"
)

func newInit(p *process) *cobra.Command {
	var postQuantum bool
	var named keyOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Set up a key and a config, as far as they are missing",
		Long: `Make an age identity if there is none yet, and write a .kenv.yaml that encrypts
for it unless a config is in force in this directory already. Nothing is ever
overwritten.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  kenv init
  kenv init --key arn:aws:kms:eu-west-1:111122223333:alias/prod`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := named.all(cmd, p.table)
			if err != nil {
				return err
			}
			return runInit(cmd.Context(), p, keys, postQuantum)
		},
	}
	cmd.Flags().StringArrayVar(&named.names, "key", nil, "write this master `key` into the config, and look for no identity; may be repeated")
	cmd.Flags().BoolVar(&postQuantum, "pq", false, "make a post-quantum key, whose names are 2,000 characters long")
	return cmd
}

func runInit(ctx context.Context, p *process, named []string, postQuantum bool) error {
	mine, written := named, named
	if len(named) == 0 {
		var err error
		if mine, err = ownRecipients(ctx, p, postQuantum); err != nil {
			return err
		}
		written = mine[:1]
	}
	inForce, err := config.Find(filepath.Join(".", "secrets.yaml"))
	if err != nil {
		return err
	}
	if inForce == "" {
		nothing := kenv.Stamp{}
		err = p.uninterrupted(func() error {
			return kenv.Replace(config.Name, config.Render(written), kenv.WriteOptions{Ciphertext: true, Perm: 0o666, Expect: &nothing})
		})
		if err != nil {
			return err
		}
		p.ui.printf("wrote %s: it says which files are encrypted, and for whom; commit it", config.Name)
	} else if known, err := explainConfig(p, inForce, mine); err != nil {
		return err
	} else if !known {
		return p.ui.printf("next: have somebody who can decrypt type: kenv keys add %s", keys.Short(mine[0]))
	}
	return p.ui.printf("next: kenv encrypt -i secrets.yaml")
}

// ownRecipients returns the public halves of the identities at hand, one that it
// makes if there is none. There is at least one.
func ownRecipients(ctx context.Context, p *process, postQuantum bool) ([]string, error) {
	known, unknown, err := age.Recipients(ctx, p.env)
	if err != nil {
		return nil, err
	}
	// An ssh key is made for something else: it is used when it is named.
	isSSH := func(place string) bool { return strings.Contains(strings.ToLower(place), "ssh") }
	known = slices.DeleteFunc(known, func(k age.Public) bool { return strings.HasPrefix(k.Recipient, "ssh-") })
	unknown = slices.DeleteFunc(unknown, isSSH)
	if len(known) > 0 {
		p.ui.printf("age identity: %s\n  its public key is %s", known[0].Place, keys.Short(known[0].Recipient))
		var mine []string
		for _, k := range known {
			mine = append(mine, k.Recipient)
		}
		return mine, nil
	}
	if len(unknown) > 0 {
		return nil, hinted{
			fmt.Errorf("there may be an identity in %s, and what its public key is cannot be told without asking", strings.Join(unknown, ", ")),
			"name its public key: kenv init --key age1…",
		}
	}
	path := age.IdentityFile(p.env)
	if path == "" {
		return nil, hinted{fmt.Errorf("there is no home directory to keep an identity in"), "set HOME or XDG_CONFIG_HOME"}
	}
	file, recipient, err := age.Generate(postQuantum)
	if err != nil {
		return nil, err
	}
	defer clear(file)
	if err := p.uninterrupted(func() error { return kenv.Create(path, file) }); err != nil {
		return nil, err
	}
	p.ui.printf("made an age identity: %s\n  its public key is %s\n  keep a copy in a safe place: what is encrypted for it alone is lost without it", path, keys.Short(recipient))
	return []string{recipient}, nil
}

// explainConfig says which config is in force, and reports whether it knows this person.
func explainConfig(p *process, path string, mine []string) (known bool, err error) {
	c, err := config.Load(path)
	if err != nil {
		return false, err
	}
	p.ui.printf("%s is in force here", shortPath(path))
	for _, r := range c.Rules {
		for _, g := range r.Groups {
			for _, k := range g {
				if slices.Contains(mine, k.Name) {
					return true, nil
				}
			}
		}
	}
	return false, p.ui.printf("  it does not name your key, so its files are not for you yet")
}
