package config

import (
	"bytes"
	"encoding/json"
	"strings"
)

// DefaultPaths returns the globs of the rule that Render writes.
func DefaultPaths() []string {
	return []string{"secrets.*", "*.secrets.*", ".env", ".env.*", "secrets/**", "!*.example"}
}

// Render returns the text of a new .kenv.yaml with one rule: DefaultPaths for the
// recipients, which are key strings. Load reads back just that. There must be at
// least one recipient.
func Render(recipients []string) []byte {
	var b bytes.Buffer
	b.WriteString(`# Which keys encrypt which files. The first rule that covers a file counts.
# This file holds no secret: commit it.
creation_rules:
  # Patterns as in .gitignore, relative to this directory.
  - path:
`)
	for _, p := range DefaultPaths() {
		b.WriteString("      - " + scalar(p) + "\n")
	}
	b.WriteString(`    # Each of these keys can decrypt. kenv keys add lets somebody in.
    keys:
`)
	for _, r := range recipients {
		b.WriteString("      - " + scalar(r) + "\n")
	}
	return b.Bytes()
}

// scalar spells a string in YAML, without quotes where they are not needed.
func scalar(s string) string {
	plain := func(r rune) bool { return isAlnum(r) || strings.ContainsRune("-_./+", r) }
	if strings.HasPrefix(s, "age1") && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return jsonString(s)
}

// jsonString spells a string in JSON, which YAML reads too.
func jsonString(s string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return `""`
	}
	return strings.TrimSuffix(b.String(), "\n")
}
