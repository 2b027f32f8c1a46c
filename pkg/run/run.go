// Package run starts a program with secrets in its environment: it decides which
// variables may be set, puts the environment together, and hands the process over.
package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// The errors of Exec that shells have exit codes for, 127 and 126.
var (
	ErrNotFound      = errors.New("command not found")
	ErrNotExecutable = errors.New("cannot be executed")
)

// A Var is one variable of an environment.
type Var struct{ Name, Value string }

// Environ returns base, in its order, with vars set, in theirs. A variable of vars
// replaces the one in base; of several with one name in vars the last counts, in
// base the first, as getenv has it. It is an error if SafeName refuses any of vars.
func Environ(base []string, vars []Var) ([]string, error) {
	var refused []error
	last := map[string]int{}
	for i, v := range vars {
		if err := SafeName(v.Name, v.Value); err != nil {
			refused = append(refused, err)
		}
		last[fold(v.Name)] = i
	}
	if err := errors.Join(refused...); err != nil {
		return nil, err
	}
	env := make([]string, 0, len(base)+len(vars))
	seen := map[string]bool{}
	for _, entry := range base {
		name, ok := name(entry)
		if _, replaced := last[fold(name)]; ok && (replaced || seen[fold(name)]) {
			continue
		}
		seen[fold(name)] = true
		env = append(env, entry)
	}
	for i, v := range vars {
		if last[fold(v.Name)] == i {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	return env, nil
}

// name returns the name in an entry of an environment. Windows has entries that
// begin with an equals sign, which is part of their name.
func name(entry string) (string, bool) {
	if i := strings.Index(entry[min(1, len(entry)):], "="); i >= 0 {
		return entry[:i+1], true
	}
	return "", false
}

// fold maps names that the system takes for the same variable to one.
func fold(name string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(name)
	}
	return name
}

// SafeName returns an error, which never holds the value, unless a variable may be
// set from a file that somebody else may have written: the name must be one that
// every shell can hold, [A-Za-z_][A-Za-z0-9_]*, the value must be without NUL, and
// the variable must not be one by which a program or its loader, interpreter or
// shell is made to run other code.
func SafeName(name, value string) error {
	switch {
	case !valid(name):
		return fmt.Errorf("%q is not a name for an environment variable: letters, digits and underscores, not a digit first", name)
	case hijacks(fold(name), value):
		return fmt.Errorf("%s is not set from a file, because it can make programs run other code; if it must be, set it for the command: env %s=… COMMAND", name, name)
	case strings.Contains(value, "\x00"):
		return fmt.Errorf("the value of %q holds a NUL byte, which no environment variable can", name)
	}
	return nil
}

func valid(name string) bool {
	for i, c := range []byte(name) {
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || '9' < c) {
			return false
		}
	}
	return name != ""
}

func hijacks(name, value string) bool {
	for _, prefix := range []string{
		"LD_", "DYLD_", // the dynamic loader
		"BASH_FUNC_",            // functions that bash takes for commands
		"GIT_SSH", "GIT_CONFIG", // programs that git starts
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "PATH",
		"GCONV_PATH",
		"BASH_ENV", "PROMPT_COMMAND", "SHELLOPTS", "PS4",
		"PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME",
		"PERL5OPT", "PERL5LIB", "PERL5DB",
		"RUBYOPT", "RUBYLIB",
		"NODE_OPTIONS",
		"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS",
		"GIT_EXEC_PATH", "GIT_EXTERNAL_DIFF", "GIT_ASKPASS", "GIT_PROXY_COMMAND":
		return true
	case "ENV":
		// sh reads the file that it names. ENV=production is common and harmless.
		return strings.ContainsAny(value, `/\`)
	}
	return false
}

// look finds the program as a shell does, in this process's PATH. A program in the
// working directory is run only when its path says so.
func look(command string) (string, error) {
	path, err := exec.LookPath(command)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s: %w: it is in the working directory only; to run that, write .%c%s",
			command, ErrNotFound, filepath.Separator, command)
	case command == filepath.Base(command):
		// Not found may mean found, and passed over for want of permission.
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(dir, command)); err == nil && info.Mode().IsRegular() && dir != "" {
				return "", fmt.Errorf("%s: %w: no permission to run %s", command, ErrNotExecutable, filepath.Join(dir, command))
			}
		}
		return "", fmt.Errorf("%s: %w; is it in PATH?", command, ErrNotFound)
	}
	return "", classify(command, err)
}

// classify says in a shell's terms why a program could not be started.
func classify(command string, err error) error {
	class := ErrNotExecutable
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		class = ErrNotFound
	}
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: %w: %w", command, class, err)
}
