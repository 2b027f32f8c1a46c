package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/all"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func allCommands() (list []*cobra.Command) {
	root := newRoot(&process{table: all.Table(keys.Env{})})
	root.InitDefaultHelpCmd()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		list = append(list, c)
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	visit(root)
	return list
}

// Every command shows how it is used, and says how it ends.
func TestHelp(t *testing.T) {
	list := allCommands()
	for _, c := range list {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: its short help is %q", c.CommandPath(), c.Short)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") || strings.Contains(line, "\t") {
				t.Errorf("%s: its example is not indented by two blanks: %q", c.CommandPath(), line)
			}
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: its example does not show it", c.CommandPath())
		}
		if !strings.Contains(c.Long, "Exit codes: ") {
			t.Errorf("%s: its help does not say its exit codes", c.CommandPath())
		}
		for line := range strings.Lines(c.Long) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 88 {
				t.Errorf("%s: a line of its help has %d characters: %q", c.CommandPath(), n, line)
			}
		}
	}
}

// The pages in docs/man say what the help does. scripts/man writes them anew.
func TestManPages(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "man")
	want := map[string][]byte{}
	list := allCommands()
	plainMarkdown(list)
	for _, c := range list {
		want[strings.ReplaceAll(c.CommandPath(), " ", "-")+".1"] = manPage(t, c)
	}
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, page := range want {
			if err := os.WriteFile(filepath.Join(dir, name), page, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, page := range want {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, page) {
			t.Errorf("docs/man/%s is not up to date (%v); scripts/man writes it", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want[e.Name()] == nil {
			t.Errorf("docs/man/%s is of no command; scripts/man removes it", e.Name())
		}
	}
}

func manPage(t *testing.T, c *cobra.Command) []byte {
	var b bytes.Buffer
	long := c.Long
	c.DisableAutoGenTag = true // it has a date
	date := time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)
	if err := doc.GenMan(c, &doc.GenManHeader{Section: "1", Source: "kenv", Manual: "kenv", Date: &date}, &b); err != nil {
		t.Fatal(err)
	}
	// Nothing was lost on the way through Markdown.
	page := strings.NewReplacer(`\-`, "-", `\&`, "", `\fB`, "", `\fI`, "", `\fP`, "", `\fR`, "", `\(bu`, "", `\\`, `\`, `\(aq`, "'").Replace(b.String())
	for word := range strings.FieldsSeq(unescaped(long)) {
		if !strings.Contains(page, word) {
			t.Errorf("the page of %s has lost %q", c.CommandPath(), word)
		}
	}
	return b.Bytes()
}

// The marks of Markdown that help texts have and do not mean, as escapes.
const marks = "\\*_[]<>`"

func escaped(text, marks string) string {
	var b strings.Builder
	for _, r := range text {
		if strings.ContainsRune(marks, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unescaped(text string) string {
	return regexp.MustCompile(`\\(.)`).ReplaceAllString(text, "$1")
}

// plainMarkdown spells the texts of commands so that Markdown takes them as they are,
// but for the names of values in the texts of flags.
func plainMarkdown(list []*cobra.Command) {
	seen := map[*pflag.Flag]bool{}
	for _, c := range list {
		c.Long = escaped(c.Long, marks)
		for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				if !seen[f] {
					f.Usage = escaped(f.Usage, strings.Trim(marks, "`"))
				}
				seen[f] = true
			})
		}
	}
}
