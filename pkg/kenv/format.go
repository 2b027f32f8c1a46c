package kenv

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/kenvhq/kenv/pkg/doc"
)

// Formats are the words that FormatNamed knows.
func Formats() []string {
	var words []string
	for _, f := range formats() {
		words = append(words, f.Name())
	}
	return words
}

func formats() []doc.Format {
	return []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}, doc.INI{}, doc.Binary{}}
}

// ErrFormat is wrapped by the errors about a format that there is not.
var ErrFormat = errors.New("not a format")

// FormatNamed returns the format that a word such as "yaml" names.
func FormatNamed(word string) (doc.Format, error) {
	for _, f := range formats() {
		if f.Name() == word {
			return f, nil
		}
	}
	if word == "toml" {
		return nil, fmt.Errorf("%s is %w yet; the formats are %s", word, ErrFormat, strings.Join(Formats(), ", "))
	}
	return nil, fmt.Errorf("%q is %w; the formats are %s", word, ErrFormat, strings.Join(Formats(), ", "))
}

// FormatOf returns the format of a plaintext file by its name. Files named .env.*
// are dotenv if they read as that. Every name that says nothing is binary, as it
// is to sops.
func FormatOf(name string, content []byte) (doc.Format, error) {
	switch f, sure := byName(name); {
	case f == nil && strings.HasSuffix(strings.ToLower(name), ".toml"):
		return nil, fmt.Errorf("toml is %w yet", ErrFormat)
	case f == nil || !sure && !looksDotenv(content):
		return doc.Binary{}, nil
	default:
		return f, nil
	}
}

// byName returns nil for a name that says nothing.
func byName(name string) (f doc.Format, sure bool) {
	base := strings.ToLower(filepath.Base(name))
	ends := func(suffix string) bool { return strings.HasSuffix(base, suffix) }
	switch {
	case ends(".yaml"), ends(".yml"):
		return doc.YAML{}, true
	case ends(".json"):
		return doc.JSON{}, true
	case ends(".env"), ends(".dotenv"):
		return doc.Dotenv{}, true
	case ends(".ini"):
		return doc.INI{}, true
	case strings.HasPrefix(base, ".env."):
		return doc.Dotenv{}, false
	}
	return nil, false
}

// looksDotenv reports whether the first line that says something is KEY=VALUE.
// Dotenv itself takes any text, and holds what it does not know as comments.
func looksDotenv(content []byte) bool {
	if bytes.IndexByte(content, 0) >= 0 || !utf8.Valid(content) {
		return false
	}
	content = bytes.TrimPrefix(content, []byte("\uFEFF"))
	for line := range bytes.Lines(content) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, ok := bytes.Cut(line, []byte("="))
		key = bytes.TrimSpace(bytes.TrimPrefix(key, []byte("export ")))
		return ok && len(key) > 0 && !bytes.ContainsFunc(key, func(r rune) bool {
			return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.')
		})
	}
	return false
}

// encryptedFormat returns the format of an encrypted file: what its name says, or
// else what its content looks like; nil when that does not look encrypted. An
// encrypted file that has JSON's shape may be an encrypted file of any kind.
func encryptedFormat(name string, content []byte) doc.Format {
	f, sure := byName(name)
	if sure {
		return f
	}
	text := bytes.TrimPrefix(content, []byte("\uFEFF"))
	start := bytes.TrimLeft(text, " \t\r\n")
	line := func(prefix string) bool {
		return bytes.HasPrefix(text, []byte(prefix)) || bytes.Contains(text, []byte("\n"+prefix))
	}
	switch {
	case bytes.HasPrefix(start, []byte("{")) && bytes.Contains(text, []byte(`"sops"`)):
		if _, err := (doc.Binary{}).Parse(content); err == nil {
			return doc.Binary{}
		}
		return doc.JSON{}
	case line("sops_mac=") || line("sops_version="):
		return doc.Dotenv{}
	case line("[sops]"):
		return doc.INI{}
	case line("sops:"):
		return doc.YAML{}
	}
	return f
}
