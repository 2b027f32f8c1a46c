package pgp

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// TestLate has a gpg that waits for something, as it does for a card to be touched.
func TestLate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("takes a shell script")
	}
	home := t.TempDir()
	program := filepath.Join(home, "gpg")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec sleep 20\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	g := newGnuPG(keys.Env{
		HomeDir: home,
		Getenv:  func(name string) string { return map[string]string{"SOPS_GPG_EXEC": program}[name] },
		Prompt:  func(context.Context, string) ([]byte, error) { return nil, keys.ErrNoTerminal },
	})
	g.patience = 100 * time.Millisecond
	k := &key{"0123456789ABCDEF0123456789ABCDEF01234567", g}
	e := keys.Entry{Kind: Kind, Fields: map[string]any{"enc": Armor([]byte{0x85, 0, 9, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0xd2, 1, 1})}}
	if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrNotHere) || !errors.Is(err, keys.ErrQuiet) {
		t.Errorf("a quiet Unwrap that waits: %v; want ErrNotHere and ErrQuiet", err)
	}
	if _, err := k.Wrap(t.Context(), make([]byte, 32)); !errors.Is(err, errLate) {
		t.Errorf("a Wrap that waits: %v", err)
	}
	if f := k.Probe(t.Context(), e); f.State != keys.Warning {
		t.Errorf("a Probe that waits: %+v", f)
	}
}

// TestOutput pins that what gpg writes goes into the one buffer and no further.
func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		n, kept   int
		cut, full bool
		err       error
	}{
		{n: 0},
		{n: 8, kept: 8},
		{n: 9, kept: 8, full: true, err: errTooLong},
		{n: 9, kept: 8, cut: true, full: true},
	} {
		o := &output{buf: make([]byte, 0, 8), cut: tt.cut}
		_, err := io.Copy(o, strings.NewReader("123456789"[:tt.n]))
		if !errors.Is(err, tt.err) || string(o.buf) != "123456789"[:tt.kept] || o.full != tt.full {
			t.Errorf("%+v: %q, %v, full %v", tt, o.buf, err, o.full)
		}
	}
}
