package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/spf13/cobra"
)

// docs/commands.md says what the help does. scripts/man writes it anew.
func TestCommandsPage(t *testing.T) {
	want := commandsPage()
	path := filepath.Join("..", "..", "docs", "commands.md")
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("docs/commands.md is not up to date (%v); scripts/man writes it", err)
	}
}

func commandsPage() []byte {
	var b bytes.Buffer
	b.WriteString("# Commands\n\nThis page is written by `scripts/man`, from what `kenv help` says.\n\n| command | does |\n|---|---|\n")
	list := allCommands()
	for _, c := range list {
		// The anchor is what GitHub makes of the heading.
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", c.CommandPath(), strings.ReplaceAll(c.CommandPath(), " ", "-"), escaped(c.Short, marks))
	}
	for _, c := range list {
		c.InitDefaultHelpFlag()
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.CommandPath(), escaped(c.Long, marks))
		fmt.Fprintf(&b, "\n```text\n%s\n```\n", usageOf(c))
		if c.Example != "" {
			b.WriteString("\n<!-- not run: examples of many things, without what they are about -->\n```sh\n")
			for line := range strings.Lines(c.Example) {
				b.WriteString(strings.TrimPrefix(line, "  "))
			}
			b.WriteString("\n```\n")
		}
		flags := c.NonInheritedFlags().FlagUsages()
		if c.HasParent() && c.NonInheritedFlags().HasAvailableFlags() || !c.HasParent() {
			fmt.Fprintf(&b, "\n```text\n%s```\n", flags)
		}
	}
	return b.Bytes()
}

func usageOf(c *cobra.Command) string {
	if c.HasAvailableSubCommands() && c.HasParent() && !c.Runnable() {
		return c.CommandPath() + " [command]"
	}
	return c.UseLine()
}

// reference returns the names in code in the first cells of a table of
// docs/reference.md, the one below a heading.
func reference(t *testing.T, heading string) map[string]bool {
	t.Helper()
	_, text, ok := strings.Cut(page(t, "docs/reference.md"), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("docs/reference.md has no %s", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if cells := strings.Split(line, "|"); len(cells) == 4 {
			for name := range strings.SplitSeq(cells[1], ",") {
				names[strings.Trim(name, " `")] = true
			}
		}
	}
	return names
}

// docs/reference.md has every exit code.
func TestExitCodesDocumented(t *testing.T) {
	names := reference(t, "Exit codes")
	file, err := parser.ParseFile(token.NewFileSet(), "ui.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "exit") || len(spec.Values) != 1 {
			return true
		}
		if code, ok := spec.Values[0].(*ast.BasicLit); ok {
			found++
			if !names[code.Value] {
				t.Errorf("%s is %s, which is not there", spec.Names[0].Name, code.Value)
			}
		}
		return true
	})
	if found < 9 {
		t.Errorf("found %d exit codes: does this test still see them?", found)
	}
	sops := page(t, "docs/sops-users.md")
	source, err := os.ReadFile("sops.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\t\treturn (\d{2,})$`).FindAllStringSubmatch(string(source), -1) {
		if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(sops) {
			t.Errorf("docs/sops-users.md does not have sops's exit code %s", m[1])
		}
	}
}

// docs/reference.md has every variable that the code reads, and no other.
func TestEnvironmentDocumented(t *testing.T) {
	documented := reference(t, "Environment")
	used := map[string]bool{"HOME": true} // by os.UserHomeDir
	ours := regexp.MustCompile(`^(KENV|SOPS)_[A-Z0-9_]*[A-Z0-9]$`)
	reads := regexp.MustCompile(`^(Getenv|LookupEnv|Var)$`)
	for _, dir := range []string{".", filepath.Join("..", "..", "pkg")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && strings.HasSuffix(path, "test") {
				return fs.SkipDir // packages for tests
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			text := func(e ast.Expr) string {
				lit, ok := e.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return ""
				}
				s, _ := strconv.Unquote(lit.Value)
				return s
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if s := text(n); ours.MatchString(s) {
						used[s] = true
					}
				case *ast.CallExpr:
					if f, ok := n.Fun.(*ast.SelectorExpr); ok && reads.MatchString(f.Sel.Name) && len(n.Args) == 1 && text(n.Args[0]) != "" {
						used[text(n.Args[0])] = true
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
	// The user's settings are variables, too.
	path := filepath.Join(t.TempDir(), config.UserName)
	if err := os.WriteFile(path, []byte("colour: green\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.User(path)
	_, known, ok := strings.Cut(fmt.Sprint(err), "known here: ")
	if !ok {
		t.Fatalf("no list of settings in %v", err)
	}
	for name := range strings.SplitSeq(known, ", ") {
		used["KENV_"+strings.ToUpper(name)] = true
	}
	for name := range used {
		if !documented[name] {
			t.Errorf("%s is read, and not in docs/reference.md", name)
		}
	}
	for name := range documented {
		if !used[name] && name != "variable" && !strings.Contains(name, "---") {
			t.Errorf("docs/reference.md has %s, which nothing reads", name)
		}
	}
	if len(used) < 30 {
		t.Errorf("found %d variables: does this test still see them?", len(used))
	}
}
