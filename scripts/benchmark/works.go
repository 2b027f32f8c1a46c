package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A work is one row of the table. Goals are ratios to sops, 0 for none.
type work struct {
	verb       string // encrypt, decrypt, or what is started on an encrypted file
	format     string
	leaves     int
	time, peak float64
	long       bool // long values: a hundred bytes of file for each on average
}

const (
	small, some, medium, large, huge = 10, 1000, 10_000, 100_000, 1_000_000

	// memory is the goal for the peak where there is none of its own, linear the goal
	// for time and memory of a file in units of one that has a tenth of its values.
	memory = 0.8
	linear = 15
)

// works is in the order of running: a file is encrypted before it is decrypted.
func works() []work {
	return []work{
		{"encrypt", "YAML", small, 0, memory, false},
		{"decrypt", "YAML", small, 0.5, memory, false},
		{"check", "YAML", small, 0.5, memory, false},
		{"textconv", "YAML", small, 0.5, memory, false},
		{"encrypt", "dotenv", small, 0, memory, false},
		{"decrypt", "dotenv", small, 0.5, memory, false},
		{"exec", "dotenv", small, 0.5, memory, false},
		{"encrypt", "dotenv", some, 0, memory, false},
		{"decrypt", "dotenv", some, 0, memory, false},
		{"encrypt", "YAML", medium, 0, memory, false},
		{"decrypt", "YAML", medium, 0, memory, false},
		{"encrypt", "YAML", large, 0.3, 0.6, false},
		{"decrypt", "YAML", large, 0.2, 0.6, false},
		{"encrypt", "YAML", large, 0, 0, true},
		{"encrypt", "YAML", huge, 0, 0, true},
		{"decrypt", "YAML", large, 0, 0, true},
		{"decrypt", "YAML", huge, 0, 0, true},
		{"encrypt", "JSON", medium, 0, memory, false},
		{"decrypt", "JSON", medium, 0, memory, false},
		{"encrypt", "JSON", large, 0.03, memory, false},
		{"decrypt", "JSON", large, 0.03, memory, false},
		{"encrypt", "JSON", large, 0, 0, true},
		{"encrypt", "JSON", huge, 0, 0, true},
		{"decrypt", "JSON", large, 0, 0, true},
		{"decrypt", "JSON", huge, 0, 0, true},
		{"encrypt", "dotenv", medium, 0, memory, false},
		{"decrypt", "dotenv", medium, 0, memory, false},
		{"encrypt", "dotenv", large, 0.6, memory, false},
		{"decrypt", "dotenv", large, 0.6, memory, false},
		{"encrypt", "dotenv", large, 0, 0, true},
		{"encrypt", "dotenv", huge, 0, 0, true},
		{"decrypt", "dotenv", large, 0, 0, true},
		{"decrypt", "dotenv", huge, 0, 0, true},
		{"encrypt", "INI", medium, 0, memory, false},
		{"decrypt", "INI", medium, 0, memory, false},
		{"encrypt", "INI", large, 1, memory, false},
		{"decrypt", "INI", large, 1, memory, false},
	}
}

func (w work) String() string {
	values := "values"
	if w.long {
		values = "long values"
	}
	return fmt.Sprintf("%s %s, %d %s", w.verb, w.format, w.leaves, values)
}

func (w work) file() string {
	extension := strings.ToLower(w.format)
	if w.format == "dotenv" {
		extension = "env"
	}
	name := "secrets"
	if w.long {
		name = "long"
	}
	return fmt.Sprintf("%s-%d.%s", name, w.leaves, extension)
}

// matches says whether a work is asked for, or makes what one that is asked for needs.
func (w work) matches(only string) bool {
	if strings.Contains(w.String(), only) {
		return true
	}
	return w.verb == "encrypt" && slices.ContainsFunc(works(), func(x work) bool {
		return x.file() == w.file() && strings.Contains(x.String(), only)
	})
}

// The programs, in the order of the columns.
const (
	ofSops = iota
	ofKenv
	ofAge
	ofDotenvx
)

var programNames = [...]string{ofSops: "sops", ofKenv: "kenv", ofAge: "age", ofDotenvx: "dotenvx"}

// A program is one of those that are compared.
type program struct {
	which int
	path  string
	dir   string // where its encrypted files are
}

// arguments returns those by which a program does a work on the plaintext, nil if it
// is not asked to. Its output is the encrypted file if it encrypts, unless inPlace says
// that it changes the file itself.
func (p program) arguments(w work, plain, recipient string) (args []string, inPlace bool) {
	file := filepath.Join(p.dir, w.file())
	switch p.which {
	case ofSops:
		if w.long {
			return nil, false // it takes minutes, of JSON hours
		}
		return map[string][]string{
			"encrypt":  {"encrypt", "--age", recipient, plain},
			"decrypt":  {"decrypt", file},
			"check":    {"filestatus", file},
			"exec":     {"exec-env", file, "true"},
			"textconv": {"decrypt", file},
		}[w.verb], false
	case ofKenv:
		return map[string][]string{
			"encrypt":  {"encrypt", "--key", recipient, plain},
			"decrypt":  {"decrypt", file},
			"check":    {"check", file},
			"exec":     {"exec", "--flatten", file, "--", "true"},
			"textconv": {"git", "textconv", file},
		}[w.verb], false
	case ofAge:
		return map[string][]string{
			"encrypt": {"--encrypt", "--recipient", recipient, plain},
			"decrypt": {"--decrypt", "--identity", filepath.Join(filepath.Dir(p.dir), keyFile), file},
		}[w.verb], false
	case ofDotenvx:
		if w.format != "dotenv" || w.leaves > some {
			return nil, false // it takes minutes
		}
		return map[string][]string{
			"encrypt": {"encrypt", "-f", file},
			"decrypt": {"decrypt", "-f", file, "--stdout"},
			"exec":    {"run", "-f", file, "--", "true"},
		}[w.verb], true
	}
	return nil, false
}
