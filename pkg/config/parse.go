package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What a config may cost. Real ones stay far below.
const (
	maxNodes   = 1 << 17 // YAML nodes looked at, aliases expanded; 64 bytes of text count as one
	maxRules   = 1 << 13
	maxNesting = 64
	maxRegexes = 1 << 17 // size of all expressions, repetitions expanded
	maxRegex   = 1 << 16 // length of one, in bytes
	maxGroups  = 255     // shares of a data key
	maxIndent  = 64
)

// A parser turns YAML nodes into a Config. It keeps the first error and does
// nothing after that, so its methods need not return one.
type parser struct {
	path    string
	strict  bool
	nodes   int // how many more may be looked at
	regexes int // how much larger the expressions may get
	rules   int // how many were read
	depth   int
	err     error
	rule    *Rule // being read
}

// newParser returns a parser for the config at path. One that sops reads as well is
// read as sops does.
func newParser(path string) *parser {
	return &parser{path: path, strict: !strings.Contains(filepath.Base(path), "sops"), nodes: maxNodes, regexes: maxRegexes}
}

// fail records that the node at hand is wrong.
func (p *parser) fail(n *yaml.Node, field, format string, args ...any) {
	if p.err == nil {
		p.err = p.at(n, field, format, args...)
	}
}

// fault records that the rule being read cannot be used. In a file that sops reads
// as well this matters only to the files that it covers, as it does in sops.
func (p *parser) fault(n *yaml.Node, field, format string, args ...any) {
	if p.strict {
		p.fail(n, field, format, args...)
	} else if p.rule.fault == nil {
		p.rule.fault = p.at(n, field, format, args...)
	}
}

func (p *parser) at(n *yaml.Node, field, format string, args ...any) *Error {
	return &Error{Path: p.path, Line: n.Line, Field: field, Msg: fmt.Sprintf(format, args...)}
}

// maxTags bounds the %TAG directives of a config, each of which the parser compares with all
// others.
const maxTags = 100

// document parses the text and returns its root, or nil for an empty text.
func (p *parser) document(src []byte) (root *yaml.Node) {
	// The YAML package panics on states that it believes impossible.
	defer func() {
		if recover() != nil {
			p.err = &Error{Path: p.path, Msg: "not valid YAML"}
		}
	}()
	if bytes.Count(bytes.ReplaceAll(src, []byte{0}, nil), []byte("%TAG")) > maxTags { // UTF-16 has zeros between
		p.err = &Error{Path: p.path, Msg: fmt.Sprintf("more than %d %%TAG directives", maxTags)}
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		p.err = p.syntaxError(err)
		return nil
	}
	if p.strict {
		var second yaml.Node
		switch err := dec.Decode(&second); {
		case err == nil:
			p.fail(&second, "", "a second YAML document, which would not be read")
		case !errors.Is(err, io.EOF):
			p.err = p.syntaxError(err)
		}
	}
	if len(doc.Content) != 1 {
		return nil
	}
	return doc.Content[0]
}

// syntaxError takes the line out of an error of the YAML package.
func (p *parser) syntaxError(err error) *Error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{Path: p.path, Msg: "not valid YAML: " + msg}
	if rest, ok := strings.CutPrefix(msg, "line "); ok {
		if num, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(num); err == nil {
				e.Line, e.Msg = line, "not valid YAML: "+what
			}
		}
	}
	return e
}

// spend counts a node that is looked at, every time that it is.
func (p *parser) spend(n *yaml.Node) {
	if p.nodes -= 1 + len(n.Value)/64; p.nodes < 0 {
		p.fail(n, "", "too large, or its aliases expand without end")
	}
}

// follow returns the node that n stands for. It is nil after an error, and for a
// node without a value.
func (p *parser) follow(n *yaml.Node, field string) *yaml.Node {
	if p.err != nil {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if p.spend(n); p.err != nil {
		return nil
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		if p.strict {
			p.fail(n, field, "has no value; give it one or delete the line")
		}
		return nil
	}
	return n
}

// nest calls read, one level deeper than its caller.
func (p *parser) nest(n *yaml.Node, read func()) {
	if p.depth == maxNesting {
		p.fail(n, "", "nested more than %d levels deep", maxNesting)
		return
	}
	p.depth++
	read()
	p.depth--
}

// fields says what to do with the value of each field of a mapping. One without a
// function is refused even where unknown fields are ignored: it is a setting that
// only the user's own machine may have.
type fields map[string]func(*yaml.Node)

// mapping calls the functions of those fields that n has, merge keys applied.
func (p *parser) mapping(n *yaml.Node, field string, known fields) {
	p.each(n, field, func(k, v *yaml.Node) {
		if read, ok := known[k.Value]; !ok {
			if p.strict {
				p.fail(k, "", "unknown field %.100q%s", k.Value, suggest(k.Value, known))
			}
		} else if read == nil {
			p.fail(k, k.Value, "is never read from here; set it in your own environment or user configuration")
		} else if p.follow(v, k.Value) != nil {
			read(v)
		}
	})
}

// each calls visit for every member of a map, merge keys applied.
func (p *parser) each(n *yaml.Node, field string, visit func(k, v *yaml.Node)) {
	if n = p.follow(n, field); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.fail(n, field, "must be a map")
		return
	}
	p.nest(n, func() { p.members(n, make(map[string]bool), visit) })
}

// members visits the members of n whose names are not in done, its own first and
// then those that it merges in.
func (p *parser) members(n *yaml.Node, done map[string]bool, visit func(k, v *yaml.Node)) {
	own := make(map[string]bool)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content) && p.err == nil; i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		p.spend(k)
		if k.Kind != yaml.ScalarNode {
			if p.strict {
				p.fail(k, "", "the name of a field must be a string")
			}
			continue
		}
		if own[k.Value] {
			p.fail(k, "", "%.100q is given twice", k.Value)
			return
		}
		own[k.Value] = true
		switch {
		case k.ShortTag() == "!!merge":
			merges = append(merges, v)
		case !done[k.Value]:
			done[k.Value] = true
			visit(k, v)
		}
	}
	for _, m := range merges {
		p.nest(m, func() { p.merge(m, done, visit) })
	}
}

// merge visits the value of a merge key: a map or a list of maps.
func (p *parser) merge(n *yaml.Node, done map[string]bool, visit func(k, v *yaml.Node)) {
	if n = p.follow(n, "<<"); n == nil {
		return
	}
	switch n.Kind {
	case yaml.MappingNode:
		p.members(n, done, visit)
	case yaml.SequenceNode:
		for _, m := range n.Content {
			p.nest(m, func() { p.merge(m, done, visit) })
		}
	default:
		p.fail(n, "<<", "must be a map or a list of maps")
	}
}

// list calls read for each item of n.
func (p *parser) list(n *yaml.Node, field string, read func(*yaml.Node)) {
	if n = p.follow(n, field); n == nil {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, field, "must be a list")
		return
	}
	p.nest(n, func() {
		for _, item := range n.Content {
			read(item)
		}
	})
}

// text returns the string that n is. Numbers and the like are taken as written.
func (p *parser) text(n *yaml.Node, field string) string {
	at := n
	if n = p.follow(n, field); n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!binary" {
		p.fail(at, field, "must be a string")
		return ""
	}
	return n.Value
}

// texts calls read for each string of a list, or for the one that stands for a
// list of one.
func (p *parser) texts(n *yaml.Node, field string, read func(n *yaml.Node, s string)) {
	one := func(n *yaml.Node) {
		if s := p.text(n, field); s != "" {
			read(n, s)
		} else {
			p.fail(n, field, "an empty string means nothing here")
		}
	}
	switch v := p.follow(n, field); {
	case v == nil:
	case v.Kind == yaml.ScalarNode:
		one(v)
	default:
		p.list(v, field, one)
	}
}

// names returns the strings of a list, or those that one string has between commas.
func (p *parser) names(n *yaml.Node, field string) []string {
	var all []string
	p.texts(n, field, func(_ *yaml.Node, s string) {
		for name := range strings.SplitSeq(s, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
	})
	return all
}

// truth returns the boolean that n is. The spellings of YAML 1.1 count, as in sops.
func (p *parser) truth(n *yaml.Node, field string) bool {
	var b bool
	if n = p.follow(n, field); n == nil {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Decode(&b) != nil {
		p.fail(n, field, "must be true or false")
	}
	return b
}

// number returns the integer that n is, which must be between min and max.
func (p *parser) number(n *yaml.Node, field string, min, max int) int {
	var i int
	if n = p.follow(n, field); n == nil {
		return 0
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || n.Decode(&i) != nil || i < min || i > max {
		p.fail(n, field, "must be a whole number from %d to %d", min, max)
		return 0
	}
	return i
}

// regex compiles the expression that n is.
func (p *parser) regex(n *yaml.Node, field string) (string, *regexp.Regexp) {
	expr := p.text(n, field)
	return expr, p.compile(n, field, expr)
}

// compile refuses expressions that are small to write and large to run: a config
// may come with a pull request.
func (p *parser) compile(n *yaml.Node, field, expr string) *regexp.Regexp {
	if p.err != nil {
		return nil
	}
	if len(expr) > maxRegex {
		p.fail(n, field, "too long")
		return nil
	}
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		why := "not a regular expression"
		if e := (*syntax.Error)(nil); errors.As(err, &e) {
			why = e.Code.String()
		}
		p.fail(n, field, "invalid regular expression %.200q: %s", expr, why)
		return nil
	}
	if p.regexes -= size(tree); p.regexes < 0 {
		p.fail(n, field, "this and the expressions before it are too large together")
		return nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		p.fail(n, field, "invalid regular expression %.200q", expr)
	}
	return re
}

// size is how large an expression is with its repetitions written out.
func size(re *syntax.Regexp) int {
	n := 1 + len(re.Rune)
	for _, sub := range re.Sub {
		n += size(sub)
	}
	if re.Op == syntax.OpRepeat {
		n *= max(re.Min, re.Max, 1)
	}
	return n
}

// suggest ends the sentence about an unknown field.
func suggest(name string, known fields) string {
	best, least := "", 3
	names := make([]string, 0, len(known))
	for k, read := range known {
		if read != nil {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, k := range names {
		if d := Distance(fold(name), fold(k)); d < least && d < len(k)/2+1 {
			best, least = k, d
		}
	}
	switch {
	case best != "":
		return fmt.Sprintf("; did you mean %q?", best)
	case len(names) == 0:
		return "; none is known here"
	}
	return "; known here: " + strings.Join(names, ", ")
}

// fold maps spellings of the same name to one.
func fold(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(strings.ToLower(name), "-", ""), "_", "")
}

// Distance is how many characters must be added, dropped or replaced to get from a
// to b. Names so long that they cannot be typing errors are just far away.
func Distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
