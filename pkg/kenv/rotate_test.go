package kenv_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
)

// A toldKey is a clearKey whose Unwrap does as it is told.
type toldKey struct {
	clearKey
	unwrap func(ctx context.Context, dataKey []byte) ([]byte, error)
}

func (k toldKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	dataKey, err := k.clearKey.Unwrap(ctx, e)
	if err != nil {
		return nil, err
	}
	return k.unwrap(ctx, dataKey)
}

func toldSetup(unwrap func(ctx context.Context, dataKey []byte) ([]byte, error)) kenv.Setup {
	return kenv.Setup{Keys: keys.Table{{
		Kind:  "age",
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) { return toldKey{clearKey(s.Name), unwrap}, true, nil },
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			return toldKey{clearKey(e.Field("recipient")), unwrap}, nil
		},
	}}}
}

// TestRotateProves: a rotated file is opened with a master key before anybody gets it.
// One that gives another data key back is an error, and one whose secret half is not at
// hand is told of.
func TestRotateProves(t *testing.T) {
	src := kenv.Source{Name: filepath.Join(t.TempDir(), "a.yaml"), Data: []byte("a: b\n")}
	calls := 0
	var after func(dataKey []byte) ([]byte, error)
	s := toldSetup(func(_ context.Context, dataKey []byte) ([]byte, error) {
		if calls++; calls == 1 { // the old file
			return dataKey, nil
		}
		return after(dataKey)
	})
	made, err := s.Encrypt(t.Context(), src, kenv.EncryptOptions{Keys: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	src.Data = made.Data
	rotate := func(then func([]byte) ([]byte, error)) (*kenv.Encrypted, error) {
		calls, after = 0, then
		return s.Rotate(t.Context(), src, kenv.RotateOptions{})
	}

	out, err := rotate(func(dataKey []byte) ([]byte, error) { return dataKey, nil })
	if err != nil || out.Unproven != nil || calls != 2 {
		t.Errorf("a key that works: %v, %v, %d calls; want one for the old file and one for the new", err, out.Unproven, calls)
	}
	out, err = rotate(func(dataKey []byte) ([]byte, error) { return dataKey, rand32(dataKey) })
	if err == nil || out != nil || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("a key that gives another data key back: %v, %v", out, err)
	}
	var none *envelope.NoKeyError
	out, err = rotate(func([]byte) ([]byte, error) { return nil, &keys.NotHereError{} })
	if err != nil || !errors.As(out.Unproven, &none) {
		t.Errorf("a key that is not at hand: %v, %v", out, err)
	}
}

func rand32(b []byte) error {
	_, err := rand.Read(b)
	return err
}

// TestNamedReachesKeys: a provider sees which keys the config in force for a file names,
// as an entry's own word on how to reach its key counts only then.
func TestNamedReachesKeys(t *testing.T) {
	dir := t.TempDir()
	var seen [][]string
	s := toldSetup(func(ctx context.Context, dataKey []byte) ([]byte, error) {
		var names []string
		for _, k := range keys.Named(ctx) {
			names = append(names, k.Name())
		}
		seen = append(seen, names)
		return dataKey, nil
	})
	config := "creation_rules:\n  - path: a.yaml\n    keys: [one, two]\n  - path: b.yaml\n    keys: [three]\n"
	if err := os.WriteFile(filepath.Join(dir, ".kenv.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"a.yaml": {"one", "two"}, "b.yaml": {"three"}, "c.yaml": nil} {
		src := kenv.Source{Name: filepath.Join(dir, name), Data: []byte("a: b\n")}
		made, err := s.Encrypt(t.Context(), src, kenv.EncryptOptions{Keys: []string{"test"}})
		if err != nil {
			t.Fatal(err)
		}
		src.Data, seen = made.Data, nil
		open := map[string]func() error{
			"Open":           func() error { _, err := s.Open(t.Context(), src); return err },
			"OpenForEdit":    func() error { _, err := s.OpenForEdit(t.Context(), src); return err },
			"OpenUnverified": func() error { _, err := s.OpenUnverified(t.Context(), src); return err },
			"Rotate": func() error {
				_, err := s.Rotate(t.Context(), src, kenv.RotateOptions{AcceptRecipients: true})
				return err
			},
		}
		for how, f := range open {
			seen = nil
			if err := f(); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if len(seen) == 0 || !slices.Equal(seen[0], want) {
				t.Errorf("%s of %s: the keys are %q, want %q", how, name, seen, want)
			}
		}
	}
	// Nothing wrong with a config keeps a file from being read; it names no keys then.
	if err := os.WriteFile(filepath.Join(dir, ".kenv.yaml"), []byte("creation_rules: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := s.Encrypt(t.Context(), kenv.Source{Name: filepath.Join(t.TempDir(), "a.yaml"), Data: []byte("a: b\n")}, kenv.EncryptOptions{Keys: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	seen = nil
	if _, err := s.Open(t.Context(), kenv.Source{Name: filepath.Join(dir, "a.yaml"), Data: made.Data}); err != nil || len(seen) != 1 || seen[0] != nil {
		t.Errorf("with a broken config: %v, %q", err, seen)
	}
}
