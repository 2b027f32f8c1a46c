package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/git"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/run"
)

// A configLook is what there is to say about the config in force, and the keys that
// its rules name.
type configLook struct {
	none     bool // in force
	findings []keys.Finding
	keys     []keys.MasterKey // those that can be used, each once
	kinds    map[string]bool  // of those
	names    int              // how many keys it names, each once
}

func brokenConfig(err error) *configLook {
	return &configLook{findings: []keys.Finding{{What: "config", State: keys.Missing, Detail: err.Error()}}}
}

// lookAtConfig looks at the config with a path or, if that is empty, the one in force
// for the files of this directory.
func lookAtConfig(path string, table keys.Table) *configLook {
	if path == "" {
		var err error
		if path, err = config.Find(filepath.Join(".", "secrets.yaml")); err != nil {
			return brokenConfig(err)
		}
		if path == "" {
			return &configLook{none: true}
		}
	}
	file, err := config.Load(path)
	if err != nil {
		return brokenConfig(err)
	}
	c := &configLook{kinds: map[string]bool{}}
	add := func(state, detail string) {
		c.findings = append(c.findings, keys.Finding{What: "config", State: state, Detail: detail})
	}
	add(keys.OK, "") // filled in when the keys are counted
	if beside := filepath.Join(filepath.Dir(path), config.SopsName); filepath.Base(path) == config.Name {
		if _, err := os.Lstat(beside); err == nil {
			add(keys.Note, beside+" is not read, as "+config.Name+" stands beside it")
		}
	}
	seen := map[string]bool{}
	for _, r := range file.Rules {
		if err := r.Fault(); err != nil {
			add(keys.Warning, "no file of this rule can be encrypted: "+err.Error())
		}
		for _, named := range slices.Concat(r.Groups...) {
			spec := keys.Spec{Name: named.Name, Attrs: named.Attrs}
			k, err := table.Make(spec)
			name := named.Name
			if err == nil {
				name = k.Name()
			}
			if seen[name] {
				continue
			}
			seen[name] = true
			switch {
			case errors.Is(err, keys.ErrUnsupported):
				add(keys.Warning, fmt.Sprintf("%s:%d: %v", path, named.Line, err))
			case err != nil:
				add(keys.Missing, fmt.Sprintf("%s:%d: %v", path, named.Line, err))
			default:
				c.keys = append(c.keys, k)
				c.kinds[kindOf(table, spec)] = true
			}
		}
	}
	c.names = len(seen)
	c.findings[0].Detail = fmt.Sprintf("%s: %s, %s", path, count(len(file.Rules), "rule"), count(c.names, "key"))
	return c
}

// kindOf returns the kind of key that a Spec names.
func kindOf(table keys.Table, s keys.Spec) string {
	for _, row := range table {
		if _, ok, _ := row.Parse(s); ok {
			return row.Kind
		}
	}
	return ""
}

// verdict says whether one of the config's keys can be used. It is zero if the config
// names none.
func (c *configLook) verdict(probes []keys.Finding) keys.Finding {
	usable, open := 0, 0
	for _, f := range probes {
		switch f.State {
		case keys.OK, keys.Warning:
			usable++
		case keys.Note:
			open++
		}
	}
	f := keys.Finding{What: "keys of the config", State: keys.OK}
	switch {
	case c.names == 0:
		return keys.Finding{}
	case usable > 0:
		f.Detail = fmt.Sprintf("%d of %d can be used here", usable, c.names)
	case open > 0:
		f.State, f.Detail = keys.Note, fmt.Sprintf("whether one of the %d can be used here will be seen when it is needed", c.names)
	default:
		f.State, f.Detail = keys.Missing, fmt.Sprintf("none of the %d can be used here", c.names)
		if c.kinds[age.Kind] {
			f.Hint = "kenv init shows your public key; ask somebody who can decrypt to add it"
		}
	}
	return f
}

// examineSettings looks at the user's own settings, if there are any.
func (p *process) examineSettings(context.Context) []keys.Finding {
	settings, err := p.settings()
	if err != nil {
		return []keys.Finding{{What: "settings", State: keys.Warning, Detail: "not used: " + err.Error()}}
	}
	if settings == nil {
		return nil
	}
	path := filepath.Join(p.env.ConfigDir, config.UserName)
	f := keys.Finding{What: "settings", State: keys.OK, Detail: path + ": sets nothing"}
	if len(settings) > 0 {
		f.Detail = path + ": sets " + strings.Join(slices.Sorted(maps.Keys(settings)), ", ")
	}
	if info, err := os.Stat(path); err == nil && info.Mode()&0o022 != 0 && runtime.GOOS != "windows" {
		f.State = keys.Warning
		f.Detail += fmt.Sprintf("; others on this machine can change it (mode %04o), and so which code kenv loads", info.Mode().Perm())
		f.Hint = "chmod go-w " + quote(path)
	}
	return []keys.Finding{f}
}

// examineGit says whether this is a work tree, and whether its git knows kenv.
func examineGit(ctx context.Context) []keys.Finding {
	f := keys.Finding{What: "git", State: keys.Note}
	w, err := git.Here(ctx)
	switch {
	case errors.Is(err, git.ErrMissing):
		f.Detail = "not on the PATH"
		return []keys.Finding{f}
	case err != nil:
		f.Detail = "this directory is in no work tree"
		return []keys.Finding{f}
	}
	has := func(name string) bool { return w.Setting(ctx, name) != "" }
	switch diff, merge := has("diff.kenv.textconv"), has("merge.kenv.driver"); {
	case diff && merge:
		f.State, f.Detail = keys.OK, "this work tree's diff and merge drivers are set up"
	case diff:
		f.Hint = "kenv git install"
		f.Detail = "merge.kenv.driver is not set: encrypted files are merged as any text"
	case merge:
		f.Hint = "kenv git install"
		f.Detail = "diff.kenv.textconv is not set: diffs show ciphertext"
	default:
		f.Hint = "kenv git install"
		f.Detail = "diff.kenv.textconv and merge.kenv.driver are not set: diffs show ciphertext, and encrypted files are merged as any text"
	}
	return []keys.Finding{f}
}

// examineTerminal says whether there is somebody to ask.
func examineTerminal(context.Context) []keys.Finding {
	in, out, err := openTerminal()
	if err != nil {
		return []keys.Finding{{What: "terminal", State: keys.Note, Detail: "none, so nobody can be asked for a passphrase or PIN"}}
	}
	in.Close()
	out.Close()
	return []keys.Finding{{What: "terminal", State: keys.OK, Detail: "there is one to ask for a passphrase or PIN"}}
}

// examineEditor says which editor is used.
func examineEditor(context.Context) []keys.Finding {
	var commands []string
	for _, name := range []string{"KENV_EDITOR", "SOPS_EDITOR", "VISUAL", "EDITOR"} {
		commands = append(commands, os.Getenv(name))
	}
	editor, err := run.FindEditor(commands...)
	if err != nil {
		return []keys.Finding{{What: "editor", State: keys.Note, Detail: err.Error(), Hint: "set KENV_EDITOR, VISUAL or EDITOR"}}
	}
	return []keys.Finding{{What: "editor", State: keys.OK, Detail: editor.Name()}}
}
