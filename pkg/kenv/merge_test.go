package kenv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
)

// A mergeTest encrypts and merges states of one file.
type mergeTest struct {
	testing.TB
	kenv.Setup
	name string
	keys []string
}

// newMergeTest returns one whose config has a rule for the file with some keys, and
// maybe more to say.
func newMergeTest(t testing.TB, name string, rule string, names ...string) *mergeTest {
	t.Helper()
	s, _ := newSetup(t)
	m := &mergeTest{TB: t, Setup: s, name: filepath.Join(t.TempDir(), name), keys: names}
	m.rule(rule, names...)
	return m
}

func (m *mergeTest) rule(rule string, names ...string) {
	m.Helper()
	config := "creation_rules:\n  - path: \"*\"\n    keys: [" + strings.Join(names, ", ") + "]\n" + rule
	if err := os.WriteFile(filepath.Join(filepath.Dir(m.name), ".kenv.yaml"), []byte(config), 0o600); err != nil {
		m.Fatal(err)
	}
}

// encrypt makes a file with a data key of its own.
func (m *mergeTest) encrypt(text string, o kenv.EncryptOptions) []byte {
	m.Helper()
	if o.Keys == nil {
		o.Keys = m.keys
	}
	out, err := m.Encrypt(context.Background(), kenv.Source{Name: m.name, Data: []byte(text)}, o)
	if err != nil {
		m.Fatal(err)
	}
	return out.Data
}

// edit changes the text of a file, and keeps the data key.
func (m *mergeTest) edit(file []byte, text string) []byte {
	m.Helper()
	f := m.open(file)
	defer f.Wipe()
	out, err := m.Resealed(f, m.name, []byte(text), true)
	if err != nil {
		m.Fatal(err)
	}
	return out.Data
}

func (m *mergeTest) open(file []byte) *envelope.File {
	m.Helper()
	f, err := m.OpenForEdit(context.Background(), kenv.Source{Name: m.name, Data: file})
	if err != nil {
		m.Fatal(err)
	}
	if !f.Sealed {
		m.Fatal("it has no seal")
	}
	return f
}

func (m *mergeTest) text(file []byte) string {
	m.Helper()
	f := m.open(file)
	defer f.Wipe()
	return string(f.Plaintext())
}

func (m *mergeTest) recipients(file []byte) string {
	m.Helper()
	f := m.open(file)
	defer f.Wipe()
	return fmt.Sprint(f.Recipients())
}

func (m *mergeTest) mergeFiles(base, ours, theirs []byte) (*kenv.Merged, error) {
	src := func(data []byte) kenv.Source { return kenv.Source{Name: m.name, Data: data} }
	return m.Merge(context.Background(), src(base), src(ours), src(theirs))
}

// merge merges files, and wants a result.
func (m *mergeTest) merge(base, ours, theirs []byte) *kenv.Merged {
	m.Helper()
	out, err := m.mergeFiles(base, ours, theirs)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// clean wants a merge without a conflict, with that text.
func (m *mergeTest) clean(base, ours, theirs []byte, want string) *kenv.Merged {
	m.Helper()
	out := m.merge(base, ours, theirs)
	if !out.Clean {
		m.Fatalf("a conflict: %d places, %q", out.Places, out.Why)
	}
	if got := m.text(out.Data); got != want {
		m.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	return out
}

// conflict wants one, for a reason, and returns the text to edit.
func (m *mergeTest) conflict(base, ours, theirs []byte, why string) (*kenv.Merged, string) {
	m.Helper()
	out := m.merge(base, ours, theirs)
	if out.Clean || !strings.Contains(strings.Join(out.Why, "\n"), why) || why == "" && len(out.Why) > 0 {
		m.Fatalf("clean: %t, %q; want a conflict because of %q", out.Clean, out.Why, why)
	}
	if got, want := m.text(out.Data), m.text(ours); got != want {
		m.Fatalf("the body is\n%s\nand not our side:\n%s", got, want)
	}
	if _, err := m.Open(context.Background(), kenv.Source{Name: m.name, Data: out.Data}); !errors.Is(err, kenv.ErrUnresolved) {
		m.Fatalf("an unresolved merge opens: %v", err)
	}
	f := m.open(out.Data)
	defer f.Wipe()
	text, reasons, err := kenv.EditText(f)
	if err != nil || !slices.Equal(reasons, out.Why) {
		m.Fatalf("to edit: %q, %v", reasons, err)
	}
	return out, string(text)
}

const mergeBase = "db:\n    user: app\n    password: hunter2\n    port: 5432\nlist: [1, 2]\napi:\n    token: t0\n    url: u0\n"

func changed(text string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(text)
}

// lines returns the lines of a file that hold tokens, but for the mac.
func tokenLines(file []byte) (lines []string) {
	for l := range strings.Lines(string(file)) {
		if strings.Contains(l, "ENC[") && !strings.Contains(l, " mac:") {
			lines = append(lines, l)
		}
	}
	return lines
}

// With one data key the ciphertext of every value is that of the side it comes from.
func TestMergeKeepsCiphertext(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a", "b")
	base := m.encrypt(mergeBase+"hex: 0x10\n", kenv.EncryptOptions{})
	ours := m.edit(base, changed(m.text(base), "hunter2", "hunter3"))
	theirs := m.edit(base, changed(m.text(base), "u0", "u1", "0x10", "0x11"))
	out := m.clean(base, ours, theirs, changed(m.text(base), "hunter2", "hunter3", "u0", "u1", "0x10", "0x11"))
	b, o, th, got := tokenLines(base), tokenLines(ours), tokenLines(theirs), tokenLines(out.Data)
	for i, line := range got {
		want := o[i]
		if th[i] != b[i] {
			want = th[i]
		}
		if line != want {
			t.Errorf("line %d is of neither side: %s", i+1, line)
		}
	}
	if out.FreshKey != "" || m.recipients(out.Data) != m.recipients(base) {
		t.Errorf("%q, %s", out.FreshKey, m.recipients(out.Data))
	}
	if again := m.merge(base, ours, base); !bytes.Equal(again.Data, ours) {
		t.Error("without a change on their side the result is not our side, byte for byte")
	}
}

func TestMergeConflict(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a")
	base := m.encrypt(mergeBase, kenv.EncryptOptions{})
	ours := m.edit(base, changed(mergeBase, "hunter2", "ours-secret"))
	theirs := m.edit(base, changed(mergeBase, "hunter2", "theirs-secret", "u0", "u1"))
	out, text := m.conflict(base, ours, theirs, "")
	want := changed(mergeBase, "    password: hunter2\n",
		"<<<<<<< ours\n    password: ours-secret\n||||||| base\n    password: hunter2\n=======\n    password: theirs-secret\n>>>>>>> theirs\n", "u0", "u1")
	if text != want || out.Places != 1 {
		t.Errorf("%d places:\n%s", out.Places, text)
	}
	if !slices.Equal(tokenLines(out.Data), tokenLines(ours)) {
		t.Error("the body's ciphertext is not that of our side")
	}
	for _, secret := range []string{"hunter2", "theirs-secret", "ours-secret", "<<<<"} {
		if bytes.Contains(out.Data, []byte(secret)) {
			t.Errorf("%s is readable", secret)
		}
	}

	// It is resolved when it is saved without marks.
	f := m.open(out.Data)
	defer f.Wipe()
	for _, bad := range []string{text, "a: b\n<<<<<<< ours\n", "# x\n>>>>>>> theirs\n"} {
		var at *kenv.ConflictError
		if _, err := m.Resealed(f, m.name, []byte(bad), false); !errors.As(err, &at) || !errors.Is(err, kenv.ErrConflict) || at.Line < 2 {
			t.Errorf("with marks left: %v", err)
		}
	}
	for _, resolved := range []string{changed(mergeBase, "hunter2", "both"), m.text(ours)} {
		done, err := m.Resealed(f, m.name, []byte(resolved), false)
		if err != nil {
			t.Fatal(err)
		}
		g, err := m.Open(t.Context(), kenv.Source{Name: m.name, Data: done.Data})
		if err != nil || string(g.Plaintext()) != resolved || g.Unresolved() {
			t.Errorf("resolved: %v", err)
		}
	}

	// Everything else refuses it.
	src := kenv.Source{Name: m.name, Data: out.Data}
	path, _ := kenv.ParsePath("api.url")
	_, set := m.Set(t.Context(), src, path, doc.StringValue("x"), kenv.ChangeOptions{})
	_, rotate := m.Rotate(t.Context(), src, kenv.RotateOptions{})
	_, update := m.UpdateKeys(t.Context(), src, kenv.UpdateOptions{})
	_, check := m.KeyChanges(src)
	_, merge := m.mergeFiles(base, out.Data, theirs)
	_, previous := m.Encrypt(t.Context(), kenv.Source{Name: m.name, Data: []byte("a: b\n")}, kenv.EncryptOptions{Previous: &src})
	for i, err := range []error{set, rotate, update, check, merge, previous} {
		if !errors.Is(err, kenv.ErrUnresolved) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Git merges several bases into one first, and conflicts in that are its text.
func TestMergeBaseWithConflicts(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a")
	root := m.encrypt(mergeBase, kenv.EncryptOptions{})
	x, y := m.edit(root, changed(mergeBase, "hunter2", "x")), m.edit(root, changed(mergeBase, "hunter2", "y"))
	base, _ := m.conflict(root, x, y, "")
	m.clean(base.Data, m.edit(x, changed(m.text(x), "u0", "u1")), x, changed(m.text(x), "u0", "u1"))
	m.conflict(base.Data, x, y, "")
}

func TestMergeNew(t *testing.T) {
	m := newMergeTest(t, "secrets.yaml", "", "a")
	same := "a: one\nb: two\n"
	out := m.clean(nil, m.encrypt(same, kenv.EncryptOptions{}), m.encrypt(same, kenv.EncryptOptions{}), same)
	if out.Threshold != 0 || m.recipients(out.Data) != "[[a]]" {
		t.Error("recipients changed")
	}
	_, text := m.conflict(nil, m.encrypt(same, kenv.EncryptOptions{}), m.encrypt("a: one\nc: three\n", kenv.EncryptOptions{}), "")
	if !strings.Contains(text, "<<<<<<< ours\n") {
		t.Errorf("to edit:\n%s", text)
	}
	// What was plaintext where both come from.
	m.clean([]byte(mergeBase), m.encrypt(changed(mergeBase, "app", "app2"), kenv.EncryptOptions{}), m.encrypt(changed(mergeBase, "u0", "u1"), kenv.EncryptOptions{}),
		changed(mergeBase, "app", "app2", "u0", "u1"))
	for _, sides := range [][2][]byte{{[]byte(mergeBase), m.encrypt(mergeBase, kenv.EncryptOptions{})}, {m.encrypt(mergeBase, kenv.EncryptOptions{}), []byte(mergeBase)}} {
		if _, err := m.mergeFiles(nil, sides[0], sides[1]); !errors.Is(err, kenv.ErrNotEncrypted) {
			t.Errorf("with one side in clear: %v", err)
		}
	}
}

// Lines that fit together may make a text that does not.
func TestMergeObjects(t *testing.T) {
	const anchored = "a: &x 1\nb: 2\nc: 3\n"
	const twice = "a: 1\nx: 0\na: 2\ny: 0\nz: 0\n"
	const members = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n"
	for _, c := range []struct{ name, file, base, ours, theirs, why, marks string }{
		{"a key twice", "a.yaml", mergeBase, "new: 1\n" + mergeBase, mergeBase + "new: 2\n", `the key "new" twice`, "<<<<<<< ours\nnew: 1\n||||||| base\n=======\n>>>>>>> theirs\n"},
		{"a key twice, below", "a.yaml", mergeBase, changed(mergeBase, "db:\n", "db:\n    new: 1\n"), changed(mergeBase, "    port", "    new: 2\n    port"), `the key "db.new" twice`, ""},
		{"a key twice", "a.json", members, changed(members, "{\n", "{\n  \"n\": 1,\n"), changed(members, "3\n", "3, \"n\": 2\n"), `the key "n" twice`, ""},
		{"a key twice", ".env", "A=1\nB=2\nC=3\n", "N=1\nA=1\nB=2\nC=3\n", "A=1\nB=2\nC=3\nN=2\n", `the key "N" twice`, ""},
		{"a key twice", "a.ini", "[s]\nA=1\nB=2\nC=3\n", "[s]\nN=1\nA=1\nB=2\nC=3\n", "[s]\nA=1\nB=2\nC=3\nN=2\n", `the key "s.N" twice`, ""},
		{"it was twice before", "a.yaml", twice, changed(twice, "a: 1", "a: 3"), changed(twice, "z: 0", "z: 1"), "", ""},
		{"an anchor went", "a.yaml", anchored, changed(anchored, "&x ", ""), anchored + "d: *x\n", "not valid YAML", "<<<<<<< ours\na: 1\n||||||| base\na: &x 1\n=======\na: &x 1\n>>>>>>> theirs\n"},
		{"a comma is missing", "a.json", members, changed(members, ",\n  \"b\": 2,\n  \"c\": 3", ""), members, "", ""},
		{"in clear", "a.yaml", mergeBase, changed(mergeBase, "db:", "db_unencrypted:"), changed(mergeBase, "    port", "    pin: 1234\n    port"), `put "db_unencrypted.pin" in clear`, ""},
		{"a comment in clear", "a.yaml", mergeBase, changed(mergeBase, "db:", "db_unencrypted:"), changed(mergeBase, "    port", "    # 1234\n    port"), `in clear`, ""},
		{"in clear, where one side is one text", "b.yaml", twice + "n_unencrypted: n\n", "b: 0\n" + twice + "n_unencrypted: n\n", "a: 1\nx: 0\ny: 0\nz: 0\nn_unencrypted: n\n", `put "n_unencrypted" in clear`, ""},
		{"in clear on one side", "a.yaml", mergeBase, changed(mergeBase, "db:", "db_unencrypted:"), changed(mergeBase, "u0", "u1"), "", ""},
		{"nothing is left", "a.yaml", "a: 1\nb: 2\nc: 3\n", "b: 2\nc: 3\n", "a: 1\nb: 2\n", "", ""},
	} {
		t.Run(c.name+" in "+c.file, func(t *testing.T) {
			m := newMergeTest(t, c.file, "", "a")
			base := m.encrypt(c.base, kenv.EncryptOptions{})
			ours, theirs := m.edit(base, c.ours), m.edit(base, c.theirs)
			if c.why == "" {
				want := doc.MergeText([]byte(c.base), []byte(c.ours), []byte(c.theirs))
				if want.Conflicts() > 0 {
					t.Fatal("the lines do not fit together")
				}
				m.clean(base, ours, theirs, string(want.Text(false)))
				return
			}
			_, text := m.conflict(base, ours, theirs, c.why)
			if !strings.Contains(text, "\n>>>>>>> theirs\n") || !strings.Contains(text, c.marks) {
				t.Errorf("to edit:\n%s", text)
			}
		})
	}
}

// Rules of what is encrypted are ours, unless the config asks for theirs.
func TestMergeRules(t *testing.T) {
	const text = "db_password: hunter2\nuser_note: x\nlast: y\n"
	theirText := changed(text, "last: y", "last: z")
	all := kenv.EncryptOptions{Selector: envelope.Selector{EncryptedRegex: "."}}
	few := kenv.EncryptOptions{Selector: envelope.Selector{EncryptedRegex: "^(db|user)_"}}
	weak := kenv.EncryptOptions{Selector: envelope.Selector{EncryptedRegex: "^last$"}}
	macOnly := kenv.EncryptOptions{Selector: all.Selector, MACOnlyEncrypted: true}
	const asksAll, asksFew, asksWeak = "    encrypted_regex: .\n", "    encrypted_regex: ^(db|user)_\n", "    encrypted_regex: ^last$\n"
	for _, c := range []struct {
		name               string
		rule               string
		base, ours, theirs kenv.EncryptOptions
		why                string
	}{
		{"the same", asksAll, all, all, all, ""},
		{"only ours changed", asksAll, few, all, few, ""},
		{"only theirs, as the config asks", asksAll, few, few, all, ""},
		{"only theirs, as the config does not ask", asksFew, few, few, all, "other rules"},
		{"both", asksAll, few, weak, all, "other rules"},
		{"both, alike", asksAll, few, all, all, ""},
		{"weaker", asksAll, all, all, weak, "other rules"},
		{"weaker, as the config asks", asksWeak, all, all, weak, "in clear"},
		{"mac_only_encrypted", asksAll, all, all, macOnly, "other rules"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMergeTest(t, "secrets.yaml", "", "a")
			make := func(text string, o kenv.EncryptOptions) []byte { return m.encrypt(text, o) }
			base, ours, theirs := make(text, c.base), make(text, c.ours), make(theirText, c.theirs)
			m.rule(c.rule, "a")
			if c.why == "" {
				m.clean(base, ours, theirs, theirText)
				return
			}
			out, _ := m.conflict(base, ours, theirs, c.why)
			f, g := m.open(out.Data), m.open(ours)
			if f.Meta.Selector != g.Meta.Selector || f.Meta.MACOnlyEncrypted {
				t.Errorf("the rules are %+v", f.Meta.Selector)
			}
		})
	}
}

func TestMergeRecipients(t *testing.T) {
	const text = "a: 1\nb: 2\nc: 3\n"
	type list = []string
	for _, c := range []struct {
		name                     string
		rule                     list
		base, ours, theirs, want list
		why                      string
		fresh                    bool // theirs has a data key of its own
		kept                     list
	}{
		{name: "the same", rule: list{"a", "b"}, base: list{"a", "b"}, ours: list{"a", "b"}, theirs: list{"a", "b"}, want: list{"a", "b"}},
		{name: "we add", rule: list{"a", "b"}, base: list{"a"}, ours: list{"a", "b"}, theirs: list{"a"}, want: list{"a", "b"}},
		{name: "they add, and the config has it", rule: list{"a", "b"}, base: list{"a"}, ours: list{"a"}, theirs: list{"a", "b"}, want: list{"a", "b"}},
		{name: "they add, and the config has it not", rule: list{"a"}, base: list{"a"}, ours: list{"a"}, theirs: list{"a", "evil"}, want: list{"a"}, why: "evil"},
		{name: "the same, rotated", fresh: true, rule: list{"a"}, base: list{"a"}, ours: list{"a"}, theirs: list{"a", "evil"}, want: list{"a"}, why: "evil"},
		{name: "both add", rule: list{"a", "b", "c"}, base: list{"a"}, ours: list{"a", "b"}, theirs: list{"a", "c"}, want: list{"a", "b", "c"}},
		{name: "they remove what the config has not", fresh: true, rule: list{"a"}, base: list{"a", "b"}, ours: list{"a", "b"}, theirs: list{"a"}, want: list{"a"}},
		{name: "they remove what the config has", fresh: true, rule: list{"a", "b"}, base: list{"a", "b"}, ours: list{"a", "b"}, theirs: list{"a"}, want: list{"a", "b"}, kept: list{"b"}},
		{name: "we removed", fresh: true, rule: list{"a"}, base: list{"a", "b"}, ours: list{"a"}, theirs: list{"a", "b"}, want: list{"a"}},
		{name: "we removed, and they add another", fresh: true, rule: list{"a", "c"}, base: list{"a", "b"}, ours: list{"a"}, theirs: list{"a", "b", "c"}, want: list{"a", "c"}},
		{name: "rotated", fresh: true, rule: list{"a"}, base: list{"a"}, ours: list{"a"}, theirs: list{"a"}, want: list{"a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMergeTest(t, "secrets.yaml", "", "x")
			base := m.encrypt(text, kenv.EncryptOptions{Keys: c.base})
			// rekey gives a state other recipients. The data key stays, as with kenv keys add,
			// if none goes.
			rekey := func(text string, names list, fresh bool) []byte {
				o := kenv.EncryptOptions{Keys: names, AcceptRecipients: true}
				if !fresh {
					o.Previous = &kenv.Source{Name: m.name, Data: base}
				}
				return m.encrypt(text, o)
			}
			oursText, theirsText := changed(text, "a: 1", "a: 7"), changed(text, "c: 3", "c: 8")
			ours := rekey(oursText, c.ours, false)
			theirs := rekey(theirsText, c.theirs, c.fresh)
			m.rule("", c.rule...)
			var out *kenv.Merged
			if c.why == "" {
				out = m.clean(base, ours, theirs, changed(oursText, "c: 3", "c: 8"))
			} else {
				out, _ = m.conflict(base, ours, theirs, c.why)
			}
			if got := m.recipients(out.Data); got != fmt.Sprint([]list{c.want}) {
				t.Errorf("it is for %s, want %v", got, c.want)
			}
			if !slices.Equal(out.Kept, c.kept) {
				t.Errorf("kept: %v", out.Kept)
			}
			// Whoever could have had one of the data keys before and is not meant has not the new one.
			of := func(data []byte) *envelope.File { return m.open(data) }
			result := of(out.Data)
			for side, f := range map[string]*envelope.File{"ours": of(ours), "theirs": of(theirs)} {
				for _, name := range f.Recipients()[0] {
					if !slices.Contains(c.want, name) && result.SharesKey(f) {
						t.Errorf("%s can still decrypt, as on side %s", name, side)
					}
				}
			}
			if same := of(ours).SharesKey(of(theirs)); !same && (result.SharesKey(of(ours)) || result.SharesKey(of(theirs))) {
				t.Error("of two data keys one stayed")
			}
			if c.why != "" && bytes.Contains(out.Data, []byte("evil")) {
				t.Error("the file names a recipient that the rule does not")
			}
		})
	}

	// No rule names anybody.
	m := newMergeTest(t, "secrets.yaml", "", "a")
	base := m.encrypt(text, kenv.EncryptOptions{Keys: list{"a", "b"}, AcceptRecipients: true})
	added := m.encrypt(text, kenv.EncryptOptions{Keys: list{"a", "b", "c"}})
	less := m.encrypt(text, kenv.EncryptOptions{Keys: list{"a"}})
	if err := os.Remove(filepath.Join(filepath.Dir(m.name), ".kenv.yaml")); err != nil {
		t.Fatal(err)
	}
	m.conflict(base, base, added, "can be decrypted with c too")
	m.conflict(base, base, less, "took away b")
	// Our own side may not go on without the rule either.
	m.rule("", "a")
	var others *kenv.RecipientsError
	if _, err := m.mergeFiles(base, m.edit(base, "a: 2\n"), base); !errors.As(err, &others) {
		t.Errorf("our side has a recipient that the rule does not name: %v", err)
	}
}

func TestMergeGroups(t *testing.T) {
	const text = "a: 1\nb: 2\nc: 3\n"
	group := func(threshold int, groups ...string) string {
		rule := fmt.Sprintf("    shamir_threshold: %d\n    key_groups:\n", threshold)
		for _, g := range groups {
			rule += "      - keys: [" + g + "]\n"
		}
		return rule
	}
	m := newMergeTest(t, "secrets.yaml", "", "x")
	config := func(rule string) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(m.name), ".kenv.yaml"), []byte("creation_rules:\n  - path: \"*\"\n"+rule), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	encrypt := func(text, rule string) []byte {
		t.Helper()
		config(rule)
		out, err := m.Encrypt(t.Context(), kenv.Source{Name: m.name, Data: []byte(text)}, kenv.EncryptOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return out.Data
	}
	two, three, lower := group(2, "a", "b"), group(2, "a", "b", "c"), group(2, "a", "b", "c, d")
	base := encrypt(text, two)
	ours, theirs := m.edit(base, changed(text, "a: 1", "a: 7")), m.edit(base, changed(text, "c: 3", "c: 8"))
	both := changed(text, "a: 1", "a: 7", "c: 3", "c: 8")
	m.clean(base, ours, theirs, both)
	regrouped := encrypt(changed(text, "c: 3", "c: 8"), three)
	config(two)
	m.conflict(base, ours, regrouped, "other key groups")
	config(three)
	if out := m.clean(base, ours, regrouped, both); m.recipients(out.Data) != "[[a] [b] [c]]" {
		t.Errorf("it is for %s", m.recipients(out.Data))
	}
	other := encrypt(changed(text, "a: 1", "a: 7"), lower)
	m.conflict(base, other, regrouped, "other key groups")
}
