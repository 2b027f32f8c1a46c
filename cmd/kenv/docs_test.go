package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/all"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// fences returns what stands in a page's fenced blocks of a language.
func fences(text, language string) []string {
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// The commands and flags in the docs exist.
func TestDocsCommands(t *testing.T) {
	root := newRoot(&process{table: all.Table(keys.Env{})})
	root.InitDefaultHelpFlag()
	root.InitDefaultHelpCmd()
	has := func(c *cobra.Command, flag string) bool {
		set := pflag.NewFlagSet("", pflag.ContinueOnError)
		set.AddFlagSet(c.Flags())
		set.AddFlagSet(c.InheritedFlags())
		if name, long := strings.CutPrefix(flag, "--"); long {
			name, _, _ = strings.Cut(name, "=")
			return set.Lookup(name) != nil
		}
		return set.ShorthandLookup(flag[1:2]) != nil
	}
	hasAnywhere := func(flag string) bool {
		return slices.ContainsFunc(append(root.Commands(), root), func(c *cobra.Command) bool { return has(c, flag) })
	}
	span := regexp.MustCompile("`([^`\n]+)`")
	flag := regexp.MustCompile(`^--[a-z]`)
	quoted := regexp.MustCompile(`'[^']*'`)
	end := regexp.MustCompile(` (--|[|#>].*)( |$).*`)
	found := 0
	for _, name := range docsPages(t) {
		text := page(t, name)
		blocks, err := blocksOf(name, text)
		if err != nil {
			t.Error(err)
			continue
		}
		var snippets []string
		for _, b := range blocks {
			if b.hidden || !b.isShell() { // what is hidden is run
				continue
			}
			typed, err := b.commands()
			if err != nil {
				t.Error(err)
			}
			for line := range strings.Lines(typed) {
				for part := range strings.SplitSeq(line, "|") {
					snippets = append(snippets, strings.TrimSpace(part))
				}
			}
		}
		for _, m := range span.FindAllStringSubmatch(text, -1) {
			snippets = append(snippets, m[1])
		}
		for _, snippet := range snippets {
			if flag.MatchString(snippet) && !hasAnywhere(strings.Fields(snippet)[0]) {
				t.Errorf("%s: no command has the flag %s", name, snippet)
			}
			line, ok := strings.CutPrefix(snippet, "kenv ")
			if !ok {
				continue
			}
			found++
			args := strings.Fields(end.ReplaceAllString(quoted.ReplaceAllString(line, "QUOTED"), ""))
			if args[0] == "FILE" || args[0] == "secrets.yaml" {
				continue // kenv FILE is kenv edit FILE
			}
			args, err := fromSops(root, args)
			if err != nil {
				t.Errorf("%s: %q: %v", name, snippet, err)
				continue
			}
			c, rest, err := root.Find(args)
			if err != nil || c == root && !strings.HasPrefix(args[0], "-") {
				t.Errorf("%s: there is no command %q", name, snippet)
				continue
			}
			for _, arg := range rest {
				if strings.HasPrefix(arg, "-") && arg != "-" && !has(c, arg) {
					t.Errorf("%s: %q: no flag %s", name, snippet, arg)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("found %d commands in the docs: does this test still see them?", found)
	}
}

const module = "github.com/kenvhq/kenv/"

// The packages import what the table in docs/architecture.md allows, and each module
// that they use directly has its sentence there.
func TestArchitecture(t *testing.T) {
	text := page(t, "docs/architecture.md")
	allowed := map[string][]string{} // package → patterns of what it may import
	code := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		name := code.FindStringSubmatch(cells[1])[1]
		allowed[name] = nil
		for _, m := range code.FindAllStringSubmatch(cells[3], -1) {
			allowed[name] = append(allowed[name], m[1])
		}
		if strings.TrimSpace(cells[3]) == "anything" {
			allowed[name] = []string{"cmd/*", "pkg/*", "pkg/*/*"}
		}
	}
	ruleOf := func(pkg string) ([]string, bool) {
		if rule, ok := allowed[pkg]; ok {
			return rule, true
		}
		rule, ok := allowed[filepath.ToSlash(filepath.Dir(pkg))+"/*"]
		return rule, ok
	}
	list := func(args ...string) []string {
		cmd := exec.Command("go", append([]string{"list"}, args...)...)
		cmd.Dir = filepath.Join("..", "..")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		return strings.Fields(string(out))
	}
	seen := 0
	third := map[string]bool{}
	for _, pkg := range list("./...") {
		short := strings.TrimPrefix(pkg, module)
		rule, ok := ruleOf(short)
		if !ok {
			t.Errorf("%s is not in the table", short)
		}
		for _, path := range list("-f", `{{join .Imports "\n"}}`, pkg) {
			dep, ours := strings.CutPrefix(path, module)
			if !ours {
				third[path] = third[path] || strings.Contains(path, ".")
				continue
			}
			seen++
			if !slices.ContainsFunc(rule, func(pattern string) bool {
				match, _ := filepath.Match(pattern, dep)
				return match
			}) {
				t.Errorf("%s imports %s, which the table does not allow", short, dep)
			}
		}
		for _, path := range list("-f", `{{join .TestImports "\n"}}{{"\n"}}{{join .XTestImports "\n"}}`, pkg) {
			third[path] = third[path] || strings.Contains(path, ".") && !strings.HasPrefix(path, module)
		}
	}
	if seen == 0 {
		t.Error("no imports seen")
	}
	var direct []string
	for path, is := range third {
		if is {
			direct = append(direct, path)
		}
	}
	for _, path := range list(append([]string{"-f", "{{.Module.Path}}"}, direct...)...) {
		if !strings.Contains(text, "`"+path+"`") {
			t.Errorf("docs/architecture.md does not say what %s is for", path)
		}
	}
}

// docs/check.md has every kind of problem.
func TestCheckKindsDocumented(t *testing.T) {
	text := page(t, "docs/check.md")
	for _, k := range kenv.CheckKinds() {
		if !strings.Contains(text, "| `"+k.ID+"` | ") {
			t.Errorf("%s is not there", k.ID)
		}
	}
}

// What docs/architecture.md names is there: files, and what code declares.
func TestArchitectureNames(t *testing.T) {
	declared := map[string]bool{}
	for _, dir := range []string{".", filepath.Join("..", "..", "pkg")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			declared[file.Name.Name] = true
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					declared[n.Name.Name] = true
				case *ast.TypeSpec:
					declared[n.Name.Name] = true
				case *ast.ValueSpec:
					for _, name := range n.Names {
						declared[name.Name] = true
					}
				case *ast.Field:
					for _, name := range n.Names {
						declared[name.Name] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text, _, _ := strings.Cut(page(t, "docs/architecture.md"), "\n## Direct dependencies")
	words := []string{"password", "db", "hunter2", "nopkcs11", "cgo"} // of the example, and build tags
	identifier := regexp.MustCompile(`^[A-Za-z]+(\.[A-Z][A-Za-z]*|\.[a-z]+)*$`)
	found := 0
	for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(prosaic(text), -1) {
		name := strings.TrimSuffix(m[1], "()")
		if slices.Contains(words, name) {
			continue
		}
		if strings.Contains(name, "/") && !strings.ContainsAny(name, " *…") || strings.HasSuffix(name, ".go") || strings.HasSuffix(name, ".md") {
			ok := false
			for _, dir := range []string{"", "docs", "cmd/kenv", "pkg/doc", "pkg/envelope", "pkg/kenv", "pkg/keys", "pkg/config"} {
				_, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(dir), filepath.FromSlash(name)))
				ok = ok || err == nil
			}
			if found++; !ok {
				t.Errorf("there is no %s", name)
			}
			continue
		}
		if !identifier.MatchString(name) {
			continue
		}
		found++
		for part := range strings.SplitSeq(name, ".") {
			if !declared[part] {
				t.Errorf("%s: nothing declares %s", name, part)
			}
		}
	}
	if found < 60 {
		t.Errorf("found %d names: does this test still see them?", found)
	}
}

// Each promise of docs/security.md names tests, and there are such tests and scripts.
func TestSecurityPromises(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ \*testing\.[TF]\)`).FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(page(t, "docs/security.md"), "\n## Promises and their tests\n")
	rows := regexp.MustCompile(`(?m)^\| (.*) \| (.*) \|$`).FindAllStringSubmatch(table, -1)
	if !found || len(rows) < 30 {
		t.Fatalf("docs/security.md has %d promises", len(rows))
	}
	for _, row := range rows[1:] {
		names := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[2], -1)
		if len(names) == 0 {
			t.Errorf("no test shows that %s", row[1])
		}
		for _, name := range names {
			script, isScript := strings.CutPrefix(name[1], "TestScript/")
			if isScript {
				_, err := os.Stat(filepath.Join("..", "..", "testdata", "script", script+".txtar"))
				tests[name[1]] = err == nil
			}
			if !tests[name[1]] {
				t.Errorf("there is no %s, which is to show that %s", name[1], row[1])
			}
		}
	}
}
