package age_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fage "filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
)

const (
	pluginName = "kenvtest"
	pluginLog  = "KENV_TEST_PLUGIN_LOG"
	pluginMode = "KENV_TEST_PLUGIN_MODE"
	pluginPIN  = "13579"
)

// TestMain makes this test binary an age plugin when it is started as one.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "age-plugin-"+pluginName {
		os.Exit(pluginMain())
	}
	os.Exit(m.Run())
}

// pluginMain is a plugin whose keys are X25519 ones in disguise: only it knows
// stanzas of type kenvtest. It wants a PIN to decrypt.
func pluginMain() int {
	log, err := os.OpenFile(os.Getenv(pluginLog), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 1
	}
	fmt.Fprintln(log, os.Args[1])
	log.Close()
	if os.Getenv(pluginMode) == "hang" {
		time.Sleep(time.Minute)
	}
	p, err := plugin.New(pluginName)
	if err != nil {
		return 1
	}
	p.HandleRecipient(func(data []byte) (fage.Recipient, error) {
		r, err := fage.ParseX25519Recipient(string(data))
		return disguised{Recipient: r}, err
	})
	p.HandleIdentity(func(data []byte) (fage.Identity, error) {
		id, err := fage.ParseX25519Identity(string(data))
		return disguised{Identity: id, p: p}, err
	})
	return p.Main()
}

type disguised struct {
	fage.Recipient
	fage.Identity
	p *plugin.Plugin
}

func (d disguised) Wrap(fileKey []byte) ([]*fage.Stanza, error) {
	stanzas, err := d.Recipient.Wrap(fileKey)
	for _, s := range stanzas {
		s.Type = pluginName
	}
	return stanzas, err
}

func (d disguised) Unwrap(stanzas []*fage.Stanza) ([]byte, error) {
	var mine []*fage.Stanza
	for _, s := range stanzas {
		if s.Type == pluginName {
			mine = append(mine, &fage.Stanza{Type: "X25519", Args: s.Args, Body: s.Body})
		}
	}
	if len(mine) == 0 {
		return nil, fage.ErrIncorrectIdentity
	}
	if err := d.p.DisplayMessage("the light blinks"); err != nil {
		return nil, err
	}
	if ok, err := d.p.Confirm("touch it", "touched", "give up"); err != nil || !ok {
		return nil, errors.New("not touched")
	}
	pin, err := d.p.RequestValue("PIN", true)
	if err != nil {
		return nil, err
	}
	if pin != pluginPIN {
		return nil, errors.New("bad PIN")
	}
	return d.Identity.Unwrap(mine)
}

// installPlugin puts the plugin on the PATH and returns how often it was started
// since the last call.
func installPlugin(t *testing.T) (starts func() int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(exe, filepath.Join(dir, "age-plugin-"+pluginName)); err != nil {
		t.Skip("no symbolic links here")
	}
	log := filepath.Join(dir, "log")
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv(pluginLog, log)
	return func() int {
		text, err := os.ReadFile(log)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		os.Remove(log)
		return bytes.Count(text, []byte("\n"))
	}
}

// pluginKey makes a plugin identity and its recipient.
func pluginKey(t *testing.T) (identity, recipient string) {
	_, secret, public := generate(t, false)
	return plugin.EncodeIdentity(pluginName, []byte(secret)), plugin.EncodeRecipient(pluginName, []byte(public))
}

// person answers the plugin's questions.
func person(pin string) func(context.Context, string) ([]byte, error) {
	return func(ctx context.Context, text string) ([]byte, error) {
		switch text {
		case `age-plugin-kenvtest: touch it (1 for "touched", 2 for "give up"): `:
			return []byte("1\n"), ctx.Err()
		case `age-plugin-kenvtest: PIN: `:
			return []byte(pin), ctx.Err()
		}
		return nil, fmt.Errorf("unexpected question %q", text)
	}
}

func TestPlugin(t *testing.T) {
	starts := installPlugin(t)
	identity, name := pluginKey(t)
	_, otherName := pluginKey(t)
	_, nativeSecret, nativeName := generate(t, false)
	getenv := vars("KENV_AGE_KEY", identity+"\n"+nativeSecret)
	var warned []string
	env := keys.Env{Getenv: getenv, AllowPlugins: true, Prompt: person(pluginPIN),
		Warn: func(format string, args ...any) { warned = append(warned, fmt.Sprintf(format, args...)) }}

	t.Run("conformance", func(t *testing.T) {
		keystest.Run(t, keystest.Suite{
			Here: func(t *testing.T) keys.Provider {
				return age.Provider(keys.Env{Getenv: getenv, AllowPlugins: true, Prompt: person(pluginPIN)})
			},
			Away: func(t *testing.T) keys.Provider { return age.Provider(keys.Env{AllowPlugins: true}) },
			Name: name, Other: otherName, Wrong: []string{name[:len(name)-1]}, Blob: []string{"enc"}, Cuts: 4,
			Secrets: []string{identity, nativeSecret, pluginPIN},
		})
	})
	starts()

	opens(t, env, name)
	if n := starts(); n != 2 {
		t.Errorf("wrapping and unwrapping started the plugin %d times", n)
	}
	if want := "age-plugin-kenvtest: the light blinks"; len(warned) != 1 || warned[0] != want {
		t.Errorf("the person saw %q, want %q", warned, want)
	}
	opens(t, env, nativeName)
	if n := starts(); n != 0 {
		t.Errorf("the plugin was started %d times where a native identity fits", n)
	}

	k, _, e := wrapFor(t, env, name)
	starts()
	if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrQuiet) {
		t.Errorf("quietly: %v", err)
	}

	forbidden := env
	forbidden.AllowPlugins = false
	fk, _, err := age.Provider(forbidden).Parse(keys.Spec{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fk.Unwrap(t.Context(), e); !errors.Is(err, keys.ErrNotHere) || errors.Is(err, keys.ErrQuiet) || !strings.Contains(err.Error(), "age-plugin-kenvtest is needed, and this command starts no plugins") {
		t.Errorf("unwrapping where plugins are not allowed: %v", err)
	}
	if _, err := fk.Wrap(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), "starts no plugins") {
		t.Errorf("wrapping where plugins are not allowed: %v", err)
	}
	if n := starts(); n != 0 {
		t.Errorf("the plugin was started %d times where it must not be", n)
	}

	env.Prompt = person("2468")
	k, _, e = wrapFor(t, env, name)
	_, err = k.Unwrap(t.Context(), e)
	if !errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "bad PIN") || strings.Contains(err.Error(), "2468") {
		t.Errorf("with a wrong PIN: %v", err)
	}

	t.Run("hanging", func(t *testing.T) {
		t.Setenv(pluginMode, "hang")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := k.Unwrap(ctx, e); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		want := "age-plugin-kenvtest is needed and not on the PATH"
		if _, err := k.Unwrap(t.Context(), e); !errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), want) {
			t.Errorf("Unwrap: %v", err)
		}
		if _, err := k.Wrap(t.Context(), make([]byte, 32)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Wrap: %v", err)
		}
	})
}
