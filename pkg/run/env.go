package run

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// A Var is one variable of an environment. One that is Unset has no value: it is
// taken out of the environment.
type Var struct {
	Name, Value string
	Unset       bool
}

// Rules say how an environment is put together. By the zero Rules a program gets the
// variables of this process, in which those of files replace the ones of their name.
type Rules struct {
	// Pristine leaves the variables of this process out, but for those to Keep.
	Pristine bool
	// Keep reports whether a variable that this process has stays as it is, whatever
	// files say. Nil: none does.
	Keep func(name string) bool
	// Unsafe lets files set variables by which programs can be made to run other code.
	Unsafe bool
	// AnyName takes names that no shell can hold, such as "my-name".
	AnyName bool
}

// Environ returns parent, in its order, with vars set, in theirs. Of several with one
// name in vars the last counts, in parent the first, as getenv has it. It is an error
// if a name or value cannot be a variable's, or a file must not set it; the error
// names them all and holds no value.
func (r Rules) Environ(parent []string, vars []Var) ([]string, error) {
	kept := map[string]bool{}
	var base []string
	for _, entry := range parent {
		name, ok := entryName(entry)
		keep := ok && r.Keep != nil && r.Keep(name)
		switch {
		case ok && kept[fold(name)], r.Pristine && !keep:
			continue
		case keep:
			kept[fold(name)] = true
		}
		base = append(base, entry)
	}
	var refused []error
	last := map[string]int{}
	for i, v := range vars {
		if kept[fold(v.Name)] {
			continue
		}
		if err := r.check(v); err != nil {
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
		name, ok := entryName(entry)
		if _, replaced := last[fold(name)]; ok && (replaced || seen[fold(name)]) {
			continue
		}
		seen[fold(name)] = true
		env = append(env, entry)
	}
	for i, v := range vars {
		if n, ok := last[fold(v.Name)]; ok && n == i && !v.Unset {
			env = append(env, v.Name+"="+v.Value)
		}
	}
	return env, nil
}

// entryName returns the name in an entry of an environment. Windows has entries that
// begin with an equals sign, which is part of their name.
func entryName(entry string) (string, bool) {
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

// ErrUnsafe is wrapped by the errors about variables that need Rules.Unsafe.
var ErrUnsafe = errors.New("it can make programs run other code")

func (r Rules) check(v Var) error {
	switch {
	case !r.AnyName && !valid(v.Name):
		return fmt.Errorf("%q is not a name for an environment variable: letters, digits and underscores, not a digit first", v.Name)
	case v.Name == "" || strings.ContainsAny(v.Name, "=\x00"):
		return fmt.Errorf("%q cannot be the name of an environment variable", v.Name)
	case !r.Unsafe && hijacks(fold(v.Name), v.Value):
		return fmt.Errorf("%q is not set from a file: %w", v.Name, ErrUnsafe)
	case strings.Contains(v.Value, "\x00"):
		return fmt.Errorf("the value of %q holds a NUL byte, which no environment variable can", v.Name)
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

// hijacks reports whether a variable makes a program, or its loader, interpreter or
// shell, run code that the variable names.
func hijacks(name, value string) bool {
	for _, prefix := range []string{
		"LD_", "DYLD_", // the dynamic loader
		"BASH_FUNC_",            // functions that bash takes for commands
		"GIT_SSH", "GIT_CONFIG", // programs that git starts
		"COR_", "CORECLR_", // profilers that .NET loads
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "PATH", "PATHEXT", "COMSPEC",
		"GCONV_PATH", "GLIBC_TUNABLES",
		"BASH_ENV", "PROMPT_COMMAND", "SHELLOPTS", "BASHOPTS", "PS4", "ZDOTDIR",
		"PYTHONSTARTUP", "PYTHONPATH", "PYTHONHOME", "PYTHONBREAKPOINT", "PYTHONWARNINGS",
		"PERL5OPT", "PERL5LIB", "PERL5DB", "PERLLIB",
		"RUBYOPT", "RUBYLIB", "GEM_HOME", "GEM_PATH", "BUNDLE_GEMFILE",
		"NODE_OPTIONS", "NODE_PATH",
		"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH",
		"PHPRC", "PHP_INI_SCAN_DIR",
		"LUA_INIT", "LUA_PATH", "LUA_CPATH",
		"DOTNET_STARTUP_HOOKS", "DOTNET_ADDITIONAL_DEPS",
		"OPENSSL_CONF", "OPENSSL_MODULES", "OPENSSL_ENGINES",
		"GIT_EXEC_PATH", "GIT_EXTERNAL_DIFF", "GIT_ASKPASS", "GIT_PROXY_COMMAND",
		"GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_TEMPLATE_DIR",
		"SSH_ASKPASS", "SUDO_ASKPASS",
		"EDITOR", "VISUAL", "PAGER", "MANPAGER", "BROWSER", "LESSOPEN", "LESSCLOSE":
		return true
	case "ENV":
		// sh reads the file that it names. ENV=production is common and harmless.
		return strings.ContainsAny(value, `/\`)
	}
	return false
}
