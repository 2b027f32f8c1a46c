package envelope

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// A memory is what master keys have seen of data keys and shares: the buffers themselves.
type memory struct{ wrapped, unwrapped [][]byte }

// A rememberingKey keeps the buffers that it is given and gives.
type rememberingKey struct {
	clearKey
	m *memory
}

func (k rememberingKey) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	k.m.wrapped = append(k.m.wrapped, dataKey)
	return k.clearKey.Wrap(ctx, dataKey)
}

func (k rememberingKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	share, err := k.clearKey.Unwrap(ctx, e)
	k.m.unwrapped = append(k.m.unwrapped, share)
	return share, err
}

// wiped fails if a buffer holds anything, or if there is none.
func wiped(t *testing.T, what string, buffers ...[]byte) {
	t.Helper()
	if len(buffers) == 0 {
		t.Errorf("no %s was seen", what)
	}
	for _, b := range buffers {
		if len(b) == 0 || !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: a buffer of %d bytes is not wiped", what, len(b))
		}
	}
}

// TestKeysAreWiped looks at the buffers in which data keys and shares were.
func TestKeysAreWiped(t *testing.T) {
	src := []byte("a: b\n")
	for _, groups := range []int{1, 3} {
		m := &memory{}
		key := func(name string) keys.MasterKey { return rememberingKey{clearKey(name), m} }
		table := keys.Table{{
			Kind:      "age",
			FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return key(e.Field("recipient")), nil },
		}}
		p := testPolicy
		p.Groups, p.Threshold = nil, 0
		for _, name := range []string{"one", "two", "three"}[:groups] {
			p.Groups = append(p.Groups, []keys.MasterKey{key(name)})
		}
		sealed, err := Seal(t.Context(), src, doc.YAML{}, p)
		if err != nil {
			t.Fatal(err)
		}
		wiped(t, "data key that was wrapped", m.wrapped...)
		if err := sealed.Prove(t.Context(), table); err != nil {
			t.Fatal(err)
		}
		wiped(t, "data key that was proven", m.unwrapped...)

		m.unwrapped = nil
		f, err := Open(t.Context(), sealed.Data, doc.YAML{}, table, OpenOptions{ForReuse: true})
		if err != nil {
			t.Fatal(err)
		}
		wiped(t, "data key that was unwrapped", m.unwrapped...)
		if _, err := f.Reseal([]byte("a: c\n"), p.Now); err != nil {
			t.Fatal(err)
		}
		f.Wipe()
		wiped(t, "data key and plaintext of a file", f.dataKey, f.plain)

		// Of another file, and of one that somebody changed, nothing is kept.
		m.unwrapped = nil
		other, err := Seal(t.Context(), []byte("x: y\n"), doc.YAML{}, p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Open(t.Context(), bytes.Replace(sealed.Data, []byte("a:"), []byte("b:"), 1), doc.YAML{}, table, OpenOptions{}); err == nil {
			t.Fatal("a changed file opens")
		}
		wiped(t, "data key of a changed file", m.unwrapped...)
		m.unwrapped = nil
		mixed, err := inspect(other.Data, doc.YAML{}, false)
		if err != nil {
			t.Fatal(err)
		}
		mixed.meta.Groups = sealed.meta.Groups
		mac, _ := parseToken(mixed.meta.MAC, true)
		if key, _, _ := unwrapDataKey(t.Context(), mixed.meta, table, nil, mixed.meta.opensMAC(mac)); key != nil {
			t.Fatal("the data key of one file opens another")
		}
		wiped(t, "data key of another file", m.unwrapped...)
	}
}

// TestSealerLeavesNothing: its buffer, in which all plaintext goes by, is the only one, and
// the encoding does not depend on where that is full.
func TestSealerLeavesNothing(t *testing.T) {
	for _, length := range []int{0, 1, 50, 90, 91, 99, 100, 101, 199, 200, 201, 1000} {
		for fill := range 100 {
			var want bytes.Buffer
			mac := hmac.New(sha256.New, []byte("key"))
			s := &sealer{mac: mac, buf: make([]byte, 0, 100)}
			buf := s.buf[:100]
			for range fill {
				s.byte('x')
				want.WriteByte('x')
			}
			text := strings.Repeat("s", length)
			s.str('s', text)
			want.Write(append([]byte{'s', 0, 0, 0, 0, 0, 0, byte(length >> 8), byte(length)}, text...))
			s.flush()
			if &buf[0] != &s.buf[:1][0] {
				t.Fatalf("%d after %d: the buffer grew", length, fill)
			}
			wiped(t, "buffer", buf)
			check := hmac.New(sha256.New, []byte("key"))
			check.Write(want.Bytes())
			if !hmac.Equal(mac.Sum(nil), check.Sum(nil)) {
				t.Fatalf("%d after %d: it encodes something else", length, fill)
			}
		}
	}
}
