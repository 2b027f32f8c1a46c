package config

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func compileGlobs(t *testing.T, patterns ...string) []glob {
	t.Helper()
	var globs []glob
	for _, p := range patterns {
		expr, exclude, err := globExpr(p)
		if err != nil {
			t.Fatalf("%q: %v", p, err)
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Fatalf("%q became %q: %v", p, expr, err)
		}
		globs = append(globs, glob{re, exclude})
	}
	return globs
}

// gitIgnored returns those of the paths that git ignores for the patterns.
func gitIgnored(t *testing.T, dir string, patterns, paths []string) []string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(strings.Join(patterns, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("git", "-c", "core.excludesFile=", "-c", "core.ignoreCase=false", "check-ignore", "--no-index", "-z", "--stdin")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	cmd.Stdin = strings.NewReader(strings.Join(paths, "\x00") + "\x00")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 { // 1: none is ignored
		t.Fatalf("git check-ignore: %v\n%s", err, &stderr)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
}

func gitDir(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("git is not on PATH")
		}
		t.Skip("git is not on PATH, so globs are not compared with it")
	}
	dir := t.TempDir()
	if out, err := exec.Command("git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	return dir
}

func compareWithGit(t *testing.T, dir string, patterns, paths []string) {
	t.Helper()
	globs := compileGlobs(t, patterns...)
	var ours []string
	for _, p := range paths {
		if covers(globs, p) {
			ours = append(ours, p)
		}
	}
	if git := gitIgnored(t, dir, patterns, paths); !slices.Equal(ours, git) {
		t.Errorf("%q:\nours %q\ngit  %q", patterns, ours, git)
	}
}

func TestGlobsAgainstGit(t *testing.T) {
	dir := gitDir(t)
	paths := []string{
		"a", "b", "ab", "a.yaml", "secrets.yaml", "secrets", "secrets.d/x.yaml", "secrets/x.yaml", "secrets/a/b/c.yaml",
		"x/secrets.yaml", "x/secrets/y.yaml", "x/y/secrets.yaml", "x/y/z", "x/z", "z/x", ".env", ".env.prod", "app/.env", "app/.env.d/x",
		"!bang", "#hash", "sp ace", "a*b", "a/b", "a/c/b", "a/c/d/b", "a/b/c", "a-b", "a]b", "a^b", `a\b`, "a!b", "a+b", "a/+b", "a0b", "a.b",
		"{a,b}", "(a)", "a|b", "a$", "^a", "prod/db.secrets.yaml", "Secrets.yaml",
	}
	for _, patterns := range [][]string{
		{"a"}, {"/a"}, {"a/"}, {"/a/"}, {"a/b"}, {"/a/b"}, {"a/*"}, {"a/**"}, {"a/**/b"}, {"**/b"}, {"**/a/b"}, {"**"}, {"*"}, {"/*"}, {"*/"}, {"/**"},
		{"secrets"}, {"secrets/"}, {"secrets.*"}, {"secrets/**"}, {"secrets/*"}, {"secrets/*.yaml"}, {"secrets/**/*.yaml"}, {"**/secrets/*.yaml"},
		{"*.yaml"}, {"/*.yaml"}, {"*.secrets.*"}, {".env"}, {".env.*"}, {".env*"}, {"x/**/z"}, {"x/*/z"}, {"x/"}, {"x/**/"}, {"**/x/"}, {"x**z"}, {"x/y**"},
		{"?"}, {"??"}, {"a?b"}, {"a[-]b"}, {"a[!-]b"}, {"a[^-]b"}, {"a[]]b"}, {"a[!]]b"}, {"a[0-9]b"}, {"a[+-0]b"}, {"a[*]b"}, {`a[\]]b`}, {"a[^a-z]b"},
		{"a[b^]b"}, {"a[a!]b"}, {"a[[:digit:]]b"}, {"a[[:punct:]]b"}, {"a[![:punct:]]b"}, {"[[:upper:]]*"}, {"a[[:digit:][:punct:]-]b"}, {"[[:graph:]][[:print:]]b"},
		{"a[z-a]b"}, {"a[!z-a]b"}, {"a[/]b"}, {"a[.-0]b"}, {"a[--0]b"},
		{`\!bang`}, {`\#hash`}, {`a\*b`}, {`a\\b`}, {`\a`}, {"(a)"}, {"a|b"}, {"a$"}, {"^a"}, {"a.b"}, {`\{a,b\}`}, {"sp ace"}, {"a*b"},
		{"*.yaml", "!secrets.yaml"}, {"*.yaml", "!/secrets.yaml"}, {"*.yaml", "!x/*.yaml", "x/y/*.yaml"}, {"a*", "!ab", "ab"}, {"!ab", "ab"},
		{"secrets/*", "!secrets/x.yaml"}, {"secrets.*", "*.secrets.*", ".env", ".env.*", "secrets/**", "!*.example"},
	} {
		t.Run(strings.Join(patterns, " "), func(t *testing.T) { compareWithGit(t, dir, patterns, paths) })
	}
}

// TestRandomGlobsAgainstGit has no "**" within a segment: what git makes of it
// depends on how it splits off the literal beginning of a pattern.
func TestRandomGlobsAgainstGit(t *testing.T) {
	dir := gitDir(t)
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rng.IntN(len(from))] }
	var paths []string
	for range 150 {
		var segments []string
		for range 1 + rng.IntN(4) {
			s := ""
			for range 1 + rng.IntN(3) {
				s += pick("a", "b", "c", ".", "-")
			}
			if s == "." || s == ".." || s == "..." {
				s = "a"
			}
			segments = append(segments, s)
		}
		paths = append(paths, strings.Join(segments, "/"))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	for range 300 {
		var b strings.Builder
		b.WriteString(pick("", "", "/"))
		for i := range 1 + rng.IntN(4) {
			if i > 0 {
				b.WriteByte('/')
			}
			if rng.IntN(4) == 0 {
				b.WriteString("**")
				continue
			}
			for range 1 + rng.IntN(3) {
				b.WriteString(pick("a", "b", "c", "*", "?", "[ab]", "[!a]", "[a-b]", "[^b-c.]", `\a`))
			}
		}
		b.WriteString(pick("", "", "/"))
		pattern := b.String()
		t.Run(pattern, func(t *testing.T) { compareWithGit(t, dir, []string{pattern}, paths) })
	}
}

// What differs from git, on purpose: exclusions reach into and out of directories,
// and a character is one however many bytes it has.
func TestGlobsUnlikeGit(t *testing.T) {
	for _, tt := range []struct {
		patterns []string
		path     string
		want     bool
	}{
		{[]string{"secrets/", "!secrets/public.yaml"}, "secrets/public.yaml", false},
		{[]string{"secrets/", "!secrets/public.yaml"}, "secrets/other.yaml", true},
		{[]string{"**/*.yaml", "!charts/"}, "charts/a.yaml", false},
		{[]string{"**/*.yaml", "!charts/", "charts/x/"}, "charts/x/a.yaml", true},
		{[]string{"*", "!a"}, "a/b", false},
		{[]string{"a?b"}, "aéb", true}, // git counts bytes
		{[]string{"[é]"}, "é", true},
	} {
		if got := covers(compileGlobs(t, tt.patterns...), tt.path); got != tt.want {
			t.Errorf("%q on %s: %v", tt.patterns, tt.path, got)
		}
	}
}

func TestBadGlobs(t *testing.T) {
	for pattern, want := range map[string]string{
		"":             "empty",
		"!":            "empty",
		"/":            "empty",
		"[a":           "never closed",
		"[]":           "never closed",
		"[!]":          "never closed",
		`[a\]`:         "never closed",
		`a\`:           "last backslash",
		"a//b":         "relative to",
		"./a":          "relative to",
		"a/../b":       "relative to",
		"*.{yaml,yml}": "braces",
		"[[:nope:]]":   "unknown character class",
	} {
		if _, _, err := globExpr(pattern); err == nil || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: %v, want …%s…", pattern, err, want)
		}
	}
}

func FuzzGlob(f *testing.F) {
	for _, s := range []string{"a/**/b", "[!a-z[:digit:]]", `\[`, "!x", "*.{a}", "[]-a]", "\xff[\xff]"} {
		f.Add(s, "a/b")
	}
	f.Fuzz(func(t *testing.T, pattern, path string) {
		expr, _, err := globExpr(pattern)
		if err != nil {
			return
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			if strings.ToValidUTF8(pattern, "") == pattern {
				t.Fatalf("%q became %q: %v", pattern, expr, err)
			}
			return
		}
		re.MatchString(path)
	})
}
