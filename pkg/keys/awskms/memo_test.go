package awskms

import (
	"bytes"
	"context"
	"testing"
)

// TestMemoForgets: a data key is asked for again once it is forgotten, and wiped.
func TestMemoForgets(t *testing.T) {
	var m memo
	calls := 0
	get := func() {
		t.Helper()
		got, err := m.get(t.Context(), "id", func(context.Context) ([]byte, error) {
			calls++
			return []byte("data key"), nil
		})
		if err != nil || string(got) != "data key" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	get()
	get()
	if calls != 1 {
		t.Errorf("%d calls before it is forgotten, want 1", calls)
	}
	known := m.known["id"]
	m.forget()
	if !bytes.Equal(known, make([]byte, len("data key"))) {
		t.Error("what is forgotten is not wiped")
	}
	get()
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
}
