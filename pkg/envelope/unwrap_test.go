package envelope

import (
	"context"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// countingKey is a clearKey that counts what is asked of it.
type countingKey struct {
	clearKey
	wraps, unwraps *int
}

func (k countingKey) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	*k.wraps++
	return k.clearKey.Wrap(ctx, dataKey)
}

func (k countingKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	*k.unwraps++
	return k.clearKey.Unwrap(ctx, e)
}

// TestOneUnwrapAFile: a file of many values and two recipients asks one key for one
// unwrapping, encrypting it asks each for one wrapping, and doing so again with the
// earlier file at hand asks for none.
func TestOneUnwrapAFile(t *testing.T) {
	wraps, unwraps := 0, 0
	key := func(name string) keys.MasterKey { return countingKey{clearKey(name), &wraps, &unwraps} }
	table := keys.Table{{
		Kind:      "age",
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return key(e.Field("recipient")), nil },
	}}
	p := testPolicy
	p.Groups = [][]keys.MasterKey{{key("one"), key("two")}}
	src := []byte("a:\n" + strings.Repeat("  - b: c # d\n", 100))
	want := func(what string, wantWraps, wantUnwraps int) {
		t.Helper()
		if wraps != wantWraps || unwraps != wantUnwraps {
			t.Errorf("%s: %d wraps and %d unwraps, want %d and %d", what, wraps, unwraps, wantWraps, wantUnwraps)
		}
		wraps, unwraps = 0, 0
	}
	sealed, err := Seal(t.Context(), src, doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	want("encrypting", 2, 0)
	old, err := Open(t.Context(), sealed.Data, doc.YAML{}, table, OpenOptions{ForReuse: true})
	if err != nil {
		t.Fatal(err)
	}
	want("decrypting", 0, 1)
	p.Previous = old
	if _, err := Seal(t.Context(), append(src, "e: f\n"...), doc.YAML{}, p); err != nil {
		t.Fatal(err)
	}
	want("encrypting again", 0, 0)
}
