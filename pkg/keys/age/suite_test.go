package age_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fage "filippo.io/age"
	"filippo.io/age/armor"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
	"golang.org/x/crypto/ssh"
)

// vars makes a Getenv.
func vars(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

// write makes a file, its directories too.
func write(t testing.TB, text []byte, elem ...string) string {
	t.Helper()
	path := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// generate makes an identity and returns the text of its file, its secret line and
// its recipient.
func generate(t *testing.T, postQuantum bool) (file []byte, secret, recipient string) {
	t.Helper()
	file, recipient, err := age.Generate(postQuantum)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	return file, lines[len(lines)-1], recipient
}

// sealed encrypts an identity file under a passphrase, with little work.
func sealed(t *testing.T, file []byte, passphrase string, armored bool) []byte {
	t.Helper()
	r, err := fage.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(4)
	var buf bytes.Buffer
	a := armor.NewWriter(&buf)
	var dst io.Writer = &buf
	if armored {
		dst = a
	}
	w, err := fage.Encrypt(dst, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(file); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if armored {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

// sshKey makes an ssh key: the private one's file, under a passphrase if there is
// one, and the line of the public one.
func sshKey(t *testing.T, bits int, passphrase string) (private []byte, public string) {
	t.Helper()
	var priv, pub any
	if bits > 0 {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, k.Public()
	} else {
		p, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		priv, pub = k, p
	}
	var block *pem.Block
	var err error
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(priv, "nobody@nowhere")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(priv, "nobody@nowhere", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPub)))
}

// body is a line from the middle of a PEM file: one that no message may hold.
func body(file []byte) string {
	return strings.Split(string(file), "\n")[1]
}

var wrong = []string{
	"age1", "age1xyz", "age1pq1xyz", "age1yubikey1xyz", "AGE1XYZ",
	"ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E=", "ssh-dss AAAA",
	"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY= x",
	"age1" + strings.Repeat("q", 1<<20), "ssh-rsa " + strings.Repeat("A", 1<<20),
}

func TestConformance(t *testing.T) {
	away := func(t *testing.T) keys.Provider {
		return age.Provider(keys.Env{Getenv: vars(), HomeDir: t.TempDir(), ConfigDir: t.TempDir()})
	}
	withEnv := func(kv ...string) func(*testing.T) keys.Provider {
		return func(t *testing.T) keys.Provider {
			return age.Provider(keys.Env{Getenv: vars(kv...), HomeDir: t.TempDir()})
		}
	}
	withHome := func(name string, file []byte) func(*testing.T) keys.Provider {
		return func(t *testing.T) keys.Provider {
			home := t.TempDir()
			write(t, file, home, name)
			return age.Provider(keys.Env{HomeDir: home})
		}
	}
	_, _, other := generate(t, false)
	_, _, otherPQ := generate(t, true)
	_, otherSSH := sshKey(t, 0, "")
	_, otherRSA := sshKey(t, 2048, "")

	t.Run("X25519", func(t *testing.T) {
		_, secret, name := generate(t, false)
		keystest.Run(t, keystest.Suite{
			Here: withEnv("KENV_AGE_KEY", secret), Away: away,
			Name: name, Other: other, Same: []string{" " + name + "\n"},
			Wrong:   append(wrong, secret, strings.ToLower(secret), name+"q", name[:30]+"b"+name[31:], strings.ToUpper(name)),
			Blob:    []string{"enc"},
			Secrets: []string{secret, secret[20:], strings.ToLower(secret)},
		})
	})
	t.Run("hybrid", func(t *testing.T) {
		file, secret, name := generate(t, true)
		keystest.Run(t, keystest.Suite{
			Here: func(t *testing.T) keys.Provider {
				config := t.TempDir()
				write(t, file, age.IdentityFile(keys.Env{ConfigDir: config}))
				return age.Provider(keys.Env{ConfigDir: config})
			},
			Away: away, Name: name, Other: otherPQ,
			Wrong: append(wrong, secret, name[:len(name)-1]), Blob: []string{"enc"}, Secrets: []string{secret, secret[20:]},
		})
	})
	t.Run("ssh-ed25519", func(t *testing.T) {
		file, name := sshKey(t, 0, "")
		keystest.Run(t, keystest.Suite{
			Here: withHome(".ssh/id_ed25519", file), Away: away,
			Name: name, Other: otherSSH, Same: []string{name + " me@host, and more", "  " + name},
			Wrong: append(wrong, name[:len(name)-4], name+"\n"+otherSSH), Blob: []string{"enc"}, Secrets: []string{body(file)},
		})
	})
	t.Run("ssh-rsa", func(t *testing.T) {
		file, name := sshKey(t, 2048, "")
		keystest.Run(t, keystest.Suite{
			Here: withHome(".ssh/id_rsa", file), Away: away,
			Name: name, Other: otherRSA, Same: []string{name + " me@host"},
			Wrong: wrong, Blob: []string{"enc"}, Secrets: []string{body(file)},
		})
	})
	t.Run("passphrase", func(t *testing.T) {
		const passphrase = "correct horse battery staple"
		file, secret, name := generate(t, false)
		config := t.TempDir()
		write(t, sealed(t, file, passphrase, true), age.IdentityFile(keys.Env{ConfigDir: config}))
		keystest.Run(t, keystest.Suite{
			Here: func(t *testing.T) keys.Provider {
				return age.Provider(keys.Env{ConfigDir: config, Prompt: func(ctx context.Context, _ string) ([]byte, error) {
					return []byte(passphrase), ctx.Err()
				}})
			},
			Away: func(t *testing.T) keys.Provider { return age.Provider(keys.Env{ConfigDir: config}) },
			Name: name, Other: other, Wrong: wrong, Blob: []string{"enc"},
			Secrets: []string{passphrase, secret, secret[20:]},
		})
	})
}

// encryptTo encrypts n bytes to an age recipient, armored.
func encryptTo(t *testing.T, name string, n int) string {
	t.Helper()
	r, err := fage.ParseX25519Recipient(name)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	a := armor.NewWriter(&buf)
	w, err := fage.Encrypt(a, r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}
