package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type encryptOptions struct {
	fileOptions
	keyOptions
	attrOptions
	kenv.EncryptOptions
	previous string
}

func newEncrypt(p *process) *cobra.Command {
	o := &encryptOptions{}
	cmd := &cobra.Command{
		Use:   "encrypt [flags] FILE…",
		Short: "Encrypt files",
		Long: `Encrypt files, to standard output unless --in-place or --output says otherwise.

The master keys are those of --key (and --age), else those that the environment
names (KENV_KEYS, SOPS_AGE_RECIPIENTS), else those of the first rule that covers
the file in the nearest .kenv.yaml or .sops.yaml.

Several files are worked on side by side, and one that fails does not keep the others
from it. With --recursive a directory stands for the files below it that a rule covers
and that are not encrypted yet.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure of the previous file, 5 the rules object.`,
		Example: `  kenv encrypt -i secrets.yaml
  kenv encrypt --key age1… -o secrets.enc.json secrets.json
  kenv encrypt -r -i .
  kenv encrypt --previous secrets.enc.yaml -o secrets.enc.yaml plain.yaml`,
	}
	o.fileOptions.addFlags(cmd, true)
	o.keyOptions.addFlags(cmd.Flags(), p.table, "", "encrypt for")
	o.attrOptions.addFlags(cmd.Flags(), p.table)
	addSelectorFlags(cmd.Flags(), &o.Selector)
	f := cmd.Flags()
	f.BoolVar(&o.MACOnlyEncrypted, "mac-only-encrypted", false, "protect the encrypted values only: those in clear may change")
	f.IntVar(&o.Threshold, "shamir-secret-sharing-threshold", 0, "how many key groups are `needed` to decrypt; 0 is all of them")
	f.StringVar(&o.previous, "previous", "", "keep the ciphertext of what is unchanged since this encrypted `file`")
	f.BoolVar(&o.AllowUnencrypted, "allow-unencrypted", false, "allow that the rules select nothing for encryption")
	f.BoolVar(&o.AcceptRecipients, "accept-recipients", false, "allow keys from the environment that the file's rule does not name")
	cmd.RunE = func(cmd *cobra.Command, files []string) error { return runEncrypt(cmd, p, o, files) }
	return cmd
}

// keyOptions are the flags that name master keys: --key and, for each kind of key,
// sops's own, all with something before them for other commands: --add-key.
type keyOptions struct {
	names  []string
	byKind []*kindFlag
}

type kindFlag struct {
	prefix string
	values []string
}

func (o *keyOptions) addFlags(f *pflag.FlagSet, table keys.Table, before, purpose string) {
	f.StringArrayVar(&o.names, before+"key", nil, "a master `key` to "+purpose+"; may be repeated")
	for _, row := range table {
		if row.Flag == "" {
			continue
		}
		k := &kindFlag{prefix: row.Prefix}
		o.byKind = append(o.byKind, k)
		usage := fmt.Sprintf("%s `keys` to %s, separated by commas, as for sops", row.Kind, purpose)
		// The letters are sops's.
		short := map[string]string{"age": "a", "kms": "k", "pgp": "p"}[row.Flag]
		if before != "" {
			short = ""
		}
		f.StringArrayVarP(&k.values, before+row.Flag, short, nil, usage)
	}
}

// all returns the key strings that the flags give, in canonical spelling.
func (o *keyOptions) all(cmd *cobra.Command, table keys.Table) ([]string, error) {
	given := append([]string(nil), o.names...)
	for _, k := range o.byKind {
		for _, value := range k.values {
			for _, name := range strings.Split(value, ",") {
				given = append(given, k.prefix+strings.TrimSpace(name))
			}
		}
	}
	var list []string
	for _, name := range given {
		k, err := table.Parse(name)
		if err != nil {
			return nil, misused(cmd, "%w", err)
		}
		list = append(list, k.Name())
	}
	return list, nil
}

// attrOptions are the flags that say more about keys: --encryption-context.
type attrOptions struct {
	flags []keys.Attr
	texts []string
}

func (o *attrOptions) addFlags(f *pflag.FlagSet, table keys.Table) {
	for _, row := range table {
		o.flags = append(o.flags, row.Attrs...)
	}
	o.texts = make([]string, len(o.flags))
	for i, a := range o.flags {
		f.StringVar(&o.texts[i], a.Flag, "", a.Usage)
	}
}

// setup is the process's, with what the flags say of keys.
func (o *attrOptions) setup(cmd *cobra.Command, p *process) (kenv.Setup, error) {
	s := p.setup()
	s.Attrs = map[string]any{}
	for i, a := range o.flags {
		switch text := o.texts[i]; {
		case text == "":
		case a.Parse == nil:
			s.Attrs[a.Name] = text
		default:
			value, err := a.Parse(text)
			if err != nil {
				return s, misused(cmd, "--%s: %w", a.Flag, err)
			}
			s.Attrs[a.Name] = value
		}
	}
	return s, nil
}

func addSelectorFlags(f *pflag.FlagSet, s *envelope.Selector) {
	f.StringVar(&s.UnencryptedSuffix, "unencrypted-suffix", "", "encrypt all but keys with this `suffix` (the default is _unencrypted)")
	f.StringVar(&s.EncryptedSuffix, "encrypted-suffix", "", "encrypt only keys with this `suffix`")
	f.StringVar(&s.UnencryptedRegex, "unencrypted-regex", "", "encrypt all but keys that match this `expression`")
	f.StringVar(&s.EncryptedRegex, "encrypted-regex", "", "encrypt only keys that match this `expression`")
	f.StringVar(&s.UnencryptedCommentRegex, "unencrypted-comment-regex", "", "encrypt all but what has a comment that matches this `expression`")
	f.StringVar(&s.EncryptedCommentRegex, "encrypted-comment-regex", "", "encrypt only what has a comment that matches this `expression`")
}

func checkSelectorFlags(cmd *cobra.Command) error {
	var given []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, end := range []string{"encrypted-suffix", "encrypted-regex", "encrypted-comment-regex"} {
			if f.Name == end || f.Name == "un"+end {
				given = append(given, "--"+f.Name)
			}
		}
	})
	if len(given) > 1 {
		return misused(cmd, "only one of %s can be given", strings.Join(given, " and "))
	}
	return nil
}

func runEncrypt(cmd *cobra.Command, p *process, o *encryptOptions, files []string) error {
	if err := checkSelectorFlags(cmd); err != nil {
		return err
	}
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	jobs, err := o.jobs(cmd, p.ui, files, setup.PlainFiles)
	if err != nil {
		return err
	}
	if o.Keys, err = o.keyOptions.all(cmd, p.table); err != nil {
		return err
	}
	if len(jobs) == 0 {
		p.ui.notef("all files there that a rule covers are encrypted")
		return nil
	}
	switch {
	case o.Threshold < 0:
		return misused(cmd, "--shamir-secret-sharing-threshold is negative")
	case o.previous != "" && (len(jobs) > 1 || o.recursive):
		return misused(cmd, "--previous is for a single file")
	case o.previous == "-":
		return misused(cmd, "--previous is a file, not standard input")
	case jobs[0].source.Name == "" && jobs[0].source.Format == nil:
		return misused(cmd, "standard input needs --filename-override or --input-type, to tell its format")
	}
	return p.each(jobs, func(j *job) error { return o.encrypt(cmd.Context(), p, setup, j) })
}

func (o *encryptOptions) encrypt(ctx context.Context, p *process, setup kenv.Setup, j *job) error {
	done, err := j.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	defer clear(j.source.Data)
	options := o.EncryptOptions
	options.Output = j.output
	if o.previous != "" {
		old, _, err := kenv.ReadFile(o.previous, kenv.MaxSize)
		if err != nil {
			return err
		}
		options.Previous = &kenv.Source{Name: o.previous, Data: old}
	}
	out, err := setup.Encrypt(ctx, j.source, options)
	if err != nil {
		return j.about(orWhole(err))
	}
	if err := j.write(ctx, p, out.Data, kenv.WriteOptions{Ciphertext: true, Perm: 0o666}); err != nil {
		return err
	}
	if out.FreshKey != "" {
		j.warnf("%s: a new data key was taken: %s", j.name, out.FreshKey)
	}
	as := ""
	if _, binary := out.Format.(doc.Binary); binary {
		as = " as a whole, as a binary file,"
	} else if out.Rung == doc.AsText {
		as = " as one text, " + sinceOneText(out.Format, j.source.Data) + ","
	}
	j.notef("%s: encrypted%s for %s", j.name, as, audience(out))
	if o.previous == "" && hasNoSpare(p.table, out) {
		j.notef("%s: one key alone can decrypt it, and if that is lost, so is the file; to add a second one: kenv keys add KEY", j.name)
	}
	if j.to == "" && j.name != stdinName {
		j.notef("%s itself is still plaintext; to encrypt it in place: kenv encrypt -i %s", j.name, quote(j.name))
	}
	return nil
}

// hasNoSpare reports whether a file is lost together with one key. Keys that a service
// keeps are the service's to look after.
func hasNoSpare(table keys.Table, e *kenv.Encrypted) bool {
	if len(e.Recipients) != 1 || len(e.Recipients[0]) != 1 {
		return false
	}
	row, ok := table.Provider(kindOf(table, keys.Spec{Name: e.Recipients[0][0]}))
	return ok && !row.Remote
}

// orWhole adds to an error about a file's syntax that the file can be encrypted
// without looking at that.
func orWhole(err error) error {
	switch {
	case errors.Is(err, doc.ErrReserved):
		return hinted{err, "rename that key, or encrypt the file as a whole: --input-type binary"}
	case errors.Is(err, kenv.ErrFormat), as[*doc.SyntaxError](err), as[*envelope.CannotHoldError](err):
		return hinted{err, "to encrypt it as a whole, whatever is in it: --input-type binary"}
	}
	return err
}

// audience says who can decrypt a file.
func audience(e *kenv.Encrypted) string {
	var groups []string
	for _, g := range e.Recipients {
		var names []string
		for _, n := range g {
			names = append(names, keys.Short(n))
		}
		groups = append(groups, strings.Join(names, ", "))
	}
	if len(groups) == 1 {
		return groups[0]
	}
	need := e.Threshold
	if need == 0 {
		need = len(groups)
	}
	return fmt.Sprintf("%d of %d key groups: %s", need, len(groups), strings.Join(groups, "; "))
}

// sinceOneText says why a plaintext is held as one text.
func sinceOneText(f doc.Format, plaintext []byte) string {
	if twice := doc.DuplicateKeys(f, plaintext); len(twice) > 0 {
		return fmt.Sprintf("since the key %q is there twice", keys.Short(twice[0]))
	}
	return "since its values cannot be held one by one"
}
