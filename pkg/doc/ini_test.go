package doc

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// showINI shows a tree on one line: hidden items in parentheses.
func showINI(n *Node) string {
	var items []string
	for _, c := range n.Items {
		s := fmt.Sprintf("%s=%q", c.Key, c.Text)
		switch c.Kind {
		case Map:
			s = c.Key + showINI(c)
		case Comment:
			s = fmt.Sprintf("#%q", c.Text)
		}
		if c.Hidden {
			s = "(" + s + ")"
		}
		items = append(items, s)
	}
	return "{" + strings.Join(items, " ") + "}"
}

// TestINIReads: values and comments are where sops 3.13.3 sees them, which was found
// out by asking it.
func TestINIReads(t *testing.T) {
	for src, want := range map[string]string{
		"a=1\nb : 2\n[s]\nc = x=y:z\n":               `{DEFAULT{a="1" b="2"} s{c="x=y:z"}}`,
		"[s]\n[DEFAULT]\na=1\n[s]\n[S]\n":            `{DEFAULT{} s{} DEFAULT{a="1"} s{} S{}}`,
		"[a]b]\n[c ]\n":                              `{DEFAULT{} a]b{} c {}}`,
		"; s\n[s]\n# a\n;b\na=1\n":                   `{DEFAULT{} s{#"s" a="1" #"a\n;b"}}`,
		"; s\n\n; t\n[s]\n":                          `{DEFAULT{} s{#"s\n \n; t"}}`,
		";\n; s\n[s]\n;;; a\na=1\n":                  `{DEFAULT{} s{#" \n; s" a="1" #"a"}}`,
		"a=1 ; x\nb=2 # y\n; last\n":                 `{DEFAULT{a="1" #"x" b="2" #"y" (#"last")}}`,
		"a=\"x\"\nb='x'\nc=\"x\" y\nd=\"\"\n":        `{DEFAULT{a="x" b="x" c="\"x\" y" d=""}}`,
		"a=`x;y` z\nb=\"\"\"x\ny\"\"\"\nc=\"\"\"\"x": "",
		"a=x \\\n  y \\\n\n  b=z\n":                  `{DEFAULT{a="x y " b="z"}}`,
		"a=x ; y \\\n  z\n":                          `{DEFAULT{a="x ; y z"}}`,
		"`a=b`=1\n\"c:d\" = 2\n\"\"\"e\"\"\":3\n":    `{DEFAULT{a=b="1" c:d="2" e="3"}}`,
		"- = x\n-=y\n[s]\n- : z\n":                   `{DEFAULT{#1="x" #2="y"} s{#1="z"}}`,
		"; x\na=1\na=2 ; y\n; z\na=3\nb=4\n":         `{DEFAULT{(a="1") (#"x") (a="2") (#"y") a="3" #"z" b="4"}}`,
		"a=1\r\n; x\r\n; y\r\nb = 2 \r\n":            `{DEFAULT{a="1" b="2" #"x\r\n; y"}}`,
		"\uFEFFa=1\n":                                `{DEFAULT{a="1"}}`,
		"a=\u00a01\u00a0\n":                          `{DEFAULT{a="1"}}`,
		"[s\n":                                       "",
		"[]\n":                                       "",
		"=x\n":                                       "",
		"\"a=x\n":                                    "",
		"a=`x\n":                                     "",
		"bare\n":                                     "",
	} {
		d, err := INI{}.shape([]byte(src))
		got := ""
		if err == nil {
			got = showINI(d.Roots[0])
		}
		if got != want {
			t.Errorf("%q reads as %s, %v, want %s", src, got, err, want)
		}
	}
}

// TestINIPrepares: what sops refuses or loses is held in a form that it reads.
func TestINIPrepares(t *testing.T) {
	for src, want := range map[string]string{
		"a = x#y\n":              "a = `x#y`\n",
		"a=#y\n":                 "a=`#y`\n",
		"a = \"x;y\" ; z\n":      "; z\na = `x;y`\n",
		"a = 'x # y'\n":          "a = `x # y`\n",
		"a = \"x\"; y\n":         "a = \"x\"; y\n",
		"a = x # y\n":            "a = x # y\n",
		"; z\na = x # y\n":       "; z\n# y\na = x\n",
		"[s] ; x\r\n":            "; x\r\n[s]\r\n",
		"a = \"\"\"x\ny\"\"\"#z": "#z\na = \"\"\"x\ny\"\"\"",
		"[s]\nbare\n  more\n":    "[s]\n;bare\n;  more\n",
		"a =\n  b\n  c=d\ne=f\n": "a =\"\"\"\nb\nc=d\"\"\"\ne=f\n",
		"a = 1\n  b\n\n; c\n":    "a = \"\"\"1\nb\"\"\"\n\n; c\n",
		"a =\n  b=c\n  d=e\n":    "a =\n  b=c\n  d=e\n",
		"a =\n  b\n; c\n  d\n":   "a =\"\"\"\nb\n; c\nd\"\"\"\n",
	} {
		d, notes, err := INI{}.Prepare([]byte(src), Splice)
		if err != nil || string(d.Src) != want {
			t.Errorf("%q becomes %q, %v, want %q", src, d.Src, err, want)
			continue
		}
		back, err := INI{}.Restore(d.Src, notes)
		if err != nil || string(back) != src {
			t.Errorf("%q comes back as %q, %v", src, back, err)
		}
	}
}

// TestINIRestoresWhatFits: a note about something that was changed since is passed
// over, and the others hold.
func TestINIRestoresWhatFits(t *testing.T) {
	d, notes, err := INI{}.Prepare([]byte("; c\na = x#y ; z\nb = p#q\nbare\n[s] ; t\n"), Splice)
	if err != nil {
		t.Fatal(err)
	}
	for change, want := range map[string]string{
		"x#y>w":   "; c\n; z\na = `w`\nb = p#q\nbare\n[s] ; t\n",
		"; z>z":   "",
		"b =>c =": "; c\na = x#y ; z\nc = `p#q`\nbare\n[s] ; t\n",
		";bare>;": "; c\na = x#y ; z\nb = p#q\n;\n[s] ; t\n",
		"[s]>[r]": "; c\na = x#y ; z\nb = p#q\n;bare\n; t\n[r]\n",
	} {
		from, to, _ := strings.Cut(change, ">")
		got, err := INI{}.Restore([]byte(strings.Replace(string(d.Src), from, to, 1)), notes)
		if want == "" {
			if err == nil {
				t.Errorf("%s: restores to %q", change, got)
			}
		} else if err != nil || string(got) != want {
			t.Errorf("%s: restores to %q, %v, want %q", change, got, err, want)
		}
	}
}

// TestINIEmits: trees of other formats become sections, where they fit.
func TestINIEmits(t *testing.T) {
	for src, want := range map[string]string{
		"a: 1\nbc: x\n": "a  = 1\nbc = x\n",
		"DEFAULT:\n  a: 1\ns:\n  b: 1.50\n  c: null\n":  "a = 1\n\n[s]\nb = 1.5\nc =\n",
		"# s\ns:\n  a: 1\n  # b\n  b: 2\n":              "; s\n[s]\na = 1\n; b\nb = 2\n",
		"s:\n  a: 'x;y'\n  b: ' z '\n  c: \"p\\nq\"\n":  "[s]\na = `x;y`\nb = \" z \"\nc = \"\"\"p\nq\"\"\"\n",
		"s:\n  a=b: x\n  '\"c': y\n":                    "[s]\n`a=b` = x\n`\"c`  = y\n",
		"s:\n  a: \"'x'\"\n  b: x\\\n  c: '`'\n":        "[s]\na = \"'x'\"\nb = \"x\\\"\nc = \"`\"\n",
		"s:\n  a: [1]\n":                                "",
		"s:\n  a: {b: c}\n":                             "",
		"s: [1]\n":                                      "",
		"a: 1\ns: {b: 2}\n":                             "",
		"- a\n":                                         "",
		"s:\n  '-': 1\n":                                "",
		"s:\n  '': 1\n":                                 "",
		"s:\n  ' a': 1\n":                               "",
		"s:\n  a: \"`\\n`\\\"\\\"\\\"\\n\\\"\\\"\\\"\"": "",
	} {
		d, _, err := YAML{}.Prepare([]byte(src), Splice)
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		got, err := INI{}.Emit(d.Unwrap())
		if err != nil {
			got = nil
		}
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q is written as %q, %v, want %q", src, got, err, want)
		}
	}
}

// TestINIMetadata: the section of the metadata is found wherever it is, and all that
// kenv would not have written is told.
func TestINIMetadata(t *testing.T) {
	for src, odd := range map[string]string{
		"a = 1\n\n[sops]\nmac = x\n":       "",
		"a = 1\n[sops]\nmac = x":           "",
		"[sops]\nmac = x\n":                "",
		"[sops]\nmac = x\n[s]\na = 1\n":    "sections after the metadata",
		" [sops]\nmac = x\n":               "more than its name in the header of the metadata",
		"[sops] ; c\nmac = x\n":            "more than its name in the header of the metadata",
		"[sops]\n; c\nmac = x\n":           "comments in the metadata",
		"[sops]\nmac = x ; c\n":            "comments in the metadata",
		"[sops]\nmac = `x` c\n":            "comments in the metadata",
		"[s] t\n[sops]\nmac = x\n":         "text that is part of nothing",
		"a=1\nb=2\na=3\n[sops]\nmac = x\n": "a key again behind others",
	} {
		d, err := INI{}.Parse([]byte(src))
		if err != nil {
			t.Errorf("%q: %v", src, err)
			continue
		}
		if got := strings.Join(d.Odd(), ", "); got != odd || d.Meta.Get("mac") != "x" {
			t.Errorf("%q: odd: %q, want %q; %v", src, got, odd, d.Meta)
		}
	}
	for src, want := range map[string]error{
		"a = 1\n":                            ErrNoMetadata,
		"bare\n":                             ErrNoMetadata,
		"[SOPS]\nmac = x\n":                  ErrNoMetadata,
		"[sops]\nmac = x\n[sops]\n":          nil,
		"bare\n[sops]\nmac = x\n":            nil,
		"[sops]\nmac = x\nmac = y\n":         nil,
		"[sops]\nage__list_1__map_enc = x\n": nil,
	} {
		d, err := INI{}.Parse([]byte(src))
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %v, %v", src, d, err)
		}
	}
	if _, _, err := (INI{}).Prepare([]byte("a = 1\n[sops]\n"), Splice); !errors.Is(err, ErrReserved) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a section sops: %v", err)
	}
}

// TestINIIsLinear: no text makes reading or restoring take time out of proportion.
func TestINIIsLinear(t *testing.T) {
	const n = 30000
	repeat := func(format string) string {
		var b strings.Builder
		for i := range n {
			if strings.Contains(format, "%") {
				fmt.Fprintf(&b, format, i)
			} else {
				b.WriteString(format)
			}
		}
		return b.String()
	}
	for name, src := range map[string]string{
		"keys":        repeat("key_%d = x#y ; z\n"),
		"sections":    repeat("[s%d] ; c\na = 1\n"),
		"one key":     repeat("a = x\n"),
		"bare lines":  repeat("bare\n"),
		"comments":    repeat("; c\n") + "a = 1\n",
		"bare, keys":  repeat("bare\nk%d = 1 ; c\n"),
		"continued":   "a = " + repeat("x \\\n") + "\n",
		"quotes":      "a = `x\n" + repeat("\"\"\"\n") + "`\n",
		"runs":        "a =\n" + repeat("  b\n"),
		"many runs":   repeat("k%d =\n  b\n"),
		"stairs":      "a =\n" + strings.Repeat("  x = 1\n", n/2) + strings.Repeat("   y = 1\n", n/2) + "bare\n",
		"empty lines": repeat("\n") + "a = 1\n" + repeat("\n"),
		"one line":    "a = " + repeat("#") + "\n",
		"brackets":    repeat("[") + repeat("]") + "\n",
		"marks":       repeat(";") + "\n" + repeat("# "),
	} {
		start := time.Now()
		d, notes, err := INI{}.Prepare([]byte(src), Splice)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if back, err := (INI{}).Restore(slices.Clone(d.Src), notes); err != nil || string(back) != src {
			t.Errorf("%s: does not come back: %v", name, err)
		}
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: %d bytes take %v", name, len(src), took)
		} else {
			t.Logf("%s: %v", name, took)
		}
	}
}
