package envelope

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// countingKey is a clearKey that counts what is asked of it.
type countingKey struct {
	clearKey
	wraps, unwraps *atomic.Int32
}

func (k countingKey) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	k.wraps.Add(1)
	return k.clearKey.Wrap(ctx, dataKey)
}

func (k countingKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	k.unwraps.Add(1)
	return k.clearKey.Unwrap(ctx, e)
}

// TestOneUnwrapAFile: a file of many values and two recipients asks one key for one
// unwrapping, encrypting it asks each for one wrapping, and doing so again with the
// earlier file at hand asks for none.
func TestOneUnwrapAFile(t *testing.T) {
	var wraps, unwraps atomic.Int32
	key := func(name string) keys.MasterKey { return countingKey{clearKey(name), &wraps, &unwraps} }
	table := keys.Table{{
		Kind:      "age",
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return key(e.Field("recipient")), nil },
	}}
	p := testPolicy
	p.Groups = [][]keys.MasterKey{{key("one"), key("two")}}
	src := []byte("a:\n" + strings.Repeat("  - b: c # d\n", 100))
	want := func(what string, wantWraps, wantUnwraps int32) {
		t.Helper()
		if w, u := wraps.Swap(0), unwraps.Swap(0); w != wantWraps || u != wantUnwraps {
			t.Errorf("%s: %d wraps and %d unwraps, want %d and %d", what, w, u, wantWraps, wantUnwraps)
		}
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

// A scene is a file's worth of master keys that do as they are told and note what
// was asked of them, in order.
type scene struct {
	mu    sync.Mutex
	asked []string
	keys  map[string]func(ctx context.Context) ([]byte, error)
}

func (s *scene) table(kinds ...string) keys.Table {
	var table keys.Table
	for _, kind := range kinds {
		kind, remote := strings.CutPrefix(kind, "remote ")
		table = append(table, keys.Provider{
			Kind: kind, Remote: remote,
			FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return sceneKey{s, e.Field("id")}, nil },
		})
	}
	return table
}

func (s *scene) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.asked, " ")
}

type sceneKey struct {
	scene *scene
	id    string
}

func (k sceneKey) Name() string { return k.id }

func (k sceneKey) Wrap(context.Context, []byte) (keys.Entry, error) { panic("not used") }

func (k sceneKey) Unwrap(ctx context.Context, _ keys.Entry) ([]byte, error) {
	what := k.id
	if keys.IsQuiet(ctx) {
		what += "?"
	}
	k.scene.mu.Lock()
	k.scene.asked = append(k.scene.asked, what)
	k.scene.mu.Unlock()
	return k.scene.keys[k.id](ctx)
}

func sceneFile(threshold int, groups ...string) *Metadata {
	m := &Metadata{ShamirThreshold: threshold}
	for _, g := range groups {
		var entries []keys.Entry
		for _, id := range strings.Fields(g) {
			kind, _, _ := strings.Cut(id, ":")
			entries = append(entries, keys.Entry{Kind: kind, Fields: map[string]any{"id": id}})
		}
		m.Groups = append(m.Groups, entries)
	}
	return m
}

// TestUnwrapOrder: who is asked, and when: local keys before remote ones, questions
// last, a chosen order before all that, and nobody once the file is open.
func TestUnwrapOrder(t *testing.T) {
	dataKey := bytes.Repeat([]byte{7}, keySize)
	gives := func(context.Context) ([]byte, error) { return bytes.Clone(dataKey), nil }
	wrong := func(context.Context) ([]byte, error) { return make([]byte, keySize), nil }
	not := func(context.Context) ([]byte, error) { return nil, &keys.NotHereError{} }
	asks := func(ctx context.Context) ([]byte, error) {
		if keys.IsQuiet(ctx) {
			return nil, &keys.NotHereError{Asks: true}
		}
		return gives(ctx)
	}
	type does = map[string]func(context.Context) ([]byte, error)
	for name, c := range map[string]struct {
		file  string
		keys  does
		order []string
		want  string // what is asked, with ? for quietly
		fails bool
	}{
		"local before remote":     {"kms:1 age:1 pgp:1", does{"kms:1": gives, "age:1": not, "pgp:1": gives}, nil, "age:1? pgp:1?", false},
		"by kind, as in table":    {"pgp:1 age:1", does{"pgp:1": gives, "age:1": gives}, nil, "age:1?", false},
		"remote if no local":      {"kms:1 age:1", does{"kms:1": gives, "age:1": not}, nil, "age:1? kms:1?", false},
		"questions last":          {"pgp:1 kms:1", does{"pgp:1": asks, "kms:1": not}, nil, "pgp:1? kms:1? pgp:1", false},
		"no question if remote":   {"pgp:1 kms:1", does{"pgp:1": asks, "kms:1": gives}, nil, "pgp:1? kms:1?", false},
		"a wrong one is passed":   {"age:1 age:2", does{"age:1": wrong, "age:2": gives}, nil, "age:1? age:2?", false},
		"chosen order":            {"kms:1 age:1", does{"kms:1": gives, "age:1": gives}, []string{"kms", "age"}, "kms:1?", false},
		"chosen order, questions": {"pgp:1 age:1", does{"pgp:1": asks, "age:1": gives}, []string{"pgp"}, "pgp:1? pgp:1", false},
		"order of other kinds":    {"age:1", does{"age:1": gives}, []string{"pgp", "nonesuch"}, "age:1?", false},
		"none":                    {"age:1 kms:1", does{"age:1": not, "kms:1": not}, nil, "age:1? kms:1?", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{keys: c.keys}
			right := func(k []byte) bool { return bytes.Equal(k, dataKey) }
			got, _, err := unwrapDataKey(t.Context(), sceneFile(0, c.file), s.table("age", "pgp", "remote kms"), c.order, right)
			if none := (*NoKeyError)(nil); c.fails != errors.As(err, &none) || !c.fails && !bytes.Equal(got, dataKey) {
				t.Errorf("got %x, %v", got, err)
			}
			if s.log() != c.want {
				t.Errorf("asked %q, want %q", s.log(), c.want)
			}
		})
	}
}

// TestUnwrapSideBySide: remote keys are asked at the same time, the first that
// works ends the others, and one that hangs does not hold up the file.
func TestUnwrapSideBySide(t *testing.T) {
	dataKey := bytes.Repeat([]byte{7}, keySize)
	all := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Add(3)
	go func() { waiting.Wait(); close(all) }()
	ended := make(chan string, 3)
	hangs := func(name string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			waiting.Done()
			<-ctx.Done()
			ended <- name
			return nil, ctx.Err()
		}
	}
	s := &scene{keys: map[string]func(context.Context) ([]byte, error){
		"kms:1": hangs("kms:1"), "kms:3": hangs("kms:3"),
		"kms:2": func(context.Context) ([]byte, error) {
			waiting.Done()
			<-all // not before all three are being asked
			return bytes.Clone(dataKey), nil
		},
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got, _, err := unwrapDataKey(ctx, sceneFile(0, "kms:1 kms:2 kms:3"), s.table("remote kms"), nil, func(k []byte) bool { return bytes.Equal(k, dataKey) })
	if err != nil || !bytes.Equal(got, dataKey) {
		t.Fatalf("got %x, %v", got, err)
	}
	if a, b := <-ended, <-ended; a == b {
		t.Errorf("%s was ended twice", a)
	}

	// The caller's own end is no failure of a key.
	ctx, cancel = context.WithCancel(t.Context())
	waiting.Add(1)
	s.keys["kms:1"] = func(ctx context.Context) ([]byte, error) { cancel(); <-ctx.Done(); return nil, ctx.Err() }
	if _, _, err := unwrapDataKey(ctx, sceneFile(0, "kms:1"), s.table("remote kms"), nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestUnwrapThreshold: no more groups are opened than are needed, and no second key
// of a group is asked, unless a share turns out to be bad.
func TestUnwrapThreshold(t *testing.T) {
	dataKey := bytes.Repeat([]byte{7}, keySize)
	shares, err := split(dataKey, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	gives := func(share []byte) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return bytes.Clone(share), nil }
	}
	not := func(context.Context) ([]byte, error) { return nil, &keys.NotHereError{} }
	bad := bytes.Clone(shares[1])
	bad[0] ^= 1
	type does = map[string]func(context.Context) ([]byte, error)
	for name, c := range map[string]struct {
		groups []string
		keys   does
		want   string
		opened int // how many groups, if the file stays shut; -1 if it opens
	}{
		"two of three":       {[]string{"age:1", "age:2", "age:3"}, does{"age:1": gives(shares[0]), "age:2": gives(shares[1])}, "age:1? age:2?", -1},
		"one a group":        {[]string{"age:1 age:1b", "age:2"}, does{"age:1": gives(shares[0]), "age:2": gives(shares[1])}, "age:1? age:2?", -1},
		"no remote":          {[]string{"age:1 kms:1", "age:2 kms:2"}, does{"age:1": gives(shares[0]), "age:2": gives(shares[1])}, "age:1? age:2?", -1},
		"remote for one":     {[]string{"age:1 kms:1", "age:2 kms:2"}, does{"age:1": gives(shares[0]), "age:2": not, "kms:2": gives(shares[1])}, "age:1? age:2? kms:2?", -1},
		"the bad one's twin": {[]string{"age:1", "age:2 age:2b"}, does{"age:1": gives(shares[0]), "age:2": gives(bad), "age:2b": gives(shares[1])}, "age:1? age:2? age:2b?", -1},
		"late twin":          {[]string{"age:1 age:1b", "age:2"}, does{"age:1": gives(bad), "age:1b": gives(shares[0]), "age:2": gives(shares[1])}, "age:1? age:2? age:1b", -1},
		"only one":           {[]string{"age:1 age:1b", "age:2"}, does{"age:1": gives(shares[0]), "age:2": not}, "age:1? age:2?", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scene{keys: c.keys}
			right := func(k []byte) bool { return bytes.Equal(k, dataKey) }
			got, _, err := unwrapDataKey(t.Context(), sceneFile(2, c.groups...), s.table("age", "remote kms"), nil, right)
			none := (*NoKeyError)(nil)
			switch {
			case c.opened < 0 && (err != nil || !bytes.Equal(got, dataKey)):
				t.Errorf("got %x, %v", got, err)
			case c.opened >= 0 && (!errors.As(err, &none) || none.Opened != c.opened):
				t.Errorf("got %v, want a NoKeyError with %d groups opened", err, c.opened)
			}
			if s.log() != c.want {
				t.Errorf("asked %q, want %q", s.log(), c.want)
			}
		})
	}
}

// A lyingKey gives a data key of its own, whatever was wrapped.
type lyingKey struct{ clearKey }

func (lyingKey) Unwrap(context.Context, keys.Entry) ([]byte, error) {
	return bytes.Repeat([]byte{7}, keySize), nil
}

// TestUnwrapLies: a key, or a server behind it, that answers with another data key opens
// nothing, and does not keep a file's other keys from opening it.
func TestUnwrapLies(t *testing.T) {
	table := keys.Table{{
		Kind: "age",
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			if name := clearKey(e.Field("recipient")); name != "liar" {
				return name, nil
			}
			return lyingKey{"liar"}, nil
		},
	}}
	for _, tt := range []struct {
		names []keys.MasterKey
		opens bool
	}{
		{[]keys.MasterKey{clearKey("liar")}, false},
		{[]keys.MasterKey{clearKey("liar"), clearKey("honest")}, true},
	} {
		p := testPolicy
		p.Groups = [][]keys.MasterKey{tt.names}
		sealed, err := Seal(t.Context(), []byte("a: b\n"), doc.YAML{}, p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(t.Context(), sealed.Data, doc.YAML{}, table, OpenOptions{})
		var integrity *IntegrityError
		if tt.opens && (err != nil || string(f.Plaintext()) != "a: b\n") || !tt.opens && !errors.As(err, &integrity) {
			t.Errorf("%v: %v", tt.names, err)
		}
	}
}

// TestManyKeys: a file with more master keys than anybody has is neither read nor made,
// and an error tells of the first few of those that do not work.
func TestManyKeys(t *testing.T) {
	seal := func(n int) ([]byte, error) {
		p := testPolicy
		p.Groups = [][]keys.MasterKey{nil}
		for range n {
			p.Groups[0] = append(p.Groups[0], clearKey("k"))
		}
		sealed, err := Seal(t.Context(), []byte("a: b\n"), doc.YAML{}, p)
		if err != nil {
			return nil, err
		}
		return sealed.Data, nil
	}
	if _, err := seal(maxEntries + 1); !errors.Is(err, errManyKeys) {
		t.Errorf("made for too many keys: %v", err)
	}
	data, err := seal(maxEntries)
	if err != nil {
		t.Fatal(err)
	}
	deaf := keys.Table{{Kind: "age", FromEntry: func(keys.Entry) (keys.MasterKey, error) { return nil, errors.New("no") }}}
	_, err = Open(t.Context(), data, doc.YAML{}, deaf, OpenOptions{})
	if err == nil || strings.Count(err.Error(), "\n") != maxSaid+1 || !strings.HasSuffix(err.Error(), "and 980 more") {
		t.Errorf("%v", err)
	}
	first, rest, _ := strings.Cut(string(data), "    age:\n")
	more := first + "    age:\n        - {enc: x, recipient: k}\n" + rest
	if _, err := Inspect([]byte(more), doc.YAML{}); err == nil || !strings.Contains(err.Error(), errManyKeys.Error()) {
		t.Errorf("read with too many keys: %v", err)
	}
}

// The data key stays only while whoever could open the earlier state may open the new
// one, and could not do so with fewer groups.
func TestFreshKey(t *testing.T) {
	type groups = []string // the keys of each
	policy := func(threshold int, names groups) Policy {
		p := testPolicy
		p.Groups, p.Threshold, p.Selector = nil, threshold, Selector{EncryptedRegex: "a"}
		for _, g := range names {
			var group []keys.MasterKey
			for _, name := range strings.Fields(g) {
				group = append(group, clearKey(name))
			}
			p.Groups = append(p.Groups, group)
		}
		return p
	}
	for name, c := range map[string]struct {
		oldNeed  int
		old      groups
		newNeed  int
		new      groups
		selector string
		macOnly  bool
		fresh    bool
	}{
		"the same":                {0, groups{"a b"}, 0, groups{"b a"}, "a", false, false},
		"a key more":              {0, groups{"a"}, 0, groups{"a b"}, "a", false, false},
		"a key less":              {0, groups{"a b"}, 0, groups{"a"}, "a", false, true},
		"another key":             {0, groups{"a"}, 0, groups{"b"}, "a", false, true},
		"other rules":             {0, groups{"a"}, 0, groups{"a"}, "a|b", false, true},
		"another mac":             {0, groups{"a"}, 0, groups{"a"}, "a", true, true},
		"the same groups":         {2, groups{"a", "b", "c"}, 2, groups{"a", "b", "c"}, "a", false, false},
		"a key more in a group":   {2, groups{"a", "b"}, 2, groups{"a", "b c"}, "a", false, false},
		"a key less in a group":   {2, groups{"a", "b c"}, 2, groups{"a", "b"}, "a", false, true},
		"a key in another group":  {2, groups{"a c", "b"}, 2, groups{"a", "b c"}, "a", false, true},
		"a higher threshold":      {2, groups{"a", "b", "c"}, 3, groups{"a", "b", "c"}, "a", false, true},
		"the threshold is all":    {2, groups{"a", "b", "c"}, 0, groups{"a", "b", "c"}, "a", false, true},
		"all, said otherwise":     {0, groups{"a", "b"}, 2, groups{"a", "b"}, "a", false, false},
		"groups instead of a key": {0, groups{"a"}, 2, groups{"a", "b"}, "a", false, true},
		"a group more":            {2, groups{"a", "b"}, 2, groups{"a", "b", "c"}, "a", false, true},
		"a group less":            {2, groups{"a", "b", "c"}, 2, groups{"a", "b"}, "a", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			first, err := Seal(t.Context(), []byte("a: 1\nb: 2\n"), doc.YAML{}, policy(c.oldNeed, c.old))
			if err != nil {
				t.Fatal(err)
			}
			p := policy(c.newNeed, c.new)
			p.Selector.EncryptedRegex, p.MACOnlyEncrypted, p.Previous = c.selector, c.macOnly, reopen(t, doc.YAML{}, first.Data)
			second, err := Seal(t.Context(), []byte("a: 1\nb: 3\n"), doc.YAML{}, p)
			if err != nil {
				t.Fatal(err)
			}
			if reopen(t, doc.YAML{}, second.Data).SharesKey(p.Previous) == c.fresh || (second.FreshKey != "") != c.fresh {
				t.Errorf("a new data key: want %t, and it says %q", c.fresh, second.FreshKey)
			}
		})
	}
}
