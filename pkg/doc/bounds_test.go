package doc

import (
	"errors"
	"fmt"
	"slices"
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
		{YAML{}, "%YAML 1.1\r", "%%TAG !a%d! x\r", "---\ra: 1\r", 2000, 900, 1100},
		{YAML{}, "a: [", "1e-3%02d,", "1]\n", 100, 9000, 11000},
		{YAML{}, "a: [", "1e_-3%02d,", "1]\n", 100, 9000, 11000},
		{YAML{}, "a: [", "1_e-3%02d_,", "1]\n", 100, 9000, 11000},
		{YAML{}, "a: [", ".0000000001e-2%02d,", "1]\n", 100, 9000, 11000},
		{YAML{}, "a: [", "1.E-0003%02d,", "1]\n", 100, 9000, 11000},
		{JSON{}, `{"a": [`, "1e-3%02d,", "1]}", 100, 9000, 11000},
		// What looks a little like that and is not.
		{YAML{}, "a: [", "e-3%02d, x7e-5%02[1]d, 117e-5%02[1]d-1, 1e-0%02[1]d,", "1]\n", 100, 11000, 0},
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

// TestDensityIsBounded: a text with a value, comment or document in every few bytes is held
// as one text, is no encrypted file, and cannot be changed in place. What else is wrong
// with it is said first.
func TestDensityIsBounded(t *testing.T) {
	for _, tt := range []struct {
		format             Format
		first, piece, last string
		meta, wrong        string
	}{
		{YAML{}, "a: [", "1,", "1]\n", "sops: {mac: x}\n", "b: ]\n"},
		{YAML{}, "a:\n", "-\n", "", "sops: {mac: x}\n", "b: ]\n"},
		{YAML{}, "a: 1\n", "#\n", "", "sops: {mac: x}\n", "b: ]\n"},
		{YAML{}, "a: [\n", "#\n", "]\n", "sops: {mac: x}\n", "b: ]\n"},
		{YAML{}, "", "{a: 1}: 1\n", "", "sops: {mac: x}\n", "b: ]\n"},
		{YAML{}, "", "---\n", "", "sops: {mac: x}\n", "b: ]\n"},
		{JSON{}, `{"a": [`, "1,", "1]", `, "sops": {"mac": "x"}}`, ` ]`},
		{JSON{}, `{"a": [`, "{},", "1]", `, "sops": {"mac": "x"}}`, ` ]`},
		{JSON{}, `{`, `"a":1,`, `"b": 1`, `, "sops": {"mac": "x"}}`, ` ]`},
		{Dotenv{}, "", "A=\n", "", "sops_mac=x\n", ""},
		{Dotenv{}, "A=1\n", "#\n", "", "sops_mac=x\n", ""},
		{INI{}, "[s]\n", "k=\n", "", "[sops]\nmac = x\n", "[x\n"},
		{INI{}, "[s]\n", ";\n", "", "[sops]\nmac = x\n", "[x\n"},
		{INI{}, "", "[s]\n", "", "[sops]\nmac = x\n", "[x\n"},
	} {
		body := tt.first + strings.Repeat(tt.piece, 2*freeNodes) + tt.last
		text := body
		if tt.format == (JSON{}) {
			text += "}"
		}
		name := fmt.Sprintf("%s %q", tt.format.Name(), tt.piece)
		if _, _, err := tt.format.Prepare([]byte(text), Splice); !errors.Is(err, ErrDense) || !errors.Is(err, ErrRung) {
			t.Errorf("%s: %v", name, err)
		}
		if d, _, err := tt.format.Prepare([]byte(text), AsText); err != nil || d.Whole.Text != text {
			t.Errorf("%s as a text: %v", name, err)
		}
		if _, err := tt.format.Parse([]byte(text)); !errors.Is(err, ErrNoMetadata) {
			t.Errorf("%s without metadata: %v", name, err)
		}
		encrypted := body + tt.meta
		if tt.piece == "---\n" {
			encrypted = tt.meta + body
		}
		if _, err := tt.format.Parse([]byte(encrypted)); !errors.Is(err, ErrDense) {
			t.Errorf("%s with metadata: %v", name, err)
		}
		if _, err := ReadText(tt.format, []byte(text)); !errors.Is(err, ErrDense) {
			t.Errorf("%s to be changed: %v", name, err)
		}
		var syntax *SyntaxError
		if _, _, err := tt.format.Prepare([]byte(text+tt.wrong), Splice); tt.wrong != "" && (!errors.As(err, &syntax) || syntax.Line == 0) {
			t.Errorf("%s with an error: %v", name, err)
		}
		few := tt.first + strings.Repeat(tt.piece, freeNodes/8) + tt.last
		if tt.format == (JSON{}) {
			few += "}"
		}
		if _, _, err := tt.format.Prepare([]byte(few), Splice); errors.Is(err, ErrDense) {
			t.Errorf("%s, few: %v", name, err)
		}
	}
	if next, ok := Splice.Next(ErrDense); next != AsText || !ok {
		t.Errorf("after Splice comes %v", next)
	}
	if _, ok := AsText.Next(ErrDense); ok {
		t.Error("something comes after AsText")
	}
}

// TestWhatFitsIsRead: a plaintext with as many values as it may have is read when it is
// encrypted, too, where each is in clear and the metadata adds to them.
func TestWhatFitsIsRead(t *testing.T) {
	for _, tt := range []struct {
		format        Format
		piece, prefix string
	}{
		{YAML{}, "- 1\n", "a:\n"}, {JSON{}, "1,", `{"a":[0,`}, {Dotenv{}, "A=\n", ""}, {INI{}, "k=\n", "[s]\n"},
	} {
		most := 0
		for !tooDense(make([]byte, len(tt.prefix)+most*len(tt.piece)), most+3) {
			most += 1000
		}
		most -= 1000
		text := tt.prefix + strings.Repeat(tt.piece, most)
		if tt.format == (JSON{}) {
			text = strings.TrimSuffix(text, ",") + "]}"
		}
		d, _, err := tt.format.Prepare([]byte(text), Splice)
		if err != nil {
			t.Fatalf("%s with %d values: %v", tt.format.Name(), most, err)
		}
		var meta Fields
		for i := range 3000 {
			meta = append(meta, Field{fmt.Sprint("f", i), "x"})
		}
		if _, err := tt.format.Parse(Apply(d.Src, []Edit{tt.format.Attach(d, meta)})); err != nil {
			t.Errorf("%s with %d values, encrypted: %v", tt.format.Name(), most, err)
		}
	}
}

// TestDensityOfParts: what is no file is not bounded by its own size: a value for a place
// in one, the text that stands in for another while its comments are placed, and what is
// left of a file when it is put together again.
func TestDensityOfParts(t *testing.T) {
	list := "[" + strings.Repeat("1,", 2*freeNodes) + "1]"
	v, err := ParseValue([]byte(list))
	if err != nil || len(v.Roots[0].Items) != 2*freeNodes+1 {
		t.Errorf("a value: %v", err)
	}
	text, err := ReadText(JSON{}, []byte(`{"a": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := text.Insert(text.Roots[0], "b", v); !errors.Is(err, ErrDense) {
		t.Errorf("a value that is too much for its file: %v", err)
	}
	for _, tt := range []struct {
		format     Format
		body, want string
	}{
		{JSON{}, `{"kenv_root": ` + list + "}", list},
		{YAML{}, "kenv_root:\n" + strings.Repeat("- a\n", 2*freeNodes), strings.Repeat("- a\n", 2*freeNodes)},
	} {
		if out, err := tt.format.Restore([]byte(tt.body), []Note{{Kind: NoteRoot, Path: "0", Text: "kenv_root:\n"}}); err != nil || string(out) != tt.want {
			t.Errorf("%s, put together: %.40q, %v", tt.format.Name(), out, err)
		}
	}
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "# %s\nk%d:\n%s", strings.Repeat("c", 900), i, strings.Repeat("- a\n", 100))
	}
	if _, _, err := (YAML{}).Prepare([]byte(b.String()), Splice); err != nil {
		t.Errorf("long comments: %v", err)
	}
	if _, err := (YAML{}).Parse([]byte(b.String() + "sops: {mac: x}\n")); err != nil {
		t.Errorf("long comments that are the same, encrypted: %v", err)
	}
}

// TestEmitIsLinear: what is nested deep is not indented ever further, and reads as before.
func TestEmitIsLinear(t *testing.T) {
	const depth = 9000
	for _, text := range []string{
		strings.Repeat("[", depth) + "1" + strings.Repeat("]", depth),
		strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth),
		strings.Repeat(`{"a":[2,`, depth/2) + "1" + strings.Repeat("]}", depth/2),
	} {
		root, err := readJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []Format{JSON{}, YAML{}} {
			out, err := f.Emit([]*Node{root})
			if err != nil {
				t.Errorf("%s: %v", f.Name(), err)
				continue
			}
			if len(out) > 1000*depth {
				t.Errorf("%s: %d bytes for %d", f.Name(), len(out), len(text))
			}
			again, err := ReadText(f, out)
			if err != nil || !Equal(again.Roots[0], root) {
				t.Errorf("%s reads as something else: %v", f.Name(), err)
			}
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
			y, err := newYAMLText([]byte(text), 0)
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
	if paths := DuplicateKeys(INI{}, []byte("a = 1\n[a]\nb = 2\n[c]\nb = 2\n")); len(paths) > 0 {
		t.Errorf("INI: %q", paths)
	}
	paths = DuplicateKeys(INI{}, []byte("["+long+"]\na=1\na=1\nb=1\nb=1\nb=1\n["+long+"]\n["+long+"x]\na=1\n"))
	if len(paths) != 3 || slices.ContainsFunc(paths, func(p string) bool { return len(p) > 1000 && p != long }) || slices.Compact(paths)[1] == paths[0] {
		t.Errorf("INI: %d paths: %.60q", len(paths), paths)
	}
}
