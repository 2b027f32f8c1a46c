package doc

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

var _ editor = Dotenv{}

func (Dotenv) read(src []byte) (*Document, error) {
	root := &Node{Kind: Map}
	lines := dotenvLines(src, true)
	if tooDenseLines(src, lines, 0) {
		return nil, ErrDense
	}
	for _, l := range lines {
		switch {
		case l.Start == l.End:
		case l.eq >= 0:
			n := &Node{
				Kind: Scalar,
				Span: Span{l.eq + 1, l.End},
				key:  Span{l.Start, l.eq},
			}
			v := envVar(string(src[l.Start:l.eq]), string(src[l.eq+1:l.End]))
			n.Key, n.Text = v.Name, v.Value
			root.Items = append(root.Items, n)
		default:
			root.Items = append(root.Items, commentNode(src, l.Span, 0))
		}
	}
	return &Document{Src: src, Roots: []*Node{root}}, nil
}

// envValue is the part of a line's value that programs read: without the blanks
// around it and a comment behind it.
func (d *Document) envValue(n *Node) Span {
	s := n.Span
	for s.End > s.Start && strings.IndexByte(" \t\r", d.Src[s.End-1]) >= 0 {
		s.End--
	}
	for s.Start < s.End && isBlank(d.Src[s.Start]) {
		s.Start++
	}
	if s.Start == s.End {
		return s
	}
	if q := d.Src[s.Start]; q == '"' || q == '\'' {
		for i := s.Start + 1; i < s.End; i++ {
			if d.Src[i] == '\\' && q == '"' {
				i++
			} else if d.Src[i] == q {
				return Span{s.Start, i + 1}
			}
		}
	}
	for i := s.Start; i < s.End; i++ {
		if d.Src[i] == '#' && (i == s.Start || isBlank(d.Src[i-1])) {
			for s.End = i; s.End > s.Start && isBlank(d.Src[s.End-1]); {
				s.End--
			}
			break
		}
	}
	return s
}

// envSpellings returns ways to write a value, those of like, what stands in its place,
// first.
func envSpellings(v *Document, like []byte) []string {
	text := v.Roots[0].Text
	single := "'" + text + "'"
	double := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(text) + `"`
	var ways []string
	quoted := len(like) > 0 && (like[0] == '"' || like[0] == '\'')
	switch {
	case quoted && like[0] == '\'' && !strings.ContainsAny(text, "'\n\r\\"):
		ways = append(ways, single)
	case quoted && like[0] == '"' && !strings.ContainsAny(text, "$`"):
		ways = append(ways, double)
	case !quoted && text == "":
		ways = append(ways, "")
	case !quoted && (!strings.ContainsAny(text, " \t\r\n\"'`$\\#;&|<>()") || // some reader would take these for more than text
		len(like) > 0 && bytes.ContainsAny(like, " &;|<>()") && !strings.ContainsAny(text, "\t\r\n\"'`$\\#")):
		ways = append(ways, text)
	}
	if strings.ContainsAny(text, "$`\"") && !strings.ContainsAny(text, "'\n\r\\") {
		ways = append(ways, single)
	}
	return append(ways, double, single, text)
}

func (Dotenv) replace(d *Document, at []*Node, v *Document) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		n := at[len(at)-1]
		s := d.envValue(n)
		for _, spelled := range envSpellings(v, d.Src[s.Start:s.End]) {
			if !yield([]Edit{{s, spelled}}) {
				return
			}
		}
	}
}

func (Dotenv) insert(d *Document, at []*Node, key string, v *Document) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		export := ""
		place := len(d.Src)
		list := items(at[0])
		if len(list) > 0 {
			last := list[len(list)-1]
			place = last.Span.End
			if place > last.Span.Start && d.Src[place-1] == '\r' {
				place--
			}
			if strings.HasPrefix(string(d.Src[last.key.Start:last.key.End]), "export ") {
				export = "export "
			}
		}
		for _, spelled := range envSpellings(v, nil) {
			line := export + key + "=" + spelled
			switch {
			case len(list) > 0 || place > 0 && d.Src[place-1] != '\n':
				line = d.lineBreak() + line
			default:
				line += d.lineBreak()
			}
			if !yield([]Edit{{Span{place, place}, line}}) {
				return
			}
		}
	}
}

func (Dotenv) remove(d *Document, at []*Node) iter.Seq[[]Edit] {
	n := at[len(at)-1]
	return d.cutLines(Span{n.key.Start, n.Span.End}, nextOf(at[0], n))
}

// hold implements editor: a variable is a string.
func (Dotenv) hold(_ int, v *Document) (*Document, error) {
	n := v.Roots[0]
	switch {
	case n.Kind != Scalar:
		return nil, errors.New("dotenv holds single values, no map or list")
	case strings.ContainsRune(n.Text, 0):
		return nil, errors.New("no variable can hold a NUL byte")
	}
	if number := v.number(n); number != "" {
		return StringValue(number), nil
	}
	return StringValue(PlainText(n)), nil
}

func (Dotenv) checkKey(_ int, key string) error {
	switch {
	case strings.HasPrefix(key, dotenvMeta):
		return fmt.Errorf("%w: names that start with %q are where the metadata goes", ErrReserved, dotenvMeta)
	case !envName(key):
		return fmt.Errorf("%q is no name for a variable: letters, digits and _ . - only, and no digit first", key)
	}
	return nil
}

func envName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20
		letter := c >= 'a' && c <= 'z' || s[i] == '_'
		if !letter && (i == 0 || !(s[i] >= '0' && s[i] <= '9' || s[i] == '.' || s[i] == '-')) {
			return false
		}
	}
	return s != ""
}

// EnvLines writes single values as lines of dotenv from which programs read them:
// see EnvVar.
func EnvLines(list []*Node) ([]byte, error) {
	var b strings.Builder
	for _, n := range list {
		if n.Kind == Comment {
			continue
		}
		v, err := Dotenv{}.hold(1, &Document{Roots: []*Node{n}})
		if err == nil {
			err = Dotenv{}.checkKey(1, n.Key)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", n.Key, err)
		}
		i := slices.IndexFunc(envSpellings(v, nil), func(way string) bool {
			value := envValue(way)
			return value == v.Roots[0].Text && !strings.Contains(way, "\n")
		})
		if i < 0 {
			return nil, fmt.Errorf("%q: dotenv has no spelling for this value", n.Key)
		}
		b.WriteString(n.Key + "=" + envSpellings(v, nil)[i] + "\n")
	}
	return []byte(b.String()), nil
}
