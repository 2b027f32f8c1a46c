// Package keystest is the conformance suite of master keys: what kenv relies on in
// every provider, checked on each.
package keystest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
)

// A Suite is what Run needs to know of a provider.
type Suite struct {
	// Here returns the provider with the secret half of Name at hand, and no other.
	// Each call returns a fresh one, as a new process would have it.
	Here func(t *testing.T) keys.Provider
	// Away returns the provider with no secret at hand.
	Away func(t *testing.T) keys.Provider

	Name  string // a key string in canonical spelling
	Other string // another key of the same provider
	// OtherHere says that Here has the secret half of Other as well, as a server
	// does that serves both.
	OtherHere bool
	// WrapAsks says that wrapping takes what is at hand in Here only.
	WrapAsks bool
	// Attrs are said of every key beside its name.
	Attrs map[string]any

	// Same are other spellings of Name.
	Same []string
	// Wrong are strings that are the provider's business and name no key.
	Wrong []string
	// Blob are the fields that hold the wrapped key: no change to one of them goes
	// unnoticed.
	Blob []string
	// Cuts is at how many places of a field damage is tried, 60 unless it is set:
	// fewer for a key that takes long to ask.
	Cuts int
	// Secrets are texts that no message may hold: private keys, passphrases, PINs.
	Secrets []string
}

// Run checks a provider.
func Run(t *testing.T, s Suite) {
	t.Run("names", s.names)
	t.Run("round trip", s.roundTrip)
	t.Run("another key", s.anotherKey)
	t.Run("secret not at hand", s.away)
	t.Run("damaged entry", s.damaged)
	t.Run("wrong lengths", s.lengths)
	t.Run("context", s.context)
	t.Run("at the same time", s.parallel)
}

// NewDataKey returns random bytes.
func NewDataKey(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func (s Suite) parse(t *testing.T, p keys.Provider, name string) keys.MasterKey {
	t.Helper()
	k, ok, err := p.Parse(keys.Spec{Name: name, Attrs: s.Attrs})
	if err != nil || !ok {
		t.Fatalf("Parse(%q): ok %v, %v", keys.Short(name), ok, err)
	}
	return k
}

func wrap(t *testing.T, k keys.MasterKey, dataKey []byte) keys.Entry {
	t.Helper()
	before := bytes.Clone(dataKey)
	e, err := k.Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}
	if !bytes.Equal(dataKey, before) {
		t.Fatal("Wrap changed the data key that it was given")
	}
	return e
}

// silent fails the test if an error tells a secret.
func (s Suite) silent(t *testing.T, err error, dataKey []byte) {
	t.Helper()
	if err == nil {
		return
	}
	msg := err.Error()
	for _, secret := range append(spellings(dataKey), s.Secrets...) {
		if secret != "" && strings.Contains(msg, secret) {
			t.Fatalf("an error message holds a secret: %.400q", msg)
		}
	}
	if msg == "" {
		t.Fatal("an error without a message")
	}
}

// spellings returns how a key would look in a message.
func spellings(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return []string{
		string(b), fmt.Sprint(b), fmt.Sprintf("%q", b),
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
	}
}

func (s Suite) names(t *testing.T) {
	p := s.Here(t)
	if s.Name == s.Other {
		t.Fatal("the suite has one key twice")
	}
	for _, name := range append([]string{s.Name}, s.Same...) {
		if got := s.parse(t, p, name).Name(); got != s.Name {
			t.Errorf("Parse(%q).Name() = %q", keys.Short(name), keys.Short(got))
		}
	}
	e := wrap(t, s.parse(t, p, s.Name), NewDataKey(t, 32))
	k, err := p.FromEntry(e)
	if err != nil {
		t.Fatalf("FromEntry: %v", err)
	}
	if k.Name() != s.Name {
		t.Errorf("FromEntry of an entry of %q is %q", keys.Short(s.Name), keys.Short(k.Name()))
	}
	for _, name := range s.Wrong {
		k, ok, err := p.Parse(keys.Spec{Name: name, Attrs: s.Attrs})
		if !ok || err == nil || k != nil {
			t.Errorf("Parse(%q) = %v, %v, %v; want no key, true and an error", keys.Short(name), k, ok, err)
		}
		s.silent(t, err, nil)
	}
	for _, name := range []string{"", "no such form", "=", "\x00", strings.Repeat("x", 1<<20)} {
		if k, ok, err := p.Parse(keys.Spec{Name: name, Attrs: s.Attrs}); ok || err != nil || k != nil {
			t.Errorf("Parse(%.20q) = %v, %v, %v; that is no key of this provider", name, k, ok, err)
		}
	}
	if _, err := p.FromEntry(keys.Entry{Kind: p.Kind}); err == nil {
		t.Error("FromEntry takes an entry without fields")
	}
	if _, err := p.FromEntry(keys.Entry{Kind: "x" + p.Kind, Fields: e.Fields}); err == nil {
		t.Error("FromEntry takes an entry of another kind")
	}
}

func (s Suite) roundTrip(t *testing.T) {
	for _, n := range []int{1, 32, 33, keys.MaxDataKey} {
		dataKey := NewDataKey(t, n)
		p := s.Here(t)
		e := wrap(t, s.parse(t, p, s.Name), dataKey)
		if e.Kind != p.Kind {
			t.Errorf("the entry's kind is %q, the provider's %q", e.Kind, p.Kind)
		}
		for _, name := range s.Blob {
			if e.Field(name) == "" {
				t.Errorf("the entry has no %s", name)
			}
		}
		for name, v := range e.Fields {
			for _, secret := range spellings(dataKey) {
				if n >= 32 && strings.Contains(fmt.Sprint(v), secret) {
					t.Fatalf("field %s of the entry holds the data key", name)
				}
			}
		}
		// As a file's reader has it: another process, the key from the entry.
		reader := s.Here(t)
		k, err := reader.FromEntry(e)
		if err != nil {
			t.Fatalf("FromEntry: %v", err)
		}
		for i := range 3 {
			if i == 2 && reader.Forget != nil {
				reader.Forget() // what is at hand can be found again
			}
			got, err := k.Unwrap(t.Context(), e)
			if err != nil {
				t.Fatalf("Unwrap of a key of %d bytes: %v", n, err)
			}
			if !bytes.Equal(got, dataKey) {
				t.Fatalf("Unwrap of a key of %d bytes gives another", n)
			}
			clear(got) // ours to wipe: must not matter to the next
		}
	}
	dataKey := NewDataKey(t, 32)
	k := s.parse(t, s.Here(t), s.Name)
	one, two := wrap(t, k, dataKey), wrap(t, k, dataKey)
	for _, name := range s.Blob {
		if one.Field(name) == two.Field(name) {
			t.Errorf("%s is the same in two wrappings: it tells that the data keys are equal", name)
		}
	}
}

func (s Suite) anotherKey(t *testing.T) {
	p := s.Here(t)
	dataKey := NewDataKey(t, 32)
	e := wrap(t, s.parse(t, p, s.Other), dataKey)
	k, err := p.FromEntry(e)
	if err != nil {
		t.Fatalf("FromEntry: %v", err)
	}
	if !s.OtherHere {
		s.notHere(t, k, e, dataKey)
	}
	// The entry claims to be for the key that is at hand.
	mine := wrap(t, s.parse(t, p, s.Name), dataKey)
	for _, name := range s.Blob {
		mine.Fields[name] = e.Fields[name]
	}
	got, err := s.parse(t, p, s.Name).Unwrap(t.Context(), mine)
	if err == nil {
		t.Fatalf("an entry for another key opens (to the data key: %v)", bytes.Equal(got, dataKey))
	}
	s.silent(t, err, dataKey)
}

func (s Suite) away(t *testing.T) {
	dataKey := NewDataKey(t, 32)
	by := s.Away(t)
	if s.WrapAsks {
		by = s.Here(t)
	}
	e := wrap(t, s.parse(t, by, s.Name), dataKey)
	k, err := s.Away(t).FromEntry(e)
	if err != nil {
		t.Fatalf("FromEntry: %v", err)
	}
	s.notHere(t, k, e, dataKey)
}

func (s Suite) notHere(t *testing.T, k keys.MasterKey, e keys.Entry, dataKey []byte) {
	t.Helper()
	got, err := k.Unwrap(t.Context(), e)
	if got != nil || !errors.Is(err, keys.ErrNotHere) {
		t.Fatalf("Unwrap without its secret = %d bytes, %v; want ErrNotHere", len(got), err)
	}
	s.silent(t, err, dataKey)
	if _, err = k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrNotHere) {
		t.Fatalf("a quiet Unwrap without its secret: %v; want ErrNotHere", err)
	}
	s.silent(t, err, dataKey)
}

func (s Suite) damaged(t *testing.T) {
	p := s.Here(t)
	dataKey := NewDataKey(t, 32)
	k := s.parse(t, p, s.Name)
	e := wrap(t, k, dataKey)
	isBlob := func(name string) bool { return slices.Contains(s.Blob, name) }

	// check: an error, or, where the damage was to what does not carry the key, the
	// right key. Never a panic, never another key.
	check := func(what, field string, v any) {
		t.Helper()
		bad := keys.Entry{Kind: e.Kind, Fields: maps.Clone(e.Fields)}
		if bad.Fields[field] = v; v == nil {
			delete(bad.Fields, field)
		}
		for _, k := range []keys.MasterKey{k, fromEntry(p, bad)} {
			if k == nil {
				continue
			}
			got, err := k.Unwrap(t.Context(), bad)
			s.silent(t, err, dataKey)
			switch {
			case err != nil && got != nil:
				t.Errorf("%s %s: both %d bytes and the error %v", field, what, len(got), err)
			case err == nil && !bytes.Equal(got, dataKey):
				t.Errorf("%s %s: another key comes out", field, what)
			case err == nil && isBlob(field):
				t.Errorf("%s %s: nothing is noticed", field, what)
			case isBlob(field) && (v == nil || v == "") && errors.Is(err, keys.ErrNotHere):
				t.Errorf("%s %s: the error blames the missing of a secret: %v", field, what, err)
			}
		}
		_, err := p.FromEntry(bad)
		s.silent(t, err, dataKey)
	}
	for name, v := range e.Fields {
		check("removed", name, nil)
		for _, odd := range []any{"", 7, true, []any{v}, map[string]any{"x": v}, "\x00", "\x1b[2J", strings.Repeat("A", 2<<20)} {
			check(fmt.Sprintf("made %.20q", fmt.Sprint(odd)), name, odd)
		}
		text, ok := v.(string)
		if !ok || text == "" {
			continue
		}
		end := len(strings.TrimSpace(text))
		step := max(1, end/cmp.Or(s.Cuts, 60))
		for i := 0; i < end; i += step {
			check(fmt.Sprintf("cut to %d of %d", i, end), name, text[:i])
			b := []byte(text)
			if b[i] = 'A'; text[i] == 'A' {
				b[i] = 'B'
			}
			check(fmt.Sprintf("changed at %d", i), name, string(b))
			check(fmt.Sprintf("with a byte less at %d", i), name, text[:i]+text[i+1:])
		}
		check("cut by its last", name, text[:end-1])
		check("doubled", name, text+text)
	}
	bad := e
	bad.Kind = "x" + e.Kind
	if _, err := k.Unwrap(t.Context(), bad); err == nil {
		t.Error("Unwrap takes an entry of another kind")
	}
	if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("after all that the entry itself does not open: %v", err)
	}
}

func fromEntry(p keys.Provider, e keys.Entry) keys.MasterKey {
	k, err := p.FromEntry(e)
	if err != nil {
		return nil
	}
	return k
}

func (s Suite) lengths(t *testing.T) {
	k := s.parse(t, s.Here(t), s.Name)
	for _, n := range []int{0, keys.MaxDataKey + 1, 1 << 20} {
		if _, err := k.Wrap(t.Context(), NewDataKey(t, n)); err == nil {
			t.Errorf("Wrap takes a data key of %d bytes", n)
		}
	}
}

func (s Suite) context(t *testing.T) {
	p := s.Here(t)
	dataKey := NewDataKey(t, 32)
	k := s.parse(t, p, s.Name)
	e := wrap(t, k, dataKey)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Wrap(ctx, dataKey); !errors.Is(err, context.Canceled) {
		t.Errorf("Wrap under a cancelled context: %v", err)
	}
	got, err := k.Unwrap(ctx, e)
	if !errors.Is(err, context.Canceled) || errors.Is(err, keys.ErrNotHere) || got != nil {
		t.Errorf("Unwrap under a cancelled context: %v; that is neither a key nor its absence", err)
	}
	s.silent(t, err, dataKey)
	// Nothing of that is remembered.
	if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("Unwrap after a cancelled one: %v", err)
	}
}

func (s Suite) parallel(t *testing.T) {
	p := s.Here(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dataKey := NewDataKey(t, 32)
			k, _, err := p.Parse(keys.Spec{Name: s.Name, Attrs: s.Attrs})
			if err != nil {
				t.Error(err)
				return
			}
			e, err := k.Wrap(t.Context(), dataKey)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
				t.Errorf("Unwrap beside others: %v", err)
			}
		})
	}
	wg.Wait()
}
