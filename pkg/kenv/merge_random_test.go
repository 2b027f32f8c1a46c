package kenv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// A generator makes documents and changes them as people do: a value, a comment, a line
// that is added or goes.
type generator struct {
	*rand.Rand
	ext string
	n   int // of what was made up so far
}

func (g *generator) fresh(what string) string {
	g.n++
	return fmt.Sprintf("%s%d_%d", what, g.n, g.IntN(1000))
}

// entry is one line, for a key of its own at some depth.
func (g *generator) entry(indent string) string {
	key, value := g.fresh("k"), g.fresh("canary")
	switch {
	case g.ext == ".json":
		return fmt.Sprintf("%s%q: %q,", indent, key, value)
	case g.ext == ".env":
		if g.IntN(4) == 0 {
			return "# " + g.fresh("canary")
		}
		return strings.ToUpper(key) + "=" + value
	case g.ext == ".ini":
		return key + " = " + value
	case g.IntN(5) == 0:
		return indent + "# " + g.fresh("canary")
	case g.IntN(8) == 0:
		return indent + key + ": " + fmt.Sprint(g.IntN(1e9)) + " # " + g.fresh("canary")
	}
	return indent + key + ": " + fmt.Sprintf([]string{"%s", "'%s'", "%q"}[g.IntN(3)], value)
}

func (g *generator) document() (lines []string) {
	indent := map[string]string{".yaml": "    ", ".json": "    "}[g.ext]
	for range 2 + g.IntN(5) {
		name := g.fresh("s")
		switch g.ext {
		case ".yaml":
			lines = append(lines, name+":")
		case ".json":
			lines = append(lines, fmt.Sprintf("  %q: {", name))
		case ".ini":
			lines = append(lines, "["+name+"]")
		}
		for range 3 + g.IntN(8) {
			lines = append(lines, g.entry(indent))
		}
		switch last := fmt.Sprintf("%q: true", g.fresh("last")); g.ext {
		case ".json":
			lines = append(lines, indent+last, "  },")
		case ".yaml":
			lines = append(lines, indent+last)
		}
	}
	switch g.ext {
	case ".json":
		lines = append(append([]string{"{"}, lines...), `  "end": 0`, "}")
	case ".env":
		lines = append(lines, "END=0")
	}
	return lines
}

var isEntry = regexp.MustCompile(`canary`)

func (g *generator) change(lines []string) []string {
	lines = append([]string(nil), lines...)
	for range g.IntN(4) {
		var at int
		for at = g.IntN(len(lines)); !isEntry.MatchString(lines[at]); at = g.IntN(len(lines)) {
		}
		indent := lines[at][:len(lines[at])-len(strings.TrimLeft(lines[at], " "))]
		switch g.IntN(4) {
		case 0:
			lines = append(lines[:at], append([]string{g.entry(indent)}, lines[at:]...)...)
		case 1:
			lines = append(lines[:at], lines[at+1:]...)
			if !isEntry.MatchString(strings.Join(lines, "\n")) {
				return append(lines, g.entry(indent))
			}
		default:
			lines[at] = regexp.MustCompile(`canary\d+_\d+`).ReplaceAllString(lines[at], g.fresh("canary"))
		}
	}
	return lines
}

// gitMerge is what git makes of three plaintexts.
func gitMerge(t *testing.T, dir string, base, ours, theirs string) (text string, conflicts int) {
	t.Helper()
	var paths []string
	for i, text := range []string{ours, base, theirs} {
		paths = append(paths, filepath.Join(dir, fmt.Sprint(i)))
		if err := os.WriteFile(paths[i], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("git", append([]string{"merge-file", "-p", "-q", "--diff3", "-L", "ours", "-L", "base", "-L", "theirs"}, paths...)...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		conflicts = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out), conflicts
}

func needs(t *testing.T, program string) {
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(program + " is not installed")
	}
	t.Skip(program + " is not installed")
}

// Merging encrypted files comes to what git makes of the plaintexts, and every result is
// a sealed file in which nothing is readable, also to sops.
func TestMergeRandom(t *testing.T) {
	needs(t, "git")
	exts := []string{".yaml", ".json", ".env", ".ini"}
	sops := newSops(t)
	dir := t.TempDir()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	tests := map[string]*mergeTest{}
	for _, ext := range exts {
		tests[ext] = newMergeTest(t, "secrets"+ext, "", "a")
	}
	clean, shown, total := 0, 0, 1000
	if testing.Short() {
		total = 100
	}
	for i := range total {
		g := &generator{Rand: r, ext: exts[i%4]}
		lines := g.document()
		texts := [3]string{}
		for j, l := range [][]string{lines, g.change(lines), g.change(lines)} {
			texts[j] = strings.Join(l, "\n") + "\n"
		}
		m := tests[g.ext]
		bySops := sops != nil && i < 40
		if bySops {
			m = sops.mergeTest(t, g.ext)
		}
		base := m.encrypt(texts[0], kenv.EncryptOptions{})
		ours, theirs := m.edit(base, texts[1]), m.edit(base, texts[2])
		if r.IntN(5) == 0 {
			theirs = m.encrypt(texts[2], kenv.EncryptOptions{}) // rotated
		}
		want, conflicts := gitMerge(t, dir, texts[0], texts[1], texts[2])
		out, err := m.mergeFiles(base, ours, theirs)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s---\n%s---\n%s", seed, err, texts[0], texts[1], texts[2])
		}
		if out.Places != conflicts || out.Clean != (conflicts == 0) {
			t.Fatalf("seed %d: %d conflicts %q, to git %d:\n%s", seed, out.Places, out.Why, conflicts, want)
		}
		f := m.open(out.Data) // which looks at mac and seal
		got, _, err := kenv.EditText(f)
		if err != nil || string(got) != want {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, got, want)
		}
		if bytes.Contains(out.Data, []byte("canary")) {
			t.Fatalf("seed %d: something is readable:\n%s", seed, out.Data)
		}
		if out.Clean {
			clean++
		}
		if bySops {
			shown++
			back := sops.decrypt(t, out.Data, g.ext)
			for _, word := range regexp.MustCompile(`canary\d+_\d+`).FindAllString(string(f.Plaintext()), -1) {
				if !bytes.Contains(back, []byte(word)) {
					t.Fatalf("seed %d: sops does not show %s:\n%s", seed, word, back)
				}
			}
		}
		f.Wipe()
	}
	t.Logf("%d of %d clean, %d shown by sops", clean, total, shown)
	if clean*2 < total || clean == total {
		t.Errorf("%d of %d merges were clean", clean, total)
	}
}

// A realSops decrypts with the real program.
type realSops struct {
	keys                keys.Table
	identity, recipient string
	home                string
}

// newSops returns nil where sops is not installed, which CI does not accept.
func newSops(t *testing.T) *realSops {
	if _, err := exec.LookPath("sops"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("sops is not installed")
		}
		t.Log("sops is not installed, and has no say")
		return nil
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	env := keys.Env{Getenv: func(name string) string {
		if name == "KENV_AGE_KEY" {
			return string(identity)
		}
		return ""
	}}
	return &realSops{keys.Table{age.Provider(env)}, string(identity), recipient, t.TempDir()}
}

// mergeTest is newMergeTest for a key that sops has.
func (s *realSops) mergeTest(t *testing.T, ext string) *mergeTest {
	m := newMergeTest(t, "secrets"+ext, "", s.recipient)
	m.Keys = s.keys
	return m
}

func (s *realSops) decrypt(t *testing.T, data []byte, ext string) []byte {
	t.Helper()
	path := filepath.Join(s.home, "secrets"+ext)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sops", "decrypt", path)
	cmd.Env = []string{"HOME=" + s.home, "SOPS_AGE_KEY=" + s.identity, "SOPS_DISABLE_VERSION_CHECK=1"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sops: %v: %s\n%s", err, stderr.String(), data)
	}
	return out
}

// Sides that are somebody else's work get nothing of ours.
func TestMergeHostile(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a")
	const secret = "our-new-secret"
	base := m.encrypt(mergeBase, kenv.EncryptOptions{})
	ours := m.edit(base, changed(mergeBase, "hunter2", secret))
	theirText := changed(mergeBase, "u0", "u1")

	// Under a data key that its author knows: for our keys, and with a seal.
	own := m.encrypt(theirText, kenv.EncryptOptions{})
	out := m.clean(base, ours, own, changed(theirText, "hunter2", secret))
	if m.open(out.Data).SharesKey(m.open(own)) {
		t.Error("the result has the data key of a stranger")
	}
	// The same, of a stranger's program that puts no seal there.
	unsealed := regexp.MustCompile(`(?m)^ {4}kenv:\n( {8}.*\n)+`).ReplaceAll(own, nil)
	if bytes.Equal(unsealed, own) {
		t.Fatal("the seal is still there")
	}
	for name, theirs := range map[string][]byte{
		"the seal is gone":       unsealed,
		"our seal is gone":       regexp.MustCompile(`(?m)^ {4}kenv:\n( {8}.*\n)+`).ReplaceAll(m.edit(base, theirText), nil),
		"a line moved":           bytes.Replace(m.edit(base, theirText), []byte("db:"), []byte("cb:"), 1),
		"a recipient was put in": bytes.Replace(m.edit(base, theirText), []byte("recipient: a\n"), []byte("recipient: evil\n"), 1),
		"cut off":                []byte("a: b\n"),
		"nothing":                {},
	} {
		if out, err := m.mergeFiles(base, ours, theirs); err == nil {
			t.Errorf("%s: clean %t, %q", name, out.Clean, out.Why)
		}
		if out, err := m.mergeFiles(base, theirs, ours); err == nil {
			t.Errorf("%s, on our side: clean %t, %q", name, out.Clean, out.Why)
		}
	}
	// An extra recipient, also one who has had our data key.
	for _, previous := range []*kenv.Source{nil, {Name: m.name, Data: base}} {
		theirs := m.encrypt(theirText, kenv.EncryptOptions{Keys: []string{"a", "evil"}, Previous: previous})
		out, _ := m.conflict(base, ours, theirs, "evil")
		if m.open(out.Data).SharesKey(m.open(theirs)) || m.recipients(out.Data) != "[[a]]" {
			t.Error("who was put in can decrypt the result")
		}
	}
}

// A remote key that the config does not name is not called, whatever a file says, and
// those that are called ask nobody.
func TestMergeCallsNamedKeys(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "named")
	base := m.encrypt(mergeBase, kenv.EncryptOptions{Keys: []string{"other", "named"}})
	m.Keys[0].Remote = true
	// merge returns which keys were called. Keys that lost against others may be at it
	// still when it returns, so each time has its own list.
	merge := func() (called *callList, err error) {
		called = &callList{names: map[string]bool{}}
		m.Keys[0].FromEntry = func(e keys.Entry) (keys.MasterKey, error) {
			return calledKey{clearKey(e.Field("recipient")), called}, nil
		}
		_, err = m.mergeFiles(base, base, base)
		return called, err
	}
	if called, err := merge(); err == nil || called.String() != "[named]" {
		t.Errorf("called: %v (%v)", called, err)
	}
	m.rule("", "named", "other")
	if called, err := merge(); err != nil || called.String() == "[]" || strings.Contains(called.String(), "aloud") {
		t.Errorf("called: %v (%v)", called, err)
	}
	m.rule("", "third")
	if called, err := merge(); err == nil || called.String() != "[]" || !strings.Contains(err.Error(), "does not name") {
		t.Errorf("called: %v (%v)", called, err)
	}
}

// A key that could be had by asking is not had.
func TestMergeAsksNobody(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a")
	base := m.encrypt(mergeBase, kenv.EncryptOptions{})
	called := &callList{names: map[string]bool{}}
	m.Keys[0].FromEntry = func(e keys.Entry) (keys.MasterKey, error) {
		return askingKey{calledKey{clearKey(e.Field("recipient")), called}}, nil
	}
	var noKey *envelope.NoKeyError
	if _, err := m.mergeFiles(base, base, base); !errors.As(err, &noKey) || called.String() != "[]" {
		t.Errorf("called: %v (%v)", called, err)
	}
}

// An askingKey unwraps only if it may ask somebody.
type askingKey struct{ calledKey }

func (k askingKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	if keys.IsQuiet(ctx) {
		return nil, &keys.NotHereError{Asks: true}
	}
	return k.calledKey.Unwrap(ctx, e)
}

type callList struct {
	mu    sync.Mutex
	names map[string]bool
}

func (l *callList) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(slices.Sorted(maps.Keys(l.names)))
}

type calledKey struct {
	clearKey
	list *callList
}

func (k calledKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	k.list.mu.Lock()
	k.list.names[string(k.clearKey)] = true
	if !keys.IsQuiet(ctx) {
		k.list.names["aloud"] = true
	}
	k.list.mu.Unlock()
	return k.clearKey.Unwrap(ctx, e)
}
