package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyWhatIsNeeded: a file that an age key opens sets up no AWS SDK, loads no
// PKCS#11 module, starts no gpg and connects to nothing, though its other keys are
// of those kinds and all of that is configured.
func TestOnlyWhatIsNeeded(t *testing.T) {
	needPrograms(t, "strace")
	d := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(d, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	module, awsConfig := write("module.so", "no module"), write("aws-config", "[default]\nregion = eu-west-1\n")
	gpg := write("gpg", "#!/bin/sh\nexit 1\n")
	env := append(os.Environ(), "HOME="+d, "XDG_CONFIG_HOME=", "KENV_PKCS11_MODULE="+module, "AWS_CONFIG_FILE="+awsConfig,
		"KENV_GPG_EXEC="+gpg, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y")
	kenv := func(args ...string) *exec.Cmd {
		cmd := exec.Command("kenv", args...)
		cmd.Dir, cmd.Env = d, env
		return cmd
	}
	write("secrets.yaml", "password: hunter2\n")
	for _, args := range [][]string{{"init"}, {"encrypt", "-i", "secrets.yaml"}} {
		if out, err := kenv(args...).CombinedOutput(); err != nil {
			t.Fatalf("kenv %q: %v: %s", args, err, out)
		}
	}
	// Entries of the other kinds, which sops would try in this order.
	data, err := os.ReadFile(filepath.Join(d, "secrets.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(data)) {
		kept = append(kept, line)
		if line == "sops:\n" {
			kept = append(kept, `    kms:
        - arn: arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
          aws_profile: ""
          created_at: "2024-01-02T03:04:05Z"
          enc: AAAA
    pgp:
        - created_at: "2024-01-02T03:04:05Z"
          enc: x
          fp: EF3829C76267B7074F4383F7BF5999B069DACA52
    pkcs11:
        - created_at: "2024-01-02T03:04:05Z"
          ek: AAAA
          enc: AAAA
          key_fp: sha256:00000000000000000000000000000000
          mech: rsa-oaep-sha256
          uri: pkcs11:token=prod;object=kenv
`)
		}
	}
	write("more.yaml", strings.Join(kept, ""))
	for name, wants := range map[string]string{"secrets.yaml": "password: hunter2", "more.yaml": "password: hunter2"} {
		args := []string{"decrypt", name}
		if name == "more.yaml" { // the seal covers its recipients
			args = append(args, "--ignore-mac")
		}
		trace := filepath.Join(d, "trace")
		inner := kenv(args...)
		cmd := exec.Command("strace", append([]string{"-f", "-o", trace, "-e", "trace=openat,connect,execve,socket", inner.Path}, args...)...)
		cmd.Dir, cmd.Env = d, env
		out, err := cmd.Output()
		if err != nil || !strings.Contains(string(out), wants) {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		calls, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(calls), "keys.txt") {
			t.Fatalf("the trace does not even have the identity:\n%s", calls)
		}
		for _, bad := range []string{module, awsConfig, gpg, "AF_INET"} {
			if strings.Contains(string(calls), bad) {
				t.Errorf("%s: it touched %s:\n%s", name, bad, calls)
			}
		}
	}
}
