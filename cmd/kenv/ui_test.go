package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain: тест\n\tok": "plain: тест\n\tok",
		"\x1b[31mred":       `\x1b[31mred`,
		"a\rb\x7f\x00":      `a\x0db\x7f\x00`,
		"\u009b2J":          `\u009b2J`,
		"abc\u202edef":      `abc\u202edef`,
		"\xff\xfe":          `\xff\xfe`,
		"\uFFFD":            `\ufffd`,
	} {
		if got := escape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Fuzz(func(t *testing.T, s string) {
		got := escape(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool {
			return unicode.IsControl(r) && r != '\n' && r != '\t'
		}) {
			t.Errorf("%q is shown as %q", s, got)
		}
	})
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"secrets.yaml": "secrets.yaml",
		"a b":          "'a b'",
		"it's":         `'it'\''s'`,
		"$(x)":         "'$(x)'",
		"":             "''",
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
