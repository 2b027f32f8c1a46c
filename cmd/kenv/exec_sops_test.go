//go:build unix

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys/age"
)

// A twin runs kenv and sops on the same encrypted file.
type twin struct {
	*testing.T
	sops, dir, recipient string
}

func newTwin(t *testing.T) *twin {
	needPrograms(t, "sops")
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keys.txt"), identity, 0o600); err != nil {
		t.Fatal(err)
	}
	return &twin{t, "sops", dir, recipient}
}

// encrypt has sops or kenv encrypt a text.
func (w *twin) encrypt(by, name, text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.Fatal(err)
	}
	args := []string{"encrypt", "-i", "--age", w.recipient, name}
	if out, err := w.command(by, args...).CombinedOutput(); err != nil {
		w.Fatalf("%s encrypt: %v: %s\n%s", by, err, out, text)
	}
}

func (w *twin) command(by string, args ...string) *exec.Cmd {
	if by == "sops" {
		by = w.sops
	}
	cmd := exec.Command(by, args...)
	cmd.Dir = w.dir
	cmd.Env = []string{"HOME=" + w.dir, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + w.dir, "KEPT=parent", "BOTH=parent", "GORACE=atexit_sleep_ms=0",
		"KENV_AGE_KEY_FILE=" + filepath.Join(w.dir, "keys.txt"), "SOPS_AGE_KEY_FILE=" + filepath.Join(w.dir, "keys.txt")}
	return cmd
}

// environment returns what a program is given by exec-env of one of the two.
func (w *twin) environment(by string, flags []string, name string) []string {
	w.Helper()
	to := filepath.Join(w.dir, "environment")
	os.Remove(to)
	command := "exec /usr/bin/env -0 >" + to
	args := append(append([]string{"exec-env"}, flags...), name, command)
	if out, err := w.command(by, args...).CombinedOutput(); err != nil {
		w.Fatalf("%s exec-env: %v: %s", by, err, out)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		w.Fatal(err)
	}
	var env []string
	for _, entry := range strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00") {
		if name, _, _ := strings.Cut(entry, "="); name != "PWD" && name != "_" {
			env = append(env, entry)
		}
	}
	slices.Sort(env)
	return env
}

// A program has the same environment by kenv exec-env as by sops exec-env. Not equal,
// and so not generated, are: null, which sops sets to "<nil>"; names by which other
// code is run, which kenv refuses; several documents, of which sops takes the first, and
// binary files, which it takes for a variable named data.
func TestExecEnvAsSops(t *testing.T) {
	w := newTwin(t)
	r := rand.New(rand.NewPCG(7, 8))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	scalar := func() string {
		return pick("1", "-7", "0x1F", "1_000", "1.0", "1e3", "1e30", "0.1", "true", "False", "yes", "2024-01-02", "2024-01-02T03:04:05.678+01:00",
			`""`, `"a b"`, `"it's"`, `'say "hi"'`, `"a\nb"`, `"a\\nb"`, `"tab\there"`, `"=x="`, `"$A ${A}"`, `"# no comment"`, "plain text", `" spaced "`, `"äöü €"`, `"trailing\n"`, "|\n    two\n    lines")
	}
	envValue := func() string {
		return pick("", "x", "a b", ` spaced `, `"quoted"`, `'quoted'`, `"a\nb"`, `a\nb`, "a # c", "#a", "a=b", "$A", "äöü", `\`, `\\n`, `"open`)
	}
	for i := range 40 {
		by, name, flags := pick("kenv", "sops"), "f.yaml", []string(nil)
		if r.IntN(2) == 0 {
			flags = append(flags, "--pristine")
		}
		if r.IntN(3) == 0 {
			flags = append(flags, "--same-process")
		}
		var text strings.Builder
		seen := map[string]bool{}
		for range 1 + r.IntN(8) {
			key := pick("A", "B", "lower", "BOTH", "X_1", "with-dash", "with.dot", "C_unencrypted", "ENV")
			if seen[key] {
				continue
			}
			seen[key] = true
			fmt.Fprintf(&text, "%s: %s\n", key, scalar())
		}
		if i%2 == 0 {
			name = "f.env"
			text.Reset()
			for range 1 + r.IntN(8) {
				text.WriteString(pick("A", "B", "export C", "BOTH", " D", "E ", "with-dash", "F_unencrypted", "A") + "=" + envValue() + "\n" + pick("", "# comment\n", "\n"))
			}
		}
		w.encrypt(by, name, text.String())
		if got, want := w.environment("kenv", flags, name), w.environment("sops", flags, name); !slices.Equal(got, want) {
			t.Errorf("%v of\n%s\nis %q, by sops %q", flags, text.String(), got, want)
		}
	}
}

// A null is unset, where sops says <nil>.
func TestExecEnvNull(t *testing.T) {
	w := newTwin(t)
	w.encrypt("sops", "f.yaml", "A: ~\nKEPT: ~\nB: x\n")
	if got, want := w.environment("sops", nil, "f.yaml"), "A=<nil>"; !slices.Contains(got, want) {
		t.Errorf("sops does not set %q any more: %q", want, got)
	}
	for _, entry := range w.environment("kenv", nil, "f.yaml") {
		if name, _, _ := strings.Cut(entry, "="); name == "A" || name == "KEPT" {
			t.Errorf("%s is set", entry)
		}
	}
}

// A program finds the same text in the same kind of file by exec-file.
func TestExecFileAsSops(t *testing.T) {
	w := newTwin(t)
	const text = "a: 1\nb:\n    - x\n    - y z\n"
	const look = `test -p {} && echo fifo; test -f {} && echo file; ls -l {} | cut -c1-10; basename {} | sed 's/[0-9]*$//'; cat {}; echo "$KEPT $1 $0"; cat; exit 9`
	for _, by := range []string{"kenv", "sops"} {
		w.encrypt(by, "f.yaml", text)
		for _, flags := range [][]string{
			nil, {"--no-fifo"}, {"--filename", "x.conf"}, {"--no-fifo", "--filename", "x.conf"},
			{"--output-type", "json"}, {"--no-fifo", "--output-type", "json"}, {"--input-type", "yaml"},
		} {
			said := map[string]string{}
			for _, with := range []string{"kenv", "sops"} {
				args := append(append([]string{"exec-file"}, flags...), "f.yaml", look)
				cmd := w.command(with, args...)
				cmd.Stdin = strings.NewReader("some input\n")
				out, err := cmd.Output()
				said[with] = fmt.Sprintf("%s\nexit code %d", out, exitCodeOf(t, err))
			}
			if said["kenv"] != said["sops"] || !strings.Contains(said["kenv"], "exit code 9") {
				t.Errorf("%v: %q, by sops %q", flags, said["kenv"], said["sops"])
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(w.dir, "kenv-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// exitCodeOf returns the exit code of a command that has been run.
func exitCodeOf(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return exit.ExitCode()
}
