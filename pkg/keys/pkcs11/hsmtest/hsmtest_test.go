package hsmtest

import (
	"os"
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	token := New(t)
	for _, variable := range token.Env {
		name, value, _ := strings.Cut(variable, "=")
		if value == "" || os.Getenv(name) != value {
			t.Errorf("%s is %q, want %q", name, os.Getenv(name), value)
		}
	}
	if pin, err := os.ReadFile(token.PINFile); err != nil || string(pin) != PIN {
		t.Errorf("the PIN file: %v", err)
	}
	if err := token.Tool(token.Label, "--read-object", "--type", "pubkey", "--label", "kenv-rsa"); err != nil {
		t.Error(err)
	}
	if serial, err := token.Add("another"); err != nil || serial == token.Serial || len(serial) != len(token.Serial) {
		t.Errorf("Add: %q, %v", serial, err)
	}
}
