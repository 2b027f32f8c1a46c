// Package config finds, reads and matches the files that say which keys encrypt
// which files: .kenv.yaml, or sops's .sops.yaml. To this package a key is a
// string; what the string means is the providers' business.
//
// The schema is sops's (creation_rules and stores; destination_rules are accepted
// and not used) with a few fields more. docs/configuration.md lists every one.
package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// The names that Find looks for; the first is preferred within a directory.
const (
	Name     = ".kenv.yaml"
	SopsName = ".sops.yaml"
)

// maxSize is the largest config file that Load reads, in bytes.
const maxSize = 1 << 20

// A Config is a config file as read. Several goroutines may use it, as long as
// none changes it.
type Config struct {
	Path   string // as given to Load
	Dir    string // its directory, absolute and free of symbolic links
	Rules  []Rule // in file order: the first that matches a file wins
	Stores Stores
	Sealed bool // "integrity: sealed" for every file, also those without a rule
	// Exec holds the defaults of exec, only those that were given:
	// "keep_env" (bool or []string), "pristine" and "mask" (bool),
	// "only" ([]string), "prefix" (string).
	Exec map[string]any
}

// Stores says how sops lays out what it writes. An indent is a number of spaces;
// -1, for JSON, is a tab.
type Stores struct {
	YAMLIndent, JSONIndent, JSONBinaryIndent int
}

// A Rule says how the files that it covers are encrypted.
type Rule struct {
	Line      int      // where it begins in the config file
	Path      []string // globs; empty: any path
	PathRegex string   // empty: any path

	// Groups are the master keys. With one group every key opens the file. With
	// more, Threshold of them are needed, and all of them if that is 0. In a Rule
	// that Match returned there is at least one group, none of them is empty, and
	// no key stands in a group twice.
	Groups    [][]Key
	Threshold int

	// At most one of these is set, and those that are regular expressions compile.
	UnencryptedSuffix, EncryptedSuffix             string
	UnencryptedRegex, EncryptedRegex               string
	UnencryptedCommentRegex, EncryptedCommentRegex string

	MACOnlyEncrypted bool
	Sealed           bool // no file is accepted without a seal; from the rule or the whole config

	regex *regexp.Regexp
	globs []glob
	fault error // why a file that it covers cannot be encrypted
}

// A Key is a master key that a rule names.
type Key struct {
	// Name is the canonical string: "age1…", "ssh-ed25519 …", a KMS ARN (with
	// "+" and the ARN of a role if there is one), "pkcs11:…", "pgp:FINGERPRINT",
	// "gcp-kms:projects/…", "azure-kv:https://…", "hc-vault:https://…",
	// "hckms:REGION:ID". In a "keys" list it may be anything that was written there.
	Name string
	// Attrs is what was said beside the name, nil if nothing: "role",
	// "aws_profile", "mech" and "public_key" are strings, "context" is a
	// map[string]string. A role is in Name as well.
	Attrs map[string]any
	Line  int // where it stands in the config file
}

// An Error says where in a config file something is wrong.
type Error struct {
	Path  string
	Line  int    // from 1; 0 when it is about the file as a whole
	Field string // "" when it is about none
	Msg   string
}

func (e *Error) Error() string {
	s := e.Path
	if e.Line > 0 {
		s += ":" + strconv.Itoa(e.Line)
	}
	if e.Field != "" {
		s += ": " + e.Field
	}
	return s + ": " + e.Msg
}

// A NoRuleError says that a config has no rule for a file.
type NoRuleError struct {
	Config string // its path
	File   string // relative to the config's directory if it is below that
	Tried  []Rule
}

func (e *NoRuleError) Error() string {
	const most = 10
	var b strings.Builder
	if len(e.Tried) == 0 {
		fmt.Fprintf(&b, "%s has no creation_rules, so none for %q\n", e.Config, e.File)
		b.WriteString("add a rule, or give the keys with --key")
		return b.String()
	}
	fmt.Fprintf(&b, "no rule in %s covers %q; tried:\n", e.Config, e.File)
	for i, r := range e.Tried {
		if i == most {
			fmt.Fprintf(&b, "  and %d more\n", len(e.Tried)-most)
			break
		}
		fmt.Fprintf(&b, "  %s\n", r.String())
	}
	b.WriteString("add the file to a rule, or give the keys with --key")
	return b.String()
}

// Fault returns why no file that the rule covers can be encrypted, or nil. Only a
// config that sops reads as well has such rules; see Load.
func (r *Rule) Fault() error { return r.fault }

// String says where a rule stands and which files it covers, in one line.
func (r *Rule) String() string {
	var parts []string
	if len(r.Path) > 0 {
		const most = 8
		var quoted []string
		for _, g := range r.Path[:min(most, len(r.Path))] {
			quoted = append(quoted, fmt.Sprintf("%.100q", g))
		}
		if len(r.Path) > most {
			quoted = append(quoted, "…")
		}
		parts = append(parts, "path "+strings.Join(quoted, ", "))
	}
	if r.PathRegex != "" {
		parts = append(parts, fmt.Sprintf("path_regex %.200q", r.PathRegex))
	}
	if len(parts) == 0 {
		parts = append(parts, "any path")
	}
	return fmt.Sprintf("line %d: %s", r.Line, strings.Join(parts, " and "))
}

// Load reads the config file at path. What is wrong in it is an *Error.
//
// A field that it does not know is an error, unless the name of the file has
// "sops" in it: sops ignores such fields, and people keep anchors there.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	return Parse(path, src)
}

// Parse is Load for a text that is already read. The path need not exist, but its
// directory is what the rules are relative to.
func Parse(path string, src []byte) (*Config, error) {
	c, err := read(path, src)
	if err != nil {
		return nil, err
	}
	// The config may itself be a link to a shared file. Its rules are about the
	// tree in which the link stands, so only the directory is resolved.
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	dir, err := resolve(filepath.Dir(abs))
	if err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	c.Path, c.Dir = path, dir
	return c, nil
}

// read is Parse but for where the config is.
func read(path string, src []byte) (*Config, error) {
	if len(src) > maxSize {
		return nil, &Error{Path: path, Msg: fmt.Sprintf("larger than %d bytes, which no config needs", maxSize)}
	}
	p := newParser(path)
	c := p.config(src)
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// Match returns the first rule that covers a file. The file need not exist.
// Symbolic links are followed first, so that a file has one rule whatever name
// it was reached by. The error is a *NoRuleError when no rule covers the file.
//
// path_regex is tried on the path below the config's directory, and on the whole
// absolute path for files elsewhere; globs cover no files elsewhere. Both see
// slashes on every system. A rule with both covers what both match.
func (c *Config) Match(file string) (*Rule, error) {
	abs, err := resolve(file)
	if err != nil {
		return nil, fmt.Errorf("finding the rule for %q: %w", file, err)
	}
	r, err := c.match(abs)
	if r == nil && err == nil {
		name, _ := c.place(abs)
		err = &NoRuleError{Config: c.Path, File: name, Tried: c.Rules}
	}
	return r, err
}

// match is Match for a path that is absolute and free of symbolic links. It returns
// nil if no rule covers the file.
func (c *Config) match(abs string) (*Rule, error) {
	name, rel := c.place(abs)
	for i := range c.Rules {
		r := &c.Rules[i]
		if r.regex != nil && !r.regex.MatchString(name) {
			continue
		}
		if len(r.globs) > 0 && !(rel != "" && covers(r.globs, rel)) {
			continue
		}
		if r.fault != nil {
			return nil, r.fault
		}
		return r, nil
	}
	return nil, nil
}

// place returns what path_regex sees of a path, and what globs see: its part below
// the config's directory, "" if it is elsewhere.
func (c *Config) place(abs string) (name, rel string) {
	abs = filepath.ToSlash(abs)
	dir := filepath.ToSlash(c.Dir)
	rel, below := strings.CutPrefix(abs, strings.TrimSuffix(dir, "/")+"/")
	if !below {
		rel = ""
	}
	// Below a config in the root directory sops keeps the leading slash.
	return strings.TrimPrefix(abs, dir+"/"), rel
}
