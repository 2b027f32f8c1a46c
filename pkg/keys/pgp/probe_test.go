package pgp_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/pgp"
)

func TestProbe(t *testing.T) {
	ring, away := newKeyring(t), newKeyring(t)
	probe := func(ring *keyring, name string, e keys.Entry) keys.Finding {
		t.Helper()
		return ring.parse("pgp:"+name).(keys.Prober).Probe(t.Context(), e)
	}
	check := func(what string, f keys.Finding, state, detail, hint string) {
		t.Helper()
		if f.State != state || !strings.Contains(f.Detail, detail) || f.Hint != hint || !strings.HasPrefix(f.What, "pgp:") {
			t.Errorf("%s: %+v; want %s, %q and the hint %q", what, f, state, detail, hint)
		}
	}
	var none keys.Entry
	fp := ring.generate("cv25519", "a passphrase that nobody is asked for")
	_, e := ring.wrap(fp)
	away.importPublic(ring, fp)
	check("a secret key", probe(ring, fp, none), keys.OK, "secret key at hand", "")
	check("a public key", probe(away, fp, none), keys.Note, "public key at hand: encrypts and does not decrypt here", "")
	check("an entry", probe(ring, fp, e), keys.OK, "secret key at hand", "")
	check("a damaged entry", probe(ring, fp, entry(fp, "x")), keys.OK, "secret key at hand", "")
	check("no such key", probe(ring, someFP, none), keys.Missing, "does not know the key", "gpg --import FILE, or gpg --receive-keys "+someFP)
	sub := ring.fingerprints(fp)[1]
	check("a subkey", probe(ring, sub+"!", none), keys.OK, "secret key at hand", "")
	check("a primary key that only signs", probe(ring, fp+"!", none), keys.Warning, "no subkey that encrypts", "gpg --list-keys "+fp)

	old := ring.generate("cv25519", "")
	_, e = ring.wrap(old)
	time.Sleep(1100 * time.Millisecond) // gpg's clock has seconds
	ring.gpg(nil, "--passphrase", "", "--quick-add-key", old, "cv25519", "encr", "never")
	subs := ring.fingerprints(old)
	check("an older subkey", probe(ring, old, e), keys.Warning, "wrapped for "+subs[1][24:]+", and gpg now takes the newer subkey "+subs[2][24:], "kenv rotate")
	check("that subkey by name", probe(ring, subs[1]+"!", e), keys.OK, "secret key at hand", "")

	// Expiry.
	year := ring.generate("rsa2048", "")
	ring.gpg(nil, "--quick-set-expire", year, "2y")
	check("two years", probe(ring, year, none), keys.OK, "secret key at hand, expires on 20", "")
	ring.gpg(nil, "--quick-set-expire", year, "5d")
	check("five days", probe(ring, year, none), keys.Warning, "secret key at hand, expires on 20", "gpg --quick-set-expire "+year+" 1y")
	ring.gpg(nil, "--quick-set-expire", year, "seconds=1")
	time.Sleep(2100 * time.Millisecond)
	check("over", probe(ring, year, none), keys.Warning, "expired on 20", "gpg --list-keys "+year)

	// gpg leaves a revocation beside each key that it makes, blunted by a colon.
	text, err := os.ReadFile(ring.home + "/openpgp-revocs.d/" + fp + ".rev")
	if err != nil {
		t.Fatal(err)
	}
	away.gpg([]byte(strings.Replace(string(text), ":-----BEGIN", "-----BEGIN", 1)), "--import")
	check("revoked", probe(away, fp, none), keys.Warning, "revoked", "gpg --list-keys "+fp)

	env := ring.env("SOPS_GPG_EXEC", "/nonexistent")
	k, _, _ := pgp.Provider(env).Parse(keys.Spec{Name: fp})
	check("no gpg", k.(keys.Prober).Probe(t.Context(), none), keys.Missing, "no program", "")
}

func TestExamine(t *testing.T) {
	ring := newKeyring(t)
	look := func(env keys.Env) string {
		var b strings.Builder
		for _, f := range pgp.Provider(env).Examine(t.Context()) {
			b.WriteString(f.What + " " + f.State + ": " + f.Detail + "\n")
		}
		return b.String()
	}
	check := func(what, got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q lacks %q", what, got, w)
			}
		}
	}
	check("no keys", look(ring.env()), "gpg ok: /", "gpg (GnuPG) 2.", "gpg-agent note: no secret key")
	ring.generate("cv25519", "")
	check("one key", look(ring.env()), "gpg-agent ok: 1 secret key\n")
	ring.generate("rsa2048", "x")
	check("two keys", look(ring.env()), "gpg-agent ok: 2 secret keys\n")
	ring.killAgent()
	ring.write("gpg.conf", "agent-program /bin/false\n", 0o600)
	check("no agent", look(ring.env()), "gpg ok: ", "gpg-agent missing: gpg lists no keys: \"failed to start agent")
	check("no gpg", look(ring.env("SOPS_GPG_EXEC", "no-such-gpg")), `gpg note: no program "no-such-gpg"`, "only PGP keys need it")
	check("no home", look(keys.Env{}), "gpg note: neither HOME nor GNUPGHOME is set")
}
