package doc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestPathsAreBounded: long keys above many others, and lists nested deep, are held as one
// text and not read as an encrypted file; what people have is held value by value.
func TestPathsAreBounded(t *testing.T) {
	many := func(n int, item string) string { return strings.Repeat(item, n) }
	long := strings.Repeat("k", 60000)
	var numbered strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&numbered, "%q: 1,\n", fmt.Sprint("a", i))
	}
	object := strings.TrimSuffix(numbered.String(), ",\n")
	meta := map[Format]string{YAML{}: "sops: {mac: x}\n", JSON{}: `, "sops": {"mac": "x"}}`, INI{}: "[sops]\nmac = x\n"}
	for _, tt := range []struct {
		format Format
		text   string
		fits   bool
	}{
		{JSON{}, `{"` + long + `": {` + object + `}}`, false},
		{JSON{}, `{"` + long[:500] + `": {` + object + `}}`, true},
		{JSON{}, `{"a": ` + many(9000, "[") + many(9000, "]") + `}`, false},
		{JSON{}, `{"a": ` + many(1000, "[") + many(1000, "]") + `}`, true},
		{JSON{}, `{"a": [` + many(20000, "1e308,") + `1]}`, false},
		{JSON{}, `{"a": [` + many(1000, "1e308,") + `1]}`, true},
		{YAML{}, "? " + long + "\n: {" + object + "}\n", false},
		{YAML{}, "a: " + many(9000, "[") + many(9000, "]") + "\n", false},
		{YAML{}, "a: " + many(1000, "{b: ") + many(1000, "}") + "\n", true},
		{INI{}, "[" + long + "]\n" + strings.ReplaceAll(strings.ReplaceAll(object, ": 1,", " = 1"), `"`, ""), false},
	} {
		if _, _, err := tt.format.Prepare([]byte(tt.text), Splice); (err == nil) != tt.fits || err != nil && !errors.Is(err, ErrRung) {
			t.Errorf("%s %.30q…: %v", tt.format.Name(), tt.text, err)
		}
		if _, _, err := tt.format.Prepare([]byte(tt.text), AsText); err != nil {
			t.Errorf("%s %.30q… as a text: %v", tt.format.Name(), tt.text, err)
		}
		body := tt.text
		if tt.format == (JSON{}) {
			body = strings.TrimSuffix(body, "}")
		}
		if tt.format == (INI{}) {
			body += "\n"
		}
		if _, err := tt.format.Parse([]byte(body + meta[tt.format])); errors.Is(err, errPaths) == tt.fits {
			t.Errorf("%s %.30q… with metadata: %v", tt.format.Name(), tt.text, err)
		}
	}
}

// TestBounds: texts that the parsers take long for, though they are short, are refused;
// fewer of the same are fine.
func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		format             Format
		first, piece, last string
		of, few, many      int
	}{
		{YAML{}, "%YAML 1.1\n", "%%TAG !a%d! x\n", "---\na: 1\n", 2000, 900, 1100},
		{YAML{}, "a: [", "1e-3%02d,", "1]\n", 100, 9000, 11000},
		{YAML{}, "a: [", "1.E-0003%02d,", "1]\n", 100, 9000, 11000},
		{JSON{}, `{"a": [`, "1e-3%02d,", "1]}", 100, 9000, 11000},
		// What looks a little like that and is not.
		{YAML{}, "a: [", "e-3%02d, x7e-5%02[1]d, 117e-5%02[1]d-1, 1e-2%02[1]d, 1e-0%02[1]d,", "1]\n", 100, 11000, 0},
	} {
		text := func(n int) []byte {
			var b strings.Builder
			b.WriteString(tt.first)
			for i := range n {
				fmt.Fprintf(&b, tt.piece, i%tt.of)
			}
			return []byte(b.String() + tt.last)
		}
		var syntax *SyntaxError
		if _, _, err := tt.format.Prepare(text(tt.few), Splice); errors.As(err, &syntax) {
			t.Errorf("%d of %q: %v", tt.few, tt.piece, err)
		}
		if _, _, err := tt.format.Prepare(text(tt.many), Splice); tt.many > 0 && !errors.As(err, &syntax) {
			t.Errorf("%d of %q: %v", tt.many, tt.piece, err)
		}
	}
}

// TestTagsAreLinear: a tag in a map of many keys does not have each compared with all.
func TestTagsAreLinear(t *testing.T) {
	cost := func(n int) time.Duration {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "k%d: !mine 1\n", i)
		}
		best := time.Hour
		for range 3 {
			start := time.Now()
			if _, _, err := (YAML{}).Prepare([]byte(b.String()), Splice); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	if few, many := cost(4000), cost(32000); many > 30*few {
		t.Errorf("8 times the keys take %.0f times as long (%v)", float64(many)/float64(few), many)
	}
}

// TestDecodeMap: in pieces or not, what the decoder refuses is refused.
func TestDecodeMap(t *testing.T) {
	var filler strings.Builder
	for i := range 3 * mostPairs {
		fmt.Fprintf(&filler, "f%d: 1\n", i)
	}
	for text, fine := range map[string]string{
		"a: !!int x\n":                    "",
		"a: !mine 1\n":                    "fine",
		"a: &a {x: 1}\nb: {<<: *a}\n":     "fine",
		"a: &a 1\nb: {<<: *a}\n":          "",
		"a: !!float 1\n? [1]\n: 1\n":      "",
		"a: &a [*a]\nb: !mine 1\n":        "",
		"a: !!map {b: 1}\nc: !!seq [1]\n": "fine",
	} {
		for _, text := range []string{text, text + filler.String(), filler.String() + text} {
			y, err := newYAMLText([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := decodeMap(y.docs[0]); (err == nil) != (fine != "") {
				t.Errorf("%.60q… of %d bytes: %v", text, len(text), err)
			}
		}
	}
}

// TestWholeIsBounded: a remembered original that inflates to many times the text that it
// stands beside is not believed.
func TestWholeIsBounded(t *testing.T) {
	body := []byte("a: 1\n")
	for size, believed := range map[int]bool{1 << 10: true, 1 << 19: true, 2 << 20: false, 64 << 20: false} {
		whole := "a: 1\n" + strings.Repeat("\n", size)
		out, ok := believeWhole(YAML{}, body, Note{Kind: NoteWhole, Text: deflate([]byte(whole))})
		if ok != believed || ok && string(out) != whole {
			t.Errorf("%d bytes: believed: %v", size, ok)
		}
	}
}

// TestDuplicateKeysOfLongPaths: they are told apart, and not written out for each key.
func TestDuplicateKeysOfLongPaths(t *testing.T) {
	long := strings.Repeat("k", 60000)
	var b strings.Builder
	for _, end := range []string{"1", "2"} {
		fmt.Fprintf(&b, `"%s%s": {"a":1,"a":1,"b":1,"b":1},`, long, end)
	}
	paths := DuplicateKeys(JSON{}, []byte("{"+strings.TrimSuffix(b.String(), ",")+"}"))
	seen := map[string]bool{}
	for _, p := range paths {
		if seen[p] || len(p) > 1000 {
			t.Errorf("%.30q… of %d bytes, seen before: %v", p, len(p), seen[p])
		}
		seen[p] = true
	}
	if len(paths) != 4 {
		t.Errorf("%d paths", len(paths))
	}
}
