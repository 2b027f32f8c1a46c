package doc

import (
	"errors"
	"strings"
	"testing"
)

// at returns the node at a path of keys, and [] for the last item of a list.
func (t *Text) at(path string) *Node {
	n := t.Roots[0]
	if path == "" {
		return n
	}
	for _, step := range strings.Split(path, ".") {
		var next *Node
		for i, c := range items(n) {
			if n.Kind == Map && c.Key == step || n.Kind == List && string(rune('0'+i)) == step {
				next = c
			}
		}
		if n = next; n == nil {
			return nil
		}
	}
	return n
}

// edit makes one change: "path = JSON", "path + key = JSON", "path += JSON" or "- path".
func edit(t *testing.T, f Format, src, op string) (string, error) {
	t.Helper()
	text, err := ReadText(f, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	if path, ok := strings.CutPrefix(op, "- "); ok {
		out, err = text.Remove(text.at(path))
		return string(out), err
	}
	left, json, _ := strings.Cut(op, "= ")
	v, err := ParseValue([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	if path, ok := strings.CutSuffix(left, " +"); ok {
		out, err = text.Append(text.at(strings.TrimSpace(path)), v)
		return string(out), err
	}
	if path, key, ok := strings.Cut(left, " + "); ok {
		out, err = text.Insert(text.at(strings.TrimSpace(path)), strings.TrimSpace(key), v)
		return string(out), err
	}
	out, err = text.Replace(text.at(strings.TrimSpace(left)), v)
	return string(out), err
}

var edits = []struct{ name, src, op, want string }{
	// A value in a value's place.
	{"scalar", "a: 1 # c\nb: 2\n", `a = 7`, "a: 7 # c\nb: 2\n"},
	{"number as typed", "a: 1\n", `a = 123456789012345678901234567890`, "a: 123456789012345678901234567890\n"},
	{"float as typed", "a: 1\n", `a = 1.50`, "a: 1.50\n"},
	{"quotes stay", "a: 'x'\nb: \"y\"\n", `a = "it's"`, "a: 'it''s'\nb: \"y\"\n"},
	{"unsafe plain", "a: x\n", `a = "yes: #"`, "a: \"yes: #\"\n"},
	{"string to number", "a: 'x' # c\n", `a = 5`, "a: 5 # c\n"},
	{"null without text", "a:\nb: 1\n", `a = "x"`, "a: x\nb: 1\n"},
	{"null before a comment", "a: # c\nb: 1\n", `a = "x"`, "a: x # c\nb: 1\n"},
	{"literal", "a: |\n  x\n  y\nb: 1\n", `a = "p\nq\n"`, "a: |\n  p\n  q\nb: 1\n"},
	{"plain to lines", "m:\n  a: x\n  b: 1\n", `m.a = "p\nq\n"`, "m:\n  a: |\n      p\n      q\n  b: 1\n"},
	{"scalar to map", "m:\n  a: x # c\n  b: 1\n", `m.a = {"k": "v", "l": [1, 2]}`, "m:\n  a: # c\n    k: v\n    l:\n      - 1\n      - 2\n  b: 1\n"},
	{"map to scalar", "m: # c\n  a: 1 # d\n  # e\nb: 2\n", `m = 5`, "m: 5 # c\nb: 2\n"},
	{"map to map", "m: # c\n    a: 1\nb: 2\n", `m = {"x": {"z": null}}`, "m: # c\n    x:\n        z: null\nb: 2\n"},
	{"flow to flow", "m: {a: 1} # c\nb: 2\n", `m = {"x": [1, "two"]}`, "m: {x: [1, two]} # c\nb: 2\n"},
	{"empty to map", "m: {} # c\nb: 2\n", `m = {"x": 1}`, "m: # c\n  x: 1\nb: 2\n"},
	{"map to empty", "m:\n  a: 1\nb: 2\n", `m = {}`, "m: {}\nb: 2\n"},
	{"list item", "l:\n- a\n- b # c\n", `l.1 = "d"`, "l:\n- a\n- d # c\n"},
	{"list item to map", "l:\n- a\n- b\n", `l.0 = {"k": 1, "m": 2}`, "l:\n- k: 1\n  m: 2\n- b\n"},
	{"map item to scalar", "l:\n  - k: 1 # c\n    m: 2\n  - b\n", `l.0 = "x"`, "l:\n  - x\n  - b\n"},
	{"list item to list", "l:\n  - a\n", `l.0 = [1, [2]]`, "l:\n  - - 1\n    - - 2\n"},
	{"in flow", "m: {a: 1, b: [x, y]}\n", `m.b = {"k": "a, b"}`, "m: {a: 1, b: {k: \"a, b\"}}\n"},
	{"CRLF", "m:\r\n  a: 1\r\nb: 2\r\n", `m = {"x": 1, "z": 2}`, "m:\r\n  x: 1\r\n  z: 2\r\nb: 2\r\n"},
	{"alias", "a: &x 1\nb: *x\nc: 3\n", `b = 2`, "a: &x 1\nb: 2\nc: 3\n"},
	{"anchor stays", "a: &x 1\nb: 2\n", `a = {"k": 1}`, "a: &x\n  k: 1\nb: 2\n"},
	{"tag goes", "a: !!int '1'\nb: 2\n", `a = "x"`, "a: \"x\"\nb: 2\n"},

	// A new key.
	{"insert", "a: 1\nb: 2\n", ` + c = "x"`, "a: 1\nb: 2\nc: x\n"},
	{"insert, nested", "m:\n    a: 1\n\nb: 2\n", `m + c = "x"`, "m:\n    a: 1\n    c: x\n\nb: 2\n"},
	{"insert, no final newline", "a: 1", ` + c = 3`, "a: 1\nc: 3"},
	{"insert, CRLF", "a: 1\r\n", ` + c = {"d": 1}`, "a: 1\r\nc:\r\n  d: 1\r\n"},
	{"insert, quotes", "\"a\": \"1\"\n", ` + c = {"d": "x"}`, "\"a\": \"1\"\n\"c\":\n  \"d\": \"x\"\n"},
	{"insert, single quotes", "a: 'x'\n", ` + c = "y"`, "a: 'x'\nc: 'y'\n"},
	{"insert, odd key", "a: x\n", ` + true = "z"`, "a: x\n\"true\": z\n"},
	{"insert behind deeper comments", "m:\n  a: 1\n  # off: 2\n", ` + c = 1`, "m:\n  a: 1\n  # off: 2\nc: 1\n"},
	{"insert before level comments", "a: 1\n\n# end\n", ` + c = 1`, "a: 1\nc: 1\n\n# end\n"},
	{"insert behind a literal", "a: |\n  x\n\n\n# end\n", ` + c = 1`, "a: |\n  x\nc: 1\n\n\n# end\n"},
	{"insert behind a kept literal", "a: |+\n  x\n\n\nb: 1\n", ` + c = 1`, "a: |+\n  x\n\n\nb: 1\nc: 1\n"},
	{"insert, last is a kept literal", "b: 1\na: |+\n  x\n\n", ` + c = 1`, "b: 1\na: |+\n  x\n\nc: 1\n"},
	{"insert, last has no line end", "b: 1\na: |\n  x", ` + c = 1`, "b: 1\nc: 1\na: |\n  x"},
	{"insert into an item", "l:\n  - a: 1\n    b: 2\n  - c\n", `l.0 + k = 3`, "l:\n  - a: 1\n    b: 2\n    k: 3\n  - c\n"},
	{"insert into {}", "m: {} # c\nb: 1\n", `m + k = 3`, "m: # c\n  k: 3\nb: 1\n"},
	{"insert into flow", "m: {a: 1, b: 2}\n", `m + k = "x"`, "m: {a: 1, b: 2, k: x}\n"},
	{"insert into lines of flow", "m: {\n  a: 1, # c\n  b: 2 # d\n}\n", `m + k = "x"`, "m: {\n  a: 1, # c\n  b: 2, # d\n  k: x\n}\n"},
	{"insert behind a trailing comma", "m: {\n  a: 1,\n}\n", `m + k = "x"`, "m: {\n  a: 1,\n  k: x,\n}\n"},
	{"insert into document 1", "a: 1\n---\nb: 2\n", ` + k = 3`, "a: 1\nk: 3\n---\nb: 2\n"},
	{"insert into a comment", "# only\n", ` = {"k": 3}`, "# only\nk: 3\n"},
	{"insert into a root", "{}\n", ` + k = {"l": 3}`, "k:\n  l: 3\n"},
	{"insert, list style", "a:\n- x\nm:\n    k: 1\n", ` + c = ["z", {"p": 1}]`, "a:\n- x\nm:\n    k: 1\nc:\n- z\n- p: 1\n"},
	{"append", "l:\n  - a # c\n  # d\nb: 1\n", `l += "x"`, "l:\n  - a # c\n  - x\n  # d\nb: 1\n"},
	{"append, wide dash", "l:\n-   a\n", `l += "x"`, "l:\n-   a\n-   x\n"},
	{"append to []", "l: []\n", `l += "x"`, "l:\n  - x\n"},
	{"append to flow", "l: [a,b]\n", `l += "x"`, "l: [a,b,x]\n"},
	{"append to a root", "- a\n- b\n", ` += {"x": 1, "z": 2}`, "- a\n- b\n- x: 1\n  z: 2\n"},

	// What goes.
	{"remove", "a: 1\nb: 2 # c\nc: 3\n", `- b`, "a: 1\nc: 3\n"},
	{"remove first", "a: 1\nb: 2\n", `- a`, "b: 2\n"},
	{"remove last", "a: 1\nb: 2\n", `- b`, "a: 1\n"},
	{"remove last without line end", "a: 1\nb: 2", `- b`, "a: 1"},
	{"remove a map", "a: 1\nm:\n  x: 1\n  # off\n\nc: 3\n", `- m`, "a: 1\n\nc: 3\n"},
	{"remove between blank lines", "a: 1\n\nb: 2\n\nc: 3\n", `- b`, "a: 1\n\nc: 3\n"},
	{"remove with its comment", "a: 1\n# about b\n# more\nb: 2\n\nc: 3\n", `- b`, "a: 1\n\nc: 3\n"},
	{"remove under a heading", "x: 0\n# about both\nb: 2\nc: 3\n", `- b`, "x: 0\n# about both\nc: 3\n"},
	{"remove under a title", "# title\nb: 2\n\nc: 3\n", `- b`, "# title\n\nc: 3\n"},
	{"remove before a comment", "a: 1\n# about b\nb: 2\n# about c\nc: 3\n", `- b`, "a: 1\n# about c\nc: 3\n"},
	{"remove the only one", "m: # c\n  a: 1 # d\nb: 2\n", `- m.a`, "m: {} # c\nb: 2\n"},
	{"remove the only one of all", "# title\na: 1 # d\n", `- a`, "# title\n{}\n"},
	{"remove the first of an item", "l:\n  - a: 1 # c\n    # about b\n    b: 2\n", `- l.0.a`, "l:\n  - # about b\n    b: 2\n"},
	{"remove an item", "l:\n  - a\n  - b: 1\n    c: 2\n  - d\n", `- l.1`, "l:\n  - a\n  - d\n"},
	{"remove the only item", "l:\n- a\nb: 1\n", `- l.0`, "l: []\nb: 1\n"},
	{"remove in flow", "m: {a: 1, b: 2, c: 3}\n", `- m.b`, "m: {a: 1, c: 3}\n"},
	{"remove the last in flow", "m: {a: 1, b: 2}\n", `- m.b`, "m: {a: 1}\n"},
	{"remove the only one in flow", "m: { a: 1 }\n", `- m.a`, "m: {}\n"},
	{"remove in lines of flow", "m: {\n  a: 1, # c\n  b: 2, # d\n  # about e\n  e: 3\n}\n", `- m.b`, "m: {\n  a: 1, # c\n  # about e\n  e: 3\n}\n"},
	{"remove the last of lines of flow", "m: {\n  a: 1, # c\n  b: 2 # d\n}\n", `- m.b`, "m: {\n  a: 1 # c\n}\n"},
	{"remove the last before a trailing comma", "m: {\n  a: 1,\n  b: 2,\n}\n", `- m.b`, "m: {\n  a: 1,\n}\n"},
	{"remove a literal", "a: |+\n  x\n\nb: 1\n", `- a`, "b: 1\n"},
	{"remove before a literal's end", "a: |+\n  x\n\nb: 1\n\nc: 2\n", `- b`, "a: |+\n  x\n\nc: 2\n"},
	{"remove an explicit key", "? a\n: 1\nb: 2\n", `- a`, "b: 2\n"},
}

func TestEditYAML(t *testing.T) {
	for _, c := range edits {
		t.Run(c.name, func(t *testing.T) {
			got, err := edit(t, YAML{}, c.src, c.op)
			if err != nil || got != c.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

var jsonEdits = []struct{ name, src, op, want string }{
	{"scalar", `{"a": 1, "b": 2}`, `a = 1.50`, `{"a": 1.50, "b": 2}`},
	{"big", `{"a": 1}`, `a = 123456789012345678901234567890`, `{"a": 123456789012345678901234567890}`},
	{"compact", `{"a":1}`, ` + b = {"c":[1,2]}`, `{"a":1,"b":{"c":[1,2]}}`},
	{"compact, as it is", `{"a":1,"b":2}`, ` + c = 3`, `{"a":1,"b":2,"c":3}`},
	{"lines", "{\n  \"a\": 1\n}\n", ` + b = {"c": [1, {}]}`, "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\n      1,\n      {}\n    ]\n  }\n}\n"},
	{"tabs", "{\n\t\"m\": {\n\t\t\"a\": 1\n\t}\n}\n", `m + b = 2`, "{\n\t\"m\": {\n\t\t\"a\": 1,\n\t\t\"b\": 2\n\t}\n}\n"},
	{"CRLF", "{\r\n  \"a\": 1\r\n}\r\n", ` + b = [1]`, "{\r\n  \"a\": 1,\r\n  \"b\": [\r\n    1\r\n  ]\r\n}\r\n"},
	{"empty", "{\n  \"m\": {}\n}\n", `m + b = 2`, "{\n  \"m\": {\n    \"b\": 2\n  }\n}\n"},
	{"empty root", "{}\n", ` + b = 2`, "{\"b\": 2}\n"},
	{"line in lines", "{\n  \"l\": [80, 443]\n}\n", `l += 8080`, "{\n  \"l\": [80, 443, 8080]\n}\n"},
	{"line for line", "{\n  \"l\": [80, 443]\n}\n", `l = [1, 2]`, "{\n  \"l\": [1, 2]\n}\n"},
	{"remove", "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n", `- b`, "{\n  \"a\": 1,\n  \"c\": 3\n}\n"},
	{"remove last", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", `- b`, "{\n  \"a\": 1\n}\n"},
	{"remove only", "{\n  \"a\": 1\n}\n", `- a`, "{}\n"},
	{"BOM", "\uFEFF{\"a\": 1}", `a = 2`, "\uFEFF{\"a\": 2}"},
	{"list at the top", "[1, 2]", `- 0`, "[2]"},
}

func TestEditJSON(t *testing.T) {
	for _, c := range jsonEdits {
		t.Run(c.name, func(t *testing.T) {
			got, err := edit(t, JSON{}, c.src, c.op)
			if err != nil || got != c.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

var dotenvEdits = []struct{ name, src, op, want string }{
	{"plain", "A=b # c\nB=2\n", `A = "x"`, "A=x # c\nB=2\n"},
	{"plain to blanks", "A=b\n", `A = "x y"`, "A=\"x y\"\n"},
	{"blanks as they were", "A=b c\n", `A = "x y"`, "A=x y\n"},
	{"quotes stay", "A=\"b\" # c\nB='d'\n", `A = "x"`, "A=\"x\" # c\nB='d'\n"},
	{"single stay", "B='d'\n", `B = "x $y"`, "B='x $y'\n"},
	{"dollar", "B=\"d\"\n", `B = "x $y"`, "B='x $y'\n"},
	{"lines", "A=b\n", `A = "x\ny"`, "A=\"x\\ny\"\n"},
	{"lines of quotes", "A=\"x\ny\"\nB=1\n", `A = "z"`, "A=\"z\"\nB=1\n"},
	{"backslash", "A=b\n", `A = "C:\\new"`, "A=\"C:\\\\new\"\n"},
	{"quotes in it", "A=b\n", `A = "it's \"x\""`, "A=\"it's \\\"x\\\"\"\n"},
	{"number", "A=b\n", `A = 1e3`, "A=1e3\n"},
	{"bool", "A=b\n", `A = true`, "A=true\n"},
	{"null", "A=b\n", `A = null`, "A=\n"},
	{"insert", "A=b\n# end\n", ` + B = "x"`, "A=b\nB=x\n# end\n"},
	{"insert, no final newline", "A=b", ` + B = "x"`, "A=b\nB=x"},
	{"insert, export", "export A=b\n", ` + B = ""`, "export A=b\nexport B=\n"},
	{"export stays", "export A=b\n", `A = "x"`, "export A=x\n"},
	{"CRLF", "A=b\r\nB=1\r\n", `A = "x"`, "A=x\r\nB=1\r\n"},
	{"insert, CRLF", "A=b\r\n", ` + B = "x"`, "A=b\r\nB=x\r\n"},
	{"insert into comments", "# c\n", ` + B = "x"`, "# c\nB=x\n"},
	{"remove", "A=b\n# about B\nB=1\n\nC=2\n", `- B`, "A=b\n\nC=2\n"},
	{"remove lines", "A=\"x\ny\"\nB=1\n", `- A`, "B=1\n"},
	{"remove last", "A=1\nB=1", `- B`, "A=1"},
}

func TestEditDotenv(t *testing.T) {
	for _, c := range dotenvEdits {
		t.Run(c.name, func(t *testing.T) {
			got, err := edit(t, Dotenv{}, c.src, c.op)
			if err != nil || got != c.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

var iniEdits = []struct{ name, src, op, want string }{
	// A value in a value's place.
	{"before a comment", "k = a#b ; c\n", `DEFAULT.k = "w"`, "k = w ; c\n"},
	{"mark within", "k = a#b\n", `DEFAULT.k = "w"`, "k = w\n"},
	{"mark to mark", "k = a#b\n", `DEFAULT.k = "x;y"`, "k = x;y\n"},
	{"a mark", "k = a\n", `DEFAULT.k = "x;y"`, "k = x;y\n"},
	{"a mark before a comment", "k = a ; c\n", `DEFAULT.k = "x;y"`, "k = x;y ; c\n"},
	{"a mark between comments", "; b\nk = a ; c\n", `DEFAULT.k = "x;y"`, "; b\nk = x;y ; c\n"},
	{"a mark behind a blank", "k = a\n", `DEFAULT.k = "x ;y"`, "k = \"x ;y\"\n"},
	{"quotes and a mark", "k = \"a\"\n", `DEFAULT.k = "\"x\" ;y"`, "k = '\"x\" ;y'\n"},
	{"raw quotes go", "k = `a`\n", `DEFAULT.k = "w"`, "k = w\n"},
	{"raw quotes stay", "k = `a`\n", `DEFAULT.k = " w"`, "k = ` w`\n"},
	{"quotes stay", "[s]\nk = \"a\" ; c\nl = 'b'\n", `s.k = "w"`, "[s]\nk = \"w\" ; c\nl = 'b'\n"},
	{"single quotes stay", "[s]\nl = 'b'\n", `s.l = "w"`, "[s]\nl = 'w'\n"},
	{"lines", "k = a ; c\n", `DEFAULT.k = "x\ny"`, "k = \"\"\"x\ny\"\"\" ; c\n"},
	{"lines of raw quotes", "k = `a\nb`\n", `DEFAULT.k = "x\ny"`, "k = `x\ny`\n"},
	{"Python's lines", "k =\n  a\n  b\n", `DEFAULT.k = "w"`, "k = w\n"},
	{"Python's lines, no blank", "k=\n  a\n  b\nl=1\n", `DEFAULT.k = "w"`, "k=w\nl=1\n"},
	{"lines to lines", "k =\n  a\n  b\n", `DEFAULT.k = "\nx\ny\nz"`, "k =\n  x\n  y\n  z\n"},
	{"lines to a first line", "k =\r\n\ta\r\n\tb\r\n", `DEFAULT.k = "x\ny"`, "k = x\r\n\ty\r\n"},
	{"lines of another kind", "k = a \\\n  b\nl = 1\n", `DEFAULT.k = "w"`, "k = w\nl = 1\n"},
	{"from nothing", "k =\n", `DEFAULT.k = "w"`, "k = w\n"},
	{"from nothing, no blank", "k=\n", `DEFAULT.k = "w"`, "k=w\n"},
	{"from nothing before a comment", "k = ; c\n", `DEFAULT.k = "w"`, "k = w ; c\n"},
	{"to nothing", "k = a ; c\n", `DEFAULT.k = ""`, "k = ; c\n"},
	{"to nothing, null", "k = a\n", `DEFAULT.k = null`, "k =\n"},
	{"backslash", "k = a\n", `DEFAULT.k = "C:\\"`, "k = \"C:\\\"\n"},
	{"colon", "[s]\nk: a\n", `s.k = 1e3`, "[s]\nk: 1e3\n"},
	{"CRLF", "[s]\r\nk = a\r\n", `s.k = true`, "[s]\r\nk = true\r\n"},
	{"BOM", "\uFEFF[s]\nk = a", `s.k = "w"`, "\uFEFF[s]\nk = w"},
	{"behind raw quotes", "[s]\nk = `a` b\n", `s.k = "w"`, "[s]\nk = `w` b\n"},
	{"section", "[s] ; c\nk = a ; d\n; e\n\n; t\n[t]\nx=1\n", `s = {"p": 1, "q": "x ;y"}`, "[s] ; c\np = 1\nq = \"x ;y\"\n\n; t\n[t]\nx=1\n"},
	{"section of nothing", "[s]\n[t]\nx=1\n", `s = {"p": 1}`, "[s]\np=1\n[t]\nx=1\n"},
	{"section to nothing", "[s]\nk = a\n\n[t]\nx=1\n", `s = {}`, "[s]\n\n[t]\nx=1\n"},
	{"section without a header", "; title\n\na = 1\nb = 2\n\n[t]\n", `DEFAULT = {"c": 3}`, "; title\n\nc = 3\n\n[t]\n"},
	{"section without a header to nothing", "a = 1\n\n[t]\n", `DEFAULT = {}`, "[t]\n"},

	// A new key.
	{"insert", "[s]\na = 1\nb = 2\n\n[t]\nc = 3\n", `s + k = "x;y"`, "[s]\na = 1\nb = 2\nk = x;y\n\n[t]\nc = 3\n"},
	{"insert, no blanks", "[s]\na=1\n[t]\n", `s + k = "w"`, "[s]\na=1\nk=w\n[t]\n"},
	{"insert, colon", "[s]\na: 1\n", `s + k = "w"`, "[s]\na: 1\nk: w\n"},
	{"insert, colon behind nothing", "[s]\na:\n", `s + k = "w"`, "[s]\na:\nk: w\n"},
	{"insert, indent", "[s]\n\ta = 1\n[t]\n", `s + k = "w"`, "[s]\n\ta = 1\n\tk = w\n[t]\n"},
	{"insert, columns", "[s]\na   = 1\nbcd = 2\n", `s + ef = "w"`, "[s]\na   = 1\nbcd = 2\nef  = w\n"},
	{"insert, wide in columns", "[s]\na   = 1\nbcd = 2\n", `s + efghi = "w"`, "[s]\na   = 1\nbcd = 2\nefghi = w\n"},
	{"insert, no columns", "[s]\na = 1\nb  = 2\n", `s + e = "w"`, "[s]\na = 1\nb  = 2\ne = w\n"},
	{"insert, CRLF", "[s]\r\na = 1\r\n", `s + k = "w"`, "[s]\r\na = 1\r\nk = w\r\n"},
	{"insert, no final newline", "[s]\na = 1", `s + k = ""`, "[s]\na = 1\nk ="},
	{"insert behind a comment", "[s]\na = 1 ; c\n; d\n", `s + k = "w"`, "[s]\na = 1 ; c\nk = w\n; d\n"},
	{"insert behind lines", "[s]\na =\n  b\n  c\n[t]\n", `s + k = "w"`, "[s]\na =\n  b\n  c\nk = w\n[t]\n"},
	{"insert behind raw lines", "[s]\na = \"\"\"b\n[x]\"\"\" ; c\n[t]\n", `s + k = "w"`, "[s]\na = \"\"\"b\n[x]\"\"\" ; c\nk = w\n[t]\n"},
	{"insert into nothing", "[s]\n\n[t]\na=1\n", `s + k = "w"`, "[s]\nk=w\n\n[t]\na=1\n"},
	{"insert behind bare lines", "[s]\nhost\n\n; t\n[t]\na=1\n", `s + k = "w"`, "[s]\nhost\nk=w\n\n; t\n[t]\na=1\n"},
	{"insert lines", "[s]\na = 1\n", `s + k = "x\ny"`, "[s]\na = 1\nk = \"\"\"x\ny\"\"\"\n"},
	{"insert an odd key", "[s]\na = 1\n", `s + x=y = "w"`, "[s]\na = 1\n`x=y` = w\n"},
	{"insert without a section", "a = 1\n\n[s]\nb = 2\n", `DEFAULT + k = "w"`, "a = 1\nk = w\n\n[s]\nb = 2\n"},
	{"insert the first without a section", "; title\n\n; s\n[s]\n\tb = 2\n", ` + DEFAULT = {"k": "w"}`, "; title\n\nk = w\n\n; s\n[s]\n\tb = 2\n"},
	{"insert the first, no blank lines", "[s]\nb=2\n[t]\n", ` + DEFAULT = {"k": "w"}`, "k=w\n[s]\nb=2\n[t]\n"},
	{"insert into a written DEFAULT", "[DEFAULT]\na=1\n[s]\n", `DEFAULT + k = "w"`, "[DEFAULT]\na=1\nk=w\n[s]\n"},
	{"insert into comments", "; only\n", ` + DEFAULT = {"k": "w"}`, "; only\nk = w\n"},
	{"insert a section", "[s]\na=1\n\n[t]\nb=2\n", ` + u = {"k": "w", "l": ""}`, "[s]\na=1\n\n[t]\nb=2\n\n[u]\nk=w\nl=\n"},
	{"insert a section, no blank lines", "[s]\n\ta = 1\n[t]\n\tb = 2\n", ` + u = {"k": "w"}`, "[s]\n\ta = 1\n[t]\n\tb = 2\n[u]\n\tk = w\n"},
	{"insert a section behind comments", "a = 1\n; end", ` + u = {"k": "w"}`, "a = 1\n; end\n\n[u]\nk = w"},
	{"insert a section, CRLF", "[s]\r\na=1\r\n\r\n", ` + u = {}`, "[s]\r\na=1\r\n\r\n[u]\r\n\r\n"},

	// What goes.
	{"remove", "[s]\na = 1\nb = 2 ; c\nc = 3\n", `- s.b`, "[s]\na = 1\nc = 3\n"},
	{"remove with its comment", "[s]\na = 1\n; about b\n# more\nb = 2\n\nc = 3\n", `- s.b`, "[s]\na = 1\n\nc = 3\n"},
	{"remove under a heading", "[s]\n; about both\nb = 2\nc = 3\n", `- s.b`, "[s]\n; about both\nc = 3\n"},
	{"remove under a title", "; title\nb = 2\n\nc = 3\n", `- DEFAULT.b`, "; title\n\nc = 3\n"},
	{"remove lines", "[s]\na =\n  x\n  y\nb = 1\n", `- s.a`, "[s]\nb = 1\n"},
	{"remove raw lines", "[s]\na = `x\ny` ; c\nb = 1\n", `- s.a`, "[s]\nb = 1\n"},
	{"remove the last", "[s]\na = 1\nb = 2", `- s.b`, "[s]\na = 1"},
	{"remove the only one", "[s] ; c\na = 1\n[t]\n", `- s.a`, "[s] ; c\n[t]\n"},
	{"remove the only one without a section", "; title\n\na = 1\n; off = 2\n\n[t]\nx = 1\n", `- DEFAULT.a`, "; title\n\n; off = 2\n\n[t]\nx = 1\n"},
	{"remove all without a section", "; title\n\n; a\na = 1\n; b\nb = 2\n\n; t\n[t]\nx = 1\n", `- DEFAULT`, "; title\n\n; t\n[t]\nx = 1\n"},
	{"remove a section", "[s]\na = 1\n\n; about t\n[t]\n; off = 1\nb = 2\n\n; off = 2\n\n; about u\n[u]\nc = 3\n", `- t`, "[s]\na = 1\n\n; about u\n[u]\nc = 3\n"},
	{"remove a section, no blank lines", "[s]\na=1\n; t\n[t]\nb=2\n; u\n[u]\nc=3\n", `- t`, "[s]\na=1\n; u\n[u]\nc=3\n"},
	{"remove the last section", "[s]\na=1\n\n[t]\nb=2\n; end\n", `- t`, "[s]\na=1\n"},
	{"remove the first section", "; title\n[s]\na=1\n\n[t]\nb=2\n", `- s`, "; title\n\n[t]\nb=2\n"},
	{"remove a written DEFAULT", "[s]\na=1\n[DEFAULT]\nb=2\n", `- DEFAULT`, "[s]\na=1\n"},
	{"remove before what would join", "[s]\na = 1\nb = 2\n  bare\n", `- s.b`, "[s]\na = 1\n"},
}

func TestEditINI(t *testing.T) {
	for _, c := range iniEdits {
		t.Run(c.name, func(t *testing.T) {
			got, err := edit(t, INI{}, c.src, c.op)
			if err != nil || got != c.want {
				t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, c.want)
			}
		})
	}
}

// Aliases repeat a value, so a change of it is one elsewhere too.
func TestEditAliases(t *testing.T) {
	const src = "base: &b\n  pw: x\n  l: &l [1]\nprod:\n  <<: *b\n  other: *l\n"
	for op, gone := range map[string]bool{`base.pw = "z"`: false, `base + k = 1`: false, "- base.pw": false, "- base": true, `base = 5`: true, "base.l = 5": false} {
		_, err := edit(t, YAML{}, src, op)
		alias := (*AliasError)(nil)
		if !errors.As(err, &alias) || alias.Gone != gone {
			t.Errorf("%s: %v", op, err)
		}
	}
	text, err := ReadText(YAML{}, []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	text.FollowAliases = true
	out, err := text.Replace(text.at("base.pw"), StringValue("z"))
	if want := strings.Replace(src, "pw: x", "pw: z", 1); err != nil || string(out) != want {
		t.Errorf("%v: %s", err, out)
	}
	if _, err = text.Remove(text.at("base.l")); err == nil {
		t.Error("an anchor was taken away that is needed")
	}
	if got, err := edit(t, YAML{}, src, `prod + pw = "z"`); err != nil || got != src+"  pw: z\n" {
		t.Errorf("%v: %s", err, got)
	}
	if text.at("prod.<<.pw") == nil || text.lineage(text.at("prod.<<.pw")) != nil {
		t.Error("what an alias repeats counts as text")
	}
}
