package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/kenvhq/kenv/pkg/git"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

type diffOptions struct{ showValues, json, exitCode bool }

func newDiff(p *process) *cobra.Command {
	o := &diffOptions{}
	cmd := &cobra.Command{
		Use:   "diff [flags] [REV|REV..REV] FILE",
		Short: "Show which values of a file changed",
		Long: `Show which values of an encrypted file were added (+), removed (-) or changed (~)
since a git revision, and whether its keys or rules were. The file in the work tree
is compared with HEAD or the revision given; with REV..REV the two revisions are. No
value is shown without --show-values.

Both states are checked as kenv decrypt does. If one of them cannot be decrypted here,
ciphertext is compared instead, which is the same for values that did not change,
unless the data key did. No plugin is started.

Exit codes: 0 done, 1 failed or, with --exit-code, there is a difference, 2 wrong
usage, 4 integrity failure.`,
		Example: `  kenv diff secrets.yaml
  kenv diff main secrets.yaml
  kenv diff --show-values v1.0..v1.1 prod/db.yaml`,
	}
	f := cmd.Flags()
	f.BoolVar(&o.showValues, "show-values", false, "show values, before and after")
	f.BoolVar(&o.json, "json", false, "print JSON, with all names whole")
	f.BoolVar(&o.exitCode, "exit-code", false, "exit with 1 if there is a difference")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return runDiff(cmd, p, o, args) }
	return cmd
}

// workTree is what messages call the file that is there now.
const workTree = "work tree"

func runDiff(cmd *cobra.Command, p *process, o *diffOptions, args []string) error {
	from, to, name := "HEAD", "", ""
	switch len(args) {
	case 1:
		name = args[0]
	case 2:
		name = args[1]
		if strings.Contains(args[0], "...") {
			return misused(cmd, "compare two revisions as REV..REV; git merge-base finds where two branches parted")
		}
		a, b, two := strings.Cut(args[0], "..")
		if a != "" {
			from = a
		}
		if two {
			if to = b; b == "" {
				to = "HEAD"
			}
		}
	default:
		return misused(cmd, "name a file, after a revision if need be, or after two of them: REV..REV")
	}
	if name == "" || len(args) == 2 && args[0] == "" {
		return misused(cmd, "the name of the file or revision is empty")
	}
	old, new, err := states(cmd.Context(), from, to, name)
	if err != nil {
		return err
	}
	if to == "" {
		to = workTree
	}
	setup := p.setup()
	setup.Keys = p.withoutPlugins()
	d, err := setup.Diff(cmd.Context(), old, new)
	if which := (*kenv.StateError)(nil); errors.As(err, &which) {
		of := to
		if which.Old {
			of = from
		}
		if of == workTree {
			return &fileError{name, which.Err}
		}
		return &fileError{fmt.Sprintf("%s in %s", name, of), which.Err}
	}
	if err != nil {
		return &fileError{name, err}
	}
	if !o.showValues {
		for i := range d.Values {
			d.Values[i].Old, d.Values[i].New = nil, nil
		}
	}
	if d.Blind {
		p.ui.warnf("%s: no usable master key is at hand, so ciphertext was compared: after a change of the data key all values differ", name)
	}
	if o.json {
		err = p.ui.json(listDiff(name, from, to, d))
	} else {
		err = printDiff(p.ui, name, from, to, d)
	}
	if err == nil && o.exitCode && !d.None() {
		err = silent{errors.New("there is a difference")}
	}
	return err
}

// states reads the two states of a file to compare; to is "" for the work tree's.
func states(ctx context.Context, from, to, name string) (old, new *kenv.Source, err error) {
	w, err := git.Find(ctx, existing(filepath.Dir(name)))
	if err != nil {
		return nil, nil, err
	}
	in := func(revision string) (*kenv.Source, error) {
		data, ok, err := w.Show(ctx, revision, name)
		if err != nil || !ok {
			return nil, err
		}
		return &kenv.Source{Name: name, Data: data}, nil
	}
	if old, err = in(from); err != nil {
		return nil, nil, err
	}
	if to != "" {
		new, err = in(to)
	} else if _, missing := os.Lstat(name); !errors.Is(missing, fs.ErrNotExist) {
		new = &kenv.Source{Name: name}
		new.Data, _, err = kenv.ReadFile(name, kenv.MaxSize)
	}
	if err == nil && old == nil && new == nil {
		err = &fileError{name, fmt.Errorf("it is neither in %s nor in %s", from, orWorkTree(to))}
	}
	return old, new, err
}

func orWorkTree(revision string) string {
	if revision == "" {
		return "the " + workTree
	}
	return revision
}

// existing returns the nearest directory above a path, or that itself, that is there.
func existing(dir string) string {
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// withoutPlugins is the table of keys without those that files can have start programs.
func (p *process) withoutPlugins() keys.Table {
	env := p.env
	env.AllowPlugins = false
	return p.tables(env)
}

// printDiff writes differences for people.
func printDiff(u *ui, name, from, to string, d *kenv.Differences) error {
	if d.None() {
		return nil
	}
	sign := map[string]string{kenv.DiffAdded: "+", kenv.DiffRemoved: "-", kenv.DiffChanged: "~"}
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString("\n  " + oneLine(fmt.Sprintf(format, args...))) }
	fmt.Fprintf(&b, "%s: %s → %s", oneLine(name), oneLine(from), oneLine(to))
	if d.Encrypted != "" {
		line("%s encryption", sign[d.Encrypted])
	}
	if d.Sealed != "" {
		line("%s seal", sign[d.Sealed])
	}
	for _, k := range d.Keys {
		line("%s key %s", sign[k.Change], keys.Short(k.Path))
	}
	for _, r := range d.Rules {
		line("%s rule %s", sign[r.Change], r.Path)
	}
	for _, v := range d.Values {
		text := sign[v.Change] + " " + v.Path
		switch {
		case len(v.Old) > 0 && len(v.New) > 0:
			text += ": " + string(v.Old) + " → " + string(v.New)
		case len(v.Old)+len(v.New) > 0:
			text += ": " + string(v.Old) + string(v.New)
		}
		line("%s", text)
	}
	if d.Layout {
		line("~ layout: quotes, blank lines, order or the like; no value")
	}
	return u.printf("%s", b.String())
}

// A listedDiff is differences as --json shows them.
type listedDiff struct {
	File      string       `json:"file"`
	From      string       `json:"from"`
	To        string       `json:"to"`
	Blind     bool         `json:"blind"`
	Values    []listedPart `json:"values"`
	Keys      []listedPart `json:"keys"`
	Rules     []listedPart `json:"rules"`
	Layout    bool         `json:"layout"`
	Sealed    string       `json:"sealed"`
	Encrypted string       `json:"encrypted"`
}

type listedPart struct {
	Path   string          `json:"path"`
	Change string          `json:"change"`
	Old    json.RawMessage `json:"old,omitempty"`
	New    json.RawMessage `json:"new,omitempty"`
}

func listDiff(name, from, to string, d *kenv.Differences) listedDiff {
	parts := func(list []kenv.Difference) []listedPart {
		out := []listedPart{} // [], never null
		for _, x := range list {
			out = append(out, listedPart(x))
		}
		return out
	}
	return listedDiff{
		File: name, From: from, To: to, Blind: d.Blind,
		Values: parts(d.Values), Keys: parts(d.Keys), Rules: parts(d.Rules),
		Layout: d.Layout, Sealed: d.Sealed, Encrypted: d.Encrypted,
	}
}
