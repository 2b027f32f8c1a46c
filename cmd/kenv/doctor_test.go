package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// A fakeKey is a master key that can be asked about itself.
type fakeKey struct {
	keys.MasterKey
	name  string
	probe func(ctx context.Context, name string, e keys.Entry) keys.Finding
}

func (k *fakeKey) Name() string { return k.name }

func (k *fakeKey) Probe(ctx context.Context, e keys.Entry) keys.Finding {
	return k.probe(ctx, k.name, e)
}

// fakeProvider has keys whose names begin with the prefix.
func fakeProvider(kind, prefix string, probe func(ctx context.Context, name string, e keys.Entry) keys.Finding, examine func(context.Context) []keys.Finding) keys.Provider {
	return keys.Provider{
		Kind: kind, Forms: []string{prefix + "…"}, Examine: examine,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			if !strings.HasPrefix(s.Name, prefix) {
				return nil, false, nil
			}
			return &fakeKey{name: strings.ToLower(s.Name), probe: probe}, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			return &fakeKey{name: cmp.Or(e.Field("recipient"), e.Field("arn")), probe: probe}, nil
		},
	}
}

// fakeProcess is a process with a table of its own, in an empty directory. output
// returns what it has printed.
func fakeProcess(t *testing.T, table keys.Table) (p *process, output func() string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("EDITOR", "true")
	t.Setenv("GIT_CEILING_DIRECTORIES", dir)
	for _, name := range []string{"KENV_CONFIG", "SOPS_CONFIG", "KENV_EDITOR", "SOPS_EDITOR", "VISUAL", "GIT_DIR"} {
		t.Setenv(name, "")
	}
	t.Chdir(dir)
	out, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { out.Close() })
	p = &process{
		ui: newUI(out, out, out),
		tables: func(env keys.Env) keys.Table {
			if _, err := env.Ask(t.Context(), "PIN: "); !errors.Is(err, keys.ErrNoTerminal) || env.AllowPlugins {
				t.Error("keys may ask, or start plugins")
			}
			return table
		},
		settings: func() (map[string]string, error) { return nil, nil },
		env:      keys.Env{AllowPlugins: true, Prompt: func(context.Context, string) ([]byte, error) { return nil, nil }},
	}
	return p, func() string {
		text, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each key that the config names is asked once, whatever it is called there, with
// all of them known, and at the same time as the others.
func TestDoctorProbes(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	probe := func(ctx context.Context, name string, e keys.Entry) keys.Finding {
		time.Sleep(14 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, name)
		if len(keys.Named(ctx)) != 3 {
			t.Errorf("%d keys are named, want 3", len(keys.Named(ctx)))
		}
		return keys.Finding{What: "x", State: keys.OK, Detail: "works"}
	}
	p, output := fakeProcess(t, keys.Table{fakeProvider("fake", "k", probe, nil)})
	writeFile(t, ".kenv.yaml", "creation_rules:\n  - path: a\n    keys: [ka, kb]\n  - groups:\n      - [kA, kc]\n      - [kb]\n")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		err := runDoctor(t.Context(), p, true)
		if err != nil || time.Since(start) != 14*time.Second {
			t.Errorf("%v in %v", err, time.Since(start))
		}
	})
	slices.Sort(asked)
	if strings.Join(asked, " ") != "ka kb kc" {
		t.Errorf("asked %q", asked)
	}
	var got struct {
		Findings []struct{ What, State, Detail, Hint *string }
		OK       *bool
	}
	d := json.NewDecoder(strings.NewReader(output()))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || got.OK == nil || !*got.OK {
		t.Fatalf("%v in\n%s", err, output())
	}
	var lines []string
	for _, f := range got.Findings {
		if f.What == nil || f.State == nil || f.Detail == nil || f.Hint == nil {
			t.Fatalf("a field is missing in\n%s", output())
		}
		lines = append(lines, *f.What+" "+*f.State+" "+*f.Detail)
	}
	for _, want := range []string{"ka ok works", "kb ok works", "kc ok works", "keys of the config ok 3 of 3 can be used here", "editor ok true"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q among\n%s", want, strings.Join(lines, "\n"))
		}
	}
}

// Whatever hangs, doctor ends and says what it was.
func TestDoctorHangs(t *testing.T) {
	hang := func() { time.Sleep(time.Hour) }
	names := func(n int) string {
		text := "creation_rules:\n  - keys:\n"
		for i := range n {
			text += "      - k" + strings.Repeat("x", i) + "\n"
		}
		return text
	}
	for _, tt := range []struct {
		what     string
		settings bool // hang
		want     []string
	}{
		{"keys and providers", false, []string{"k\tno answer in time", "k" + strings.Repeat("x", 39) + "\tnot asked, since others took too long", "fake keys\tno answer in time", "keys of the config\tnone of the 40 can be used here"}},
		{"settings", true, []string{"settings\tno answer in time", "config\tno answer in time", "fake keys\tno answer in time"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			probe := func(context.Context, string, keys.Entry) keys.Finding { hang(); return keys.Finding{} }
			p, _ := fakeProcess(t, keys.Table{fakeProvider("fake", "k", probe, func(context.Context) []keys.Finding { hang(); return nil })})
			if tt.settings {
				p.settings = func() (map[string]string, error) { hang(); return nil, nil }
			}
			writeFile(t, ".kenv.yaml", names(40))
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				list := examine(t.Context(), p)
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("it took %v", took)
				}
				time.Sleep(2 * time.Hour) // the bubble has to be empty in the end
				var lines []string
				for _, f := range list {
					lines = append(lines, f.What+"\t"+f.Detail)
				}
				for _, want := range tt.want {
					if !slices.Contains(lines, want) {
						t.Errorf("no %q among\n%s", want, strings.Join(lines, "\n"))
					}
				}
			})
		})
	}
}

// What is missing counts only where it is needed.
func TestJudge(t *testing.T) {
	const ok, note, warning, missing = keys.OK, keys.Note, keys.Warning, keys.Missing
	table := keys.Table{{Kind: "age"}, {Kind: "kms"}}
	for _, tt := range []struct {
		what         string
		none         bool
		names        int
		kinds        string
		age, kms     string // what Examine finds, with a hint
		probes       string
		hinted       string // probes with a hint
		want         string
		wantHintless bool // of kms
	}{
		{what: "nothing set up", none: true, age: missing, kms: missing, want: "config:missing age:note kms:note", wantHintless: true},
		{what: "an identity and no config", none: true, age: ok, kms: missing, want: "config:note age:ok kms:note", wantHintless: true},
		{what: "an identity with a flaw", none: true, age: warning, kms: ok, want: "config:note age:warning kms:ok"},
		{what: "an ssh key is no identity of kenv's", none: true, age: note, kms: ok, want: "config:missing age:note kms:ok"},
		{what: "all is well", names: 1, kinds: "age", age: ok, kms: missing, probes: ok, want: "age:ok kms:note key:ok all:ok", wantHintless: true},
		{what: "a key that works, with a flaw", names: 1, kinds: "age", age: ok, kms: ok, probes: warning, want: "age:ok kms:ok key:warning all:ok"},
		{what: "a colleague's key", names: 2, kinds: "age", age: ok, kms: ok, probes: ok + " " + missing, want: "age:ok kms:ok key:ok key:note all:ok"},
		{what: "one kind works, the other could", names: 2, kinds: "age kms", age: ok, kms: missing, probes: ok, hinted: missing, want: "age:ok kms:warning key:ok key:warning all:ok"},
		{what: "no key works", names: 2, kinds: "age kms", age: missing, kms: missing, probes: missing, hinted: missing, want: "age:missing kms:missing key:note key:warning all:missing"},
		{what: "no key works, and none of that kind is named", names: 1, kinds: "age", age: missing, kms: missing, probes: missing, want: "age:missing kms:note key:note all:missing", wantHintless: true},
		{what: "it takes asking", names: 2, kinds: "age", age: ok, kms: ok, probes: note + " " + missing, want: "age:ok kms:ok key:note key:note all:note"},
		{what: "only keys that are not supported", names: 1, age: ok, kms: ok, want: "age:ok kms:ok all:missing"},
		{what: "a config without keys", age: ok, kms: ok, want: "age:ok kms:ok"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			c := &configLook{none: tt.none, names: tt.names, kinds: map[string]bool{}}
			for kind := range strings.FieldsSeq(tt.kinds) {
				c.kinds[kind] = true
			}
			examined := [][]keys.Finding{{{What: "age", State: tt.age, Hint: "x"}}, {{What: "kms", State: tt.kms, Hint: "x"}}}
			var probes []keys.Finding
			for state := range strings.FieldsSeq(tt.probes) {
				probes = append(probes, keys.Finding{What: "key", State: state})
			}
			for state := range strings.FieldsSeq(tt.hinted) {
				probes = append(probes, keys.Finding{What: "key", State: state, Hint: "log in"})
			}
			var got []string
			for _, f := range judge(c, table, examined, probes) {
				what := strings.Replace(f.What, "keys of the config", "all", 1)
				got = append(got, what+":"+f.State)
				if f.What == "kms" && (f.Hint == "") != tt.wantHintless {
					t.Errorf("the hint of kms is %q", f.Hint)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got  %s\nwant %s", s, tt.want)
			}
		})
	}
}

// A finding has one line, and one with its hint, whatever is in it.
func TestFindings(t *testing.T) {
	p, output := fakeProcess(t, nil)
	err := p.ui.findings([]keys.Finding{
		{What: "a", State: keys.OK, Detail: "b\nc\x1b[2J"},
		{What: strings.Repeat("long", 100), State: keys.Warning, Hint: "d\te"},
		{What: "f", State: keys.Note},
		{What: "g", State: keys.Missing},
	})
	want := `ok       a: b\nc\x1b[2J
warn     longlonglonglonglonglonglong…longlonglong: ` + `
         hint: d\te
note     f: ` + `
missing  g: ` + `
`
	if err != nil || output() != want {
		t.Errorf("%v\n%s", err, output())
	}
}
