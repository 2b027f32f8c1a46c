package kenv

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// A Variable is an environment variable that a file sets or, if it is Unset, takes
// away.
type Variable struct {
	Name, Value string
	Unset       bool
	Secret      bool // the file holds its value encrypted
}

// EnvOptions say which variables are made of a file, and how. By the zero EnvOptions
// they are all values at the top level, under their own names.
type EnvOptions struct {
	Flatten bool     // nested values, too, under the names of all keys above joined by _
	Upper   bool     // names in upper case
	Only    []string // patterns, as in MatchName: only names like these
	Prefix  string   // put before every name, after Only had its say
	// Raw takes names and values of dotenv files for what they are to sops: quotes and
	// comments are part of a value, export is part of a name.
	Raw bool
}

// ErrNested is wrapped by the error about a map or list for which there is no variable.
var ErrNested = errors.New("a variable holds a single value")

// Environment returns the variables that a file sets, in its order. A null unsets a
// variable. It is an error if there are maps or lists, unless they are to be flattened,
// if two values would have one name, if the file has several documents or if it is no
// map at all.
func Environment(f *envelope.File, o EnvOptions) ([]Variable, error) {
	roots, whole := f.Roots()
	switch {
	case whole != nil:
		return nil, fmt.Errorf("it is held as one text (%s), which has no variables", f.Format.Name())
	case len(roots) != 1:
		return nil, fmt.Errorf("it has %d documents, and variables come from a single one", len(roots))
	case roots[0].Kind != doc.Map:
		return nil, errors.New("it is not a map at the top level, so it has no variables")
	}
	e := &environment{o: o, keys: map[string]string{}}
	if _, dotenv := f.Format.(doc.Dotenv); dotenv && !o.Raw {
		inClear := map[string]bool{}
		for _, n := range roots[0].Items {
			inClear[n.Key] = !n.Encrypted
		}
		for _, v := range doc.EnvVars(f.Plaintext()) {
			// A name may be given twice; then the last counts, as in a shell.
			e.add(v.Name, v.Name, Variable{Value: v.Value, Secret: !inClear[v.Key]})
		}
	} else {
		for _, n := range roots[0].Items {
			e.walk(n, []string{n.Key})
		}
	}
	if e.err != nil {
		return nil, e.err
	}
	return e.vars, nil
}

type environment struct {
	o    EnvOptions
	vars []Variable
	keys map[string]string // by variable: what it is made of
	err  error
}

// walk adds what is at and below a node, to which these steps lead.
func (e *environment) walk(n *doc.Node, steps []string) {
	var key, name string
	if n.Kind == doc.Scalar || !e.o.Flatten {
		key, name = strings.Join(steps, "."), strings.Join(steps, "_")
	}
	switch {
	case n.Kind == doc.Comment:
	case n.Kind == doc.Scalar && n.Type == doc.Null:
		e.add(key, name, Variable{Unset: true})
	case n.Kind == doc.Scalar:
		e.add(key, name, Variable{Value: doc.PlainText(n), Secret: n.Encrypted})
	case !e.o.Flatten:
		if _, wanted := e.name(name); wanted && e.err == nil {
			e.err = fmt.Errorf("%q is %s, and %w", n.Key, describe(n), ErrNested)
		}
	default:
		index := 0
		for _, c := range n.Items {
			step := c.Key
			if n.Kind == doc.List && c.Kind != doc.Comment {
				step = strconv.Itoa(index)
				index++
			}
			e.walk(c, append(steps, step))
		}
	}
}

func (e *environment) name(name string) (string, bool) {
	if e.o.Upper {
		name = strings.ToUpper(name)
	}
	return e.o.Prefix + name, len(e.o.Only) == 0 || MatchName(e.o.Only, name)
}

func (e *environment) add(key, name string, v Variable) {
	var wanted bool
	if v.Name, wanted = e.name(name); !wanted {
		return
	}
	if other, taken := e.keys[v.Name]; taken && other != key && e.err == nil {
		e.err = fmt.Errorf("%q and %q would both be the variable %s", other, key, v.Name)
	}
	e.keys[v.Name] = key
	e.vars = append(e.vars, v)
}

// MatchName reports whether one of the patterns matches a variable's name. * stands for
// any characters, ? for one, [a-z] for one of a set.
func MatchName(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); ok && err == nil {
			return true
		}
	}
	return false
}

// CheckNamePattern returns an error if a pattern is none that MatchName takes.
func CheckNamePattern(pattern string) error {
	if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
		return fmt.Errorf("%q is no pattern for names; such are DB_PASSWORD and DB_*", pattern)
	}
	return nil
}

// ExecDefaults are what a config says about programs that are run with a file's values.
// They leave a program with less than it would have had.
type ExecDefaults struct {
	Pristine, Mask, KeepAll bool
	Keep, Only              []string // patterns, as in MatchName
	Prefix                  string
}

// ExecDefaults returns those of the config in force for a file.
func (s Setup) ExecDefaults(name string) (d ExecDefaults, err error) {
	c, _, _, err := s.rule(name)
	if err != nil || c == nil {
		return d, err
	}
	d.Pristine, _ = c.Exec["pristine"].(bool)
	d.Mask, _ = c.Exec["mask"].(bool)
	d.KeepAll, _ = c.Exec["keep_env"].(bool)
	d.Keep, _ = c.Exec["keep_env"].([]string)
	d.Prefix, _ = c.Exec["prefix"].(string)
	only, given := c.Exec["only"].([]string)
	if d.Only = only; given && len(only) == 0 {
		return d, fmt.Errorf("%s: exec: only names nothing", c.Path)
	}
	for _, p := range append(append([]string(nil), d.Keep...), d.Only...) {
		if err := CheckNamePattern(p); err != nil {
			return d, fmt.Errorf("%s: exec: %w", c.Path, err)
		}
	}
	return d, nil
}
