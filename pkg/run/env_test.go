package run_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/run"
)

const canary = "canary-dGhlIHNlY3JldA"

func TestNames(t *testing.T) {
	windows := runtime.GOOS == "windows"
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"DATABASE_URL", canary, true},
		{"_", canary, true},
		{"a1", canary, true},
		{"EMPTY", "", true},
		{"MULTILINE", canary + "\n" + canary, true},
		{"GIT_TOKEN", canary, true},
		{"GITHUB_TOKEN", canary, true},
		{"PATH_PREFIX", canary, true},
		{"MY_LD_PRELOAD", canary, true},
		{"LDAP_PASSWORD", canary, true},
		{"PYTHONUNBUFFERED", "1", true},
		{"ENV", "production", true},
		{"ENV", "", true},
		{"ENVIRONMENT", "/a/b", true},

		{"ENV", "/tmp/" + canary, false},
		{"ENV", "./" + canary, false},
		{"PATH", canary, false},
		{"LD_PRELOAD", canary, false},
		{"LD_LIBRARY_PATH", canary, false},
		{"LD_", canary, false},
		{"DYLD_INSERT_LIBRARIES", canary, false},
		{"BASH_ENV", canary, false},
		{"PROMPT_COMMAND", canary, false},
		{"BASH_FUNC_ls", canary, false},
		{"BASH_FUNC_ls%%", canary, false},
		{"PYTHONSTARTUP", canary, false},
		{"PYTHONPATH", canary, false},
		{"PYTHONHOME", canary, false},
		{"PERL5OPT", canary, false},
		{"RUBYOPT", canary, false},
		{"NODE_OPTIONS", canary, false},
		{"JAVA_TOOL_OPTIONS", canary, false},
		{"GIT_SSH", canary, false},
		{"GIT_SSH_COMMAND", canary, false},
		{"GIT_CONFIG", canary, false},
		{"GIT_CONFIG_COUNT", canary, false},
		{"GIT_CONFIG_KEY_0", canary, false},
		{"GIT_EXEC_PATH", canary, false},
		{"GIT_EXTERNAL_DIFF", canary, false},

		{"Path", canary, !windows},
		{"ld_preload", canary, !windows},
		{"Env", "C:/x", !windows},

		{"", canary, false},
		{"A=B", canary, false},
		{"A\x00B", canary, false},
		{"A.B", canary, false},
		{"A-B", canary, false},
		{"A B", canary, false},
		{"1A", canary, false},
		{"Ä", canary, false},
		{"A", canary + "\x00", false},
	} {
		_, err := run.Rules{}.Environ(nil, []run.Var{{Name: c.name, Value: c.value}})
		if (err == nil) != c.ok {
			t.Errorf("%q: error %v, want ok %v", c.name, err, c.ok)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%q: the error tells the value: %v", c.name, err)
		}
		if err != nil && c.name != "" && !strings.ContainsAny(c.name, "\x00Ä") && !strings.Contains(err.Error(), c.name) {
			t.Errorf("%q: the error does not name it: %v", c.name, err)
		}
	}
}

func TestEnviron(t *testing.T) {
	for name, c := range map[string]struct {
		base []string
		vars []run.Var
		want []string
	}{
		"nothing":                   {nil, nil, []string{}},
		"base alone":                {[]string{"B=1", "A=2"}, nil, []string{"B=1", "A=2"}},
		"pristine":                  {nil, []run.Var{{Name: "B", Value: "1"}, {Name: "A", Value: "2"}}, []string{"B=1", "A=2"}},
		"the file wins":             {[]string{"A=parent", "B=1"}, []run.Var{{Name: "A", Value: "file"}}, []string{"B=1", "A=file"}},
		"the last of the file":      {nil, []run.Var{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}, {Name: "A", Value: "3"}}, []string{"B=2", "A=3"}},
		"the first of the parent":   {[]string{"A=1", "A=2", "B=", "A=3"}, nil, []string{"A=1", "B="}},
		"both twice":                {[]string{"A=1", "A=2"}, []run.Var{{Name: "A", Value: "3"}, {Name: "A", Value: "4"}}, []string{"A=4"}},
		"equals signs and newlines": {[]string{"A=b=c\nd"}, []run.Var{{Name: "B", Value: "=x=\ny"}}, []string{"A=b=c\nd", "B==x=\ny"}},
		"a prefix is another":       {[]string{"AB=1"}, []run.Var{{Name: "A", Value: "2"}}, []string{"AB=1", "A=2"}},
		"hijackers of the parent":   {[]string{"PATH=/bin", "LD_PRELOAD=x"}, nil, []string{"PATH=/bin", "LD_PRELOAD=x"}},
		"entries of no form":        {[]string{"", "X", "=C:=C:\\d", "=D:=D:\\"}, []run.Var{{Name: "X", Value: "1"}}, []string{"", "X", "=C:=C:\\d", "=D:=D:\\", "X=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := run.Rules{}.Environ(c.base, c.vars)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestRules(t *testing.T) {
	is := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	set := func(name, value string) run.Var { return run.Var{Name: name, Value: value} }
	parent := []string{"A=1", "B=2", "PATH=/bin", "A=3"}
	for name, c := range map[string]struct {
		rules run.Rules
		vars  []run.Var
		want  []string
	}{
		"pristine":               {run.Rules{Pristine: true}, []run.Var{set("B", "x")}, []string{"B=x"}},
		"pristine, but":          {run.Rules{Pristine: true, Keep: is("A", "C")}, []run.Var{set("A", "x"), set("C", "y")}, []string{"A=1", "C=y"}},
		"the parent wins":        {run.Rules{Keep: func(string) bool { return true }}, []run.Var{set("A", "x"), set("C", "y")}, []string{"A=1", "B=2", "PATH=/bin", "C=y"}},
		"the parent wins for A":  {run.Rules{Keep: is("A")}, []run.Var{set("A", "x"), set("B", "y")}, []string{"A=1", "PATH=/bin", "B=y"}},
		"what is kept is unsafe": {run.Rules{Keep: is("PATH")}, []run.Var{set("PATH", "x")}, []string{"A=1", "B=2", "PATH=/bin"}},
		"unset":                  {run.Rules{}, []run.Var{set("C", "x"), {Name: "C", Unset: true}, {Name: "A", Unset: true}}, []string{"B=2", "PATH=/bin"}},
		"unset and set":          {run.Rules{}, []run.Var{{Name: "A", Unset: true}, set("A", "x")}, []string{"B=2", "PATH=/bin", "A=x"}},
		"unset, but kept":        {run.Rules{Keep: is("A")}, []run.Var{{Name: "A", Unset: true}}, []string{"A=1", "B=2", "PATH=/bin"}},
		"unsafe":                 {run.Rules{Unsafe: true}, []run.Var{set("PATH", "x"), set("LD_PRELOAD", "y")}, []string{"A=1", "B=2", "PATH=x", "LD_PRELOAD=y"}},
		"any name":               {run.Rules{AnyName: true, Pristine: true}, []run.Var{set("my-name", "x"), set("export B", "y"), set(" A", "z")}, []string{"my-name=x", "export B=y", " A=z"}},
	} {
		got, err := c.rules.Environ(parent, c.vars)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		rules run.Rules
		v     run.Var
	}{
		"unset PATH":            {run.Rules{}, run.Var{Name: "PATH", Unset: true}},
		"any name, but none":    {run.Rules{AnyName: true}, set("", canary)},
		"any name, but with =":  {run.Rules{AnyName: true}, set("A=B", canary)},
		"any name, but NUL":     {run.Rules{AnyName: true}, set("A\x00", canary)},
		"any name, but unsafe":  {run.Rules{AnyName: true}, set("BASH_FUNC_ls%%", canary)},
		"unsafe, but no name":   {run.Rules{Unsafe: true}, set("my-name", canary)},
		"unsafe, but NUL in it": {run.Rules{Unsafe: true}, set("PATH", canary+"\x00")},
	} {
		if got, err := c.rules.Environ(parent, []run.Var{c.v}); err == nil || got != nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEnvironRefuses(t *testing.T) {
	env, err := run.Rules{}.Environ([]string{"A=1"}, []run.Var{{Name: "GOOD", Value: canary}, {Name: "LD_PRELOAD", Value: canary}, {Name: "not-a-name", Value: canary}})
	if env != nil || err == nil {
		t.Fatalf("%q, %v", env, err)
	}
	for _, name := range []string{"LD_PRELOAD", "not-a-name"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not in: %v", name, err)
		}
	}
	if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "GOOD") {
		t.Errorf("a value, or a name that is right, is in: %v", err)
	}
}

func TestEnvironFoldsOnWindows(t *testing.T) {
	if runtime.GOOS != "windows" {
		t.Skip("elsewhere names that differ in case are different names")
	}
	got, err := run.Rules{}.Environ([]string{"Token=1", "B=2"}, []run.Var{{Name: "TOKEN", Value: "3"}})
	if err != nil || !slices.Equal(got, []string{"B=2", "TOKEN=3"}) {
		t.Errorf("%q, %v", got, err)
	}
}
