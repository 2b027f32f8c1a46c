package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A glob is one pattern of a rule's path, in the syntax of gitignore(5).
type glob struct {
	re      *regexp.Regexp
	exclude bool
}

// covers reports whether the last of the globs that matches a path, which is
// relative and has slashes, is not one that excludes. Unlike in git, a pattern
// that excludes also works below a directory that another one has named.
func covers(globs []glob, path string) bool {
	for i := len(globs) - 1; i >= 0; i-- {
		if globs[i].re.MatchString(path) {
			return !globs[i].exclude
		}
	}
	return false
}

// Patterns returns a function that reports whether patterns, as a rule's path has them,
// cover a path, which is relative and has slashes.
func Patterns(patterns []string) (func(path string) bool, error) {
	var globs []glob
	for _, p := range patterns {
		expr, exclude, err := globExpr(p)
		if err != nil {
			return nil, fmt.Errorf("pattern %.200q: %w", p, err)
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, fmt.Errorf("pattern %.200q: %w", p, err)
		}
		globs = append(globs, glob{re, exclude})
	}
	return func(path string) bool { return covers(globs, path) }, nil
}

// globExpr translates a pattern into a regular expression, which takes time linear
// in the path whatever the pattern. As in git, what names a directory names
// everything below it.
func globExpr(pattern string) (expr string, exclude bool, err error) {
	pattern, exclude = strings.CutPrefix(pattern, "!")
	pattern, anchored := strings.CutPrefix(pattern, "/")
	pattern, dirOnly := strings.CutSuffix(pattern, "/")
	if pattern == "" {
		return "", false, errors.New("empty pattern")
	}
	segments, err := splitGlob(pattern)
	if err != nil {
		return "", false, err
	}
	var b strings.Builder
	b.WriteString(`(?s)^`)
	if !anchored && !strings.Contains(pattern, "/") {
		b.WriteString(`(?:.*/)?`)
	}
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "" || s == "." || s == "..":
			return "", false, errors.New(`"//", "." and ".." match nothing; patterns are relative to the config's directory`)
		case len(s) > 1 && strings.Trim(s, "*") == "" && last:
			b.WriteString(`.+`)
		case len(s) > 1 && strings.Trim(s, "*") == "":
			b.WriteString(`(?:.*/)?`)
		default:
			if err := globSegment(&b, s); err != nil {
				return "", false, err
			}
			if !last {
				b.WriteByte('/')
			}
		}
	}
	if dirOnly {
		b.WriteString(`/.*$`)
	} else {
		b.WriteString(`(?:/.*)?$`)
	}
	return b.String(), exclude, nil
}

// splitGlob splits a pattern at the slashes that are not inside brackets.
func splitGlob(pattern string) ([]string, error) {
	var segments []string
	start := 0
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
		case '[':
			n, err := classLen(pattern[i:])
			if err != nil {
				return nil, err
			}
			i += n - 1
		case '/':
			segments = append(segments, pattern[start:i])
			start = i + 1
		}
	}
	return append(segments, pattern[start:]), nil
}

// globSegment writes the expression for a pattern without slashes outside brackets.
func globSegment(b *strings.Builder, s string) error {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '*':
			b.WriteString(`[^/]*`)
		case '?':
			b.WriteString(`[^/]`)
		case '[':
			n, err := classLen(s[i:])
			if err != nil {
				return err
			}
			if err := globClass(b, s[i+1:i+n-1]); err != nil {
				return err
			}
			i += n - 1
		case '{', '}':
			return errors.New(`braces are not special here; write one pattern for each alternative, or \{ for the character`)
		case '\\':
			if i++; i == len(s) {
				return errors.New(`nothing follows the last backslash`)
			}
			b.WriteString(regexp.QuoteMeta(s[i : i+1]))
		default:
			// Bytes of a longer character have no meaning in an expression.
			if c < 0x80 {
				b.WriteString(regexp.QuoteMeta(s[i : i+1]))
			} else {
				b.WriteByte(c)
			}
		}
	}
	return nil
}

// classLen returns the length of the bracket expression that s begins with. A "]"
// that comes first is an ordinary member, as is all of "[:name:]".
func classLen(s string) (int, error) {
	i := 1
	if i < len(s) && (s[i] == '!' || s[i] == '^') {
		i++
	}
	for first := true; i < len(s); first = false {
		switch {
		case s[i] == '\\':
			i += 2
		case strings.HasPrefix(s[i:], "[:") && strings.Contains(s[i+2:], ":]"):
			i += 2 + strings.Index(s[i+2:], ":]") + 2
		case s[i] == ']' && !first:
			return i + 1, nil
		default:
			i++
		}
	}
	return 0, errors.New(`a "[" is never closed`)
}

// globClass writes the expression for what stands between brackets. A slash is in
// no class, whatever the class says.
func globClass(b *strings.Builder, s string) error {
	negated := s[0] == '!' || s[0] == '^'
	if negated {
		s = s[1:]
	}
	var set strings.Builder
	add := func(lo, hi rune) {
		if lo <= '/' && '/' <= hi {
			writeRange(&set, lo, '/'-1)
			writeRange(&set, '/'+1, hi)
			return
		}
		writeRange(&set, lo, hi)
	}
	members := []rune(s)
	// one reads a single character that may be escaped.
	one := func(i int) (rune, int) {
		if members[i] == '\\' && i+1 < len(members) {
			return members[i+1], i + 2
		}
		return members[i], i + 1
	}
	for i := 0; i < len(members); {
		if rest := string(members[i:]); strings.HasPrefix(rest, "[:") {
			if name, _, ok := strings.Cut(rest[2:], ":]"); ok {
				ranges, ok := posixClass(name)
				if !ok {
					return errors.New("unknown character class in brackets")
				}
				for j := 0; j < len(ranges); j += 2 {
					add(rune(ranges[j]), rune(ranges[j+1]))
				}
				i += 2 + len([]rune(name)) + 2
				continue
			}
		}
		lo, next := one(i)
		hi := lo
		if next+1 < len(members) && members[next] == '-' {
			hi, next = one(next + 1)
		}
		add(lo, hi)
		i = next
	}
	switch {
	case negated:
		b.WriteString(`[^/` + set.String() + `]`)
	case set.Len() == 0:
		b.WriteString(`[^\x00-\x{10FFFF}]`)
	default:
		b.WriteString(`[` + set.String() + `]`)
	}
	return nil
}

func writeRange(b *strings.Builder, lo, hi rune) {
	if lo > hi {
		return
	}
	for i, r := range []rune{lo, hi} {
		if i == 1 {
			b.WriteByte('-')
		}
		if r < 0x80 && !isAlnum(r) {
			b.WriteByte('\\')
			b.WriteByte('x')
			b.WriteByte("0123456789ABCDEF"[r>>4])
			b.WriteByte("0123456789ABCDEF"[r&15])
		} else {
			b.WriteRune(r)
		}
	}
}

func isAlnum(r rune) bool {
	return '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z'
}

// posixClass returns the first and last characters of the ranges of an ASCII class.
func posixClass(name string) (ranges string, ok bool) {
	switch name {
	case "alnum":
		return "09AZaz", true
	case "alpha":
		return "AZaz", true
	case "blank":
		return "\t\t  ", true
	case "cntrl":
		return "\x00\x1f\x7f\x7f", true
	case "digit":
		return "09", true
	case "graph":
		return "!~", true
	case "lower":
		return "az", true
	case "print":
		return " ~", true
	case "punct":
		return "!/:@[`{~", true
	case "space":
		return "\t\r  ", true
	case "upper":
		return "AZ", true
	case "xdigit":
		return "09AFaf", true
	}
	return "", false
}
