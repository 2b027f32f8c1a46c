package kenv

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// A Path leads to a value: a key of a map or an index of a list for each step.
type Path []Step

// A Step is one part of a Path.
type Step struct {
	Key   string // of a map
	Index int    // of a list, from 0
	List  bool   // Index counts, not Key
}

// ParsePath reads a path: a.b[0], or sops's ["a"]["b"][0], or both mixed. A key
// with dots or brackets in it is written ["like.this"], in double or single quotes;
// there are no escapes.
func ParsePath(s string) (Path, error) {
	bad := func(at int, why string) (Path, error) {
		return nil, fmt.Errorf("path %q, character %d: %s; a path is a.b[0] or [\"a\"][\"b\"][0]", s, at+1, why)
	}
	var path Path
	for i := 0; i < len(s); {
		switch {
		case s[i] == '[' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\''):
			key, _, ok := strings.Cut(s[i+2:], s[i+1:i+2]+"]")
			if !ok {
				return bad(i, "the quote or the bracket is not closed")
			}
			path = append(path, Step{Key: key})
			i += len(key) + 4
		case s[i] == '[':
			digits, _, ok := strings.Cut(s[i+1:], "]")
			n, err := strconv.Atoi(digits)
			switch {
			case !ok:
				return bad(i, "the bracket is not closed")
			case err != nil || n < 0 || digits[0] == '+':
				return bad(i+1, "an index is a number from 0; keys in brackets have quotes")
			}
			path = append(path, Step{Index: n, List: true})
			i += len(digits) + 2
		default:
			if s[i] == '.' {
				if i == 0 {
					return bad(i, "a key is expected before the dot")
				}
				i++
			} else if i > 0 {
				return bad(i, "a dot or a bracket is expected")
			}
			end := i
			for end < len(s) && s[end] != '.' && s[end] != '[' {
				end++
			}
			if end == i {
				return bad(i, "a key is expected after the dot")
			}
			path = append(path, Step{Key: s[i:end]})
			i = end
		}
	}
	if len(path) == 0 {
		return nil, errors.New(`the path is empty; a path is a.b[0] or ["a"]["b"][0]`)
	}
	return path, nil
}

// String spells the path as ParsePath reads it.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p {
		switch {
		case s.List:
			fmt.Fprintf(&b, "[%d]", s.Index)
		case s.Key == "" || strings.ContainsAny(s.Key, ".["):
			quote := `"`
			if strings.Contains(s.Key, `"]`) {
				quote = `'`
			}
			b.WriteString("[" + quote + s.Key + quote + "]")
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		}
	}
	return b.String()
}

// A PathError says that a file has nothing at a path.
type PathError struct {
	Path Path     // up to the first part that is missing
	Why  string   // what stands before that part, if that is not a map or list that lacks it
	Near []string // keys that are there and look like the missing one
}

func (e *PathError) Error() string {
	s := fmt.Sprintf("there is no %q", e.Path.String())
	if e.Why != "" {
		s += ": " + e.Why
	}
	if len(e.Near) > 0 {
		quoted := make([]string, len(e.Near))
		for i, n := range e.Near {
			quoted[i] = strconv.Quote(append(e.Path[:len(e.Path)-1:len(e.Path)-1], Step{Key: n}).String())
		}
		s += "; did you mean " + strings.Join(quoted, " or ") + "?"
	}
	return s
}

// find returns the node at a path in the first document.
func find(f *envelope.File, path Path) (*doc.Node, error) {
	roots, whole := f.Roots()
	if whole != nil {
		return nil, errors.New("the file is held as one text, from which nothing can be extracted")
	}
	found, missing := locate(roots[0], path)
	if missing != nil {
		return nil, missing
	}
	return found[len(found)-1], nil
}

// locate follows a path as far as it goes and returns the nodes on it, the root first.
// Missing is nil if that is all of it.
func locate(root *doc.Node, path Path) (found []*doc.Node, missing *PathError) {
	n := root
	found = append(found, n)
	for i, step := range path {
		missing := &PathError{Path: path[:i+1]}
		if i > 0 {
			missing.Why = fmt.Sprintf("%q is %s", path[:i].String(), describe(n))
		} else {
			missing.Why = "the file is " + describe(n)
		}
		var next *doc.Node
		switch {
		case step.List && n.Kind == doc.List:
			next = item(n, step.Index)
		case !step.List && n.Kind == doc.Map:
			missing.Why = ""
			next = member(n, step.Key)
			missing.Near = near(n, step.Key, next)
		}
		if next == nil {
			return found, missing
		}
		n = next
		found = append(found, n)
	}
	return found, nil
}

func item(list *doc.Node, index int) *doc.Node {
	for _, n := range list.Items {
		if n.Kind == doc.Comment {
			continue
		}
		if index--; index < 0 {
			return n
		}
	}
	return nil
}

func member(m *doc.Node, key string) *doc.Node {
	for _, n := range m.Items {
		if n.Kind != doc.Comment && n.Key == key {
			return n
		}
	}
	return nil
}

// describe says what a node is without saying what is in it.
func describe(n *doc.Node) string {
	switch n.Kind {
	case doc.List:
		return fmt.Sprintf("a list of %d", count(n))
	case doc.Map:
		return "a map"
	}
	return "a single value"
}

// count returns how many items a map or list has.
func count(n *doc.Node) (items int) {
	for _, c := range n.Items {
		if c.Kind != doc.Comment {
			items++
		}
	}
	return items
}

// near returns up to three keys of a map that a mistyped one may stand for.
func near(m *doc.Node, key string, found *doc.Node) []string {
	const longest = 50 // a longer key is hardly typed, and comparing takes time
	if found != nil || len(key) > longest {
		return nil
	}
	type candidate struct {
		key      string
		distance int
	}
	var list []candidate
	for _, n := range m.Items {
		if n.Kind == doc.Comment || len(n.Key) > longest {
			continue
		}
		// At most a quarter of the letters may be wrong.
		if d := config.Distance(strings.ToLower(key), strings.ToLower(n.Key)); d <= 1+len(key)/4 && d < len(key) {
			list = append(list, candidate{n.Key, d})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var names []string
	for _, c := range list[:min(len(list), 3)] {
		names = append(names, c.key)
	}
	return names
}
