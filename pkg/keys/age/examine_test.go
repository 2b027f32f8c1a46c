package age_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age/plugin"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// asksNobody makes an environment in which asking fails the test.
func asksNobody(t *testing.T, env keys.Env) keys.Env {
	env.AllowPlugins = true
	env.Prompt = func(context.Context, string) ([]byte, error) {
		t.Error("somebody was asked")
		return nil, errors.New("no")
	}
	return env
}

// TestExamine has every state that a place can be in.
func TestExamine(t *testing.T) {
	file, secret, name := generate(t, false)
	_, second, other := generate(t, false)
	private, public := sshKey(t, 0, "")
	locked, lockedPublic := sshKey(t, 0, "x")
	home, dir := t.TempDir(), t.TempDir()
	config := filepath.Join(home, ".config", "kenv")
	open := write(t, file, config, "age", "keys.txt")
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	under := write(t, sealed(t, file, "x", false), dir, "under")
	group := write(t, []byte(second), dir, "group")
	if err := os.Chmod(group, 0o640); err != nil {
		t.Fatal(err)
	}
	write(t, private, home, ".ssh/id_ed25519")
	write(t, locked, home, ".ssh/id_rsa")
	many := ""
	var names []string
	for range 5 {
		_, s, n := generate(t, false)
		many, names = many+s+"\n", append(names, n)
	}
	write(t, []byte(many), home, ".config/sops/age/keys.txt")
	yubikey := plugin.EncodeIdentity("kenvtest-none", []byte("x"))
	started := filepath.Join(dir, "started")

	env := asksNobody(t, keys.Env{HomeDir: home, ConfigDir: config, Getenv: vars(
		"KENV_AGE_KEY", secret+"\n"+second+"\nhunter2 hunter3\n",
		"KENV_AGE_KEY_FILE", strings.Join([]string{"/nonexistent", under, group}, string(os.PathListSeparator)),
		"SOPS_AGE_KEY", yubikey,
		"SOPS_AGE_KEY_CMD", "touch "+started,
	)})
	got := age.Provider(env).Examine(t.Context())
	in := "age identities in "
	want := []keys.Finding{
		{What: in + "KENV_AGE_KEY", State: keys.Warning, Detail: name + "; " + other + "; line 3: not an age identity"},
		{What: in + "KENV_AGE_KEY_FILE /nonexistent", State: keys.Warning, Detail: "no such file"},
		{What: in + "KENV_AGE_KEY_FILE " + under, State: keys.OK, Detail: "under a passphrase, which is asked for when it is needed"},
		{What: in + "KENV_AGE_KEY_FILE " + group, State: keys.Warning, Detail: other + "; others on this machine can get at it (mode 0640)", Hint: "chmod go= " + group},
		{What: in + "~/.config/kenv/age/keys.txt", State: keys.Warning, Detail: name + "; others on this machine can get at it (mode 0644)", Hint: "chmod go= " + open},
		{What: in + "SOPS_AGE_KEY", State: keys.Warning, Detail: "one for age-plugin-kenvtest-none, which is not on the PATH", Hint: "install age-plugin-kenvtest-none"},
		{What: in + "SOPS_AGE_KEY_CMD", State: keys.OK, Detail: "a command, which is run when no other identity opens a file"},
		{What: in + "~/.config/sops/age/keys.txt", State: keys.OK, Detail: strings.Join(names[:3], "; ") + "; and 2 more"},
		{What: in + "~/.ssh/id_ed25519", State: keys.Note, Detail: public},
		{What: in + "~/.ssh/id_rsa", State: keys.Note, Detail: lockedPublic + " under a passphrase"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", lines(got), lines(want))
	}
	for _, f := range got {
		for _, secret := range []string{"SECRET-KEY", yubikey, "hunter2"} {
			if strings.Contains(f.Detail+f.Hint+f.What, secret) {
				t.Errorf("%+v holds a secret", f)
			}
		}
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the command was run")
	}
}

func lines(list []keys.Finding) string {
	var b strings.Builder
	for _, f := range list {
		b.WriteString(strings.Join([]string{f.State, f.What, f.Detail, f.Hint}, " | ") + "\n")
	}
	return b.String()
}

func TestExamineNothing(t *testing.T) {
	home := t.TempDir()
	got := age.Provider(keys.Env{HomeDir: home, ConfigDir: filepath.Join(home, "kenv")}).Examine(t.Context())
	want := keys.Finding{What: "age identities", State: keys.Missing, Hint: "kenv init",
		Detail: "none; looked in KENV_AGE_KEY, KENV_AGE_KEY_FILE, ~/kenv/age/keys.txt, SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, SOPS_AGE_KEY_CMD, " +
			"~/.config/sops/age/keys.txt, SOPS_AGE_SSH_PRIVATE_KEY_FILE, SOPS_AGE_SSH_PRIVATE_KEY_CMD, ~/.ssh/id_ed25519, ~/.ssh/id_rsa"}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got\n%s\nwant\n%s", lines(got), lines([]keys.Finding{want}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, f := range age.Provider(keys.Env{HomeDir: home}).Examine(ctx) {
		if f.State == keys.Missing {
			t.Errorf("cut short, it says that there is none: %+v", f)
		}
	}
}

func TestProbe(t *testing.T) {
	file, secret, name := generate(t, false)
	_, other, _ := generate(t, false)
	private, public := sshKey(t, 0, "")
	lockedFile, locked := sshKey(t, 0, "x")
	home := t.TempDir()
	write(t, private, home, ".ssh/id_ed25519")
	write(t, lockedFile, home, ".ssh/id_rsa")
	under := write(t, sealed(t, file, "x", false), t.TempDir(), "under")
	started := filepath.Join(t.TempDir(), "started")
	pluginKey := plugin.EncodeRecipient("kenvtest-none", []byte("x"))

	for _, tt := range []struct {
		what string
		env  keys.Env
		name string
		want keys.Finding
	}{
		{"at hand", keys.Env{Getenv: vars("SOPS_AGE_KEY", other+" "+secret)}, name, keys.Finding{State: keys.OK, Detail: "its identity is in SOPS_AGE_KEY"}},
		{"ssh", keys.Env{HomeDir: home}, public, keys.Finding{State: keys.OK, Detail: "its identity is in ~/.ssh/id_ed25519"}},
		{"locked ssh", keys.Env{HomeDir: home}, locked, keys.Finding{State: keys.OK, Detail: "its identity is in ~/.ssh/id_rsa"}},
		{"somebody else's", keys.Env{Getenv: vars("SOPS_AGE_KEY", other), HomeDir: home}, name, keys.Finding{State: keys.Missing, Detail: "its identity is not on this machine"}},
		{"perhaps", keys.Env{Getenv: vars("KENV_AGE_KEY", plugin.EncodeIdentity("x", nil)+"\n"+plugin.EncodeIdentity("y", nil), "KENV_AGE_KEY_FILE", under, "SOPS_AGE_KEY_CMD", "touch "+started,
			"SOPS_AGE_SSH_PRIVATE_KEY_CMD", "touch "+started)}, name, // which is no ssh key
			keys.Finding{State: keys.Note, Detail: "its identity may be in KENV_AGE_KEY, KENV_AGE_KEY_FILE " + under + ", SOPS_AGE_KEY_CMD, which takes asking"}},
		{"ssh under a passphrase for age", keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", under)}, public, keys.Finding{State: keys.Missing, Detail: "its identity is not on this machine"}},
		{"a plugin that is not there", keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", under)}, pluginKey,
			keys.Finding{State: keys.Missing, Detail: "age-plugin-kenvtest-none is needed and not on the PATH", Hint: "install age-plugin-kenvtest-none"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			k, _, err := age.Provider(asksNobody(t, tt.env)).Parse(keys.Spec{Name: tt.name})
			if err != nil {
				t.Fatal(err)
			}
			tt.want.What = k.Name()
			if got := k.(keys.Prober).Probe(t.Context(), keys.Entry{}); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", lines([]keys.Finding{got}), lines([]keys.Finding{tt.want}))
			}
		})
	}
	if _, err := os.Stat(started); err == nil {
		t.Error("the command was run")
	}
}
