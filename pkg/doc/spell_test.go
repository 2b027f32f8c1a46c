package doc

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// places are texts in which one value, of the key k or in its list, is respelled
// and everything else has to stay.
var places = map[string]struct {
	format Format
	src    string
}{
	"plain":           {YAML{}, "a: b\nk: v\nz: end\n"},
	"plain, last":     {YAML{}, "a: b\nk: v"},
	"plain, nested":   {YAML{}, "m:\n    k: v # c\n    z: end\n"},
	"plain, lines":    {YAML{}, "k: v\n  w\nz: end\n"},
	"plain, CRLF":     {YAML{}, "a: b\r\nk: v\r\nz: end\r\n"},
	"plain, flow":     {YAML{}, "m: {a: b, k: v, z: end}\n"},
	"plain, flow end": {YAML{}, "{a: b, k: v}\n"},
	"single":          {YAML{}, "k: 'v' # c\nz: end\n"},
	"double":          {YAML{}, "k: \"v\"\nz: end\n"},
	"double, flow":    {YAML{}, "m: [{k: \"v\"}, z]\n"},
	"literal":         {YAML{}, "k: |\n  v\n  w\nz: end\n"},
	"literal, end":    {YAML{}, "a: b\nk: |\n  v"},
	"literal, strip":  {YAML{}, "k: |- # c\n  v\n\nz: end\n"},
	"literal, keep":   {YAML{}, "k: |+\n  v\n\n\nz: end\n"},
	"literal, digit":  {YAML{}, "m:\n  k: |2\n      v\n  z: end\n"},
	"folded":          {YAML{}, "k: >\n  v\n  w\n\n  x\nz: end\n"},
	"folded, CRLF":    {YAML{}, "k: >-\r\n  v\r\nz: end\r\n"},
	"tagged":          {YAML{}, "k: !!str v\nz: end\n"},
	"local tag":       {YAML{}, "k: !x v\nz: end\n"},
	"local tag, flow": {YAML{}, "m: {k: !x v, z: end}\n"},
	"anchored":        {YAML{}, "k: &a v\nz: end\n"},
	"anchor and tag":  {YAML{}, "k: &a !x 'v'\nz: end\n"},
	"explicit key":    {YAML{}, "? k\n: v\nz: end\n"},
	"document 2":      {YAML{}, "a: b\n---\nk: v\n---\nz: end\n"},
	"indented root":   {YAML{}, "  a: b\n  k: v\n  z: end\n"},
	"JSON":            {JSON{}, `{"a": "b", "k": "v", "z": "end"}`},
	"dotenv":          {Dotenv{}, "A=b\nk=v\nZ=end\n"},
	"dotenv, last":    {Dotenv{}, "A=b\nk=v"},
	"INI":             {INI{}, "[s]\na = b\nk = v\nz = end\n"},
	"INI, last":       {INI{}, "a = b\nk=v"},
	"INI, empty":      {INI{}, "[s]\nk =\nz = end\n"},
	"INI, CRLF":       {INI{}, "[s]\r\nk : v\r\nz = end\r\n"},
	"INI, comment":    {INI{}, "k = v ; c\nz = end\n"},
	"INI, no value":   {INI{}, "k = ; c\nz = end\n"},
	"INI, single":     {INI{}, "k = 'v'\nz = end\n"},
	"INI, double":     {INI{}, "k = \"v\" # c\nz = end\n"},
	"INI, raw":        {INI{}, "k = `v`\nz = end\n"},
	"INI, triple":     {INI{}, "k = \"\"\"v\nw\"\"\"\nz = end\n"},
	"INI, continued":  {INI{}, "k = v \\\n  w\nz = end\n"},
	"INI, twice":      {INI{}, "k = v\nk = w\nz = end\n"},
}

// valueOf finds the value of the key k.
func valueOf(d *Document) (found *Node) {
	var walk func(n *Node)
	walk = func(n *Node) {
		for _, c := range n.Items {
			if c.Key == "k" && c.Kind == Scalar {
				found = c
			}
			walk(c)
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	return found
}

// respell writes a value in a place and reads it back.
func respell(t *testing.T, f Format, src string, typ Type, text string) {
	t.Helper()
	d, _, err := f.Prepare([]byte(src), Splice)
	if err != nil {
		t.Fatal(err)
	}
	n := valueOf(d)
	out := Apply(d.Src, []Edit{f.Spell(d, n, typ, text)})
	n.Type, n.Text = typ, text
	got, err := f.shape(out)
	if err != nil {
		t.Fatalf("%v %q: does not read: %q: %v", typ, text, out, err)
	}
	if len(got.Roots) != len(d.Roots) {
		t.Fatalf("%v %q: %d documents: %q", typ, text, len(got.Roots), out)
	}
	for i := range got.Roots {
		if !Equal(got.Roots[i], d.Roots[i]) {
			t.Fatalf("%v %q reads as %v %q in %q", typ, text, valueOf(got).Type, valueOf(got).Text, out)
		}
	}
}

var awkward = []string{
	"x", "two words", "true", "Null", "~", "yes", "1", "1.5", "0x1f", "017", "0o17", "1_000", "190:20:30", ".inf", "1e400", "2001-12-14", "=", "<<",
	" x", "x ", "\tx", "x\t", "a: b", "a:", ":a", "a #b", "#a", "- a", "-", "--- a", "---", "...", "? a", "?", "| a", "> a", "%a", "@a", "`a", "!a", "&a", "*a",
	"[a]", "{a}", "a,b", "a]", "}", "'", "''", "it's", "\"", "\\", "\\n", "a\\", "ENC[x]", "é", "漢字", "😀", "\u00a0", "\u0085", "\u2028", "\ufeff", "\x00", "\x1b[31m", "\x7f", "\u009b",
	"\n", "a\n", "a\nb", "a\nb\n", "a\n\nb\n\n", "\na", " a\nb", "a\n b", "a\n  \nb", "a\nb\n ", "a\n\tb", "---\na", "a\n---\n", "a\n...\nb", "a\r\nb", "\r", "a\n# b", "# a\nb", "k: v\nz: w\n", "a\n\n", "\n\n",
}

// TestSpell: whatever a value is, in whatever place, it reads back as itself and
// leaves the rest alone.
func TestSpell(t *testing.T) {
	for name, p := range places {
		t.Run(name, func(t *testing.T) {
			for _, text := range awkward {
				if p.format.Name() == "dotenv" && strings.Contains(text, `\n`) {
					continue // sops has no escape for it
				}
				respell(t, p.format, p.src, String, text)
			}
			if p.format.Name() == "dotenv" || p.format.Name() == "ini" {
				return
			}
			for typ, texts := range map[Type][]string{
				Int:   {"0", "-1", "9223372036854775807", "-9223372036854775808"},
				Float: {"1", "1.5", "-0", "0.0000000015", "100000000000000000000000000"},
				Bool:  {"True", "False"},
			} {
				for _, text := range texts {
					if strings.Contains(p.src, "!!str") || strings.Contains(p.src, "!x") {
						continue // the tag goes, which Equal does not see
					}
					respell(t, p.format, p.src, typ, text)
				}
			}
		})
	}
}

func FuzzSpell(f *testing.F) {
	for _, text := range awkward {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return
		}
		for name, p := range places {
			if p.format.Name() == "dotenv" && strings.Contains(text, `\n`) {
				continue
			}
			if _, ok := iniSpell(text, plain, ""); !ok && p.format.Name() == "ini" {
				continue // it has both kinds of raw quotes
			}
			t.Run(name, func(t *testing.T) { respell(t, p.format, p.src, String, text) })
		}
	})
}

// TestSpellForOldReaders: a string that readers of YAML 1.1 would take for a bool
// or a number is quoted, as sops does.
func TestSpellForOldReaders(t *testing.T) {
	for _, text := range []string{"yes", "No", "on", "OFF", "y", "N", "190:20:30", "1:20.5"} {
		d, _, err := YAML{}.Prepare([]byte("k: v\n"), Splice)
		if err != nil {
			t.Fatal(err)
		}
		if e := (YAML{}).Spell(d, valueOf(d), String, text); e.Text != `"`+text+`"` {
			t.Errorf("%s is written %s", text, e.Text)
		}
	}
}

// TestPlaceOfComments: comments are in the map or list in which sops sees them,
// which is what their tokens authenticate.
func TestPlaceOfComments(t *testing.T) {
	var show func(n *Node) string
	show = func(n *Node) string {
		switch n.Kind {
		case Scalar:
			return n.Text
		case Comment:
			return "#" + n.Text
		}
		var items []string
		for _, c := range n.Items {
			key := ""
			if n.Kind == Map && c.Kind != Comment {
				key = c.Key + ":"
			}
			items = append(items, key+show(c))
		}
		return map[Kind]string{Map: "{", List: "["}[n.Kind] + strings.Join(items, " ") + map[Kind]string{Map: "}", List: "]"}[n.Kind]
	}
	for src, want := range map[string]string{
		"#1\na: b #2\n#3\n":                 "{#1 #2 a:b #3}",
		"a: #1\n    #2\n    b: c\n    #3\n": "{#1 a:{#2 b:c #3}}",
		"a:\n#1\n- b #2\n#3\n- c\n":         "{a:[#1 #2 b #3 c]}",
		"k: !!seq\n #1\n [a]\n":             "{k:[#1 a]}",
		"k: [a, b]#1\nl: m\n":               "{k:[#1 a b] l:m}",
		"k: {a: b} #1\nl: m\n":              "{k:{#1 a:b} l:m}",
		"{a: b, #1\n c: d} #2\n":            "{#2 #1 a:b c:d}",
		"a: b\n---\n#1\n---\nc: d\n":        "{a:b} {#1} {c:d}",
	} {
		d, _, err := YAML{}.Prepare([]byte(src), Splice)
		if err != nil {
			t.Errorf("%q: %v", src, err)
			continue
		}
		var got []string
		for _, r := range d.Roots {
			got = append(got, show(r))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q is %s, want %s", src, strings.Join(got, " "), want)
		}
	}
}

// TestSyntaxErrors: a fault is shown by its place and never by the text there.
func TestSyntaxErrors(t *testing.T) {
	for _, row := range []struct {
		format    Format
		src       string
		line, col int
	}{
		{YAML{}, "a: b\nc: *hunter2\n", 2, 0},
		{YAML{}, "a: b: hunter2\n", 1, 0},
		{YAML{}, "a: \"hunter2\n", 0, 0},
		{YAML{}, "a: !b!hunter2 c\n", 1, 0},
		{YAML{}, "\thunter2: x\n", 0, 0},
		{JSON{}, "{\"a\": hunter2}", 1, 7},
		{JSON{}, "{\"a\": 'hunter2'}", 1, 7},
		{JSON{}, "{\n  \"a\": 1,\n}", 3, 1},
		{JSON{}, "{\"a\": \"hunter2\n\"}", 1, 15},
		{INI{}, "a = b\n[hunter2\n", 2, 0},
		{INI{}, "[a]\n[]\n", 2, 0},
		{INI{}, "a = b\n\n = hunter2\n", 3, 0},
		{INI{}, "\"\" = hunter2\n", 1, 0},
		{INI{}, "\"hunter2 = x\n", 1, 0},
		{INI{}, "a = `hunter2\nb = c\n", 1, 0},
		{INI{}, "a = \"\"\"hunter2\nb = c\n", 1, 0},
	} {
		_, _, err := row.format.Prepare([]byte(row.src), Splice)
		syntax, ok := err.(*SyntaxError)
		if !ok {
			t.Errorf("%q: %v", row.src, err)
			continue
		}
		if strings.Contains(fmt.Sprintf("%v %#v", err, err), "hunter2") {
			t.Errorf("%q: shows the text: %v", row.src, err)
		}
		if row.line > 0 && syntax.Line != row.line || row.col > 0 && syntax.Col != row.col {
			t.Errorf("%q: %v, want line %d, column %d", row.src, err, row.line, row.col)
		}
	}
}

// TestAliasKey: an alias is a key's text only where it stands for a key, which is
// readable anyhow.
func TestAliasKey(t *testing.T) {
	for src, ok := range map[string]bool{
		"x:\n  &k a: 1\ny:\n  *k : 2\n": true,
		"a: &v secret\n*v : 2\n":        false,
		"a: &v\n  *v : 2\n":             false,
	} {
		_, _, err := YAML{}.Prepare([]byte(src), Splice)
		if (err == nil) != ok {
			t.Errorf("%q: %v", src, err)
		}
	}
}

// TestDotenvParse: an encrypted dotenv file is read as sops reads it, where only a
// # in the first column starts a comment.
func TestDotenvParse(t *testing.T) {
	d, err := Dotenv{}.Parse([]byte("#c\n # k=v\n=w\nsops_mac=x\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range d.Roots[0].Items {
		got = append(got, fmt.Sprintf("%d %q %q", n.Kind, n.Key, n.Text))
	}
	want := []string{`3 "" "c"`, `0 " # k" "v"`, `0 "" "w"`}
	if strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("got %q, want %q", got, want)
	}
}
