package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what cmp finds different in the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kenv": func() { os.Exit(Main(context.Background(), os.Args[1:])) },
	})
}

// TestScript runs testdata/script. To the commands of testscript they add
//
//	status N COMMAND ARG…   run a command that must end with exit code N
//	mode OCTAL FILE…        the files' permissions must be these
//	recipient NAME FILE     set the variable NAME to the public key of an identity file
//	swap OLD NEW FILE       replace the one place in FILE that says OLD
//
// and the condition [root].
func TestScript(t *testing.T) {
	// sops may be where go install puts it.
	if out, err := exec.Command("go", "env", "GOPATH").Output(); err == nil {
		bin := filepath.Join(strings.TrimSpace(string(out)), "bin")
		t.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	}
	if _, err := exec.LookPath("sops"); err != nil && os.Getenv("CI") == "true" {
		t.Fatal("sops is not installed: go install github.com/getsops/sops/v3/cmd/sops@v3.13.3")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			// Configs are looked for up to the home directory, and no further.
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each kenv with the race detector ends late
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("IDENTITY", filepath.Join(env.WorkDir, ".config", "kenv", "age", "keys.txt"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":    cmdStatus,
			"mode":      cmdMode,
			"swap":      cmdSwap,
			"recipient": cmdRecipient,
		},
	})
}

func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode OCTAL FILE…")
	}
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %04o, want %04o", name, got, want)
		}
	}
}

func cmdSwap(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: swap OLD NEW FILE")
	}
	text := ts.ReadFile(args[2])
	if n := strings.Count(text, args[0]); n != 1 {
		ts.Fatalf("%s says %q %d times, want once", args[2], args[0], n)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(strings.Replace(text, args[0], args[1], 1)), 0o600))
}

func cmdRecipient(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: recipient NAME FILE")
	}
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if key, ok := strings.CutPrefix(line, "# public key: "); ok {
			ts.Setenv(args[0], strings.TrimSpace(key))
			return
		}
	}
	ts.Fatalf("%s names no public key", args[1])
}
