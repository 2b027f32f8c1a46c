package envelope

import (
	"bytes"
	crand "crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/kenvhq/kenv/pkg/doc"
)

// canaries are random texts of 16 characters that stand for secrets.
type canaries map[string]bool

const canarySize = 16

// add makes one: letters and digits, or digits alone.
func (c canaries) add(digits bool) string {
	var seed [canarySize]byte
	crand.Read(seed[:])
	text := []byte("Zq")
	alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	if digits {
		text, alphabet = []byte("97"), "0123456789"
	}
	for _, b := range seed[:canarySize-2] {
		text = append(text, alphabet[int(b)%len(alphabet)])
	}
	c[string(text)] = true
	return string(text)
}

var (
	base64Run  = regexp.MustCompile(`[A-Za-z0-9+/_-]{20,}`)
	hexRun     = regexp.MustCompile(`(?:[0-9a-fA-F]{2}){16,}`)
	jsonEscape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|%[0-9a-fA-F]{2}`)
)

// in returns a canary that a text holds, as it is or in any encoding that a reader
// would undo, or "".
func (c canaries) in(text []byte) string {
	if got := c.raw(text); got != "" {
		return got
	}
	unescaped := jsonEscape.ReplaceAllFunc(text, func(e []byte) []byte {
		v, _ := strconv.ParseUint(strings.TrimLeft(string(e), `\ux%`), 16, 16)
		return []byte(string(rune(v)))
	})
	if got := c.raw(unescaped); got != "" {
		return got
	}
	for _, run := range base64Run.FindAll(text, -1) {
		run = bytes.ReplaceAll(bytes.ReplaceAll(run, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
		for skip := range 4 { // wherever the run really starts
			if got := c.raw(unbase64(run[skip:])); got != "" {
				return got
			}
		}
	}
	for _, run := range hexRun.FindAll(text, -1) {
		decoded := make([]byte, len(run)/2)
		hex.Decode(decoded, run)
		if got := c.raw(decoded); got != "" {
			return got
		}
	}
	return ""
}

func (c canaries) raw(text []byte) string {
	for i := 0; i+canarySize <= len(text); i++ {
		if (text[i] == 'Z' || text[i] == '9') && c[string(text[i:i+canarySize])] {
			return string(text[i : i+canarySize])
		}
	}
	return ""
}

func unbase64(run []byte) []byte {
	out := make([]byte, len(run))
	n, _ := base64.RawStdEncoding.Decode(out, run[:len(run)/4*4])
	return out[:n]
}

// TestCanarySearch: the search sees what it is for.
func TestCanarySearch(t *testing.T) {
	c := canaries{}
	secret := c.add(false)
	escaped := ""
	for _, r := range secret {
		escaped += fmt.Sprintf(`\u%04x`, r)
	}
	for _, text := range []string{
		secret,
		"x" + secret + "y",
		escaped,
		base64.StdEncoding.EncodeToString([]byte(secret + "??>")),
		"data:" + base64.StdEncoding.EncodeToString([]byte("1"+secret+"~~~")),
		"AAA" + base64.RawURLEncoding.EncodeToString([]byte("\xff\xfe"+secret+"\xff\xff")),
		hex.EncodeToString([]byte(secret)),
	} {
		if c.in([]byte(text)) != secret {
			t.Errorf("not found in %s", text)
		}
	}
	if c.in([]byte(base64.StdEncoding.EncodeToString([]byte("something else entirely")))) != "" {
		t.Error("found where there is none")
	}
}

// plant puts canaries in place of all values and comments of a text. Numbers stay
// numbers.
func plant(f doc.Format, src []byte) ([]byte, canaries, bool) {
	d, notes, err := f.Prepare(src, doc.Splice)
	if err != nil {
		return nil, nil, false
	}
	c := canaries{}
	var edits []doc.Edit
	var walk func(n *doc.Node)
	walk = func(n *doc.Node) {
		for _, item := range n.Items {
			walk(item)
		}
		switch {
		case !n.Replaceable() || n.Kind == doc.Map || n.Kind == doc.List || n.Span.Start == n.Span.End:
		case n.Kind == doc.Comment:
			edits = append(edits, doc.Edit{Span: n.Span, Text: c.add(false)})
		case n.Type == doc.Int:
			edits = append(edits, f.Spell(d, n, doc.Int, c.add(true)))
		case n.Type == doc.Float:
			edits = append(edits, f.Spell(d, n, doc.Float, "0."+c.add(true)))
		default:
			edits = append(edits, f.Spell(d, n, doc.String, c.add(false)))
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	text, err := f.Restore(doc.Apply(d.Src, edits), notes)
	if err != nil || len(c) == 0 {
		return nil, nil, false
	}
	// In a few odd places a value would become part of a key or anchor.
	if d, _, err = f.Prepare(text, doc.Splice); err != nil {
		return nil, nil, false
	}
	held := 0
	var count func(n *doc.Node)
	count = func(n *doc.Node) {
		if n.Kind == doc.Comment || n.Kind == doc.Scalar {
			held += strings.Count(n.Text, "Zq") + strings.Count(n.Text, "97")
		}
		for _, item := range n.Items {
			count(item)
		}
	}
	for _, r := range d.Roots {
		count(r)
	}
	return text, c, held >= len(c)
}

// canaryPolicy encrypts everything.
var canaryPolicy = func() Policy {
	p := testPolicy
	p.Selector.UnencryptedSuffix = "\x00"
	return p
}()

// toUTF16 is a text that only the lower rungs of the ladder can hold.
func toUTF16(src []byte) []byte {
	out := []byte("\xff\xfe")
	for _, u := range utf16.Encode([]rune(string(src))) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// TestNoCanaryLeaves: of the values and comments of a file nothing is left in what
// Seal makes of it, on any rung of the ladder.
func TestNoCanaryLeaves(t *testing.T) {
	for _, f := range append(formats, doc.Binary{}) {
		t.Run(f.Name(), func(t *testing.T) {
			files, planted, rungs := 0, 0, map[string]int{}
			for i, path := range canaryFiles(t, f) {
				src, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				text, c, ok := plant(f, src)
				if _, binary := f.(doc.Binary); binary {
					c = canaries{}
					text, ok = []byte(c.add(false)+string(src)+c.add(false)), true
				}
				if !ok {
					continue
				}
				if f.Name() != "json" && i%7 == 0 {
					text = toUTF16(text)
				}
				if c.in(text) == "" && !bytes.HasPrefix(text, []byte("\xff\xfe")) {
					t.Fatalf("%s: no canary was planted", path)
				}
				sealed, err := Seal(t.Context(), text, f, canaryPolicy)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				rungs[sealed.Rung.String()]++
				if got := c.in(sealed.Data); got != "" {
					at := bytes.Index(text, []byte(got))
					t.Errorf("%s: leaks %q of %.80q", path, got, text[max(0, at-30):])
				}
				files++
				planted += len(c)
			}
			t.Logf("%d files, %d canaries, %v", files, planted, rungs)
			if files < 5 || planted < files {
				t.Error("too few")
			}
		})
	}
}

// TestNoCanaryLeavesMutants: the same for texts that nobody would write.
func TestNoCanaryLeavesMutants(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, f := range formats {
		t.Run(f.Name(), func(t *testing.T) {
			rungs := map[string]int{}
			// Once through all files, and again while they are too few to say much.
			for round := 0; round == 0 || rungs["splice"] < 50 && round < 20; round++ {
				for _, path := range corpus(t, f.Name()) {
					src, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					text, c, ok := plant(f, src)
					if !ok || len(text) > 5000 {
						continue
					}
					for range mutants(2) {
						mutant := mutate(r, text)
						sealed, err := Seal(t.Context(), mutant, f, canaryPolicy)
						if err != nil {
							continue
						}
						rungs[sealed.Rung.String()]++
						d, _, err := f.Prepare(mutant, sealed.Rung)
						if err != nil {
							t.Fatal(err)
						}
						if got := c.butKeys(d).in(sealed.Data); got != "" {
							t.Errorf("%v of %q leaks %q:\n%s", sealed.Rung, mutant, got, sealed.Data)
						}
					}
				}
			}
			t.Log(rungs)
			if rungs["splice"] < 50 {
				t.Error("too few")
			}
		})
	}
}

func canaryFiles(t *testing.T, f doc.Format) []string {
	if f.Name() == "binary" {
		files, err := filepath.Glob(filepath.Join(vectorDir, "binary", "*.plain.*"))
		if err != nil {
			t.Fatal(err)
		}
		return append(files, corpus(t, "dotenv")[:5]...)
	}
	return corpus(t, f.Name())
}

// butKeys returns the canaries that no key, tag or anchor of a document holds.
func (c canaries) butKeys(d *doc.Document) canaries {
	rest := maps.Clone(c)
	var walk func(n *doc.Node)
	walk = func(n *doc.Node) {
		for _, readable := range []string{n.Key, n.Mark} {
			for key := rest.raw([]byte(readable)); key != ""; key = rest.raw([]byte(readable)) {
				delete(rest, key)
			}
		}
		for _, item := range n.Items {
			walk(item)
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	return rest
}

// mutants is how many mutations a test tries of each of its files: by default a
// few, more if KENV_MUTANTS says so.
func mutants(few int) int {
	if n, err := strconv.Atoi(os.Getenv("KENV_MUTANTS")); err == nil {
		return n
	}
	return few
}

// breakages are texts that break syntax, where they do not change the meaning.
var breakages = []string{
	"", "\x00", "\xff", "\t", "\n", "\r", ":", ": ", "- ", "'", "\"", "*", "&", "!", "!!int ", "!!binary ", "!<", "%", "@", "`",
	"{", "}", "[", "]", ",", "?", "|\n", ">9\n", "#", " #", "---\n", "...\n", "<<: ", "*unknown", "\\u12", "\\", "=", "sops", "sops: 1\n", "kenv_root: ",
}

// corrupt breaks a text in one to three places.
func corrupt(r *rand.Rand, src []byte) []byte {
	src = bytes.Clone(src)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(src) + 1)
		switch r.IntN(5) {
		case 0:
			src = src[:at]
		case 1:
			src = append(src[:at:at], src[min(len(src), at+1+r.IntN(8)):]...)
		default:
			if r.IntN(3) > 0 { // at the start of a value, where it matters most
				if i := bytes.IndexAny(src[at:], "Z9"); i >= 0 {
					at += i
				}
			}
			src = append(append(src[:at:at], breakages[r.IntN(len(breakages))]...), src[at:]...)
		}
		if len(src) == 0 {
			return src
		}
	}
	return src
}

// allOf returns an error's text and that of all it wraps.
func allOf(err error) string {
	if err == nil {
		return ""
	}
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			text += allOf(e)
		}
	}
	return text + allOf(errors.Unwrap(err))
}

// TestErrorsHoldNoPlaintext: whatever is wrong with a file, no error shows a value
// or comment of it.
func TestErrorsHoldNoPlaintext(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rounds := mutants(1)
	for _, f := range formats {
		t.Run(f.Name(), func(t *testing.T) {
			failed := map[string]int{}
			check := func(what string, c canaries, text []byte, err error) {
				if err == nil {
					return
				}
				failed[what]++
				if d, parseErr := f.Parse(text); parseErr == nil {
					c = c.butKeys(d) // what has become a key may be named
				}
				if got := c.in([]byte(allOf(err))); got != "" {
					t.Errorf("%s: %q is in the error %.300v", what, got, allOf(err))
				}
			}
			few := func() []string {
				return slices.DeleteFunc([]string{"open", "open plaintext", "open half"}, func(what string) bool { return failed[what] >= 50 })
			}
			for round := 0; round == 0 || len(few()) > 0 && round < 20; round++ {
				for _, path := range corpus(t, f.Name()) {
					src, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					text, c, ok := plant(f, src)
					if !ok || len(text) > 20000 {
						continue
					}
					sealed, err := Seal(t.Context(), text, f, canaryPolicy)
					if err != nil {
						t.Fatal(err)
					}
					for range rounds {
						broken := corrupt(r, text)
						for rung := doc.Splice; ; {
							_, _, err := f.Prepare(broken, rung)
							check("prepare", c, broken, err)
							if rung, ok = rung.Next(nil); !ok {
								break
							}
						}
						_, err := Seal(t.Context(), broken, f, canaryPolicy)
						check("seal", c, broken, err)
						_, err = Open(t.Context(), broken, f, clearTable, OpenOptions{})
						check("open plaintext", c, broken, err)
						// A value in clear among the encrypted ones.
						half := append(bytes.Clone(broken[:min(len(broken), 2000)]), sealed.Data...)
						_, err = Open(t.Context(), half, f, clearTable, OpenOptions{})
						check("open half", c, half, err)
						ciphertext := corrupt(r, sealed.Data)
						_, err = Open(t.Context(), ciphertext, f, clearTable, OpenOptions{})
						check("open", c, ciphertext, err)
					}
				}
			}
			t.Log(failed)
			for _, what := range few() {
				t.Errorf("%s failed only %d times", what, failed[what])
			}
		})
	}
}
