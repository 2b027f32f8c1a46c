package main

import (
	"fmt"
	"strings"
)

// A hostileText is made to cost whoever reads it: about n bytes, in the format that
// the name ends with.
type hostileText struct {
	name string
	text func(n int) string

	dense  bool // there is a value, a comment or a document in every few bytes
	always bool // it is tried even when there is no time for all
}

// fill repeats a piece, in which %d is its number, up to n bytes.
func fill(n int, piece string) string {
	var b strings.Builder
	numbered := strings.Contains(piece, "%d")
	for i := 0; b.Len() < n; i++ {
		if numbered {
			b.WriteString(strings.ReplaceAll(piece, "%d", fmt.Sprint(i)))
		} else {
			b.WriteString(piece)
		}
	}
	return b.String()
}

// filled makes a text of what comes first, pieces, and what comes last.
func filled(first, piece, last string) func(int) string {
	return func(n int) string { return first + fill(n, piece) + last }
}

// nested opens and closes depth times, or as often as fits.
func nested(open, core, shut string, depth int) func(int) string {
	return func(n int) string {
		d := min(depth, n/(len(open)+len(shut)))
		return "a: 1\nb: " + strings.Repeat(open, d) + core + strings.Repeat(shut, d) + "\n"
	}
}

func nestedJSON(open, core, shut string, depth int) func(int) string {
	return func(n int) string {
		d := min(depth, n/(len(open)+len(shut)))
		return `{"a": 1, "b": ` + strings.Repeat(open, d) + core + strings.Repeat(shut, d) + "}\n"
	}
}

// laughs doubles a list of aliases in each line, or what a merge key takes in.
func laughs(line string) func(int) string {
	return func(n int) string {
		text := "a0: &a0 {x: lol, y: lol}\n"
		for i := 1; i < 30; i++ {
			text += strings.NewReplacer("NEW", fmt.Sprint("a", i), "OLD", fmt.Sprint("*a", i-1)).Replace(line)
		}
		return text + fill(n-len(text), "# filler\n")
	}
}

const unlimited = 1 << 30

// hostileTexts are plaintexts, or the bodies of files said to be encrypted.
var hostileTexts = []hostileText{
	{name: "laughs.yaml", always: true, text: laughs("NEW: &NEW [OLD,OLD,OLD,OLD,OLD,OLD,OLD,OLD,OLD]\n")},
	{name: "laughs-merge.yaml", always: true, text: laughs("NEW: &NEW {<<: [OLD,OLD,OLD,OLD,OLD,OLD,OLD,OLD,OLD], zNEW: 1}\n")},
	{name: "laughs-map.yaml", always: true, text: laughs("NEW: &NEW {a: OLD, b: OLD, c: OLD}\n")},
	{name: "aliases.yaml", always: true, text: filled("a: &a 1\nb: [", "*a,", "1]\n")},
	{name: "aliases-long.yaml", text: func(n int) string { return "a: &a " + strings.Repeat("x", n/2) + "\nb: [" + fill(n/2, "*a, ") + "1]\n" }},
	{name: "alias-keys.yaml", text: filled("a: &a 1\nb:\n", "  *a : 1\n", "")},
	{name: "alias-self.yaml", text: filled("a: &a [*a, *a]\n", "b%d: *a\n", "")},
	{name: "merges.yaml", always: true, text: filled("a: &a {x: 1}\n", "k%d: {<<: *a}\n", "")},
	{name: "merge-many.yaml", text: filled("a: &a {x: 1}\nb:\n  <<: [", "*a, ", "*a]\n")},
	{name: "anchors.yaml", text: filled("", "k%d: &a%d 1\n", "")},
	{name: "anchors-aliases.yaml", always: true, dense: true, text: func(n int) string {
		return fill(n-30000, "k%d: &a%d 1\n") + "z: [" + fill(25000, "*a%d,") + "1]\n"
	}},
	{name: "anchors-same.yaml", always: true, dense: true, text: filled("", "k%d: &a 1\n", "z: *a\n")},
	{name: "flow-10000.yaml", always: true, text: nested("[", "1", "]", 10000)},
	{name: "flow.yaml", always: true, text: nested("[", "1", "]", unlimited)},
	{name: "flow-open.yaml", text: nested("[", "", "", unlimited)},
	{name: "flow-maps.yaml", always: true, text: nested("{a: ", "1", "}", 9000)},
	{name: "flow-maps-all.yaml", text: nested("{a: ", "1", "}", unlimited)},
	{name: "flow-pairs.yaml", always: true, dense: true, text: nested("[a: ", "1", "]", 9000)},
	{name: "dashes.yaml", text: filled("a:\n", "- ", "1\n")},
	{name: "dashes-9000.yaml", always: true, text: func(int) string { return "a:\n " + strings.Repeat("- ", 9000) + "1\n" }},
	{name: "dashes-lines.yaml", always: true, dense: true, text: func(n int) string {
		return "a:\n" + fill(n, " "+strings.Repeat("- ", 400)+"1\n")
	}},
	{name: "questions.yaml", text: filled("", "? ", "1\n")},
	{name: "question-flow.yaml", always: true, text: nested("{? ", "1", "}", 9000)},
	{name: "stairs.yaml", text: func(n int) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			b.WriteString(strings.Repeat(" ", i) + "a:\n")
		}
		return b.String() + strings.Repeat(" ", 2000) + "b: 1\n"
	}},
	{name: "stairs-down.yaml", text: func(n int) string {
		var up, down strings.Builder
		for i := 0; up.Len() < n/2; i++ {
			up.WriteString(strings.Repeat(" ", i) + "a:\n")
			down.WriteString(strings.Repeat(" ", 1000-min(i, 1000)) + "# c\n")
		}
		return up.String() + strings.Repeat(" ", 2000) + "b: 1\n" + down.String()
	}},
	{name: "plain.yaml", text: filled("a: ", "x", "\n")},
	{name: "plain-lines.yaml", text: filled("a: x\n", "  x\n", "")},
	{name: "quoted.yaml", always: true, text: filled(`a: "`, `\u0041`, "\"\n")},
	{name: "quoted-lines.yaml", text: filled("a: \"x\n", "\n", "\"\n")},
	{name: "single.yaml", text: filled("a: '", "''", "'\n")},
	{name: "literal.yaml", text: filled("a: |\n", "  x\n", "")},
	{name: "literal-blank.yaml", always: true, text: filled("a: |\n", "\n", "")},
	{name: "folded.yaml", text: filled("a: >\n", "  x\n", "")},
	{name: "folded-blank.yaml", text: filled("a: >+\n  x\n", " \n", "b: 1\n")},
	{name: "literals.yaml", always: true, dense: true, text: filled("", "k%d: |\n", "")},
	{name: "literals-deep.yaml", text: filled("a:\n", "  - |\n", "\n\n")},
	{name: "key-long.yaml", text: func(n int) string { return strings.Repeat("k", 1000) + ": 1\n" + strings.Repeat("k", n) + ": 1\n" }},
	{name: "key-long-quoted.yaml", text: func(n int) string { return "? \"" + strings.Repeat("k", n) + "\"\n: 1\n" }},
	{name: "key-above-all.yaml", always: true, text: func(n int) string {
		return "? \"" + strings.Repeat("k", 60000) + "\"\n: " + "{" + fill(n, "a%d: 1, ") + "}\n"
	}},
	{name: "key-above-list.yaml", always: true, dense: true, text: func(n int) string {
		return "? \"" + strings.Repeat("k", 60000) + "\"\n: " + "[" + fill(n, "1,") + "1]\n"
	}},
	{name: "key-above-lists.yaml", dense: true, text: func(n int) string {
		return "? \"" + strings.Repeat("k", 60000) + "\"\n: " + "[" + fill(n, "[1],") + "1]\n"
	}},
	{name: "key-above-comments.yaml", always: true, dense: true, text: func(n int) string {
		return "? \"" + strings.Repeat("k", 60000) + "\"\n:\n" + fill(n, "  a%d: 1 # c\n")
	}},
	{name: "keys.yaml", dense: true, text: filled("", "k%d: 1\n", "")},
	{name: "keys-same.yaml", dense: true, text: filled("", "k: 1\n", "")},
	{name: "keys-flow.yaml", text: filled("{", "k%d: 1,", "z: 1}\n")},
	{name: "keys-flow-accents.yaml", text: filled("{é: é,", "k%d: 1,", "z: 1}\n")},
	{name: "keys-odd.yaml", always: true, dense: true, text: filled("", "%d: 1\n", "")},
	{name: "keys-complex.yaml", text: filled("", "? [%d]\n: 1\n", "")},
	{name: "list.yaml", dense: true, text: filled("a: [", "1,", "1]\n")},
	{name: "list-empty.yaml", dense: true, text: filled("a: [", "{},", "{}]\n")},
	{name: "list-strings.yaml", dense: true, text: filled("a: [", "'',", "1]\n")},
	{name: "list-accents.yaml", dense: true, text: filled("a: [", "é,", "é]\n")},
	{name: "list-block.yaml", dense: true, text: filled("a:\n", "- 1\n", "")},
	{name: "list-dashes.yaml", dense: true, text: filled("a:\n", "-\n", "")},
	{name: "list-commented.yaml", dense: true, text: filled("a: [\n", "1, #\n", "1]\n")},
	{name: "nulls.yaml", dense: true, text: filled("", "k%d:\n", "")},
	{name: "documents.yaml", dense: true, text: filled("a: 1\n", "---\n", "")},
	{name: "documents-full.yaml", dense: true, text: filled("a: 1\n", "---\na: 1\n", "")},
	{name: "documents-ends.yaml", dense: true, text: filled("a: 1\n", "...\n", "")},
	{name: "documents-scalars.yaml", always: true, dense: true, text: filled("a: 1\n", "--- 1\n", "")},
	{name: "documents-comments.yaml", dense: true, text: filled("a: 1\n", "---\n# c\n", "")},
	{name: "comments.yaml", always: true, dense: true, text: filled("a: 1\n", "#\n", "")},
	{name: "comments-first.yaml", dense: true, text: filled("", "#\n", "a: 1\n")},
	{name: "comments-same.yaml", dense: true, text: filled("", "a%d: 1\n# c\n", "")},
	{name: "comments-line.yaml", dense: true, text: filled("", "a%d: 1 # c\n", "")},
	{name: "comments-list.yaml", dense: true, text: filled("a:\n", "- 1\n# c\n", "")},
	{name: "comments-indents.yaml", dense: true, text: filled("a:\n  b:\n    c: 1\n", "    # c\n  # c\n# c\n", "d: 1\n")},
	{name: "comments-flow.yaml", dense: true, text: filled("a: [\n", "# c\n1,\n", "]\n")},
	{name: "comments-flow-empty.yaml", dense: true, text: filled("a: [\n", "#\n", "]\n")},
	{name: "comments-blank.yaml", dense: true, text: filled("a: 1\n", "# c\n\n", "b: 1\n")},
	{name: "comment-long.yaml", text: filled("a: 1 # ", "c", "\n")},
	{name: "hashes.yaml", text: filled("a: ", "x# ", "\n")},
	{name: "tags.yaml", always: true, text: filled("", "k%d: !mine 1\n", "")},
	{name: "tags-str.yaml", text: filled("", "k%d: !!str 1\n", "")},
	{name: "tags-int.yaml", text: filled("", "k%d: !!int 0x1\n", "")},
	{name: "tags-float.yaml", text: filled("", "k%d: !!float 1\n", "")},
	{name: "tags-binary.yaml", always: true, text: filled("", "k%d: !!binary /w==\n", "")},
	{name: "tag-long.yaml", text: func(n int) string { return "a: !" + strings.Repeat("t", n) + " 1\n" }},
	{name: "directives.yaml", always: true, text: filled("%YAML 1.1\n", "%TAG !a%d! x\n", "---\na: 1\n")},
	{name: "directives-unknown.yaml", text: filled("", "%X y\n", "---\na: 1\n")},
	{name: "open-quote.yaml", text: filled("a: 1\n", `b: "`, "")},
	{name: "open-quotes.yaml", text: filled("a: 1\nb: \"", "x\n", "")},
	{name: "open-braces.yaml", text: filled("a: ", "{", "")},
	{name: "tabs.yaml", text: filled("a: 1\n", "\t", "\n")},
	{name: "colons.yaml", text: filled("a: 1\n", ": ", "\n")},
	{name: "spaces.yaml", text: filled("a: 1\n", " ", "\n")},
	{name: "blank.yaml", text: filled("a: 1\n", "\n", "b: 1\n")},
	{name: "blank-last.yaml", text: filled("a: 1\n", "\n", "")},
	{name: "cr.yaml", text: filled("a: 1\r", "b%d: 1\r", "")},
	{name: "crlf-blank.yaml", text: filled("a: 1\r\n", "\r\n", "b: 1\r\n")},
	{name: "separators.yaml", dense: true, text: filled("a: 1\n", "b%d: \"x\u2028y\"\n", "")},
	{name: "nel.yaml", text: filled("a: 1\n", "b%d: 1\u0085", "")},
	{name: "bom.yaml", text: filled("\uFEFFa: 1\n", "b%d: 1\n", "")},
	{name: "boms.yaml", text: filled("a: 1\n", "\uFEFF", "\n")},
	{name: "utf16.yaml", always: true, text: func(n int) string { return utf16Text(fill(n/2, "k%d: 1\n")) }},
	{name: "nul.yaml", text: filled("a: 1\n", "\x00", "\n")},
	{name: "latin1.yaml", text: filled("a: 1\nb: \"", "\xE9", "\"\n")},
	{name: "ints.yaml", text: filled("a: ", "9", "\n")},
	{name: "ints-many.yaml", text: filled("", "k%d: 99999999999999999999999999\n", "")},
	{name: "float-huge.yaml", text: filled("", "k%d: 1e999999999\n", "")},
	{name: "float-wide.yaml", text: filled("", "k%d: 1e308\n", "")},
	{name: "float-long.yaml", text: filled("a: 1.", "0", "1\n")},
	{name: "float-list.yaml", always: true, dense: true, text: filled("a: [", "1e308,", "1]\n")},
	{name: "float-tiny.yaml", always: true, text: filled("a: [", "1e-320,", "1]\n")},
	{name: "odd-floats.yaml", text: filled("", "k%d: [.nan, .inf, -.inf]\n", "")},
	{name: "octal.yaml", dense: true, text: filled("", "k%d: 0o17\n", "")},
	{name: "sexagesimal.yaml", text: filled("a: 1", ":59", "\n")},
	{name: "underscores.yaml", text: filled("a: 1", "_", "1\n")},
	{name: "times.yaml", text: filled("", "k%d: 2001-12-14t21:59:43.10-05:00\n", "")},
	{name: "times-odd.yaml", text: filled("", "k%d: 9999-99-99\n", "")},
	{name: "binary-tag.yaml", text: filled("a: !!binary ", "AAAA", "\n")},
	{name: "sops-twice.yaml", text: filled("a: 1\nsops:\n", "  k%d: 1\n", "sops: 1\n")},

	{name: "flow-9000.json", text: nestedJSON("[", "1", "]", 9000)},
	{name: "flow.json", always: true, text: nestedJSON("[", "1", "]", unlimited)},
	{name: "flow-open.json", text: nestedJSON("[", "", "", unlimited)},
	{name: "maps-9000.json", text: nestedJSON(`{"a":`, "1", "}", 9000)},
	{name: "maps-all.json", text: nestedJSON(`{"a":`, "1", "}", unlimited)},
	{name: "string.json", always: true, text: filled(`{"a": "`, `\u0041`, "\"}\n")},
	{name: "string-surrogates.json", text: filled(`{"a": "`, `\ud800`, "\"}\n")},
	{name: "string-open.json", text: filled(`{"a": "`, `\"`, "")},
	{name: "number.json", text: filled(`{"a": 1`, `0`, "}\n")},
	{name: "number-exponent.json", text: filled(`{"a": [`, `1e999999999,`, "1]}\n")},
	{name: "number-wide.json", always: true, text: filled(`{"a": [`, `1e308,`, "1]}\n")},
	{name: "number-small.json", always: true, text: filled(`{"a": [`, `1e-320,`, "1]}\n")},
	{name: "exponent-long.json", text: filled(`{"a": 1e`, `9`, "}\n")},
	{name: "keys.json", text: filled(`{`, `"k%d":1,`, "\"z\":1}\n")},
	{name: "keys-same.json", always: true, text: filled(`{`, `"k":1,`, "\"z\":1}\n")},
	{name: "key-long.json", text: filled(`{"`, `k`, "\":1}\n")},
	{name: "key-above-all.json", always: true, text: func(n int) string {
		return `{"` + strings.Repeat("k", 60000) + `":{` + fill(n, `"a%d":1,`) + "\"z\":1}}\n"
	}},
	{name: "list.json", always: true, dense: true, text: filled(`{"a": [`, `1,`, "1]}\n")},
	{name: "list-top.json", dense: true, text: filled(`[`, `1,`, "1]\n")},
	{name: "list-empty.json", dense: true, text: filled(`{"a": [`, `{},`, "1]}\n")},
	{name: "lists.json", dense: true, text: filled(`{"a": [`, `[1],`, "1]}\n")},
	{name: "documents.json", dense: true, text: filled("", `{"a":1}`, "\n")},
	{name: "blank.json", text: filled(`{"a": 1`, "\n", "}\n")},

	{name: "line.env", text: filled("A=", "x", "\n")},
	{name: "lines.env", text: filled("A=1\n", "A%d=1\n", "")},
	{name: "same.env", dense: true, text: filled("A=1\n", "A=\n", "")},
	{name: "blank.env", dense: true, text: filled("A=1\n", "\n", "")},
	{name: "comments.env", dense: true, text: filled("A=1\n", "#\n", "")},
	{name: "words.env", always: true, dense: true, text: filled("A=1\n", "word\n", "")},
	{name: "equals.env", dense: true, text: filled("A=1\n", "=\n", "")},
	{name: "open-quotes.env", always: true, dense: true, text: filled("A=1\n", "A%d=\"\n", "")},
	{name: "open-quotes-same.env", text: filled("A=1\n", "A=\"x\n", "")},
	{name: "open-singles.env", text: filled("A=1\n", "A%d='x\n", "")},
	{name: "multi-line.env", text: filled("A=\"x\n", "x\n", "\"\n")},
	{name: "multi-lines.env", text: filled("", "A%d=\"x\ny\"\n", "")},
	{name: "escapes.env", text: filled(`A="`, `\n`, "\"\n")},
	{name: "key-long.env", text: filled("A", "A", "=1\n")},
	{name: "exports.env", text: filled("A=1\n", "export A%d=1\n", "")},
	{name: "sops.env", text: filled("A=1\n", "sops_x%d=1\n", "")},
	{name: "sops-maps.env", text: filled("A=1\n", "sops_a__map_a%d=1\n", "sops_mac=x\n")},
	{name: "sops-lists.env", text: filled("A=1\n", "sops_a__list_%d__map_a=1\n", "sops_mac=x\n")},
	{name: "sops-index.env", text: filled("A=1\n", "sops_a__list_1%d999=1\n", "sops_mac=x\n")},
	{name: "sops-deep.env", text: filled("A=1\nsops_mac=x\nsops_a", "__map_a", "=1\n")},
	{name: "cr.env", text: filled("A=1\r", "A%d=1\r", "")},
	{name: "nul.env", text: filled("A=", "\x00", "\n")},

	{name: "sections.ini", always: true, text: filled("", "[s%d]\nk = 1\n", "")},
	{name: "section-long.ini", always: true, text: func(n int) string {
		return "[" + strings.Repeat("s", 60000) + "]\n" + fill(n-60000, "k%d = 1\n")
	}},
	{name: "sections-same.ini", text: filled("", "[s]\nk = 1\n", "")},
	{name: "sections-empty.ini", text: filled("[s]\nk = 1\n", "[s%d]\n", "")},
	{name: "sections-child.ini", text: func(n int) string { return "[" + strings.Repeat("a.", n/2) + "a]\nk = 1\n" }},
	{name: "keys.ini", text: filled("[s]\n", "k%d = 1\n", "")},
	{name: "keys-same.ini", text: filled("[s]\n", "k = 1\n", "")},
	{name: "line.ini", text: filled("[s]\nk = ", "x", "\n")},
	{name: "open-brackets.ini", text: filled("[s]\nk = 1\n", "[\n", "")},
	{name: "brackets.ini", text: filled("[s]\nk = 1\n", "[", "]\n")},
	{name: "open-triples.ini", text: filled("[s]\n", "k%d = \"\"\"\n", "")},
	{name: "open-ticks.ini", text: filled("[s]\n", "k%d = `\n", "")},
	{name: "open-tick-lines.ini", text: filled("[s]\nk = `", "x\n", "")},
	{name: "triples.ini", text: filled("[s]\nk = \"\"\"", "x\n", "\"\"\"\n")},
	{name: "continued.ini", text: filled("[s]\nk = x", "\\\n", "\n")},
	{name: "quotes.ini", text: filled("[s]\nk = ", "\"", "\n")},
	{name: "words.ini", text: filled("[s]\nk = 1\n", "word\n", "")},
	{name: "comments.ini", dense: true, text: filled("[s]\nk = 1\n", ";\n", "")},
	{name: "comments-each.ini", dense: true, text: filled("[s]\n", "; c\nk%d = 1 ; c\n", "")},
	{name: "comments-last.ini", dense: true, text: filled("[s]\n", "k%d = 1 # c\n", "")},
	{name: "blank.ini", text: filled("[s]\nk = 1\n", "\n", "")},
	{name: "percent.ini", text: filled("[s]\nk = ", "%(k)s", "\n")},
	{name: "autokeys.ini", text: filled("[s]\n", "- = 1\n", "")},

	{name: "zeros.bin", text: filled("", "\x00", "")},
	{name: "braces.bin", text: filled("", "{\"sops\":", "")},
}

func utf16Text(s string) string {
	b := []byte("\xFF\xFE")
	for _, c := range []byte(s) {
		b = append(b, c, 0)
	}
	return string(b)
}
