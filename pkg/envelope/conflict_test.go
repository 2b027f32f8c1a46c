package envelope

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
)

func sealAndOpen(t *testing.T, f doc.Format, src string) *File {
	t.Helper()
	sealed, err := Seal(t.Context(), []byte(src), f, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	return reopen(t, f, sealed.Data)
}

func reopen(t *testing.T, f doc.Format, data []byte) *File {
	t.Helper()
	file, err := Open(t.Context(), data, f, clearTable, OpenOptions{ForReuse: true, RequireSeal: true})
	if err != nil {
		t.Fatalf("%v:\n%s", err, data)
	}
	return file
}

// A conflict comes back as it was put in, in every format, is readable to nobody else,
// and the seal covers it.
func TestConflict(t *testing.T) {
	now := time.Unix(1700000002, 0)
	for _, c := range []struct {
		format doc.Format
		src    string
	}{
		{doc.YAML{}, "a: ours\n"}, {doc.JSON{}, "{\"a\": \"ours\"}\n"}, {doc.Dotenv{}, "A=ours\n"}, {doc.INI{}, "[s]\na = ours\n"}, {doc.Binary{}, "ours\n"},
	} {
		f := sealAndOpen(t, c.format, c.src)
		if got, err := f.Conflict(); got != nil || err != nil || f.Unresolved() {
			t.Errorf("%s: a conflict without one: %v, %v", c.format.Name(), got, err)
		}
		want := &Conflict{Base: []byte(strings.Replace(c.src, "ours", "canary-base", 1)), Theirs: []byte("canary-theirs\x00\xff"), Why: []string{"canary-why", "x"}, Unfit: []string{"canary-u"}}
		sealed, err := f.ResealMerge([]byte(c.src), nil, want, now)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed.Data, []byte("canary")) {
			t.Errorf("%s: the conflict is readable", c.format.Name())
		}
		g := reopen(t, c.format, sealed.Data)
		got, err := g.Conflict()
		if err != nil || !reflect.DeepEqual(got, want) || !g.Unresolved() || string(g.Plaintext()) != c.src {
			t.Errorf("%s: %q, %v", c.format.Name(), got, err)
		}
		// Without its entries, or with one changed, the file is not what was sealed.
		entries := g.Meta.Kenv.Conflicts
		other, err := (&Conflict{}).seal(f.dataKey)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			changed := bytes.Replace(sealed.Data, []byte(e), []byte(other[i%2]), 1)
			var integrity *IntegrityError
			if _, err := Open(t.Context(), changed, c.format, clearTable, OpenOptions{}); !errors.As(err, &integrity) {
				t.Errorf("%s: an entry was changed: %v", c.format.Name(), err)
			}
		}
		// Resolved, it is gone, also where our side is the answer.
		resolved, err := g.Reseal([]byte(c.src), now)
		if err != nil {
			t.Fatal(err)
		}
		if reopen(t, c.format, resolved.Data).Unresolved() {
			t.Errorf("%s: it does not go away", c.format.Name())
		}
	}
}

// Entries that nobody who has the data key wrote are errors.
func TestConflictDamaged(t *testing.T) {
	f := sealAndOpen(t, doc.YAML{}, "a: b\n")
	box, err := newEntryCipher(f.dataKey, purposeConflict)
	if err != nil {
		t.Fatal(err)
	}
	layout, err := newEntryCipher(f.dataKey, purposeLayout)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range []string{"", "AAAA", "no base64", layout.seal([]byte("bx")), box.seal(nil), box.seal([]byte("?x"))} {
		f.Meta.Kenv.Conflicts = []string{box.seal([]byte("b")), entry}
		if c, err := f.Conflict(); err == nil {
			t.Errorf("%q gives %q", entry, c)
		}
	}
}

// Of the other side of a merge a token is taken once, and only under the same data key.
func TestResealMergeTokens(t *testing.T) {
	now := time.Unix(1700000002, 0)
	f := sealAndOpen(t, doc.YAML{}, "list: [x, y]\n")
	edit := func(src string) *File {
		out, err := f.Reseal([]byte(src), now)
		if err != nil {
			t.Fatal(err)
		}
		return reopen(t, doc.YAML{}, out.Data)
	}
	theirs := edit("list: [x, y, new]\n")
	merge := func(theirs *File) map[tokenKey][]string {
		out, err := f.ResealMerge([]byte("list: [new, x, y, new, x]\n"), theirs, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		return reopen(t, doc.YAML{}, out.Data).tokens
	}
	tokens := merge(theirs)
	kept := 0
	seen := map[string]bool{}
	for k, list := range tokens {
		for _, token := range list {
			if seen[token] {
				t.Errorf("%v is there twice under one nonce", k)
			}
			seen[token] = true
			if slices.Contains(theirs.tokens[k], token) {
				kept++
			}
		}
	}
	if kept != 3 {
		t.Errorf("%d tokens stayed, want 3", kept)
	}
	stranger := sealAndOpen(t, doc.YAML{}, "list: [x, y, new]\n")
	for k, list := range merge(stranger) {
		for _, token := range list {
			if slices.Contains(stranger.tokens[k], token) {
				t.Errorf("%v has a token under another data key", k)
			}
		}
	}
	unverified, err := OpenUnverified(t.Context(), theirs.doc.Src, doc.YAML{}, clearTable, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ResealMerge([]byte("a: b\n"), unverified, nil, now); !errors.Is(err, errUnverified) {
		t.Errorf("with a side that nobody has checked: %v", err)
	}
	var none *File
	if none.SharesKey(f) || f.SharesKey(nil) || f.SharesKey(stranger) || !f.SharesKey(theirs) {
		t.Error("SharesKey is wrong")
	}
}
