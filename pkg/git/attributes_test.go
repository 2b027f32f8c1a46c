package git

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/config"
)

const aKey = "age1xv3z8c0kwqaymsqav2gjwajwwfvuds2s8sec9snv50rqgtmsffxszq2te2"

func needGit(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("git is not installed")
	}
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"} {
		if value, set := os.LookupEnv(name); set {
			os.Unsetenv(name)
			t.Cleanup(func() { os.Setenv(name, value) })
		}
	}
}

func newWorkTree(t *testing.T) *WorkTree {
	t.Helper()
	needGit(t)
	dir := t.TempDir()
	if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	r, err := Find(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parse(t *testing.T, dir string, rules ...[]string) *config.Config {
	t.Helper()
	text := "creation_rules:\n"
	for _, globs := range rules {
		text += "  - keys: " + aKey + "\n    path:\n"
		for _, g := range globs {
			text += fmt.Sprintf("      - '%s'\n", g)
		}
	}
	c, err := config.Parse(filepath.Join(dir, config.Name), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What git makes of the lines is what kenv makes of the rules.
func TestAttributesMean(t *testing.T) {
	r := newWorkTree(t)
	paths := []string{
		"secrets.yaml", "a/secrets.yaml", "secrets/x", "a/secrets/x", "a/secrets/b/x.md", "secrets", "a/secrets",
		"prod/a.yaml", "prod/b/a.yaml", "x/prod/a.yaml", "prod/a.txt", ".env", ".env.prod", "a/.env.prod", "a.env",
		"a.secrets.yaml", "a b/c.ini", "x/a b/c.ini", "#x", "a/#x", "!x", "[x", "x.example", "secrets/x.example", "sécrets/é", "q\"x", "prod", "sub/deep/prod/z", "l\nm",
	}
	for _, rules := range [][][]string{
		{{"secrets.yaml"}},
		{{"/secrets.yaml"}},
		{{"secrets"}},
		{{"/secrets"}},
		{{"secrets/"}},
		{{"/secrets/"}},
		{{"a/secrets/"}},
		{{"prod/*.yaml"}},
		{{"prod/**"}},
		{{"**/prod/**"}},
		{{"**/prod"}},
		{{"sub/**/z"}},
		{{"**"}},
		{{"*"}},
		{{".env", ".env.*", "*.env"}},
		{{"*.secrets.*"}},
		{{"a b/*.ini"}},
		{{"a b"}},
		{{"#x"}},
		{{`\!x`}},
		{{`\[x`}},
		{{`q"x`}},
		{{"l\n*"}},
		{{"s[d-f]crets"}},
		{{"[[:alpha:]]/secrets"}},
		{{"sécrets/"}},
		{{"secrets/", "!*.example"}},
		{{"*", "!/prod/", "prod/a.yaml"}},
		{{"prod/"}, {"*.ini"}, {"secrets/"}},
	} {
		c := parse(t, r.Root, rules...)
		lines, byHand := Attributes(c)
		if len(byHand) > 0 {
			t.Errorf("%q: %d rules are left", rules, len(byHand))
		}
		if err := os.WriteFile(filepath.Join(r.Root, ".gitattributes"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := r.run(t.Context(), append([]string{"check-attr", "-z", "diff", "--"}, paths...)...)
		if err != nil {
			t.Fatal(err)
		}
		said := fields(out)
		for i, path := range paths {
			_, err := c.Match(filepath.Join(r.Root, filepath.FromSlash(path)))
			if none := (*config.NoRuleError)(nil); err != nil && !errors.As(err, &none) {
				t.Fatal(err)
			}
			if got := said[3*i+2] == Driver; got != (err == nil) || said[3*i] != path {
				t.Errorf("%q: git says %s of %q, and the rule %v; lines:\n%s", rules, said[3*i+2], path, err == nil, strings.Join(lines, "\n"))
			}
		}
	}
}

// What one rule leaves out, another may name. Then more files are given to the drivers
// than need be, never fewer.
func TestAttributesOfSeveralRules(t *testing.T) {
	lines, _ := Attributes(parse(t, t.TempDir(), []string{"secrets/", "!*.md"}, []string{"docs/"}))
	if got, want := strings.Join(lines, "\n"), "**/secrets/** diff=kenv merge=kenv\n**/docs/** diff=kenv merge=kenv"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
