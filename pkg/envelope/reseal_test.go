package envelope

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// TestReseal: an edited file keeps its recipients word for word, of whatever kind,
// its data key, its rules, unknown metadata and the lines of what did not change,
// and asks no master key for anything.
func TestReseal(t *testing.T) {
	src := []byte("a: one # c\nb_x: two\nlist: [1, 2]\n")
	p := testPolicy
	p.Selector.EncryptedRegex = "^(a|list)$"
	sealed, err := Seal(t.Context(), src, doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	// What sops and other programs may have put there, sealed.
	first, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
	if err != nil {
		t.Fatal(err)
	}
	first.Meta.Groups[0] = append(first.Meta.Groups[0], keys.Entry{Kind: "gcp_kms", Fields: map[string]any{"resource_id": "r", "created_at": "2024-01-02T03:04:05Z", "enc": "E"}})
	first.Meta.Unknown = doc.Fields{{Name: "mystery", Value: []doc.Value{doc.Fields{{Name: "x", Value: "y"}}}}}
	sealed, err = first.Reseal(append(src, "n: 1\n"...), time.Unix(1700000001, 0))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.dataKey, first.dataKey) {
		t.Error("the data key changed")
	}

	same, err := f.Reseal(f.Plaintext(), time.Unix(1700000002, 0))
	if err != nil || !bytes.Equal(same.Data, sealed.Data) {
		t.Errorf("what did not change gives another file (%v):\n%s", err, same.Data)
	}
	edited := bytes.Replace(f.Plaintext(), []byte("one"), []byte("three"), 1)
	got, err := f.Reseal(edited, time.Unix(1700000002, 0))
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(sealed.Data), "\n"), strings.Split(string(got.Data), "\n")
	if len(was) != len(is) {
		t.Fatalf("%d lines were %d", len(is), len(was))
	}
	var changed []string
	for i := range is {
		if is[i] != was[i] {
			name, _, _ := strings.Cut(strings.TrimSpace(is[i]), ":")
			changed = append(changed, name)
		}
	}
	if want := []string{"a", "seal", "lastmodified", "mac"}; !slices.Equal(changed, want) {
		t.Errorf("changed lines: %q, want %q", changed, want)
	}
	for _, want := range []string{"mystery:", "resource_id: r", "encrypted_regex:"} {
		if !strings.Contains(string(got.Data), want) {
			t.Errorf("%q is gone:\n%s", want, got.Data)
		}
	}
	again, err := Open(t.Context(), got.Data, doc.YAML{}, clearTable, OpenOptions{})
	if err != nil || !bytes.Equal(again.Plaintext(), edited) {
		t.Errorf("the edited file: %v\n%s", err, again.Plaintext())
	}
	if !first.Sealed || !f.Sealed || !again.Sealed {
		t.Error("a seal is missing")
	}
}

// TestRescue: whatever an editor left is kept, for the same readers.
func TestRescue(t *testing.T) {
	sealed, err := Seal(t.Context(), []byte("a: b\n"), doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a: [b\n", "\x00\xff", "a: b\n", "sops: {}\n"} {
		got, err := f.Rescue([]byte(text), time.Unix(1700000002, 0))
		if err != nil {
			t.Fatal(err)
		}
		back, err := Open(t.Context(), got.Data, doc.Binary{}, clearTable, OpenOptions{RequireSeal: true})
		if err != nil || string(back.Plaintext()) != text || bytes.Contains(got.Data, []byte("a: ")) {
			t.Errorf("%q: %q, %v", text, back.Plaintext(), err)
		}
	}
}

// TestCutEnd: the line break at the end of a sealed file may be gone, as white space is
// not sealed, but never a part of a value with it.
func TestCutEnd(t *testing.T) {
	refused := 0
	for _, last := range []string{"|+\n  end\n\n", "|+\n  end\n", "|\n  end\n", ">\n  a\n  b\n", "|-\n  end\n", "end\n", "'end'\n", "[a, b]\n", "|\n  end", "end"} {
		for _, name := range []string{"a", "a_unencrypted"} {
			src := []byte("b: c\n" + name + ": " + last)
			sealed, err := Seal(t.Context(), src, doc.YAML{}, testPolicy)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{}); err != nil || !bytes.Equal(f.Plaintext(), src) {
				t.Errorf("%q: %v", src, err)
			}
			cut := bytes.TrimSuffix(sealed.Data, []byte("\n"))
			f, err := Open(t.Context(), cut, doc.YAML{}, clearTable, OpenOptions{})
			if err != nil {
				refused++
				continue
			}
			was, _, err := doc.YAML{}.Prepare(src, doc.Splice)
			if err != nil {
				t.Fatal(err)
			}
			is, _, err := doc.YAML{}.Prepare(f.Plaintext(), doc.Splice)
			if err != nil || !doc.Equal(was.Roots[0], is.Roots[0]) {
				t.Errorf("%q becomes %q under a valid seal", src, f.Plaintext())
			}
		}
	}
	if refused == 0 {
		t.Error("none is refused: does this test still see what it is about?")
	}
}

// TestUnverifiedIsNoSource: what was opened without its checks can be looked at, and not
// sealed again: that would bless whatever somebody did to it.
func TestUnverifiedIsNoSource(t *testing.T) {
	sealed, err := Seal(t.Context(), []byte("a: b\nc_unencrypted: 1\n"), doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(sealed.Data, []byte("c_unencrypted: 1"), []byte("c_unencrypted: 2"), 1)
	f, err := OpenUnverified(t.Context(), changed, doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
	if err != nil || string(f.Plaintext()) != "a: b\nc_unencrypted: 2\n" {
		t.Fatalf("%q, %v", f.Plaintext(), err)
	}
	if out, err := f.Reseal(f.Plaintext(), time.Unix(1700000002, 0)); !errors.Is(err, errUnverified) || out != nil {
		t.Errorf("Reseal: %v", err)
	}
	p := testPolicy
	p.Previous = f
	if out, err := Seal(t.Context(), f.Plaintext(), doc.YAML{}, p); !errors.Is(err, errUnverified) || out != nil {
		t.Errorf("Seal: %v", err)
	}
}

// TestBlankLines: empty lines are not sealed, so a file with one more or one less, anywhere,
// opens to the values that were encrypted, or does not open.
func TestBlankLines(t *testing.T) {
	opened, refused := 0, 0
	for _, src := range []string{
		"a: |+\n  x\n\n",
		"a: |+\n  x\n\n---\nb: |+\n  y\n\n",
		"a: >+\n  x\n\n\n# c\nb: |\n  y\n",
		"a: |\n  x\n\n\n---\nb: 1\n...\n",
		"a_unencrypted: |+\n  x\n\n---\nb: 1\n",
		"- |+\n  x\n\n",
		"a: {b: [1, 2]}\nc: 'x\n\n  y'\n",
		"a: x\n\n\n  y\nb: |-\n  z\n",
	} {
		sealed, err := Seal(t.Context(), []byte(src), doc.YAML{}, testPolicy)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(sealed.Data), "\n")
		for i := range len(lines) + 1 {
			for _, blank := range []string{"\n", "\n\n", " \n", "  \n\n", "\r\n", ""} {
				rest := lines[i:]
				if blank == "" && i < len(lines) && strings.TrimSpace(lines[i]) == "" {
					rest = lines[min(i+1, len(lines)):]
				}
				changed := strings.Join(lines[:i], "") + blank + strings.Join(rest, "")
				f, err := Open(t.Context(), []byte(changed), doc.YAML{}, clearTable, OpenOptions{})
				if err != nil {
					refused++
					continue
				}
				opened++
				if got := f.Plaintext(); !holdsSame(doc.YAML{}, got, []byte(src)) {
					t.Errorf("opens to other data:\n%q\nfor\n%q\nof\n%s", got, src, changed)
				}
			}
		}
	}
	if opened == 0 || refused == 0 {
		t.Errorf("%d opened, %d were refused", opened, refused)
	}
}
