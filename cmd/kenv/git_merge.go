package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

func newGitMerge(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "merge BASE OURS THEIRS [NAME]",
		Short: "Merge an encrypted file: git's merge driver",
		Long: `Merge three states of an encrypted file as git merges plain texts, and write the
result to OURS. git calls this; the files are its own, and NAME is the path in the
work tree, by which the format and the rule are found.

What each side changed comes together, encrypted for our recipients by our rules. Of
their recipients and rules only what the config here asks for is taken over. Where
both sides changed the same lines, or that would not be safe, the file keeps our side,
and theirs is sealed in it: decrypt, exec, get and set refuse it until kenv edit FILE
has resolved that. No plaintext is written anywhere.

Nobody is asked for a passphrase, and only keys on this machine and those that the
config names are used. If no key can be used, OURS stays as it is.

Files that are not encrypted are merged as git does.

Exit codes: 0 merged, 1 a conflict, or it could not be merged, 2 wrong usage.`,
		Example: `  kenv git merge %O %A %B %P
  git config merge.kenv.driver 'kenv git merge %O %A %B %P'
  echo 'secrets/* merge=kenv' >>.gitattributes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 && len(args) != 4 {
				return misused(cmd, "name the files of base, ours and theirs, as git does with %%O %%A %%B %%P")
			}
			args = append(args, "")
			return mergeExit(runGitMerge(cmd.Context(), p, args[0], args[1], args[2], args[3]))
		},
	}
}

// mergeExit is for git, which takes an exit code above 128 for a broken driver and every
// other for a conflict: there is one code for all that is not merged.
func mergeExit(err error) error {
	if err == nil || as[*usageError](err) {
		return err
	}
	return unmerged{err}
}

// An unmerged is why a file was not merged: exit code 1, whatever it is.
type unmerged struct{ error }

func (e unmerged) Unwrap() error { return e.error }

func runGitMerge(ctx context.Context, p *process, base, ours, theirs, name string) error {
	j := &job{name: name, to: ours}
	if name == "" {
		j.name = ours
	}
	var sources [3]kenv.Source
	for i, path := range []string{base, ours, theirs} {
		data, stamp, err := kenv.ReadFile(path, kenv.MaxSize)
		if err != nil {
			return err
		}
		sources[i] = kenv.Source{Name: name, Data: data}
		if path == ours {
			j.stamp = stamp
		}
	}
	setup := p.setup()
	setup.Keys = p.askingNobody()
	write := func(data []byte, o kenv.WriteOptions) error {
		o.Expect = &j.stamp
		return p.uninterrupted(func() error { return kenv.Replace(ours, data, o) })
	}
	encrypted := false
	for _, src := range sources[1:] {
		if len(src.Data) == 0 {
			continue
		}
		yes, err := setup.IsEncrypted(src)
		encrypted = encrypted || yes || err != nil
	}
	if !encrypted {
		return j.about(mergePlain(sources, write))
	}
	out, err := setup.Merge(ctx, sources[0], sources[1], sources[2])
	if err != nil {
		return j.about(fmt.Errorf("cannot merge: %w", err))
	}
	if err := write(out.Data, kenv.WriteOptions{Ciphertext: true}); err != nil {
		return j.about(err)
	}
	if len(out.Lost) > 0 {
		p.ui.warnf("%s: it lacks keys that its rule names: %s; to add them: kenv updatekeys %s", j.name, shortNames(out.Lost), quote(j.name))
	}
	if len(out.Kept) > 0 {
		p.ui.warnf("%s: their side took away %s, which the rule for it names; if it is to go: kenv keys remove", j.name, shortNames(out.Kept))
	}
	sayResealed(p.ui.speaker, j.name, out.Encrypted)
	if out.Clean {
		return nil
	}
	for _, why := range out.Why {
		p.ui.warnf("%s: %s", j.name, why)
	}
	what := "the two sides do not go together"
	if out.Places > 0 {
		what = "both sides changed the same lines"
	}
	return j.about(hinted{fmt.Errorf("%s; it holds ours, and theirs sealed", what), "kenv edit " + quote(j.name) + ", then git add " + quote(j.name)})
}

// mergePlain merges texts that are in clear on both sides.
func mergePlain(sources [3]kenv.Source, write func([]byte, kenv.WriteOptions) error) error {
	for _, src := range sources {
		if bytes.IndexByte(src.Data, 0) >= 0 {
			return errors.New("cannot merge binary files")
		}
	}
	m := doc.MergeText(sources[0].Data, sources[1].Data, sources[2].Data)
	// It is in clear in git already, and may stand under a temporary name.
	if err := write(m.Text(false), kenv.WriteOptions{Ciphertext: true}); err != nil {
		return err
	}
	if m.Conflicts() > 0 {
		return silent{kenv.ErrConflict} // git says it
	}
	return nil
}
