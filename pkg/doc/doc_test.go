package doc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var formats = []Format{YAML{}, JSON{}, Dotenv{}, INI{}, Binary{}}

// TestDetachUndoesAttach: metadata can be added to any prepared text and taken out
// again, and is itself read back.
func TestDetachUndoesAttach(t *testing.T) {
	meta := Fields{
		{"age", []Value{
			Fields{{"enc", "-----BEGIN\nabc\n-----END\n"}, {"recipient", "age1x"}},
			Fields{{"enc", "one line"}, {"recipient", "a: b #c"}},
		}},
		{"kenv", Fields{{"layout", []Value{"AAA=", "- x", "*y"}}, {"seal", "yes"}, {"version", "1"}}},
		{"lastmodified", "2026-01-02T03:04:05Z"},
		{"mac", "ENC[AES256_GCM,data:x]"},
		{"shamir_threshold", "2"},
		{"version", "3.13.3"},
	}
	for _, f := range formats {
		files, err := filepath.Glob(filepath.Join("../../testdata/roundtrip", f.Name(), "*"))
		if err != nil || len(files) == 0 && f.Name() != "binary" {
			t.Fatalf("no %s files: %v", f.Name(), err)
		}
		if f.Name() == "binary" {
			files = []string{"doc_test.go"}
		}
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for r, ok := Splice, true; ok; r, ok = r.Next(nil) {
				d, _, err := f.Prepare(src, r)
				if err != nil {
					continue
				}
				out := Apply(d.Src, []Edit{f.Attach(d, meta)})
				got, err := f.Parse(out)
				if err != nil {
					t.Errorf("%s, %v: %v\n%s", path, r, err, out)
					continue
				}
				if !reflect.DeepEqual(got.Meta, meta) {
					t.Errorf("%s, %v: metadata %v", path, r, got.Meta)
				}
				if back := Apply(got.Src, f.Detach(got)); !bytes.Equal(back, d.Src) {
					t.Errorf("%s, %v: other bytes:\n%q\n%q", path, r, back, d.Src)
				}
				if odd := got.Odd(); len(odd) > 0 {
					t.Errorf("%s, %v: odd: %v", path, r, odd)
				}
			}
		}
	}
}

// nasty are texts that are easily spelled wrong.
var nasty = []string{
	"a", "true", "yes", "No", "~", "null", "", " ", "1", "0x10", "1e3", "1_000", "12:30", ".5", ".inf", "=", "<<",
	"2001-01-01", "a: b", "a:", "a #b", "#a", "- a", "-", "--- a", "...", "? a", "[a]", "{a}", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a",
	"'", "''", `"`, `\`, `\n`, "a\nb", "a\nb\n", "\na", "a\n\n", " a", "a ", "\ta", "a\t", "a\r", "a\r\nb", "a\n  b\n", "\x00", "\x7f",
	"\u0085", "\u2028", "\ufeff", "é", "\U0001F600", "ENC[AES256_GCM,data:x]", "a, b", "a]b", "---\na", "a\n---\nb\n", "a\n...\n", "\xff\xfe",
}

func TestEnvVars(t *testing.T) {
	for text, want := range map[string]string{
		`A=b`:                  "A|b",
		`export A=b`:           "A|b",
		"export\tA=b":          "A|b",
		`exportA=b`:            "exportA|b",
		`export=b`:             "export|b",
		` A = b `:              "A|b",
		`A=`:                   "A|",
		`A= # c`:               "A|",
		`A=b # c`:              "A|b",
		"A=b\t# c":             "A|b",
		`A=b#c`:                "A|b#c",
		`A=#c`:                 "A|#c",
		`A='b # c' # d`:        "A|b # c",
		`A='b'#c`:              "A|b",
		`A='b\nc\'`:            `A|b\nc\`,
		`A='it'\''s'`:          `A|'it'\''s'`,
		`A="b"c`:               `A|"b"c`,
		`A=b\nc`:               "A|b\nc",
		`A="b\nc\r\td\"e\\nf"`: "A|b\nc\r\td\"e\\nf",
		`A="b\$c\d"`:           `A|b\$c\d`,
		`A="b # c"`:            "A|b # c",
		`A="" # c`:             "A|",
		`A="b`:                 `A|"b`,
		`A='`:                  `A|'`,
		`A=b=c`:                "A|b=c",
		`A=$B${C}`:             "A|$B${C}",
		"A=b\r\nB=c\r\n":       "A|b B|c",
		"A=\"b\nc\"\nB=d":      "A|b\nc B|d",
		"A=\"b\r\nc\"\r\n":     "A|b\nc",
		"A='b\nB=c' # d\nC=e":  "A|b\nB=c C|e",
		"A=\"b\nB=c":           `A|"b B|c`,
		"\uFEFFA=b":            "A|b",
		"# A=b\n # B=c\nD\n\n": "",
		"=b":                   "|b",
	} {
		var got []string
		for _, v := range EnvVars([]byte(text)) {
			got = append(got, v.Name+"|"+v.Value)
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%q reads as %q, want %q", text, got, want)
		}
	}
}

// What sh and kenv agree to read is read alike: values of letters, quotes that close,
// comments, export.
func TestEnvVarsAsShell(t *testing.T) {
	text := `# comment
export A=b
B='c # d' # e
C="f # g"
D=
E=h#i
F=#j
G='$A "x" \'
H="$"
export I="k=l"
J="m
n"
K='o
 p'
L="q\"r\\s"
`
	for _, v := range EnvVars([]byte(text)) {
		out, err := exec.Command("sh", "-c", text+`printf %s "$`+v.Name+`"`).Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(out) != v.Value {
			t.Errorf("%s is %q, to sh %q", v.Name, v.Value, out)
		}
	}
}

// TestEmitReads: a tree written anew holds the same data.
func TestEmitReads(t *testing.T) {
	root := &Node{Kind: Map}
	list := &Node{Kind: List, Key: "list"}
	for i, text := range nasty {
		if text == "\xff\xfe" {
			continue
		}
		root.Items = append(root.Items, &Node{Kind: Scalar, Key: fmt.Sprintf("k%d %s", i, text), Text: text})
		list.Items = append(list.Items, &Node{Kind: Map, Items: []*Node{{Kind: Scalar, Key: "a", Text: text}, {Kind: List, Key: "b"}}})
		list.Items = append(list.Items, &Node{Kind: Scalar, Text: text})
	}
	list.Items = append(list.Items, &Node{Kind: Map}, &Node{Kind: Scalar, Type: Null}, &Node{Kind: Scalar, Type: Float, Text: "3"})
	root.Items = append(root.Items, list)
	for _, f := range []Format{YAML{}, JSON{}} {
		out, err := f.Emit([]*Node{root})
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := f.Prepare(out, Splice)
		if err != nil {
			t.Fatalf("%s: %v\n%s", f.Name(), err, out)
		}
		if !Equal(d.Roots[0], root) {
			t.Errorf("%s: other data:\n%s", f.Name(), out)
		}
	}
}

// TestMetaKey: what is the key of the metadata is that to sops, too.
func TestMetaKey(t *testing.T) {
	for text, is := range map[string]bool{
		"a: 1\nsops: {mac: x}\n":                true,
		"a: 1\n\"sops\": {mac: x}\n":            true,
		"a: 1\n!!str sops: {mac: x}\n":          true,
		"a: 1\n!!binary sops: {mac: x}\n":       false,
		"a: &x sops\n*x : {mac: x}\n":           false,
		"a: {sops: {mac: x}}\n":                 false,
		"a: 1\n? [sops]\n: {mac: x}\n":          false,
		"a: 1\n--- # two\nb: 1\nsops: {mac: x}": true, // and refused for where it is
	} {
		_, err := YAML{}.Parse([]byte(text))
		if errors.Is(err, ErrNoMetadata) == is {
			t.Errorf("%q: %v", text, err)
		}
	}
}
