//go:build unix

package run_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kenvhq/kenv/pkg/run"
)

// TestExecHelper is no test: it is the process that becomes another.
func TestExecHelper(t *testing.T) {
	argv := os.Getenv("KENV_TEST_ARGV")
	if argv == "" {
		return
	}
	env := []string{"A=1", "B=two words", "PATH=/nowhere"}
	if os.Getenv("KENV_TEST_HUGE") != "" {
		env = append(env, "HUGE="+strings.Repeat("x", 16<<20))
	}
	fmt.Fprintf(os.Stderr, "pid %d\n", os.Getpid())
	err := run.Program{Argv: strings.Split(argv, "|"), Env: env}.Exec()
	fmt.Println(err)
	switch {
	case errors.Is(err, run.ErrNotExecutable):
		os.Exit(126)
	case errors.Is(err, run.ErrNotFound):
		os.Exit(127)
	}
	os.Exit(125)
}

func TestExec(t *testing.T) {
	dir, empty := t.TempDir(), t.TempDir()
	for name, f := range map[string]struct {
		text string
		perm os.FileMode
	}{
		"tool":       {"#!/bin/sh\n/usr/bin/env; echo \"$# $0 $1\"; echo pid $$ >&2\n", 0o755},
		"plain":      {"#!/bin/sh\n", 0o644},
		"nohashbang": {"echo hello\n", 0o755},
		"lost":       {"#!/nowhere/sh\n", 0o755},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(f.text), f.perm); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(empty, "local"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		argv string
		path string
		code int
		want string
	}{
		"exit code":                        {"sh|-c|exit 42", "/bin", 42, ""},
		"no shell":                         {"printf|%s.|$A; *|x y", "/usr/bin:/bin", 0, "$A; *.x y."},
		"not found":                        {"no-such-command", dir, 127, "no-such-command: command not found"},
		"not found by path":                {"./no-such-command", dir, 127, "command not found"},
		"no PATH":                          {"sh", "", 127, "command not found"},
		"empty name":                       {"|x", dir, 127, "command not found"},
		"no permission":                    {"plain", dir, 126, "plain: cannot be executed: no permission"},
		"no permission by path":            {dir + "/plain", "", 126, "permission denied"},
		"a directory":                      {dir, "", 126, "cannot be executed"},
		"not a program":                    {"nohashbang", dir, 126, "#!/bin/sh"},
		"no interpreter":                   {"lost", dir, 127, "interpreter"},
		"working directory, not asked for": {"local", ".", 127, "./local"},
		"working directory":                {"./local", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, _ := become(t, empty, c.argv, c.path)
			if code != c.code || !strings.Contains(out, c.want) {
				t.Errorf("exit code %d, said %q, want %d, %q", code, out, c.code, c.want)
			}
		})
	}
	t.Run("environment and arguments are those given", func(t *testing.T) {
		code, out, _ := become(t, empty, "tool|an argument", dir)
		if code != 0 || !strings.Contains(out, "\nB=two words\n") && !strings.HasPrefix(out, "B=two words\n") ||
			!strings.HasSuffix(out, "1 "+dir+"/tool an argument\n") || strings.Contains(out, "KENV_TEST") {
			t.Errorf("exit code %d, said %q", code, out)
		}
	})
	t.Run("the process stays the same", func(t *testing.T) {
		_, _, stderr := become(t, empty, "tool", dir)
		lines := strings.Fields(stderr)
		if len(lines) != 4 || lines[1] != lines[3] {
			t.Errorf("process ids: %q", stderr)
		}
	})
	t.Run("killed by a signal", func(t *testing.T) {
		cmd := helper(empty, "sh|-c|kill -TERM $$", "/bin")
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
			t.Errorf("%v", err)
		}
	})
	t.Run("too large an environment", func(t *testing.T) {
		cmd := helper(empty, "sh|-c|:", "/bin")
		cmd.Env = append(cmd.Env, "KENV_TEST_HUGE=1")
		out, _ := cmd.Output()
		if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "larger than the system takes") || len(out) > 1000 {
			t.Errorf("%v, said %.200q", cmd.ProcessState, out)
		}
	})
	if err := (run.Program{}).Exec(); err == nil {
		t.Error("no command: no error")
	}
}

func helper(dir, argv, path string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, "-test.run=^TestExecHelper$")
	cmd.Dir = dir
	cmd.Env = []string{"KENV_TEST_ARGV=" + argv, "PATH=" + path}
	return cmd
}

// become runs Exec in a process of its own.
func become(t *testing.T, dir, argv, path string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := helper(dir, argv, path)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}
