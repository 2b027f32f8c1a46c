package kenv_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
)

// kindsOf checks one file and returns the kinds of problems with it.
func kindsOf(t *testing.T, s kenv.Setup, name, text string) (kinds []string) {
	t.Helper()
	r := s.Check(context.Background(), []kenv.CheckFile{{Name: name, Open: holding(text)}}, kenv.CheckOptions{})
	if len(r.Failures) > 0 {
		t.Errorf("%s: %v", name, r.Failures)
	}
	for _, p := range r.Problems {
		if p.File != name || p.Msg == "" || strings.Contains(p.Msg, "canary") {
			t.Errorf("%+v", p)
		}
		kinds = append(kinds, p.Kind)
	}
	return kinds
}

func holding(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// Secrets are told from texts about secrets.
func TestCheckTellsSecrets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	s, _ := newSetup(t)
	body := strings.Repeat("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n", 4)
	identity := "AGE-SECRET-KEY-1" + strings.Repeat("QPZRY9X8", 7) + "GF"
	for _, tt := range []struct{ name, text, want string }{
		{"x", identity + "\n", kenv.IdentityInClear},
		{"x.go", "k := \"" + identity + "\"", kenv.IdentityInClear},
		{"x", "AGE-SECRET-KEY-PQ-1" + strings.Repeat("QPZRY9X8", 7), kenv.IdentityInClear},
		{"x", "AGE-SECRET-KEY-1…", ""},
		{"x", "AGE-SECRET-KEY-1QQQ", ""},
		{"x", "-----BEGIN PRIVATE KEY-----\n" + body, kenv.PrivateKey},
		{"x", "-----BEGIN RSA PRIVATE KEY-----\r\n" + body, kenv.PrivateKey},
		{"x", "-----BEGIN OPENSSH PRIVATE KEY-----\n" + body, kenv.PrivateKey},
		{"x", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: x\n\n" + body, kenv.PrivateKey},
		{"x.yaml", "a: |\n    -----BEGIN EC PRIVATE KEY-----\n    " + strings.ReplaceAll(body, "\n", "\n    "), kenv.PrivateKey},
		{"x.json", `{"a": "-----BEGIN PRIVATE KEY-----\n` + strings.ReplaceAll(body, "\n", `\n`) + `"}`, kenv.PrivateKey},
		{"x.go", "var k = \"-----BEGIN PRIVATE KEY-----\\n\" +\n\t\"" + strings.TrimSpace(strings.Split(body, "\n")[0]) + "\\n\"", kenv.PrivateKey},
		{"x", "-----BEGIN PRIVATE KEY-----\nis how it begins", ""},
		{"x", "-----BEGIN PRIVATE KEY-----", ""},
		{"x", "-----BEGIN PUBLIC KEY-----\n" + body, ""},
		{"x", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + body, ""},
		{"x", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\n" + body, ""},
		{"x", "-----BEGIN CERTIFICATE-----\n" + body, ""},
		{"x.ppk.txt", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nx\n", kenv.PrivateKey},
		{"x.txt", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc\nPrivate-Lines: 1\nx\n", ""},
		{"x", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAA\n", kenv.PrivateKey},
		{"x", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAA\n", ""},
		{"x.pfx", "any", kenv.KeyFile},
		{"x.pfx", "", ""},
		{".env", "A=canary\n", kenv.EnvFile},
		{".env.prod", "export A=canary\n", kenv.EnvFile},
		{"prod.env", "# x\nA='canary'\n", kenv.EnvFile},
		{".env", "# A=1\nA=\nB=\"\"\n", ""},
		{".env.example", "A=canary\n", ""},
		{".envrc", "A=canary\n", ""},
		{"pin.txt", "123456\n", kenv.PINFile},
		{"hsm-pin", "canary", kenv.PINFile},
		{"pin", "a text about pins", ""},
		{"pinned.txt", "123456", ""},
		{"spin.txt", "123456", ""},
		{"x.yaml", "sops:\n    enabled: true\n", ""},
		{"x.yaml", "a: ENC[AES256_GCM,data:x,iv:y,tag:z,type:str]\n", ""},
	} {
		if got := strings.Join(kindsOf(t, s, filepath.Join(dir, tt.name), tt.text), " "); got != tt.want {
			t.Errorf("%s, %.60q: %q, want %q", tt.name, tt.text, got, tt.want)
		}
	}
}

// Keys of kinds that this kenv lacks are compared by their names.
func TestCheckUnsupportedKeys(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	config := filepath.Join(dir, ".kenv.yaml")
	if err := os.WriteFile(config, []byte("creation_rules:\n  - path: '*.yaml'\n    keys: [test]\n    gcp_kms: projects/p/locations/l/keyRings/r/cryptoKeys/k\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, recipient := newSetup(t)
	parse := s.Keys[0].Parse
	s.Keys[0].Parse = func(spec keys.Spec) (keys.MasterKey, bool, error) {
		if strings.HasPrefix(spec.Name, "gcp-kms:") {
			return nil, false, keys.ErrUnsupported
		}
		return parse(spec)
	}
	yaml, err := kenv.FormatNamed("yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Encrypt(context.Background(), kenv.Source{Data: []byte("a: 1\n"), Format: yaml}, kenv.EncryptOptions{Keys: []string{recipient}})
	if err != nil {
		t.Fatal(err)
	}
	name, plain := filepath.Join(dir, "x.yaml"), string(out.Data)
	if got := kindsOf(t, s, name, plain); !slices.Equal(got, []string{kenv.MissingRecipient}) {
		t.Errorf("without it: %q", got)
	}
	entry := "    gcp_kms:\n        - resource_id: projects/p/locations/l/keyRings/r/cryptoKeys/k\n          created_at: \"2024-01-02T03:04:05Z\"\n          enc: x\n"
	with := strings.Replace(plain, "    kenv:\n", entry+"    kenv:\n", 1)
	if got := kindsOf(t, s, name, with); len(got) > 0 {
		t.Errorf("with it: %q", got)
	}
	other := strings.Replace(with, "keyRings/r/", "keyRings/other/", 1)
	if got := kindsOf(t, s, name, other); !slices.Equal(got, []string{kenv.MissingRecipient, kenv.ExtraRecipient}) {
		t.Errorf("with another: %q", got)
	}
}

// One thing that is wrong with a config is told once, a file that cannot be read does not
// keep the others from it, and the order is that of the files.
func TestCheckFailures(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sub, ".kenv.yaml"), []byte("unknown: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ := newSetup(t)
	var files []kenv.CheckFile
	for i := range 50 {
		files = append(files,
			kenv.CheckFile{Name: filepath.Join(sub, fmt.Sprint(i)), Open: holding("x")},
			kenv.CheckFile{Name: filepath.Join(dir, fmt.Sprintf("%02d.env", i)), Open: holding("A=1")},
			kenv.CheckFile{Name: filepath.Join(dir, "gone")})
	}
	files = append(files, kenv.CheckFile{Name: filepath.Join(dir, "bad"), Open: func() (io.ReadCloser, error) { return nil, errors.New("no") }})
	r := s.Check(context.Background(), files, kenv.CheckOptions{})
	if len(r.Failures) != 2 || len(r.Problems) != 50 || r.Files != 50 || !r.NoConfig {
		t.Fatalf("%d failures, %d problems, %d files: %v", len(r.Failures), len(r.Problems), r.Files, r.Failures)
	}
	if !slices.IsSortedFunc(r.Problems, func(a, b kenv.Problem) int { return strings.Compare(a.File, b.File) }) {
		t.Error("not in order")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r := s.Check(ctx, files, kenv.CheckOptions{}); len(r.Failures) == 0 {
		t.Error("a check that was broken off says that all is well")
	}
}
