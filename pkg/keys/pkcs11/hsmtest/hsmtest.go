// Package hsmtest makes throw-away SoftHSM tokens for tests.
package hsmtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PIN is the PIN of the tokens. It is like nothing else in a message.
const PIN = "pin-of-the-test-7391"

// A Token is a SoftHSM token with three keys, which have their labels and ids from
// testdata/tools/softhsm-token.sh.
type Token struct {
	Dir     string // where it is kept; nothing is outside
	Module  string // the path of SoftHSM's module
	Label   string
	Serial  string
	PINFile string
	// Env are the variables under which kenv uses the token.
	Env []string

	RSA, AES, EC string // the URIs of its keys
}

// ErrMissing is wrapped by the error of Make on a machine without SoftHSM.
var ErrMissing = errors.New("softhsm2-util or pkcs11-tool is not installed: apt-get install softhsm2 opensc")

// Available reports whether this machine has what makes tokens.
func Available() bool {
	for _, program := range []string{"bash", "softhsm2-util", "pkcs11-tool"} {
		if _, err := exec.LookPath(program); err != nil {
			return false
		}
	}
	return true
}

// New makes a token and sets the variables of Env for the test and the programs that
// it starts. Without SoftHSM the test is skipped; where CI is "true" it fails.
//
// SoftHSM reads its configuration when it is loaded, and processes that log in at
// the same time disturb each other: let a test process have one token.
func New(t testing.TB) *Token {
	t.Helper()
	token, err := Make(t.TempDir(), "kenv-test")
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	for _, variable := range token.Env {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	return token
}

// Make makes a token in a directory, which must be empty or not exist.
func Make(dir, label string) (*Token, error) {
	if !Available() {
		return nil, ErrMissing
	}
	script, err := tool("softhsm-token.sh")
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd := exec.Command("bash", script, "--dir", dir, "--label", label, "--pin", PIN, "--rsa-bits", "2048")
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("making a SoftHSM token: %w:\n%s", err, said.Bytes())
	}
	set := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); ok {
			set[name] = strings.ReplaceAll(value, `\`, "") // how bash's %q quotes
		}
	}
	t := &Token{
		Dir: set["KENV_TEST_HSM_DIR"], Module: set["KENV_TEST_HSM_MODULE"], Label: label,
		Serial: set["KENV_TEST_HSM_SERIAL"], PINFile: set["KENV_TEST_HSM_PIN_FILE"],
	}
	if t.Dir == "" || t.Module == "" || t.Serial == "" || t.PINFile == "" {
		return nil, fmt.Errorf("softhsm-token.sh did not say what it made:\n%s", out)
	}
	t.Env = []string{
		"SOFTHSM2_CONF=" + set["SOFTHSM2_CONF"],
		"KENV_PKCS11_MODULE=" + t.Module,
		"KENV_PKCS11_PIN_FILE=" + t.PINFile,
	}
	t.RSA = fmt.Sprintf("pkcs11:token=%s;object=kenv-rsa;id=%%02", label)
	t.AES = fmt.Sprintf("pkcs11:token=%s;object=kenv-aes;id=%%01;type=secret-key", label)
	t.EC = fmt.Sprintf("pkcs11:token=%s;object=kenv-ec;id=%%03", label)
	return t, nil
}

// Add makes another token beside t, with no keys. Modules that are loaded already
// do not see it. It returns the serial number.
func (t *Token) Add(label string) (string, error) {
	run := func(args ...string) (string, error) {
		cmd := exec.Command("softhsm2-util", append([]string{"--module", t.Module}, args...)...)
		cmd.Env = append(os.Environ(), t.Env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("softhsm2-util: %w:\n%s", err, out)
		}
		return string(out), nil
	}
	serials := func() (map[string]bool, error) {
		out, err := run("--show-slots")
		seen := map[string]bool{}
		for line := range strings.Lines(out) {
			if serial, ok := strings.CutPrefix(strings.TrimSpace(line), "Serial number:"); ok && strings.TrimSpace(serial) != "" {
				seen[strings.TrimSpace(serial)] = true
			}
		}
		return seen, err
	}
	before, err := serials()
	if err != nil {
		return "", err
	}
	if _, err := run("--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN); err != nil {
		return "", err
	}
	after, err := serials()
	if err != nil {
		return "", err
	}
	for serial := range after {
		if !before[serial] {
			return serial, nil
		}
	}
	return "", errors.New("the new token does not show up")
}

// Tool runs pkcs11-tool on a token, logged in.
func (t *Token) Tool(label string, args ...string) error {
	cmd := exec.Command("pkcs11-tool", append([]string{"--module", t.Module, "--token-label", label, "--login", "--pin", PIN}, args...)...)
	cmd.Env = append(os.Environ(), t.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pkcs11-tool %s: %w:\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Shim compiles a C file of testdata/tools to a module in dir, and returns its path.
func Shim(dir, name string) (string, error) {
	source, err := tool(name)
	if err != nil {
		return "", err
	}
	if _, err := exec.LookPath("gcc"); err != nil {
		return "", fmt.Errorf("%w: gcc", exec.ErrNotFound)
	}
	lib := filepath.Join(dir, strings.TrimSuffix(name, ".c")+".so")
	if out, err := exec.Command("gcc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", lib, source, "-ldl").CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling %s: %w:\n%s", name, err, out)
	}
	return lib, nil
}

// tool finds a file of testdata/tools.
func tool(name string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return "", fs.ErrNotExist
		}
		dir = filepath.Dir(dir)
	}
	path := filepath.Join(dir, "testdata", "tools", name)
	_, err = os.Stat(path)
	return path, err
}
