package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/spf13/cobra"
)

func newDoctor(p *process) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Show what is set up and what is missing",
		Long: `Show what kenv finds on this machine and in this directory: identities, the config
in force, what each kind of key needs, and whether the keys that the config names can
be used from here. git, the terminal and the editor are looked at as well.

Nobody is asked for a passphrase or PIN, no plugin is started, and nothing is changed.
Services and devices are asked, and doctor ends within 20 seconds whether they answer
or not.

Each line begins with ok, note, warn (it works, and should be looked after) or missing
(something that is needed is not there).

Exit codes: 0 nothing is missing, 2 wrong usage, 5 something is missing.`,
		Example: `  kenv doctor
  kenv doctor --json | jq '.findings[] | select(.state == "missing")'`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), p, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with all names whole")
	return cmd
}

// How long things may take. The config comes before the keys that it names, so
// doctor ends after configLimit + keyLimit + grace at the latest.
const (
	configLimit   = 3 * time.Second
	keyLimit      = 15 * time.Second
	providerLimit = 10 * time.Second
	machineLimit  = 5 * time.Second
)

// A missingError is how many of the things that are needed are missing.
type missingError int

func (n missingError) Error() string {
	if n == 1 {
		return "something that is needed is missing"
	}
	return fmt.Sprintf("%d things that are needed are missing", int(n))
}

func (missingError) Is(target error) bool { return target == errObjection }

func runDoctor(ctx context.Context, p *process, asJSON bool) error {
	list := examine(ctx, p)
	missing := 0
	for _, f := range list {
		if f.State == keys.Missing {
			missing++
		}
	}
	var err error
	if asJSON {
		err = p.ui.json(diagnose(list, missing == 0))
	} else {
		err = p.ui.findings(list)
	}
	if err == nil && missing > 0 {
		err = missingError(missing)
	}
	return err
}

// A diagnosis is what --json shows.
type diagnosis struct {
	Findings []finding `json:"findings"`
	OK       bool      `json:"ok"` // nothing is missing
}

// A finding is a keys.Finding.
type finding struct {
	What   string `json:"what"`
	State  string `json:"state"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

func diagnose(list []keys.Finding, ok bool) diagnosis {
	d := diagnosis{OK: ok}
	for _, f := range list {
		d.Findings = append(d.Findings, finding(f))
	}
	return d
}

// examine looks at everything, as far as possible at the same time.
func examine(ctx context.Context, p *process) []keys.Finding {
	p.warned.Do(func() {}) // a file of settings that cannot be used is among the findings
	table := p.askingNobody()
	var providers []look
	for _, row := range table {
		l := look{row.Kind + " keys", providerLimit, row.Examine}
		if l.ask == nil {
			l.ask = func(context.Context) []keys.Finding { return nil }
		}
		providers = append(providers, l)
	}
	ofProviders := lookAll(ctx, providers)
	ofMachine := lookAll(ctx, []look{
		{"settings", machineLimit, p.examineSettings},
		{"git", machineLimit, examineGit},
		{"terminal", machineLimit, examineTerminal},
		{"editor", machineLimit, examineEditor},
	})
	c, err := within(ctx, configLimit, func(context.Context) *configLook { return lookAtConfig(p.setup().Config, table) })
	if err != nil {
		c = brokenConfig(err)
	}
	ofKeys := lookAtKeys(ctx, c.keys)
	machine, list := ofMachine(), []keys.Finding{{
		What: "kenv", State: keys.OK,
		Detail: fmt.Sprintf("version %s, %s %s/%s", version, runtime.Version(), runtime.GOOS, runtime.GOARCH),
	}}
	list = append(list, machine[0]...)
	list = append(list, judge(c, table, ofProviders(), ofKeys())...)
	return append(list, slices.Concat(machine[1:]...)...)
}

// lookAtKeys asks the keys of the config about themselves.
func lookAtKeys(ctx context.Context, named []keys.MasterKey) (wait func() []keys.Finding) {
	ctx, cancel := context.WithTimeout(ctx, keyLimit)
	ctx = keys.WithNamed(ctx, func() []keys.MasterKey { return named })
	var looks []look
	for _, k := range named {
		looks = append(looks, look{k.Name(), keyLimit, func(ctx context.Context) []keys.Finding {
			p, ok := k.(keys.Prober)
			if !ok {
				return []keys.Finding{{What: k.Name(), State: keys.Note, Detail: "cannot be asked whether it works"}}
			}
			f := p.Probe(ctx, keys.Entry{})
			f.What = k.Name()
			return []keys.Finding{f}
		}})
	}
	found := lookAll(ctx, looks)
	return func() []keys.Finding {
		defer cancel()
		return slices.Concat(found()...)
	}
}

// judge decides how bad it is that something is missing. That is for the providers
// only if the config names keys of theirs and none of its keys works. One key is
// enough to work with, and colleagues have keys of their own.
func judge(c *configLook, table keys.Table, providers [][]keys.Finding, probes []keys.Finding) []keys.Finding {
	verdict := c.verdict(probes)
	identity := false
	var rest []keys.Finding
	for i, found := range providers {
		for _, f := range found {
			switch {
			case f.State != keys.Missing:
				identity = identity || table[i].Kind == age.Kind && f.State != keys.Note
			case !c.kinds[table[i].Kind]:
				f.State, f.Hint = keys.Note, ""
			case verdict.State != keys.Missing:
				f = ease(f)
			}
			rest = append(rest, f)
		}
	}
	for _, f := range probes {
		rest = append(rest, ease(f))
	}
	if verdict.What != "" {
		rest = append(rest, verdict)
	}
	if !c.none {
		return append(c.findings, rest...)
	}
	none := keys.Finding{What: "config", State: keys.Note, Detail: "none is in force in this directory", Hint: "kenv init"}
	if !identity {
		none.State, none.Detail = keys.Missing, "none is in force in this directory, and there is no identity"
	}
	return append([]keys.Finding{none}, rest...)
}

// ease takes something missing for what can be done without: worth a warning where
// there is something to do about it.
func ease(f keys.Finding) keys.Finding {
	if f.State == keys.Missing {
		f.State = keys.Note
		if f.Hint != "" {
			f.State = keys.Warning
		}
	}
	return f
}
