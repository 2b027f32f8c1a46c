package awskms_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"go.yaml.in/yaml/v3"
)

// sops runs sops and returns what it prints.
func sops(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("sops")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("sops is not installed")
	}
	var stderr bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sops %v: %v\n%s", args, err, stderr.Bytes())
	}
	return out
}

// Entries that sops wrote open, and sops opens those that are written here.
func TestSops(t *testing.T) {
	for _, server := range []struct {
		name string
		get  func(testing.TB) *kmstest.Server
	}{{"shim", shim}, {"plain", plain}} {
		t.Run(server.name, func(t *testing.T) {
			s := server.get(t)
			setenv(t, s)
			plainFile := filepath.Join(t.TempDir(), "a.yaml")
			if err := os.WriteFile(plainFile, []byte("a: b\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct {
				name, arn, context string
			}{
				{s.Env["KENV_TEST_KMS_ARN"], s.Env["KENV_TEST_KMS_ARN"], ""},
				{s.Env["KENV_TEST_KMS_ALIAS_ARN"], s.Env["KENV_TEST_KMS_ALIAS_ARN"], ""},
				{s.Env["KENV_TEST_KMS_ARN"] + "?app=web&env=a+b", s.Env["KENV_TEST_KMS_ARN"], "app:web,env:a b"},
			} {
				args := []string{"--disable-version-check", "encrypt", "--kms", tt.arn}
				if tt.context != "" {
					args = append(args, "--encryption-context", tt.context)
				}
				var file map[string]any
				if err := yaml.Unmarshal(sops(t, append(args, plainFile)...), &file); err != nil {
					t.Fatal(err)
				}
				list := file["sops"].(map[string]any)["kms"].([]any)
				e := keys.Entry{Kind: "kms", Fields: list[0].(map[string]any)}
				if c, ok := e.Fields["context"].(map[string]any); ok {
					m := make(map[string]string)
					for k, v := range c {
						m[k] = v.(string)
					}
					e.Fields["context"] = m
				}
				k, err := rows().FromEntry(e)
				if err != nil {
					t.Fatal(err)
				}
				if k.Name() != tt.name {
					t.Errorf("the entry of sops is for %s, want %s", k.Name(), tt.name)
				}
				dataKey, err := k.Unwrap(t.Context(), e)
				if err != nil || len(dataKey) != 32 {
					t.Fatalf("%d bytes, %v", len(dataKey), err)
				}
				again, err := parse(t, rows(), tt.name).Wrap(t.Context(), dataKey)
				if err != nil {
					t.Fatal(err)
				}
				list[0] = again.Fields
				text, err := yaml.Marshal(file)
				if err != nil {
					t.Fatal(err)
				}
				rewrapped := filepath.Join(t.TempDir(), "b.yaml")
				if err := os.WriteFile(rewrapped, text, 0o600); err != nil {
					t.Fatal(err)
				}
				if got := sops(t, "--disable-version-check", "decrypt", rewrapped); string(got) != "a: b\n" {
					t.Errorf("%s: sops decrypts to %q", tt.name, got)
				}
			}
		})
	}
}
