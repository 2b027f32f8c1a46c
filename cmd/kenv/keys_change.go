package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

type keysChangeOptions struct {
	attrOptions
	comment   string
	group     int
	publicKey string
	mech      string
}

const keysChangeCodes = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure of a file.`

func newKeysAdd(p *process) *cobra.Command {
	o := &keysChangeOptions{}
	cmd := &cobra.Command{
		Use:   "add [flags] KEY [PATH…]",
		Short: "Let a key decrypt: add it to the config and to the files",
		Long: `Add a master key to a rule of the config, whose other bytes stay as they are, and
encrypt the files of that rule for it as well: those that are named, or all encrypted
files at and below the config. The rule is the one that covers the paths; without
paths the config must have a single rule.

The key is tried first. Of a key with a public half, such as an RSA key in an HSM or in
AWS KMS, the config gets that too, so that nobody needs the HSM or AWS to encrypt.

` + keysChangeCodes,
		Example: `  kenv keys add --comment alice age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
  kenv keys add arn:aws:kms:eu-west-1:111122223333:alias/prod prod/`,
	}
	f := cmd.Flags()
	f.StringVar(&o.comment, "comment", "", "a `text` to put beside the key, such as whose it is")
	f.IntVar(&o.group, "group", 0, "the `number` of the rule's key group to add to, from 1, if it has several")
	f.StringVar(&o.publicKey, "public-key", "", "a `file` with the key's public half in PEM")
	f.StringVar(&o.mech, "mech", "", "how an HSM key wraps: rsa-oaep-sha256, rsa-oaep-sha1 or aes-256-gcm")
	o.attrOptions.addFlags(f, p.table)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, "name a key: age1…, arn:aws:kms:…, pkcs11:…, pgp:…")
		}
		return runKeysAdd(cmd, p, o, args[0], args[1:])
	}
	return cmd
}

func newKeysRemove(p *process) *cobra.Command {
	o := &keysChangeOptions{}
	cmd := &cobra.Command{
		Use:   "remove [flags] KEY [PATH…]",
		Short: "Take a key away: from the config and from the files",
		Long: `Remove a master key from a rule of the config, whose other bytes stay as they are,
and from the files of that rule, which get a new data key. The rule and the files are
chosen as for kenv keys add.

Whoever had the key may have kept what they could read, and still can read it in the
version control's history. Change the secrets themselves.

` + keysChangeCodes,
		Example: `  kenv keys remove age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p`,
	}
	o.attrOptions.addFlags(cmd.Flags(), p.table)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return misused(cmd, "name a key of the config")
		}
		return runKeysRemove(cmd, p, o, args[0], args[1:])
	}
	return cmd
}

func runKeysAdd(cmd *cobra.Command, p *process, o *keysChangeOptions, name string, paths []string) error {
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	key := config.NewKey{Name: name, Attrs: maps.Clone(setup.Attrs), Comment: o.comment, Group: o.group}
	if o.publicKey != "" {
		pem, err := os.ReadFile(o.publicKey)
		if err != nil {
			return fmt.Errorf("reading the public key: %w", err)
		}
		key.Attrs["public_key"] = string(pem)
	}
	if o.mech != "" {
		key.Attrs["mech"] = o.mech
	}
	master, err := p.table.Make(keys.Spec{Name: name, Attrs: key.Attrs})
	if err != nil {
		return misused(cmd, "%w", err)
	}
	if err := tryKey(cmd.Context(), p, master, &key); err != nil {
		return err
	}
	if _, inAttr := key.Attrs["public_key"]; !inAttr {
		key.Name = master.Name()
	}
	return changeKeys(cmd.Context(), p, setup, paths, func(c *config.Config, src []byte, rule *config.Rule) ([]byte, error) {
		for _, g := range rule.Groups {
			for _, n := range g {
				if k, err := p.table.Make(keys.Spec{Name: n.Name, Attrs: n.Attrs}); err == nil && k.Name() == master.Name() && o.group == 0 {
					return nil, fmt.Errorf("%s:%d: %w", c.Path, n.Line, config.ErrKeyExists)
				}
			}
		}
		return c.AddKey(src, rule, key)
	})
}

// tryKey has a key wrap something, so that no config names one that cannot, and fetches
// its public half, if it has one that is not known.
func tryKey(ctx context.Context, p *process, k keys.MasterKey, add *config.NewKey) error {
	probe := make([]byte, 32)
	rand.Read(probe)
	_, failed := k.Wrap(ctx, probe)
	if publisher, ok := k.(keys.Publisher); ok && add.Attrs["public_key"] == nil {
		if pem, err := publisher.PublicKey(ctx); err == nil {
			add.Attrs["public_key"] = pem
			again, err := p.table.Make(keys.Spec{Name: add.Name, Attrs: add.Attrs})
			if err != nil {
				return err
			}
			_, failed = again.Wrap(ctx, probe)
		}
	}
	if failed != nil {
		return fmt.Errorf("the key cannot be used: %w", failed)
	}
	return nil
}

func runKeysRemove(cmd *cobra.Command, p *process, o *keysChangeOptions, name string, paths []string) error {
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	wanted := name
	if k, err := p.table.Parse(name); err == nil {
		wanted = k.Name()
	}
	is := func(n config.Key) bool {
		spelled := n.Name
		if k, err := p.table.Make(keys.Spec{Name: n.Name, Attrs: n.Attrs}); err == nil {
			spelled = k.Name()
		}
		if !strings.Contains(wanted, "#") { // any public half
			spelled, _, _ = strings.Cut(spelled, "#")
		}
		return spelled == wanted || n.Name == name
	}
	return changeKeys(cmd.Context(), p, setup, paths, func(c *config.Config, src []byte, rule *config.Rule) ([]byte, error) {
		edited, _, err := c.RemoveKey(src, rule, is)
		return edited, err
	})
}

// A ruleChange is a rule of the config on its way to be another.
type ruleChange struct {
	path   string // of the config
	stamp  kenv.Stamp
	edited []byte
	setup  kenv.Setup // for which it is changed already
	jobs   []*job     // the files that the rule covers
}

// changeKeys changes a rule of the config and then the files that it covers. All that
// can fail for a file is done before anything is written.
func changeKeys(ctx context.Context, p *process, setup kenv.Setup, paths []string, change func(*config.Config, []byte, *config.Rule) ([]byte, error)) error {
	// Held to the end: of two that change a rule, the second's config has the change of
	// the first, and so have the files that it writes.
	path, _, err := ruleFor(setup, paths)
	if err != nil {
		return err
	}
	rules := job{name: path, to: path}
	if err := rules.takeLock(ctx, p.ui); err != nil {
		return err
	}
	defer rules.dropLock()
	r, err := newRuleChange(setup, paths, change)
	if err != nil {
		return err
	}
	if r.path != path {
		return fmt.Errorf("%s changed meanwhile; run the command again", path)
	}
	results := make([]*kenv.Encrypted, len(r.jobs))
	errs := p.sideBySide(len(r.jobs), func(i int, _ speaker) (err error) {
		j := r.jobs[i]
		if err := j.read(p.ui); err != nil {
			return err
		}
		defer func() { j.source.Data = nil }()
		results[i], err = r.setup.UpdateKeys(ctx, j.source, kenv.UpdateOptions{})
		return j.about(err)
	})
	if err := summary(errs); err != nil {
		return summary(errs, errors.New("nothing was changed, neither the config nor a file"))
	}
	if err := p.uninterrupted(func() error {
		return kenv.Replace(r.path, r.edited, kenv.WriteOptions{Ciphertext: true, Expect: &r.stamp, Lock: rules.lock})
	}); err != nil {
		return err
	}
	p.ui.notef("%s: changed", shortPath(r.path))
	errs = p.sideBySide(len(r.jobs), func(i int, s speaker) error {
		j, out := r.jobs[i], results[i]
		j.speaker = s
		before := j.stamp
		done, err := j.take(ctx, p.ui)
		if err != nil {
			return err
		}
		defer done()
		defer func() { j.source.Data = nil }()
		if !j.stamp.Same(before) { // meanwhile somebody changed something else in it
			if out, err = r.setup.UpdateKeys(ctx, j.source, kenv.UpdateOptions{}); err != nil {
				return j.about(err)
			}
		}
		if err := j.write(ctx, p, out.Data, kenv.WriteOptions{Ciphertext: true}); err != nil {
			return err
		}
		sayResealed(s, j.name, out)
		s.notef("%s: encrypted for %s", j.name, audience(out))
		return nil
	})
	if err := summary(errs); err != nil {
		return hinted{err, "the config is changed; when that is mended: kenv updatekeys " + quote(shortPath(filepath.Dir(r.path)))}
	}
	return nil
}

// newRuleChange makes the change in the text of the config that covers some paths, and
// finds the files that it is for. Nothing is written.
func newRuleChange(setup kenv.Setup, paths []string, change func(*config.Config, []byte, *config.Rule) ([]byte, error)) (*ruleChange, error) {
	path, line, err := ruleFor(setup, paths)
	if err != nil {
		return nil, err
	}
	r := &ruleChange{path: path}
	src, stamp, err := kenv.ReadFile(path, 1<<20)
	if err != nil {
		return nil, err
	}
	r.stamp = stamp
	c, err := config.Parse(path, src)
	if err != nil {
		return nil, err
	}
	which := indexOf(c, line)
	if which < 0 {
		return nil, fmt.Errorf("%s changed meanwhile; run the command again", path)
	}
	if r.edited, err = change(c, src, &c.Rules[which]); err != nil {
		return nil, err
	}
	now, err := config.Parse(path, r.edited)
	if err != nil {
		return nil, err
	}
	r.setup = setup.WithConfig(now)
	if len(paths) == 0 {
		paths = []string{shortPath(filepath.Dir(path))}
	}
	files, err := r.setup.EncryptedFiles(paths)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		// A change in lines may have moved rules, but not their order.
		other, rule, err := r.setup.RuleOf(name)
		if err != nil {
			return nil, &fileError{name, fmt.Errorf("nothing was changed: %w", err)}
		}
		if rule != nil && other.Path == now.Path && indexOf(now, rule.Line) == which {
			r.jobs = append(r.jobs, &job{name: name, to: name, source: kenv.Source{Name: name}})
		}
	}
	return r, nil
}

// indexOf returns which of the rules begins on a line, or -1.
func indexOf(c *config.Config, line int) int {
	return slices.IndexFunc(c.Rules, func(r config.Rule) bool { return r.Line == line })
}

// ruleFor returns the config and the line of the rule that covers some paths; without
// any, of the only rule of the config that is in force here.
func ruleFor(setup kenv.Setup, paths []string) (path string, line int, err error) {
	if len(paths) == 0 {
		c, err := setup.ConfigHere()
		switch {
		case err != nil:
			return "", 0, err
		case c == nil:
			return "", 0, hinted{errors.New("no config is in force here"), "kenv init writes one"}
		case len(c.Rules) != 1:
			return "", 0, hinted{fmt.Errorf("%s has %d rules, and one is meant", c.Path, len(c.Rules)), "name a file or a directory that the rule covers"}
		}
		return c.Path, c.Rules[0].Line, nil
	}
	files, err := setup.EncryptedFiles(paths)
	if err != nil {
		return "", 0, err
	}
	if len(files) == 0 {
		return "", 0, fmt.Errorf("no encrypted file there is covered by a rule")
	}
	for _, name := range files {
		c, rule, err := setup.RuleOf(name)
		switch {
		case err != nil:
			return "", 0, err
		case rule == nil:
			return "", 0, &fileError{name, kenv.ErrNoConfig}
		case path != "" && (c.Path != path || rule.Line != line):
			return "", 0, hinted{fmt.Errorf("%s and %s are covered by different rules", files[0], name), "change them one by one"}
		}
		path, line = c.Path, rule.Line
	}
	return path, line, nil
}
