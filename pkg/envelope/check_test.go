package envelope

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// A file that nothing was done to has no flaw, whether sops wrote it or kenv.
func TestCheckFindsNothing(t *testing.T) {
	const dir = "../../testdata/vectors/sops"
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Vectors []struct{ ID, Format, Enc string }
	}
	if err := json.Unmarshal(data, &manifest); err != nil || len(manifest.Vectors) < 30 {
		t.Fatal(err, len(manifest.Vectors))
	}
	byName := map[string]doc.Format{"binary": doc.Binary{}}
	for _, f := range formats {
		byName[f.Name()] = f
	}
	for _, v := range manifest.Vectors {
		src, err := os.ReadFile(filepath.Join(dir, v.Enc))
		if err != nil {
			t.Fatal(err)
		}
		c, err := Check(src, byName[v.Format])
		if err != nil || len(c.Flaws) > 0 || c.Sealed {
			t.Errorf("%s: %v, %+v", v.ID, err, c)
		}
	}
	for _, f := range formats {
		for _, path := range corpus(t, f.Name()) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p := testPolicy
			p.AllowUnencrypted = true
			out, err := Seal(context.Background(), src, f, p)
			if err != nil {
				continue // what does not parse is another test's business
			}
			c, err := Check(out.Data, f)
			if err != nil || len(c.Flaws) > 0 || !c.Sealed {
				t.Errorf("%s: %v, %+v", path, err, c)
			}
		}
	}
}

// Each thing that somebody may do to a file by hand, or a tool in the dark, is found.
func TestCheckFinds(t *testing.T) {
	ctx := context.Background()
	seal := func(f doc.Format, text string, s Selector) string {
		t.Helper()
		p := testPolicy
		p.Selector = s
		out, err := Seal(ctx, []byte(text), f, p)
		if err != nil {
			t.Fatal(err)
		}
		return string(out.Data)
	}
	token := func(src, key string) string {
		t.Helper()
		_, rest, ok := strings.Cut(src, key)
		start, end := strings.Index(rest, "ENC["), strings.Index(rest, "]")
		if !ok || start < 0 {
			t.Fatalf("no token after %q in\n%s", key, src)
		}
		return rest[start : end+1]
	}
	yaml := seal(doc.YAML{}, "# top\na: hunter2\nb:\n    - c: 1\n    - d\n", Selector{})
	a := token(yaml, "a: ")
	comments := seal(doc.YAML{}, "a: hunter2\n# secret\nb: hunter3\n", Selector{EncryptedCommentRegex: "secret"})
	json := seal(doc.JSON{}, `{"a": "hunter2", "b": 1}`, Selector{})
	env := seal(doc.Dotenv{}, "# note\nA=hunter2\nB_CLEAR=1\n", Selector{UnencryptedRegex: "CLEAR"})
	ini := seal(doc.INI{}, "[s]\na = hunter2\n", Selector{})
	binary := seal(doc.Binary{}, "hunter2", Selector{})
	for _, tt := range []struct {
		name     string
		f        doc.Format
		src      string
		old, new string
		kind     string
		line     int
		path     string
	}{
		{"value", doc.YAML{}, yaml, a, "canary", InClear, 2, "a"},
		{"number", doc.YAML{}, yaml, a, "8080", InClear, 2, "a"},
		{"value added", doc.YAML{}, yaml, "\nb:\n", "\nz: canary\nb:\n", InClear, 3, "z"},
		{"in a list", doc.YAML{}, yaml, "b:\n", "b:\n    - canary\n", InClear, 4, "b"},
		{"duplicate key before", doc.YAML{}, yaml, "\na: ", "\na: canary\na: ", InClear, 2, "a"},
		{"duplicate key after", doc.YAML{}, yaml, "\nb:\n", "\na: canary\nb:\n", InClear, 3, "a"},
		{"comment", doc.YAML{}, yaml, "\nb:\n", "\n# canary\nb:\n", InClear, 3, "top level"},
		{"comment at the end of a line", doc.YAML{}, yaml, "\nb:\n", " # canary\nb:\n", InClear, 2, "top level"},
		{"token cut off", doc.YAML{}, yaml, a, a[:len(a)-20], BadToken, 2, "a"},
		{"text after a token", doc.YAML{}, yaml, a, a + " canary", BadToken, 2, "a"},
		{"no base64", doc.YAML{}, yaml, a, strings.Replace(a, "data:", "data:-", 1), BadToken, 2, "a"},
		{"value as a comment", doc.YAML{}, yaml, a, strings.Replace(a, "type:str", "type:comment", 1), BadToken, 2, "a"},
		{"below a comment that says so", doc.YAML{}, comments, token(comments, "b: "), "canary", InClear, 3, "b"},
		{"JSON value", doc.JSON{}, json, `"a": "` + token(json, `"a"`), `"a": "canary`, InClear, 1, "a"},
		{"JSON duplicate", doc.JSON{}, json, `{"a"`, `{"a": "canary", "a"`, InClear, 1, "a"},
		{"dotenv value", doc.Dotenv{}, env, "\nA=", "\nX=canary\nA=", InClear, 2, "X"},
		{"dotenv duplicate", doc.Dotenv{}, env, "\nA=", "\nA=canary\nA=", InClear, 2, "A"},
		{"dotenv comment", doc.Dotenv{}, env, "\nA=", "\n#canary\nA=", InClear, 2, "top level"},
		{"INI value", doc.INI{}, ini, "\na ", "\nx = canary\na ", InClear, 2, "s.x"},
		{"INI duplicate", doc.INI{}, ini, "\na ", "\na = canary\na ", InClear, 2, "s.a"},
		{"binary", doc.Binary{}, binary, token(binary, "data"), "canary", InClear, 2, "data"},
		{"seal", doc.YAML{}, yaml, "seal: ", "seal: x", BadMetadata, 0, ""},
		{"mac", doc.YAML{}, yaml, "mac: ENC[", "mac: ENC(", BadMetadata, 0, ""},
		{"no wrapped key", doc.YAML{}, yaml, "- enc: ", "- enc: \"\"\n          was: ", BadMetadata, 0, ""},
		{"conflicts", doc.YAML{}, yaml, "    kenv:\n", "    kenv:\n        conflicts: [x]\n", Unresolved, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if c, err := Check([]byte(tt.src), tt.f); err != nil || len(c.Flaws) > 0 || c.Encrypted == 0 {
				t.Fatalf("before anything was done: %v, %+v", err, c)
			}
			if strings.Count(tt.src, tt.old) != 1 {
				t.Fatalf("%q is not there once:\n%s", tt.old, tt.src)
			}
			c, err := Check([]byte(strings.Replace(tt.src, tt.old, tt.new, 1)), tt.f)
			if err != nil || len(c.Flaws) != 1 {
				t.Fatalf("%v, %+v", err, c)
			}
			f := c.Flaws[0]
			if f.Kind != tt.kind || f.Line != tt.line || f.Path != tt.path || strings.Contains(f.Msg, "canary") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// A file with very many flaws takes no longer than it has to, and says how many.
func TestCheckBounded(t *testing.T) {
	p := testPolicy
	p.Selector = Selector{EncryptedRegex: "^a$"}
	out, err := Seal(context.Background(), []byte("a: 1\nb: 2\n"), doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	list := []byte("a:\n" + strings.Repeat("    - canary\n", 20_000) + "b: 2\n")
	_, meta, _ := bytes.Cut(out.Data, []byte("b: 2\n"))
	c, err := Check(append(list, meta...), doc.YAML{})
	if err != nil || len(c.Flaws) != maxFlaws || c.More != 20_000-maxFlaws {
		t.Errorf("%v, %d flaws and %d more", err, len(c.Flaws), c.More)
	}
}
