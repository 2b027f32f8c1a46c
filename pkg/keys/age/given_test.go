package age_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// Identities that a program gives open what is theirs and nothing else does, whatever the
// environment holds.
func TestIdentities(t *testing.T) {
	file, _, recipient := generate(t, false)
	other, otherSecret, otherRecipient := generate(t, false)
	t.Setenv("KENV_AGE_KEY", otherSecret)
	t.Setenv("HOME", filepath.Dir(write(t, other, t.TempDir(), "keys.txt")))

	given := append([]byte("# mine\n"), file...)
	p, err := age.Identities(given)
	if err != nil {
		t.Fatal(err)
	}
	clear(given) // the text is the caller's
	table := keys.Table{p}
	unwrap := func(recipient string) error {
		k, err := table.Parse(recipient)
		if err != nil {
			t.Fatal(err)
		}
		e, err := k.Wrap(t.Context(), make([]byte, 32))
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Unwrap(t.Context(), e)
		return err
	}
	if err := unwrap(recipient); err != nil {
		t.Error(err)
	}
	table.Forget()
	if err := unwrap(recipient); err != nil {
		t.Errorf("after Forget: %v", err)
	}
	err = unwrap(otherRecipient)
	if !errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "looked in the identities given (1 identity, does not match)") {
		t.Errorf("an entry for another: %v", err)
	}

	locked, _ := sshKey(t, 0, "secret")
	for name, text := range map[string]string{
		"locked":    string(locked),
		"none":      "# created: today\n",
		"malformed": "AGE-SECRET-KEY-1WRONG\n",
		"sealed":    "-----BEGIN AGE ENCRYPTED FILE-----\n",
		"public":    recipient,
	} {
		if _, err := age.Identities([]byte(text)); err == nil || strings.Contains(err.Error(), "WRONG") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An Env of the process has its environment, and nobody to ask.
func TestProcessEnv(t *testing.T) {
	file, secret, recipient := generate(t, false)
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("KENV_AGE_KEY", "")
	t.Setenv("KENV_PKCS11_MODULE", "/lib/hsm.so")
	env := keys.ProcessEnv()
	if env.HomeDir != home || env.ConfigDir != filepath.Join(home, ".config", "kenv") || env.Set("pkcs11_module") != "/lib/hsm.so" {
		t.Errorf("%q, %q, %q", env.HomeDir, env.ConfigDir, env.Set("pkcs11_module"))
	}
	if _, err := env.Ask(context.Background(), "PIN: "); !errors.Is(err, keys.ErrNoTerminal) || env.AllowPlugins {
		t.Errorf("somebody is asked: %v", err)
	}
	opens := func() bool {
		table := keys.Table{age.Provider(keys.ProcessEnv())}
		k, err := table.Parse(recipient)
		if err != nil {
			t.Fatal(err)
		}
		return keys.Prove(t.Context(), k) == nil
	}
	if opens() {
		t.Error("it opens without an identity")
	}
	t.Setenv("KENV_AGE_KEY", secret)
	if !opens() {
		t.Error("the variable is not looked at")
	}
	t.Setenv("KENV_AGE_KEY", "")
	write(t, file, home, ".config", "kenv", "age", "keys.txt")
	if !opens() {
		t.Error("the file is not looked at")
	}
	config := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", config)
	if got := keys.ProcessEnv().ConfigDir; got != filepath.Join(config, "kenv") || opens() {
		t.Errorf("with another directory: %q", got)
	}
}
