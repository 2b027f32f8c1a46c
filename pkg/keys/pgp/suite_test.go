package pgp_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
	"github.com/kenvhq/kenv/pkg/keys/pgp"
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

// A keyring is a GnuPG home of a test's own. Its path is short, because the agent's
// socket is in it.
type keyring struct {
	t    *testing.T
	home string
	keys int // generated in it
}

// agentConf makes passphrases cheap to try.
const agentConf = "s2k-count 65536\n"

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("gpg is not installed (apt-get install gnupg)")
		}
		t.Skip("gpg is not installed (apt-get install gnupg)")
	}
	home, err := os.MkdirTemp("", "kenv")
	if err != nil {
		t.Fatal(err)
	}
	k := &keyring{t: t, home: home}
	t.Cleanup(func() {
		k.killAgent()
		os.RemoveAll(home)
	})
	k.write("gpg-agent.conf", agentConf, 0o600)
	return k
}

// killAgent ends the agent and waits until it has taken away its socket: before that
// it takes requests and does not answer them.
func (k *keyring) killAgent() {
	k.t.Helper()
	conf := func(args ...string) string {
		out, err := exec.Command("gpgconf", append([]string{"--homedir", k.home}, args...)...).CombinedOutput()
		if err != nil {
			k.t.Errorf("gpgconf %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	socket := conf("--list-dirs", "agent-socket")
	conf("--kill", "all")
	for range 250 {
		if _, err := os.Stat(socket); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	k.t.Errorf("the agent does not take away %s", socket)
}

func (k *keyring) env(kv ...string) keys.Env {
	return keys.Env{
		Getenv: vars(append([]string{"GNUPGHOME", k.home}, kv...)...),
		Prompt: func(context.Context, string) ([]byte, error) { return nil, keys.ErrNoTerminal }, // gpg asks
	}
}

func (k *keyring) provider() keys.Provider { return pgp.Provider(k.env()) }

// gpg runs gpg on the keyring and returns what it prints.
func (k *keyring) gpg(in []byte, args ...string) []byte {
	k.t.Helper()
	var errors bytes.Buffer
	cmd := exec.Command("gpg", append([]string{"--homedir", k.home, "--batch", "--no-tty"}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &errors
	out, err := cmd.Output()
	if err != nil {
		k.t.Fatalf("gpg %q: %v\n%s", args, err, errors.Bytes())
	}
	return out
}

func (k *keyring) write(name, text string, mode os.FileMode) string {
	k.t.Helper()
	path := filepath.Join(k.home, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		k.t.Fatal(err)
	}
	return path
}

// generate makes a key of an algorithm and returns its fingerprint. An ed25519 one
// only signs; a cv25519 one is a subkey of such a key.
func (k *keyring) generate(algo, passphrase string) string {
	k.t.Helper()
	k.keys++
	user := fmt.Sprintf("Test %d", k.keys)
	options := []string{"--pinentry-mode=loopback", "--passphrase", passphrase}
	switch algo {
	case "ed25519", "cv25519":
		k.gpg(nil, append(options, "--quick-generate-key", user, "ed25519", "sign", "never")...)
	default:
		k.gpg(nil, append(options, "--quick-generate-key", user, algo, "encr", "never")...)
	}
	if algo == "cv25519" {
		k.gpg(nil, append(options, "--quick-add-key", k.fingerprints("=" + user)[0], algo, "encr", "never")...)
	}
	return k.fingerprints("=" + user)[0]
}

// fingerprints are those of a primary key and its subkeys.
func (k *keyring) fingerprints(user string) (all []string) {
	k.t.Helper()
	for line := range strings.Lines(string(k.gpg(nil, "--with-colons", "--list-keys", user))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			all = append(all, f[9])
		}
	}
	return all
}

// importPublic takes over the public halves of keys.
func (k *keyring) importPublic(from *keyring, fps ...string) {
	k.t.Helper()
	k.gpg(from.gpg(nil, append([]string{"--export"}, fps...)...), "--import")
}

func (k *keyring) parse(name string) keys.MasterKey {
	k.t.Helper()
	m, ok, err := k.provider().Parse(keys.Spec{Name: name})
	if err != nil || !ok {
		k.t.Fatalf("Parse(%q): %v, %v", name, ok, err)
	}
	return m
}

func (k *keyring) wrap(fp string) (dataKey []byte, e keys.Entry) {
	k.t.Helper()
	dataKey = keystest.NewDataKey(k.t, 32)
	e, err := k.parse("pgp:"+fp).Wrap(k.t.Context(), dataKey)
	if err != nil {
		k.t.Fatal(err)
	}
	return dataKey, e
}

func entry(fp, enc string) keys.Entry {
	return keys.Entry{Kind: "pgp", Fields: map[string]any{"fp": fp, "enc": enc, "created_at": "2026-11-25T00:00:00Z"}}
}

const (
	someFP = "0123456789ABCDEF0123456789ABCDEF01234567"
	v5FP   = someFP + "89ABCDEF0123456789ABCDEF"
)

var wrong = []string{
	"pgp:", "pgp: ", "pgp:!", "pgp:x", "pgp:me@example.com", "pgp:" + someFP[:39], "pgp:" + someFP + "0",
	"pgp:" + someFP + "!!", "pgp:!" + someFP, "pgp:" + someFP[:39] + "G", "pgp:" + someFP[:16], "pgp:" + someFP[:8],
	"pgp:--output=x", "pgp:" + someFP + "," + someFP, "pgp:" + strings.Repeat("A", 1<<20), "pgp:\x1b[2J",
}

func TestConformance(t *testing.T) {
	run := func(t *testing.T, s keystest.Suite) {
		s.Same = append(s.Same, strings.ToLower(s.Name[4:]), " pgp: "+s.Name[4:10]+" "+s.Name[10:]+"\n", "pgp:0x"+s.Name[4:])
		s.Wrong, s.Blob, s.Cuts = wrong, []string{"enc"}, 7
		keystest.Run(t, s)
	}
	t.Run("RSA", func(t *testing.T) {
		here, away := newKeyring(t), newKeyring(t)
		name, other := here.generate("rsa3072", ""), away.generate("cv25519", "")
		empty := newKeyring(t)
		empty.importPublic(here, name)
		here.importPublic(away, other)
		run(t, keystest.Suite{
			Here: func(*testing.T) keys.Provider { return here.provider() },
			Away: func(*testing.T) keys.Provider { return empty.provider() },
			Name: "pgp:" + name, Other: "pgp:" + other,
		})
	})
	t.Run("both keys in one keyring", func(t *testing.T) {
		here, away := newKeyring(t), newKeyring(t)
		name, other := here.generate("cv25519", ""), here.generate("rsa3072", "")
		away.importPublic(here, name)
		run(t, keystest.Suite{
			Here: func(*testing.T) keys.Provider { return here.provider() },
			Away: func(*testing.T) keys.Provider { return away.provider() },
			Name: "pgp:" + name, Other: "pgp:" + other, OtherHere: true,
		})
	})
	t.Run("a subkey", func(t *testing.T) {
		here, away := newKeyring(t), newKeyring(t)
		name, other := here.fingerprints(here.generate("cv25519", ""))[1], here.generate("cv25519", "")
		away.importPublic(here, name)
		run(t, keystest.Suite{
			Here: func(*testing.T) keys.Provider { return here.provider() },
			Away: func(*testing.T) keys.Provider { return away.provider() },
			Name: "pgp:" + name + "!", Other: "pgp:" + other, OtherHere: true,
		})
	})
	t.Run("passphrase", func(t *testing.T) {
		const passphrase = "correct horse battery staple"
		here, away := newKeyring(t), newKeyring(t)
		name, other := here.generate("cv25519", passphrase), away.generate("cv25519", "")
		away.importPublic(here, name)
		here.importPublic(away, other)
		here.pinentry(passphrase)
		run(t, keystest.Suite{
			Here: func(*testing.T) keys.Provider { return here.provider() },
			Away: func(*testing.T) keys.Provider { return away.provider() },
			Name: "pgp:" + name, Other: "pgp:" + other, Secrets: []string{passphrase},
		})
	})
}

// pinentry has the agent ask a script, which answers with the passphrase, or calls
// the question off if that is empty. Each question leaves a line in the returned
// file.
func (k *keyring) pinentry(passphrase string) (questions string) {
	k.t.Helper()
	if runtime.GOOS == "windows" {
		k.t.Skip("takes a shell script")
	}
	questions = k.write("questions", "", 0o600)
	answer := `echo "ERR 83886179 canceled"`
	if passphrase != "" {
		answer = "echo 'D " + passphrase + "'; echo OK"
	}
	script := k.write("pinentry.sh", `#!/bin/sh
echo "OK ready"
while read -r command rest; do
	case $command in
	GETPIN) echo "$tty" >>'`+questions+`'; `+answer+` ;;
	OPTION) case $rest in ttyname=*) tty=${rest#ttyname=} ;; esac; echo OK ;;
	BYE) echo OK; exit ;;
	*) echo OK ;;
	esac
done
`, 0o700)
	k.write("gpg-agent.conf", agentConf+"pinentry-program "+script+"\n", 0o600)
	k.killAgent()
	return questions
}
