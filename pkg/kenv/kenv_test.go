package kenv_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// A clearKey wraps by writing the data key down: for tests of everything else. It
// also keeps the programs small that the tests of Replace start by the hundred.
type clearKey string

func (k clearKey) Name() string { return string(k) }

func (k clearKey) Wrap(_ context.Context, dataKey []byte) (keys.Entry, error) {
	return keys.Entry{Kind: "age", Fields: map[string]any{
		"recipient": string(k),
		"enc":       base64.StdEncoding.EncodeToString(dataKey),
	}}, nil
}

func (k clearKey) Unwrap(_ context.Context, e keys.Entry) ([]byte, error) {
	return base64.StdEncoding.DecodeString(e.Field("enc"))
}

// newSetup returns a setup and the name of a key whose secret half is at hand.
func newSetup(t testing.TB) (kenv.Setup, string) {
	t.Helper()
	return kenv.Setup{Keys: keys.Table{{
		Kind:      "age",
		Parse:     func(s keys.Spec) (keys.MasterKey, bool, error) { return clearKey(s.Name), true, nil },
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return clearKey(e.Field("recipient")), nil },
	}}}, "test"
}

// opened encrypts a text and opens the result.
func opened(t testing.TB, name, text string) *envelope.File {
	t.Helper()
	s, recipient := newSetup(t)
	format, err := kenv.FormatOf(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Encrypt(context.Background(), kenv.Source{Data: []byte(text), Format: format}, kenv.EncryptOptions{Keys: []string{recipient}})
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.Open(context.Background(), kenv.Source{Data: out.Data, Format: format})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Wipe)
	return f
}

func TestFormatOf(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"a.yaml", "", "yaml"},
		{"dir.json/a.yml", "", "yaml"},
		{"A.YAML", "", "yaml"},
		{"a.json", "", "json"},
		{".env", "anything", "dotenv"},
		{"prod.env", "anything", "dotenv"},
		{"a.dotenv", "anything", "dotenv"},
		{".env.yaml", "A=1", "yaml"},
		{"a.ini", "anything", "ini"},
		{"A.INI", "", "ini"},
		{"a.cfg", "[s]\na = 1\n", "binary"},
		{".env.prod", "A=1\n", "dotenv"},
		{".env.prod", "# c\n\n export A.b-c=1\n", "dotenv"},
		{".env.prod", "\uFEFFA=1", "dotenv"},
		{".env.prod", "", "binary"},
		{".env.prod", "# only a comment\n", "binary"},
		{".env.prod", "some text = here", "binary"},
		{".env.prod", "=1", "binary"},
		{".env.prod", "A=1\x00", "binary"},
		{".env.prod", "A=\xff", "binary"},
		{"yaml", "a: 1", "binary"},
		{"", "a: 1", "binary"},
	} {
		f, err := kenv.FormatOf(c.name, []byte(c.content))
		if err != nil || f.Name() != c.want {
			t.Errorf("%q with %q: %v, %v, want %s", c.name, c.content, f, err, c.want)
		}
	}
	if _, err := kenv.FormatOf("a.toml", nil); !errors.Is(err, kenv.ErrFormat) {
		t.Errorf("a.toml: %v", err)
	}
}

func TestFormatNamed(t *testing.T) {
	for _, word := range kenv.Formats() {
		if f, err := kenv.FormatNamed(word); err != nil || f.Name() != word {
			t.Errorf("%s: %v, %v", word, f, err)
		}
	}
	for _, word := range []string{"toml", "YAML", "INI", ""} {
		if _, err := kenv.FormatNamed(word); !errors.Is(err, kenv.ErrFormat) || !strings.Contains(err.Error(), "yaml, json, dotenv, ini, binary") {
			t.Errorf("%q: %v", word, err)
		}
	}
}

// What is encrypted is known for what it is, whatever its name says or not.
func TestOpenTellsFormat(t *testing.T) {
	s, recipient := newSetup(t)
	for name, text := range map[string]string{
		"a.yaml":    "a: hunter2\n",
		"list.yaml": "- hunter2\n",
		"a.json":    `{"data": "hunter2", "more": 1}`,
		"data.json": `{"data": "hunter2"}`,
		"a.env":     "A=hunter2\n",
		"a.ini":     "[s]\nA = hunter2\n",
		"a.bin":     "hunter2\x00\xff",
	} {
		out, err := s.Encrypt(context.Background(), kenv.Source{Name: filepath.Join(t.TempDir(), name), Data: []byte(text)}, kenv.EncryptOptions{Keys: []string{recipient}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, other := range []string{name, "", "unknown", ".env.x"} {
			f, err := s.Open(context.Background(), kenv.Source{Name: other, Data: out.Data})
			if name == "data.json" && other != name {
				// It looks like a binary file, which the seal does not bear out.
				var integrity *envelope.IntegrityError
				if !errors.As(err, &integrity) {
					t.Errorf("%s as %q: %v", name, other, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s as %q: %v", name, other, err)
				continue
			}
			if got, err := kenv.Text(f, nil); err != nil || string(got) != text {
				t.Errorf("%s as %q: %q, %v", name, other, got, err)
			}
		}
	}
}

func TestOpenPlain(t *testing.T) {
	s, _ := newSetup(t)
	for _, c := range []struct{ name, text string }{
		{"a.yaml", "a: 1\n"}, {"a.json", `{"a": 1}`}, {"a.json", `not json`}, {"a.env", "A=1\n"},
		{"a.bin", "anything"}, {"", "a: 1\n"}, {"", `{"a": 1}`}, {".env.x", "A=1\n"}, {"a.yaml", "\ta: [\n"},
	} {
		f, err := s.Open(context.Background(), kenv.Source{Name: c.name, Data: []byte(c.text)})
		if f != nil || !errors.Is(err, kenv.ErrNotEncrypted) {
			t.Errorf("%s with %q: %v", c.name, c.text, err)
		}
	}
	if _, err := s.Open(context.Background(), kenv.Source{Name: "a.yaml"}); !errors.Is(err, doc.ErrEmpty) {
		t.Errorf("empty: %v", err)
	}
}

func TestPath(t *testing.T) {
	key := func(k string) kenv.Step { return kenv.Step{Key: k} }
	at := func(i int) kenv.Step { return kenv.Step{Index: i, List: true} }
	for text, want := range map[string]kenv.Path{
		"a":                {key("a")},
		"a.b[0]":           {key("a"), key("b"), at(0)},
		"[2][10].x":        {at(2), at(10), key("x")},
		`["a"]["b"][0]`:    {key("a"), key("b"), at(0)},
		`['a']["b.c"].d`:   {key("a"), key("b.c"), key("d")},
		`["a]b"]`:          {key("a]b")},
		`["a[0]"]`:         {key("a[0]")},
		`['say "x"] now']`: {key(`say "x"] now`)},
		`[""]`:             {key("")},
		"0":                {key("0")},
		"with space.ключ":  {key("with space"), key("ключ")},
	} {
		got, err := kenv.ParsePath(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", ".", ".a", "a.", "a..b", "[", "[]", "[a]", "[-1]", "[+1]", "[1", `["a]`, `["a'`, "a[0]b", `["a"]b`, "[99999999999999999999]"} {
		if got, err := kenv.ParsePath(text); err == nil {
			t.Errorf("%s is taken for %v", text, got)
		}
	}
}

// A path is shown in the way in which it can be typed.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a.b[0]", `["a"]["b"][0]`, `['a"].b']`, `["a'].b"]`, `a"]'].b`, `[""].x`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := kenv.ParsePath(s)
		if err != nil {
			return
		}
		again, err := kenv.ParsePath(p.String())
		if err != nil || !slices.Equal(p, again) {
			t.Errorf("%q is %q, which is %v: %v", s, p.String(), again, err)
		}
	})
}

func TestExtract(t *testing.T) {
	f := opened(t, "a.yaml", "a:\n  text: hello\n  n: 12\n  f: 1.50\n  yes: true\n  none: null\n  empty: \"\"\n  # comment\n  list:\n    # comment\n    - x\n    - {y: 1}\n---\nb: 1\n")
	for _, c := range []struct {
		path   string
		format doc.Format
		want   string
	}{
		{"a.text", nil, "hello"},
		{"a.text", doc.JSON{}, "hello"},
		{"a.n", nil, "12\n"},
		{"a.n", doc.Dotenv{}, "12"},
		{"a.f", doc.JSON{}, "1.5\n"},
		{"a.yes", doc.Binary{}, "true"},
		{"a.none", nil, "null\n"},
		{"a.empty", nil, ""},
		{"a.list[0]", nil, "x"},
		{"a.list[1].y", nil, "1\n"},
		{"a.list[1]", doc.JSON{}, "{\n\t\"y\": 1\n}\n"},
		{"a.list[1]", doc.Dotenv{}, "y=1\n"},
	} {
		p, err := kenv.ParsePath(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := kenv.Extract(f, p, c.format); err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v, want %q", c.path, got, err, c.want)
		}
	}
	for path, want := range map[string]string{
		"b":           `there is no "b"`,
		"a.lst":       `there is no "a.lst"; did you mean "a.list"?`,
		"a.list[2].y": `there is no "a.list[2]": "a.list" is a list of 2`,
		"a.list.y":    `there is no "a.list.y": "a.list" is a list of 2`,
		"a[0]":        `there is no "a[0]": "a" is a map`,
		"a.text.x":    `there is no "a.text.x": "a.text" is a single value`,
		"[0]":         `there is no "[0]": the file is a map`,
	} {
		p, err := kenv.ParsePath(path)
		if err != nil {
			t.Fatal(err)
		}
		var missing *kenv.PathError
		if _, err := kenv.Extract(f, p, nil); !errors.As(err, &missing) || err.Error() != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	const nested = "db:\n  # c\n  password: hunter2\n  port: 5432\n  none: ~\nhosts:\n  - a\n  # c\n  - {n: b}\ntop_unencrypted: x\nempty: {}\n"
	for name, c := range map[string]struct {
		file, text string
		o          kenv.EnvOptions
		want       string // NAME=VALUE, a line each; -NAME for one that is unset, ?NAME=VALUE for one in clear
	}{
		"dotenv":           {"a.env", "# c\nexport A=1\nB=\"x\\ny\" # c\nC='$A\\n'\nA=2\nD_unencrypted='x'\n", kenv.EnvOptions{}, "A=1 B=x\ny C=$A\\n A=2 ?D_unencrypted=x"},
		"dotenv, lines":    {"a.env", "A='x\nB=y'\nnot a variable\nC=z", kenv.EnvOptions{}, "A=x\nB=y C=z"},
		"dotenv, for sops": {"a.env", "export A=1\nB=\"x\\ny\" # c\nC=\n", kenv.EnvOptions{Raw: true}, "export A=1 B=\"x\ny\" # c C="},
		"yaml":             {"a.yaml", "a: x # c\nb: 12\nc: true\nd: ~\ne: \"\"\nf_unencrypted: y\ng: 1.0\n", kenv.EnvOptions{}, "a=x b=12 c=true -d e= ?f_unencrypted=y g=1.0"},
		"json":             {"a.json", `{"a": "x", "b": 1.5, "c": false, "d": null}`, kenv.EnvOptions{}, "a=x b=1.5 c=false -d"},
		"only":             {"a.yaml", "DB_HOST: a\nDB_PORT: 1\nOTHER: {x: y}\nA1: b\nA2: c\n", kenv.EnvOptions{Only: []string{"DB_*", "A[1]"}}, "DB_HOST=a DB_PORT=1 A1=b"},
		"prefix and upper": {"a.yaml", "db_host: a\nport: ~\n", kenv.EnvOptions{Upper: true, Prefix: "app_", Only: []string{"DB_HOST", "PORT"}}, "app_DB_HOST=a -app_PORT"},
		"flat":             {"a.yaml", nested, kenv.EnvOptions{Flatten: true}, "db_password=hunter2 db_port=5432 -db_none hosts_0=a hosts_1_n=b ?top_unencrypted=x"},
		"flat and upper":   {"a.yaml", nested, kenv.EnvOptions{Flatten: true, Upper: true, Only: []string{"DB_P*"}}, "DB_PASSWORD=hunter2 DB_PORT=5432"},
	} {
		list, err := kenv.Environment(opened(t, c.file, c.text), c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, v := range list {
			switch {
			case v.Unset:
				got = append(got, "-"+v.Name)
			case v.Secret:
				got = append(got, v.Name+"="+v.Value)
			default:
				got = append(got, "?"+v.Name+"="+v.Value)
			}
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		file, text string
		o          kenv.EnvOptions
		want       string
	}{
		"a map":       {"a.yaml", "db: {p: hunter2}\n", kenv.EnvOptions{}, `"db"`},
		"a list":      {"a.json", `{"l": ["hunter2"]}`, kenv.EnvOptions{}, `"l"`},
		"documents":   {"a.yaml", "a: hunter2\n---\nb: 1\n", kenv.EnvOptions{}, "2 documents"},
		"a root list": {"a.yaml", "- hunter2\n", kenv.EnvOptions{Flatten: true}, "not a map"},
		"a scalar":    {"a.json", `"hunter2"`, kenv.EnvOptions{}, "not a map"},
		"binary":      {"a.bin", "hunter2", kenv.EnvOptions{}, "one text"},
		"flat twice":  {"a.yaml", "db: {p: hunter2}\ndb_p: hunter2\n", kenv.EnvOptions{Flatten: true}, `"db.p" and "db_p" would both be the variable db_p`},
		"upper twice": {"a.yaml", "a: hunter2\nA: hunter2\n", kenv.EnvOptions{Upper: true}, `"a" and "A" would both be the variable A`},
	} {
		vars, err := kenv.Environment(opened(t, c.file, c.text), c.o)
		if vars != nil || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", name, vars, err)
		}
	}
}

// What was encrypted comes back, byte for byte, and converted to its own format as
// well.
func TestTextIsWhatWasEncrypted(t *testing.T) {
	for name, text := range map[string]string{
		"a.yaml": "# c\r\na:   'x'\r\n", "a.json": `{"a":1.0}`, "a.env": "A = 1", "a.bin": "\x00\x01",
	} {
		f := opened(t, name, text)
		for _, format := range []doc.Format{nil, f.Format} {
			if got, err := kenv.Text(f, format); err != nil || string(got) != text {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
}

func TestTextNotHeld(t *testing.T) {
	if got, err := kenv.Text(opened(t, "a.bin", "\xff"), doc.YAML{}); err == nil {
		t.Errorf("bytes became %q", got)
	}
	if got, err := kenv.Text(opened(t, "a.yaml", "a: 1\n---\nb: 2\n"), doc.JSON{}); err == nil {
		t.Errorf("two documents became %q", got)
	}
}

func TestEncryptTwice(t *testing.T) {
	s, recipient := newSetup(t)
	o := kenv.EncryptOptions{Keys: []string{recipient}}
	for name, text := range map[string]string{"a.yaml": "a: 1\n", "a.json": `{"a": 1}`, "a.env": "A=1\n", "a.bin": "x"} {
		src := kenv.Source{Name: filepath.Join(t.TempDir(), name), Data: []byte(text)}
		out, err := s.Encrypt(context.Background(), src, o)
		if err != nil {
			t.Fatal(err)
		}
		src.Data = out.Data
		if _, err := s.Encrypt(context.Background(), src, o); !errors.Is(err, kenv.ErrAlreadyEncrypted) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A text about sops is not an encrypted one.
	src := kenv.Source{Name: filepath.Join(t.TempDir(), "a.yaml"), Data: []byte("about: sops\n")}
	if _, err := s.Encrypt(context.Background(), src, o); err != nil {
		t.Error(err)
	}
}

func TestCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir", "key")
	if err := kenv.Create(path, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if err := kenv.Create(path, []byte("other")); !errors.Is(err, kenv.ErrExists) {
		t.Errorf("again: %v", err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, []byte("secret")) {
		t.Errorf("%q, %v", data, err)
	}
}

// What a config demands of integrity holds for all that opens a file, and for a file that
// no rule covers if the config demands it of all.
func TestDemandsSeal(t *testing.T) {
	const vectors = "../../testdata/vectors/sops"
	provider, err := age.Identities([]byte(text(t, filepath.Join(vectors, "keys", "main.txt"))))
	if err != nil {
		t.Fatal(err)
	}
	s := kenv.Setup{Keys: keys.Table{provider}}
	data := []byte(text(t, filepath.Join(vectors, "yaml", "comments-1.enc.yaml"))) // sops wrote it
	r, err := s.Recipients(kenv.Source{Data: data})
	if err != nil {
		t.Fatal(err)
	}
	recipient := r.Groups[0][0].Name
	const sealed = "integrity: sealed\n"
	rule := func(path, more string) string {
		return "creation_rules:\n  - path: " + path + "\n    keys: [" + recipient + "]\n" + more
	}
	for config, demands := range map[string]bool{
		"":                            false,
		rule("a.yaml", ""):            false,
		rule("b.yaml", ""):            false,
		rule("a.yaml", "    "+sealed): true,
		rule("b.yaml", "    "+sealed): false,
		rule("a.yaml", sealed):        true,
		rule("b.yaml", sealed):        true,
		sealed + rule("\"*\"", ""):    true,
	} {
		src := kenv.Source{Name: filepath.Join(t.TempDir(), "a.yaml"), Data: data}
		if config != "" {
			if err := os.WriteFile(filepath.Join(filepath.Dir(src.Name), ".kenv.yaml"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		path := kenv.Path{{Key: "new"}}
		for how, f := range map[string]func() error{
			"Open":        func() error { _, err := s.Open(t.Context(), src); return err },
			"OpenForEdit": func() error { _, err := s.OpenForEdit(t.Context(), src); return err },
			"Set": func() error {
				_, err := s.Set(t.Context(), src, path, doc.StringValue("x"), kenv.ChangeOptions{AcceptRecipients: true})
				return err
			},
			"Rotate": func() error {
				_, err := s.Rotate(t.Context(), src, kenv.RotateOptions{AcceptRecipients: true})
				return err
			},
			"UpdateKeys": func() error { _, err := s.UpdateKeys(t.Context(), src, kenv.UpdateOptions{}); return err },
			"Encrypt": func() error {
				_, err := s.Encrypt(t.Context(), kenv.Source{Name: src.Name, Data: []byte("a: b\n")}, kenv.EncryptOptions{Keys: []string{recipient}, Previous: &src})
				return err
			},
			"Merge": func() error { _, err := s.Merge(t.Context(), src, src, src); return err },
		} {
			err := f()
			if how == "UpdateKeys" && err != nil && !strings.Contains(config, "a.yaml") && !strings.Contains(config, "*") {
				continue // there is no rule to update it by
			}
			if errors.Is(err, envelope.ErrUnsealed) != demands {
				t.Errorf("%s with the config\n%s\n%v", how, config, err)
			}
		}
	}
}
