package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), UserName)
	if got, err := User(path); err != nil || len(got) != 0 {
		t.Errorf("a file that is not there: %q, %v", got, err)
	}
	for text, want := range map[string]map[string]string{
		"":                                  {},
		"# nothing\n":                       {},
		"pkcs11_module: /x.so\n":            {"pkcs11_module": "/x.so"},
		"aws_roles: [a, b]\ngpg_exec: g\n":  {"aws_roles": "a,b", "gpg_exec": "g"},
		"decryption_order:\n- age\n- kms\n": {"decryption_order": "age,kms"},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := User(path); err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"pkcs11_pin: 1234\n":           ":1: unknown field",
		"\ngpg_exec: g\ngpg_exec: h\n": ":3: \"gpg_exec\" is given twice",
		"gpg_exec: {a: b}\n":           ":1: gpg_exec: must be a list",
		"gpg_exec: [\n":                "not valid YAML",
		"- gpg_exec\n":                 ":1: must be a map",
		"gpg_exec:\n":                  ":1: gpg_exec: has no value",
		"gpg_exec: " + longText + "\n": "no settings need",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var where *Error
		if got, err := User(path); !errors.As(err, &where) || !strings.Contains(err.Error(), says) || got != nil {
			t.Errorf("%.40q: %q, %v, want %q", text, got, err, says)
		}
	}
}

var longText = strings.Repeat("x", maxSize)
