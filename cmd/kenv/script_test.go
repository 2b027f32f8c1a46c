package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11/hsmtest"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite what cmp finds different in the scripts")

func TestMain(m *testing.M) { testscript.Main(m, programs()) }

// measure is a program of TestHostileTexts, where that runs.
var measure func()

// programs are what this one is when it is called by other names.
func programs() map[string]func() {
	return map[string]func(){
		"kenv":         main,
		"age-stand-in": ageStandIn,
		"linger":       linger,
		// For strace, which can look into the other only when it is root's.
		"kenv-in-sight": func() { os.Exit(Main(context.Background(), os.Args[1:])) },
		// As if a link of that name had been called; the real sops is on the PATH, too.
		"kenv-named-sops": func() {
			os.Args[0] = "sops"
			os.Exit(Main(context.Background(), os.Args[1:]))
		},
		"measure": measure,
	}
}

// lack skips a test for want of something, and fails it in CI.
func lack(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			lack(t, "%s is not installed", name)
		}
	}
}

// linger runs a command on a terminal, and ends some time after it: testscript closes
// the terminal as soon as the command has ended, and loses what it has not read yet.
func linger() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	time.Sleep(300 * time.Millisecond)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		panic(err)
	}
}

// ageStandIn does age -a -r RECIPIENT FILE.
func ageStandIn() {
	data, err := os.ReadFile(os.Args[4])
	if err != nil || os.Args[1] != "-a" || os.Args[2] != "-r" {
		panic(err)
	}
	k, _, err := age.Provider(keys.Env{}).Parse(keys.Spec{Name: os.Args[3]})
	if err != nil {
		panic(err)
	}
	e, err := k.Wrap(context.Background(), data)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(e.Field("enc"))
}

// TestScript runs testdata/script. To the commands of testscript they add
//
//	status N COMMAND ARG…   run a command that must end with exit code N
//	mode OCTAL FILE…        the files' permissions must be these
//	recipient NAME FILE     set the variable NAME to the public key of an identity file
//	swap OLD NEW FILE       replace the one place in FILE that says OLD
//	hsm                     make a SoftHSM token, and set the variables to use it
//	kms                     set the variables to use a KMS server, with $KMS_ARN… for its keys
//	kms calls OP N          it must have had N calls of an operation since the last kms
//	kms fault OP TYPE N     it fails the next N calls of an operation
//	kms do OP KEY           it does something to a key: DisableKey, EnableKey
//
// and the conditions [root], [pkcs11] for a kenv that can load PKCS#11 modules,
// [hsm] for one that has SoftHSM to load, and [kms] for a machine with a KMS server.
func TestScript(t *testing.T) {
	// sops may be where go install puts it.
	if out, err := exec.Command("go", "env", "GOPATH").Output(); err == nil {
		bin := filepath.Join(strings.TrimSpace(string(out)), "bin")
		t.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	}
	if _, err := exec.LookPath("sops"); err != nil && os.Getenv("CI") == "true" {
		t.Fatal("sops is not installed: go install github.com/getsops/sops/v3/cmd/sops@v3.13.3")
	}
	if pkcs11.Available() == nil && !hsmtest.Available() && os.Getenv("CI") == "true" {
		t.Fatal(hsmtest.ErrMissing)
	}
	if !kmsAvailable() && os.Getenv("CI") == "true" {
		t.Fatal("there is no KMS server: testdata/tools/start-kms.sh check says why")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "testdata", "script"),
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			// Configs are looked for up to the home directory, and no further.
			env.Setenv("HOME", env.WorkDir)
			env.Values["kms"] = kmstest.Once(false)   // each its own, as scripts count calls and disable keys
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each kenv with the race detector ends late
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, ".config"))
			env.Setenv("IDENTITY", filepath.Join(env.WorkDir, ".config", "kenv", "age", "keys.txt"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "pkcs11":
				return pkcs11.Available() == nil, nil
			case "kms":
				return kmsAvailable(), nil
			case "hsm":
				return pkcs11.Available() == nil && hsmtest.Available(), nil
			}
			return false, errors.New("unknown condition " + cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status":    cmdStatus,
			"mode":      cmdMode,
			"swap":      cmdSwap,
			"recipient": cmdRecipient,
			"hsm":       cmdHSM,
			"kms": func(ts *testscript.TestScript, neg bool, args []string) {
				cmdKMS(ts, ts.Value("kms").(func(testing.TB) *kmstest.Server)(scriptTB{t, ts}), args)
			},
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

func cmdHSM(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hsm")
	}
	token, err := hsmtest.Make(ts.MkAbs(".hsm"), "kenv-test")
	ts.Check(err)
	for _, variable := range token.Env {
		name, value, _ := strings.Cut(variable, "=")
		ts.Setenv(name, value)
	}
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

var kmsAvailable = sync.OnceValue(func() bool {
	return exec.Command("bash", filepath.Join("..", "..", "testdata", "tools", "start-kms.sh"), "check").Run() == nil
})

// A scriptTB lets a script fail where a test would.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scriptTB) Helper()                           {}
func (s scriptTB) Cleanup(func())                    {}
func (s scriptTB) Fatal(args ...any)                 { s.ts.Fatalf("%s", fmt.Sprint(args...)) }
func (s scriptTB) Fatalf(format string, args ...any) { s.ts.Fatalf(format, args...) }

func cmdKMS(ts *testscript.TestScript, s *kmstest.Server, args []string) {
	t := scriptTB{nil, ts}
	switch {
	case len(args) == 0:
		for name, value := range s.Env {
			ts.Setenv(strings.Replace(name, "KENV_TEST_KMS_", "KMS_", 1), value)
		}
		s.Reset(t)
	case len(args) == 3 && args[0] == "calls":
		if got := fmt.Sprint(len(s.Calls(t, args[1]))); got != args[2] {
			ts.Fatalf("%s calls of %s, want %s: %v", got, args[1], args[2], s.Calls(t, ""))
		}
	case len(args) == 4 && args[0] == "fault":
		n, err := strconv.Atoi(args[3])
		ts.Check(err)
		s.Fault(t, kmstest.Fault{Op: args[1], Type: args[2], Count: n})
	case len(args) == 3 && args[0] == "do":
		_, id, _ := strings.Cut(args[2], "/")
		s.KMS(t, strings.Split(args[2], ":")[3], args[1], map[string]any{"KeyId": id})
	default:
		ts.Fatalf("usage: kms | kms calls OP N | kms fault OP TYPE N | kms do OP KEY")
	}
}
