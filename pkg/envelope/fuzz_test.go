package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

const roundtripDir = "../../testdata/roundtrip"

// seeds are the files of testdata/roundtrip of a format.
func seeds(t testing.TB, f doc.Format) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(roundtripDir, f.Name(), "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no seeds for %s: %v", f.Name(), err)
	}
	return files
}

// TestRungs: which of the seeds need more than values replaced where they stand.
func TestRungs(t *testing.T) {
	lower := map[string]doc.Rung{
		"yaml/alias-key-of-value.yaml": doc.AsText,  // or the value would be readable
		"yaml/anchor-colon.yaml":       doc.Restate, // yaml v3 ends the anchor at the colon
		"yaml/utf16be.yaml":            doc.Restate,
		"yaml/utf16le.yaml":            doc.Restate,
		"yaml/kenv-root.yaml":          doc.AsText,
		"yaml/kenv-text.yaml":          doc.AsText,
		"yaml/keys-colliding.yaml":     doc.AsText,
		"yaml/keys-duplicate.yaml":     doc.AsText,
		"json/overflow.json":           doc.AsText, // sops refuses 1e400
		"dotenv/kenv-text.env":         doc.AsText,
		"dotenv/utf16.env":             doc.AsText,
		"ini/behind-raw-junk.ini":      doc.Restate, // behind a token it would be a comment
		"ini/duplicates-apart.ini":     doc.Restate, // sops has the last value where the first is
		"ini/kenv-text.ini":            doc.AsText,
		"ini/odd-header.ini":           doc.Restate, // has text that is part of nothing
		"ini/utf16.ini":                doc.Restate,
	}
	for _, f := range formats {
		for _, path := range seeds(t, f) {
			name := f.Name() + "/" + filepath.Base(path)
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := Seal(t.Context(), src, f, testPolicy)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if sealed.Rung != lower[name] {
				t.Errorf("%s: %v, want %v", name, sealed.Rung, lower[name])
			}
			delete(lower, name)
		}
	}
	for name := range lower {
		t.Errorf("%s is missing", name)
	}
}

// splices: whatever is sealed opens to its own bytes, and what is not sealed is
// refused for a fault of the text.
func splices(f *testing.F, format doc.Format) {
	for _, path := range seeds(f, format) {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		sealed, err := Seal(t.Context(), src, format, testPolicy)
		var syntax *doc.SyntaxError
		switch {
		case errors.As(err, &syntax), errors.Is(err, doc.ErrReserved), errors.Is(err, doc.ErrEmpty), errors.Is(err, ErrNothingEncrypted):
			return
		case err != nil:
			t.Fatalf("refused: %s", allOf(err))
		}
		file, err := Open(t.Context(), sealed.Data, format, clearTable, OpenOptions{RequireSeal: true})
		if err != nil {
			t.Fatalf("%v: does not open: %v", sealed.Rung, err)
		}
		if !bytes.Equal(file.Plaintext(), src) {
			t.Fatalf("%v: other bytes:\n%q\n%q", sealed.Rung, src, file.Plaintext())
		}
	})
}

func FuzzSpliceYAML(f *testing.F)   { splices(f, doc.YAML{}) }
func FuzzSpliceJSON(f *testing.F)   { splices(f, doc.JSON{}) }
func FuzzSpliceDotenv(f *testing.F) { splices(f, doc.Dotenv{}) }
func FuzzSpliceINI(f *testing.F)    { splices(f, doc.INI{}) }

// edit changes a text as a script of bytes says: five of them an edit.
func edit(src, script []byte) []byte {
	src = bytes.Clone(src)
	for ; len(script) >= 5 && len(src) > 0; script = script[5:] {
		at := (int(script[1])<<8 | int(script[2])) * len(src) >> 16
		size := int(script[3]) % 16
		lines := bytes.SplitAfter(src, []byte("\n"))
		line, to := at*len(lines)/len(src), int(script[4])*len(lines)>>8
		switch script[0] % 8 {
		case 0:
			src[at] = script[4]
		case 1:
			src = slices.Delete(src, at, min(len(src), at+size))
		case 2, 3:
			src = slices.Insert(src, at, []byte(breakages[int(script[4])%len(breakages)])...)
		case 4:
			src = slices.Concat(slices.Concat(lines[:line]...), lines[line], slices.Concat(lines[line:]...))
		case 5:
			src = slices.Concat(slices.Concat(lines[:line]...), slices.Concat(lines[line+1:]...))
		case 6:
			lines[line], lines[to] = lines[to], lines[line]
			src = slices.Concat(lines...)
		case 7: // before and after a line's content, where syntax is
			text := bytes.TrimLeft(lines[line], " ")
			pad := lines[line][:len(lines[line])-len(text)]
			with := []byte(breakages[size%len(breakages)])
			if i := bytes.Index(text, []byte(": ")); script[4]%2 == 0 && i >= 0 {
				lines[line] = slices.Concat(pad, text[:i+2], with, text[i+2:])
			} else {
				lines[line] = slices.Concat(pad, with, text)
			}
			src = slices.Concat(lines...)
		}
	}
	return src
}

// holdsSame reports whether two plaintexts differ in nothing that a seal covers:
// data, comments.
func holdsSame(format doc.Format, a, b []byte) bool {
	var treeA, treeB string
	var errA, errB error
	switch format.Name() {
	case "yaml":
		treeA, errA = yamlTree(a)
		treeB, errB = yamlTree(b)
		if errA != nil && errB != nil { // aliases
			return strings.Join(strings.Fields(string(a)), "") == strings.Join(strings.Fields(string(b)), "")
		}
	case "json":
		a, b = bytes.TrimPrefix(a, []byte("\ufeff")), bytes.TrimPrefix(b, []byte("\ufeff"))
		var bufA, bufB bytes.Buffer
		errA, errB = json.Compact(&bufA, a), json.Compact(&bufB, b)
		treeA, treeB = bufA.String(), bufB.String()
		if treeA != treeB {
			treeA, errA = jsonTree(a)
			treeB, errB = jsonTree(b)
		}
	case "ini":
		dA, _, errA := format.Prepare(a, doc.Splice)
		dB, _, errB := format.Prepare(b, doc.Splice)
		return errA == nil && errB == nil && everything(dA) == everything(dB)
	case "dotenv":
		blank := func(s string) bool { return s == "" }
		treeA = strings.Join(slices.DeleteFunc(strings.Split(string(a), "\n"), blank), "\n")
		treeB = strings.Join(slices.DeleteFunc(strings.Split(string(b), "\n"), blank), "\n")
	}
	if errA != nil || errB != nil || treeA != treeB {
		return false
	}
	dA, _, errA := format.Prepare(a, doc.Splice)
	dB, _, errB := format.Prepare(b, doc.Splice)
	if errA != nil || errB != nil {
		return errA != nil && errB != nil
	}
	return slices.Equal(commentsOf(dA), commentsOf(dB))
}

var emptyLines = regexp.MustCompile(`\n([\s\v\x{85}\x{a0}]*\n)+`)

// everything shows a tree with all that a seal covers. Empty lines in a comment may
// have been before or behind it in the encrypted file.
func everything(d *doc.Document) string {
	var b strings.Builder
	var walk func(n *doc.Node)
	walk = func(n *doc.Node) {
		text := n.Text
		if n.Kind == doc.Comment {
			text = emptyLines.ReplaceAllString(text, "\n")
		}
		fmt.Fprintf(&b, "%d %q %q %q %v", n.Kind, n.Key, n.Mark, text, n.Hidden)
		if n.Kind == doc.Comment || n.Kind == doc.Scalar {
			fmt.Fprintf(&b, " %q", d.Form(n))
		}
		b.WriteByte('\n')
		for _, c := range n.Items {
			walk(c)
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	return b.String()
}

func commentsOf(d *doc.Document) (texts []string) {
	var walk func(n *doc.Node)
	walk = func(n *doc.Node) {
		if n.Kind == doc.Comment {
			texts = append(texts, n.Text)
		}
		for _, c := range n.Items {
			walk(c)
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	return texts
}

// TestFoldedKey: a line break in the quoted key that stands for a complex one is white
// space, and what the key was comes back.
func TestFoldedKey(t *testing.T) {
	src, err := os.ReadFile(filepath.Join(roundtripDir, "yaml/keys-complex.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Seal(t.Context(), src, doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	for _, blank := range []string{"\r", " \n ", "\r\n  "} {
		folded := bytes.Replace(sealed.Data, []byte(`"{d: e}"`), []byte(`"{d:`+blank+`e}"`), 1)
		if bytes.Equal(folded, sealed.Data) {
			t.Fatalf("no such key in\n%s", folded)
		}
		file, err := Open(t.Context(), folded, doc.YAML{}, clearTable, OpenOptions{RequireSeal: true})
		if err != nil {
			t.Fatalf("%q: %v", blank, err)
		}
		if got := file.Plaintext(); !bytes.Equal(got, src) {
			t.Errorf("%q: opens to %q", blank, got)
		}
	}
}

// FuzzOpen: no change to a sealed file makes Open panic or give out anything but
// what was sealed, white space apart.
func FuzzOpen(f *testing.F) {
	type original struct {
		format     doc.Format
		src, bytes []byte
	}
	var originals []original
	for _, format := range formats {
		for _, path := range seeds(f, format) {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			sealed, err := Seal(f.Context(), src, format, testPolicy)
			if err != nil {
				f.Fatal(err)
			}
			originals = append(originals, original{format, src, sealed.Data})
		}
	}
	for i := range originals {
		f.Add(uint8(i), []byte{})
		for op := range byte(8) {
			f.Add(uint8(i), []byte{op, byte(37 * i), 5, op + byte(i), 200})
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, script []byte) {
		o := originals[int(which)%len(originals)]
		for _, strip := range []bool{false, true} {
			mutated := edit(o.bytes, script)
			if strip {
				mutated = []byte(stripSeal[o.format.Name()](string(mutated)))
			}
			checked, checkErr := Check(mutated, o.format)
			file, err := Open(t.Context(), mutated, o.format, clearTable, OpenOptions{})
			if err != nil {
				if file != nil {
					t.Fatal("a file beside an error")
				}
				continue
			}
			if !file.Sealed {
				t.Fatalf("opens without its seal:\n%s", mutated)
			}
			if checkErr != nil || len(checked.Flaws) > 0 {
				t.Fatalf("Check objects to a file that opens: %v, %+v\n%s", checkErr, checked, mutated)
			}
			if got := file.Plaintext(); !bytes.Equal(got, o.src) && !holdsSame(o.format, got, o.src) {
				t.Fatalf("opens to other data:\n%q\nfor\n%q\nof\n%s", got, o.src, mutated)
			}
		}
	})
}
