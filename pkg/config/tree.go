package config

import (
	"path/filepath"
	"slices"
	"sync"
)

// A Tree is asked about many files: it looks at each directory and reads each config
// once. Its zero value finds configs as Find does. Its methods may be called at the
// same time.
type Tree struct {
	// Path is the config in force for every file; if it is empty the nearest is.
	Path string
	// Texts are configs that are read instead of what is on disk, by their paths,
	// which are absolute and free of symbolic links.
	Texts map[string][]byte

	mu      sync.Mutex
	real    map[string]string // directories as named, and without symbolic links
	configs map[string]answer[string]
	read    map[string]answer[*Config]
	usual   func(path string) bool
}

type answer[T any] struct {
	value T
	err   error
}

// A Cover is what configs say about a file.
type Cover struct {
	Path   string  // of the file, absolute and free of symbolic links
	Config *Config // in force for it; nil if there is none
	Rule   *Rule   // the first that covers it; nil if none does
	// Named says that the rule covers it by a pattern or expression, rather than as
	// it covers anything.
	Named bool
	// Excluded says that no rule covers it since a pattern with ! takes it out.
	Excluded bool
	// Usual says that a rule covers it and it has a name as secrets have, by DefaultPaths.
	Usual bool
}

// Look returns what configs say about a file, which is no symbolic link and need not
// exist. The error is about the config.
func (t *Tree) Look(file string) (v Cover, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, ok := t.real[filepath.Dir(file)]
	if !ok {
		if dir, err = resolve(filepath.Dir(file)); err != nil {
			return v, err
		}
		remember(&t.real, filepath.Dir(file), dir)
	}
	v.Path = filepath.Join(dir, filepath.Base(file))
	path := t.Path
	if path == "" {
		if path, err = t.find(dir); err != nil || path == "" {
			return v, err
		}
	}
	if v.Config, err = t.load(path); err != nil {
		return v, err
	}
	if v.Rule, err = v.Config.match(v.Path); err != nil {
		return v, err
	}
	_, rel := v.Config.place(v.Path)
	switch {
	case v.Rule != nil:
		v.Named = len(v.Rule.globs) > 0 || v.Rule.regex != nil && !v.Rule.regex.MatchString(improbable)
		v.Usual = rel != "" && t.isUsual(rel)
	case rel != "":
		v.Excluded = slices.ContainsFunc(v.Config.Rules, func(r Rule) bool { return excludes(r.globs, rel) })
	}
	return v, nil
}

// improbable is a path that only an expression for any path matches, such as ".*".
const improbable = "\x01"

func remember[T any](m *map[string]T, name string, value T) {
	if *m == nil {
		*m = map[string]T{}
	}
	(*m)[name] = value
}

// isUsual reports whether DefaultPaths cover a path.
func (t *Tree) isUsual(path string) bool {
	if t.usual == nil {
		var err error
		if t.usual, err = Patterns(DefaultPaths()); err != nil {
			panic(err) // not input
		}
	}
	return t.usual(path)
}

// find is Find for a directory that is resolved.
func (t *Tree) find(dir string) (path string, err error) {
	if a, ok := t.configs[dir]; ok {
		return a.value, a.err
	}
	if path = t.given(dir); path == "" {
		path, err = configIn(dir)
	}
	if path == "" && err == nil && !isTop(dir, homeDir()) {
		path, err = t.find(filepath.Dir(dir))
	}
	remember(&t.configs, dir, answer[string]{path, err})
	return path, err
}

// given returns the path of the config in a directory that Texts has.
func (t *Tree) given(dir string) string {
	for _, name := range []string{Name, SopsName} {
		path := filepath.Join(dir, name)
		if _, ok := t.Texts[path]; ok {
			return path
		}
	}
	return ""
}

func (t *Tree) load(path string) (*Config, error) {
	if a, ok := t.read[path]; ok {
		return a.value, a.err
	}
	var a answer[*Config]
	real, err := resolve(filepath.Dir(path))
	if text, ok := t.Texts[filepath.Join(real, filepath.Base(path))]; ok && err == nil {
		a.value, a.err = Parse(path, text)
	} else {
		a.value, a.err = Load(path)
	}
	remember(&t.read, path, a)
	return a.value, a.err
}

// excludes reports whether a pattern with ! is the last that matches a path, and
// another matches it as well.
func excludes(globs []glob, path string) bool {
	out := false
	for i := len(globs) - 1; i >= 0; i-- {
		switch {
		case !globs[i].re.MatchString(path):
		case globs[i].exclude:
			out = true
		default:
			return out
		}
	}
	return false
}
