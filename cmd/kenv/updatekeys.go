package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

type updateKeysOptions struct {
	attrOptions
	kenv.UpdateOptions
	check, yes, reseal bool
	inputType          string
}

func newUpdateKeys(p *process) *cobra.Command {
	o := &updateKeysOptions{}
	cmd := &cobra.Command{
		Use:   "updatekeys [flags] PATH…",
		Short: "Make the master keys of files those of the config",
		Long: `Make the master keys of encrypted files those that the config names for them, in
place. A directory stands for the encrypted files below it that a rule covers. The
changes are shown first, and made once you agree.

Adding a key wraps the data key once more, and the values keep their ciphertext.
Removing one also takes a new data key, since whoever had the key may have kept the
old one; --keep-data-key leaves it. Neither takes back what they have read already.

A file whose seal sops has dropped is sealed again. As anybody could have changed its
recipients and rules meanwhile, these are shown, and --yes does not agree to them:
--reseal does.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 --check found a difference.`,
		Example: `  kenv updatekeys secrets.yaml
  kenv updatekeys --yes .
  kenv updatekeys --check .        # in CI`,
	}
	f := cmd.Flags()
	f.BoolVarP(&o.yes, "yes", "y", false, "change without asking")
	f.BoolVar(&o.check, "check", false, "change nothing, and exit with 5 if there is something to change")
	f.BoolVar(&o.KeepDataKey, "keep-data-key", false, "keep the data key although a key is removed")
	f.BoolVar(&o.reseal, "reseal", false, "seal files whose seal was taken off, without asking")
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the files: "+formatWords())
	o.attrOptions.addFlags(f, p.table)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error { return runUpdateKeys(cmd, p, o, paths) }
	return cmd
}

// A keyUpdate is one file whose keys may have to change.
type keyUpdate struct {
	job
	changes *kenv.KeyChanges
	gone    bool // its seal was taken off
}

func runUpdateKeys(cmd *cobra.Command, p *process, o *updateKeysOptions, paths []string) error {
	switch {
	case len(paths) == 0:
		return misused(cmd, "name a file or a directory")
	case o.check && (o.yes || o.reseal || o.KeepDataKey):
		return misused(cmd, "--check changes nothing, so nothing else can be asked of it")
	}
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	var template job
	if template.source.Format, err = formatFlag(cmd, "--input-type", o.inputType); err != nil {
		return err
	}
	files, err := setup.EncryptedFiles(paths)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		p.ui.notef("no encrypted file there is covered by a rule")
	}
	updates := make([]*keyUpdate, len(files))
	errs := p.sideBySide(len(files), func(i int, s speaker) error {
		u := &keyUpdate{job: template}
		u.name, u.to, u.source.Name = files[i], files[i], files[i]
		updates[i] = u
		return o.compare(cmd.Context(), p, setup, u)
	})
	if o.check {
		return check(p, updates, errs)
	}
	err = o.apply(cmd.Context(), p, setup, updates, errs)
	return summary(errs, err)
}

// compare finds out what has to change in a file.
func (o *updateKeysOptions) compare(ctx context.Context, p *process, setup kenv.Setup, u *keyUpdate) (err error) {
	if err := u.read(p.ui); err != nil {
		return err
	}
	defer func() { u.source.Data = nil }()
	if u.changes, err = setup.KeyChanges(u.source); err != nil {
		return u.about(err)
	}
	if u.changes.Sealed || o.check {
		return nil
	}
	u.gone, err = setup.SealGone(ctx, u.source)
	if as[*envelope.NoKeyError](err) && u.changes.None() {
		return nil // nothing to do that this person could do
	}
	return u.about(err)
}

// again reads a file that must be as it was when it was compared.
func (u *keyUpdate) again(p *process) error {
	before := u.stamp
	if err := u.read(p.ui); err != nil {
		return err
	}
	if !u.stamp.Same(before) {
		return u.about(kenv.ErrChanged)
	}
	return nil
}

// stillDue reports whether the changes of keys that somebody agreed to are to be made in
// a file that was changed meanwhile; not if they have been made. If others would be, or if
// its seal is gone, nobody has agreed to that.
func (u *keyUpdate) stillDue(setup kenv.Setup) (bool, error) {
	agreed := u.describe()
	sealed := u.changes.Sealed
	now, err := setup.KeyChanges(u.source)
	switch {
	case err != nil:
		return false, err
	case u.gone || sealed && !now.Sealed:
		return false, kenv.ErrChanged
	case now.None():
		return false, nil
	}
	u.changes = now
	if u.describe() != agreed {
		return false, kenv.ErrChanged
	}
	return true, nil
}

// check says what is not as it should be.
func check(p *process, updates []*keyUpdate, errs []error) error {
	differ := 0
	for i, u := range updates {
		if errs[i] != nil || u.changes.None() {
			continue
		}
		differ++
		if err := p.ui.printf("%s", u.describe()); err != nil {
			return err
		}
	}
	if differ == 0 {
		return summary(errs)
	}
	return summary(errs, hinted{
		fmt.Errorf("the master keys of %s are not those of the config: %w", count(differ, "file"), errObjection),
		"kenv updatekeys with the same arguments changes them",
	})
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// describe says what changes, a line a key.
func (u *keyUpdate) describe() string {
	var b strings.Builder
	b.WriteString(u.name + ":")
	for _, name := range u.changes.Add {
		b.WriteString("\n  + " + keys.Short(name))
	}
	for _, name := range u.changes.Remove {
		b.WriteString("\n  - " + keys.Short(name))
	}
	if u.changes.Regroup != "" {
		b.WriteString("\n  ~ " + u.changes.Regroup)
	}
	return b.String()
}

// apply changes the files for which nothing has failed and somebody agrees, and adds
// to errs what fails for one.
func (o *updateKeysOptions) apply(ctx context.Context, p *process, setup kenv.Setup, updates []*keyUpdate, errs []error) error {
	tell := p.ui.sayf // before a question
	if o.yes {
		tell = p.ui.notef
	}
	var change []int
	for i, u := range updates {
		switch {
		case errs[i] != nil:
			continue
		case u.gone:
			var ok bool
			if ok, errs[i] = o.agreeToReseal(p, setup, u); !ok {
				continue
			}
		case u.changes.None():
			p.ui.notef("%s: its keys are those of the config", u.name)
			continue
		default:
			tell("%s", u.describe())
		}
		change = append(change, i)
	}
	if len(change) == 0 {
		return nil
	}
	if ask := !o.yes && !(o.reseal && allGone(updates, change)); ask {
		yes, err := p.ui.confirm(fmt.Sprintf("Change the keys of %s?", count(len(change), "file")), false)
		if err != nil {
			return hinted{fmt.Errorf("nothing was changed: %w", err), "agree beforehand with --yes, or look first with --check"}
		}
		if !yes {
			p.ui.notef("nothing was changed")
			return nil
		}
	}
	for i, err := range p.sideBySide(len(change), func(i int, s speaker) error {
		u := updates[change[i]]
		u.speaker = s
		return o.update(ctx, p, setup, u)
	}) {
		errs[change[i]] = err
	}
	return nil
}

func allGone(updates []*keyUpdate, which []int) bool {
	return !slices.ContainsFunc(which, func(i int) bool { return !updates[i].gone })
}

// agreeToReseal shows what was not protected since a file's seal is gone.
func (o *updateKeysOptions) agreeToReseal(p *process, setup kenv.Setup, u *keyUpdate) (bool, error) {
	if err := u.again(p); err != nil {
		return false, err
	}
	recipients, rules, err := setup.Unprotected(u.source)
	if err != nil {
		return false, u.about(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: its seal is gone. sops updatekeys drops it, and so would somebody who changed this:", u.name)
	for i, group := range recipients {
		for _, name := range group {
			b.WriteString("\n  ")
			if len(recipients) > 1 {
				fmt.Fprintf(&b, "group %d: ", i+1)
			}
			b.WriteString(keys.Short(name))
		}
	}
	for _, rule := range rules {
		b.WriteString("\n  " + rule)
	}
	p.ui.sayf("%s", b.String())
	if !u.changes.None() {
		p.ui.sayf("what the config asks for:\n%s", u.describe())
	}
	if o.reseal {
		return true, nil
	}
	ok, err := p.ui.confirm("Are these the recipients and rules that it should have had? Seal it again?", false)
	if errors.Is(err, keys.ErrNoTerminal) {
		err = &envelope.IntegrityError{SealGone: true, Msg: "its seal is gone, and there is no terminal to ask on"}
	}
	return ok, u.about(err)
}

func (o *updateKeysOptions) update(ctx context.Context, p *process, setup kenv.Setup, u *keyUpdate) error {
	options := o.UpdateOptions
	options.SealGone = u.gone
	before := u.stamp
	done, err := u.take(ctx, p.ui)
	if err != nil {
		return err
	}
	defer done()
	defer func() { u.source.Data = nil }()
	if !u.stamp.Same(before) {
		if due, err := u.stillDue(setup); err != nil || !due {
			return u.about(err)
		}
	}
	out, err := setup.UpdateKeys(ctx, u.source, options)
	if err != nil {
		return u.about(err)
	}
	if err := u.write(ctx, p, out.Data, kenv.WriteOptions{Ciphertext: true, Perm: 0o666}); err != nil {
		return err
	}
	sayResealed(u.speaker, u.name, out)
	if out.FreshKey != "" {
		u.notef("%s: new data key: %s", u.name, out.FreshKey)
	}
	u.notef("%s: encrypted for %s", u.name, audience(out))
	return nil
}
