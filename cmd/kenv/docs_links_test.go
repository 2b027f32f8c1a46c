package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// prosaic returns a page without its blocks and comments.
func prosaic(text string) string {
	text = regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(text, "")
	return regexp.MustCompile(`(?s)<!--.*?-->`).ReplaceAllString(text, "")
}

// prose returns a page without its blocks, its comments and what is in code.
func prose(text string) string {
	text = prosaic(text)
	return regexp.MustCompile("`[^`\n]*`").ReplaceAllString(text, "CODE")
}

// anchors returns the names of a page's headings, as GitHub makes them, and its anchors.
func anchors(text string) map[string]bool {
	text = prosaic(text)
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`<a id="([^"]+)"></a>`).FindAllStringSubmatch(text, -1) {
		names[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])
		for i, base := 1, name; names[name]; i++ {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		names[name] = true
	}
	return names
}

// Links between pages lead somewhere, and README leads to every page.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	shortcut := regexp.MustCompile(`\]\[[^]]*\]|(?m)^\[[^]]+\]: `)
	reached := map[string]bool{}
	found := 0
	for _, name := range docsPages(t) {
		text := page(t, name)
		if m := shortcut.FindString(prose(text)); m != "" {
			t.Errorf("%s: %q: links have their target beside them, where this test looks", name, m)
		}
		for _, m := range link.FindAllStringSubmatch(prose(text), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			found++
			file, anchor, hasAnchor := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			if name == "README.md" {
				reached[target] = true
			}
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: %s: %v", name, m[1], err)
				continue
			}
			if hasAnchor && !anchors(page(t, target))[anchor] {
				t.Errorf("%s: %s: there is no such heading", name, m[1])
			}
		}
	}
	for _, name := range docsPages(t)[1:] {
		if !reached[name] {
			t.Errorf("README.md does not lead to %s", name)
		}
	}
	if found < 40 {
		t.Errorf("found %d links: does this test still see them?", found)
	}
}
