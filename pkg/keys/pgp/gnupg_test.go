package pgp_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
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

// unwrap opens an entry with the key that it names.
func unwrap(ctx context.Context, t *testing.T, env keys.Env, e keys.Entry) ([]byte, error) {
	t.Helper()
	k, err := pgp.Provider(env).FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	return k.Unwrap(ctx, e)
}

// says fails the test unless err holds a text, and is or is not ErrNotHere.
func says(t *testing.T, err error, notHere bool, text string) {
	t.Helper()
	if err == nil || errors.Is(err, keys.ErrNotHere) != notHere || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v; want %q, and ErrNotHere to be %v", err, text, notHere)
	}
}

func TestNames(t *testing.T) {
	p := pgp.Provider(keys.Env{})
	for name, want := range map[string]string{
		someFP:                         "pgp:" + someFP,
		someFP + "!":                   "pgp:" + someFP + "!",
		"pgp:" + strings.ToLower(v5FP): "pgp:" + v5FP,
		"pgp:0123 4567 89AB CDEF 0123  4567 89AB CDEF 0123 4567": "pgp:" + someFP,
		"pgp:0x" + someFP + " !":                                 "pgp:" + someFP + "!",
	} {
		if k, ok, err := p.Parse(keys.Spec{Name: name}); err != nil || !ok || k.Name() != want {
			t.Errorf("Parse(%q) = %v, %v, %v; want %s", name, k, ok, err, want)
		}
	}
	for _, name := range []string{someFP[:39], someFP[:16], someFP + "0", v5FP, "PGP:" + someFP, someFP[:39] + "G"} {
		if k, ok, err := p.Parse(keys.Spec{Name: name}); ok || err != nil {
			t.Errorf("Parse(%q) = %v, %v, %v; want it to be no key of this provider", name, k, ok, err)
		}
	}
	_, _, err := p.Parse(keys.Spec{Name: "pgp:" + someFP[:16]})
	says(t, err, false, "key id, which the key of somebody else can have as well; name the fingerprint, which gpg --fingerprint 0123456789ABCDEF shows")

	// sops stores the name as it was given.
	for fp, want := range map[string]string{
		someFP:                         "pgp:" + someFP,
		strings.ToLower(someFP) + "!":  "pgp:" + someFP + "!",
		"0x" + someFP:                  "pgp:" + someFP,
		strings.ToLower(someFP[24:40]): "pgp:" + someFP[24:],
	} {
		if k, err := p.FromEntry(entry(fp, "x")); err != nil || k.Name() != want {
			t.Errorf("FromEntry of fp %q = %v, %v; want %s", fp, k, err, want)
		}
	}
	for _, fp := range []string{"", someFP[:8], someFP[:39], "me@example.com", "-", "\x1b"} {
		if k, err := p.FromEntry(entry(fp, "x")); err == nil {
			t.Errorf("FromEntry takes fp %q as %s", fp, k.Name())
		}
	}
}

func TestMatches(t *testing.T) {
	p := pgp.Provider(keys.Env{})
	for _, tt := range []struct {
		name, fp string
		want     bool
	}{
		{someFP, someFP, true},
		{someFP, strings.ToLower(someFP), true},
		{someFP, someFP[24:], true}, // the long id
		{someFP, someFP[:16], false},
		{someFP, someFP + "!", false},
		{someFP + "!", someFP[24:] + "!", true},
		{"pgp:" + v5FP, v5FP[:16], true},
		{"pgp:" + v5FP, v5FP[40:56], false},
		{"pgp:" + v5FP, someFP, false},
		{someFP, "", false},
	} {
		k, _, err := p.Parse(keys.Spec{Name: tt.name})
		if err != nil {
			t.Fatal(err)
		}
		if got := (keys.Table{p}).Matches(k, entry(tt.fp, "x")); got != tt.want {
			t.Errorf("%s matches an entry of %q: %v, want %v", k.Name(), tt.fp, got, tt.want)
		}
	}
}

// TestLongID opens what sops wrapped for a key that was named by its id.
func TestLongID(t *testing.T) {
	ring := newKeyring(t)
	dataKey, e := ring.wrap(ring.generate("rsa2048", ""))
	e.Fields["fp"] = e.Field("fp")[24:]
	if got, err := unwrap(t.Context(), t, ring.env(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("an entry by long id: %v", err)
	}
	// Rotating such a file wraps again.
	k, err := ring.provider().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = k.Wrap(t.Context(), dataKey); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("wrapped by long id: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	const passphrase = "correct horse"
	asked := func(t *testing.T, file string) int {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return bytes.Count(text, []byte("\n"))
	}
	ring := newKeyring(t)
	dataKey, e := ring.wrap(ring.generate("cv25519", passphrase))

	t.Run("asked for", func(t *testing.T) {
		questions := ring.pinentry(passphrase)
		// Quiet: nobody is asked, and asking would help.
		_, err := unwrap(keys.Quiet(t.Context()), t, ring.env(), e)
		says(t, err, true, "its agent does not have the passphrase of the secret key")
		if !errors.Is(err, keys.ErrQuiet) {
			t.Error("a passphrase would open the entry, and the error is not ErrQuiet")
		}
		if n := asked(t, questions); n != 0 {
			t.Fatalf("a quiet Unwrap asked %d times", n)
		}
		// Where nobody may be asked, asking would not help either, however loud.
		silent := ring.env()
		silent.Prompt = nil
		for _, ctx := range []context.Context{t.Context(), keys.Quiet(t.Context())} {
			_, err := unwrap(ctx, t, silent, e)
			says(t, err, true, "its agent does not have the passphrase of the secret key")
			if errors.Is(err, keys.ErrQuiet) {
				t.Error("nobody may be asked, and the error is ErrQuiet")
			}
		}
		if n := asked(t, questions); n != 0 {
			t.Fatalf("an Unwrap without a Prompt asked %d times", n)
		}
		// Aloud: the person is, on the terminal that GPG_TTY names.
		got, err := unwrap(t.Context(), t, ring.env("GPG_TTY", "/dev/some-terminal"), e)
		if err != nil || !bytes.Equal(got, dataKey) {
			t.Fatalf("with the passphrase: %v", err)
		}
		if text, _ := os.ReadFile(questions); string(text) != "/dev/some-terminal\n" {
			t.Errorf("the question was asked on %q", text)
		}
		// Then the agent has it.
		if got, err = unwrap(keys.Quiet(t.Context()), t, ring.env(), e); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("quietly, after the passphrase was given: %v", err)
		}
		if n := asked(t, questions); n != 1 {
			t.Errorf("asked %d times for one passphrase", n)
		}
	})
	for name, answer := range map[string]string{"called off": "", "wrong": "hunter2"} {
		t.Run(name, func(t *testing.T) {
			questions := ring.pinentry(answer)
			_, err := unwrap(t.Context(), t, ring.env(), e)
			says(t, err, true, "the passphrase of the secret key was not given")
			if errors.Is(err, keys.ErrQuiet) {
				t.Error("the person was asked, and the error is ErrQuiet")
			}
			if asked(t, questions) == 0 {
				t.Error("nobody was asked")
			}
			if answer != "" && strings.Contains(err.Error(), answer) {
				t.Errorf("the error repeats the passphrase: %v", err)
			}
		})
	}
	t.Run("no pinentry", func(t *testing.T) {
		ring.write("gpg-agent.conf", agentConf+"pinentry-program /nonexistent\n", 0o600)
		ring.killAgent()
		_, err := unwrap(t.Context(), t, ring.env(), e)
		says(t, err, true, "the passphrase of the secret key was not given")
	})
	// Whoever can encrypt to nobody can still write an entry that asks for a
	// passphrase of its own.
	t.Run("not for a symmetric message", func(t *testing.T) {
		questions := ring.pinentry(passphrase)
		enc := ring.gpg(dataKey, "--pinentry-mode=loopback", "--passphrase", passphrase, "--symmetric", "--armor")
		_, err := unwrap(t.Context(), t, ring.env(), entry(e.Field("fp"), string(enc)))
		says(t, err, false, "is damaged: its message is not one that is encrypted to a PGP key")
		if n := asked(t, questions); n != 0 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestMessages tries what gpg decrypts, and may be no data key of this key.
func TestMessages(t *testing.T) {
	ring := newKeyring(t)
	fp, other := ring.generate("cv25519", ""), ring.generate("rsa2048", "")
	dataKey := keystest.NewDataKey(t, 32)
	to := func(in []byte, args ...string) string {
		return string(ring.gpg(in, append([]string{"--trust-model=always", "--armor"}, args...)...))
	}
	one := to(dataKey, "--encrypt", "-r", fp)
	raw := ring.gpg([]byte(one), "--dearmor")
	signer := ring.generate("ed25519", "")

	for _, tt := range []struct {
		name, enc string
		wrong     string // what the error says, "" if there is none
	}{
		{"a message", one, ""},
		{"two recipients", to(dataKey, "--encrypt", "-r", other, "-r", fp), ""},
		{"a hidden recipient", to(dataKey, "--encrypt", "-R", fp), ""},
		{"compressed", to(dataKey, "--encrypt", "-r", fp, "--compress-algo=zip"), ""},
		{"signed", to(dataKey, "--encrypt", "--sign", "-u", signer, "-r", fp), ""},
		{"for another key at hand", to(dataKey, "--encrypt", "-r", other), "is damaged: its message is for another key, " + other},
		{"for another, hidden", to(dataKey, "--encrypt", "-R", other), "is damaged: its message is for another key, " + other},
		{"64 bytes", to(make([]byte, 64), "--encrypt", "-r", fp), ""},
		{"65 bytes", to(make([]byte, 65), "--encrypt", "-r", fp), "holds more than 64 bytes"},
		{"a bomb", to(make([]byte, 20<<20), "--encrypt", "-r", fp, "--compress-algo=zip"), "holds more than 64 bytes"},
		{"nothing", to(nil, "--encrypt", "-r", fp), "its message does not decrypt"},
		{"in clear", to(dataKey, "--store"), "not one that is encrypted to a PGP key"},
		{"signed in clear", to(dataKey, "--sign", "-u", signer), "not one that is encrypted to a PGP key"},
		{"twice", pgp.Armor(append(bytes.Clone(raw), raw...)), "does not decrypt"},
		{"and one in clear behind it", pgp.Armor(append(bytes.Clone(raw), ring.gpg(dataKey, "--store")...)), "does not decrypt"},
		{"its end cut off", pgp.Armor(raw[:len(raw)-20]), "does not decrypt"},
		{"its last byte changed", pgp.Armor(append(bytes.Clone(raw[:len(raw)-1]), raw[len(raw)-1]^1)), "is damaged: its message does not decrypt"},
		{"no packet after the key", pgp.Armor(raw[:96]), "not one that is encrypted to a PGP key"},
		{"without integrity protection", pgp.Armor(append(bytes.Clone(raw[:96]), 0xc0|9, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)), "not one that is encrypted to a PGP key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := unwrap(t.Context(), t, ring.env(), entry(fp, tt.enc))
			switch {
			case tt.wrong != "":
				says(t, err, false, tt.wrong)
				if got != nil {
					t.Errorf("%d bytes and an error", len(got))
				}
			case err != nil:
				t.Error(err)
			case !bytes.Equal(got, dataKey) && len(got) != keys.MaxDataKey:
				t.Error("another data key comes out")
			}
		})
	}
	t.Run("its session key changed", func(t *testing.T) {
		for _, i := range []int{12, 20, 60, 90} {
			bad := bytes.Clone(raw)
			bad[i] ^= 1
			if got, err := unwrap(t.Context(), t, ring.env(), entry(fp, pgp.Armor(bad))); err == nil || got != nil {
				t.Errorf("byte %d: %d bytes, %v", i, len(got), err)
			}
		}
	})
	t.Run("an older subkey", func(t *testing.T) {
		time.Sleep(1100 * time.Millisecond) // gpg's clock has seconds
		ring.gpg(nil, "--passphrase", "", "--quick-add-key", fp, "cv25519", "encr", "never")
		if got, err := unwrap(t.Context(), t, ring.env(), entry(fp, one)); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("by the primary key's fingerprint: %v", err)
		}
		// gpg takes the newest, whichever subkey the fingerprint names.
		sub := ring.fingerprints(fp)[1]
		_, e := ring.wrap(sub)
		if _, err := unwrap(t.Context(), t, ring.env(), e); err != nil {
			t.Errorf("by the fingerprint of another subkey: %v", err)
		}
	})
}

func TestArmor(t *testing.T) {
	ring := newKeyring(t)
	dataKey, e := ring.wrap(ring.generate("cv25519", ""))
	fp, enc := e.Field("fp"), e.Field("enc")
	lines := strings.Split(enc, "\n")
	sum := lines[len(lines)-2]
	for name, text := range map[string]string{
		"as sops writes it":     enc,
		"with a newline":        enc + "\n",
		"from Windows":          strings.ReplaceAll(enc, "\n", "\r\n"),
		"with headers":          strings.Replace(enc, "\n\n", "\nVersion: GnuPG v2\nComment: x\n\n", 1),
		"without its checksum":  strings.Replace(enc, sum+"\n", "", 1),
		"with another's widths": strings.Join(append(append(lines[:2:2], rewrap(lines[2:len(lines)-2], 76)...), lines[len(lines)-2:]...), "\n"),
	} {
		if got, err := unwrap(t.Context(), t, ring.env(), entry(fp, text)); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"with a wrong checksum": strings.Replace(enc, sum, "=AAAA", 1),
		"with text before it":   "x\n" + enc,
		"with text behind it":   enc + "\nx",
		"in one line":           strings.ReplaceAll(enc, "\n", ""),
		"without its blank":     strings.Replace(enc, "\n\n", "\n", 1),
		"without its head":      strings.TrimPrefix(enc, lines[0]+"\n"),
		"without its tail":      strings.TrimSuffix(enc, "\n"+lines[len(lines)-1]),
		"of another kind":       strings.ReplaceAll(enc, "PGP MESSAGE", "PGP SIGNATURE"),
		"empty":                 lines[0] + "\n\n" + lines[len(lines)-1],
		"nothing but lines":     strings.Repeat("\n", 100),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unwrap(t.Context(), t, ring.env(), entry(fp, text))
			says(t, err, false, "is damaged: its enc field is not an armored PGP message; restore it")
		})
	}
}

// rewrap breaks lines anew.
func rewrap(lines []string, width int) (out []string) {
	text := strings.Join(lines, "")
	for len(text) > width {
		out, text = append(out, text[:width]), text[width:]
	}
	return append(out, text)
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte{0x85, 0, 9, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0xd2, 1, 1}, "")
	f.Add([]byte{0xc1, 0xff, 0, 0, 0, 9, 3, 1, 2, 3, 4, 5, 6, 7, 8, 0xd4, 0xe1}, "")
	f.Add([]byte{0xc1, 0xc0, 0}, "\n")
	f.Add([]byte{0x87, 0xff, 0xff, 0xff, 0xff, 0}, "-----BEGIN PGP MESSAGE-----\n\n=\n")
	// No keyring: what is well formed ends there.
	p := pgp.Provider(keys.Env{})
	f.Fuzz(func(t *testing.T, message []byte, text string) {
		for _, enc := range []string{text, pgp.Armor(message)} {
			e := entry(someFP, enc)
			k, err := p.FromEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := k.Unwrap(t.Context(), e); err == nil {
				t.Fatal("opened without a keyring")
			}
		}
	})
}

func TestWrapRefusals(t *testing.T) {
	ring := newKeyring(t)
	dataKey := keystest.NewDataKey(t, 32)
	wrap := func(fp string) error {
		t.Helper()
		_, err := ring.parse("pgp:"+fp).Wrap(t.Context(), dataKey)
		return err
	}
	says(t, wrap(someFP), false, "wrapping the data key for pgp:"+someFP+": ")
	says(t, wrap(someFP), false, "does not know the key; import its public half: gpg --import FILE, or gpg --receive-keys "+someFP)
	signing := ring.generate("ed25519", "")
	says(t, wrap(signing), false, "gpg does not encrypt to it, as a key that has expired or cannot encrypt; gpg --list-keys "+signing+" shows why")

	expired := ring.generate("cv25519", "")
	_, e := ring.wrap(expired)
	ring.gpg(nil, "--quick-set-expire", expired, "seconds=1")
	time.Sleep(2100 * time.Millisecond)
	says(t, wrap(expired), false, "gpg does not encrypt to it")
	if _, err := unwrap(t.Context(), t, ring.env(), e); err != nil {
		t.Errorf("a key that has expired since does not decrypt: %v", err)
	}

	// The user's own settings of gpg cannot widen who gets the key.
	fp, other := ring.generate("rsa2048", ""), ring.generate("rsa2048", "")
	ring.write("gpg.conf", "encrypt-to "+other+"\nhidden-encrypt-to "+other+"\ndefault-recipient "+other+"\ngroup 0x"+fp+"="+other+
		"\ncomment x\nthrow-keyids\nverbose\nuse-embedded-filename\npinentry-mode loopback\n", 0o600)
	dataKey, e = ring.wrap(fp)
	if enc := e.Field("enc"); strings.Contains(enc, "Comment") {
		t.Errorf("a comment is in the armor:\n%s", enc)
	}
	list := exec.Command("gpg", "--homedir", ring.home, "--batch", "--list-packets", "--list-only")
	list.Stdin = strings.NewReader(e.Field("enc"))
	packets, err := list.CombinedOutput()
	if n := bytes.Count(packets, []byte(":pubkey enc packet:")); err != nil || n != 1 || !bytes.Contains(packets, []byte(fp[24:])) {
		t.Errorf("the message is not to one key alone: %v\n%s", err, packets)
	}
	if got, err := unwrap(t.Context(), t, ring.env(), e); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("with a gpg.conf: %v", err)
	}
}

// A message may name a file for gpg to write to.
func TestNoFileIsWritten(t *testing.T) {
	ring := newKeyring(t)
	fp := ring.generate("rsa2048", "")
	ring.write("gpg.conf", "use-embedded-filename\n", 0o600)
	enc := ring.gpg([]byte("data key"), "--trust-model=always", "--armor", "--set-filename", "planted", "--encrypt", "-r", fp)
	t.Chdir(t.TempDir())
	if got, err := unwrap(t.Context(), t, ring.env(), entry(fp, string(enc))); err != nil || string(got) != "data key" {
		t.Errorf("%q, %v", got, err)
	}
	if files, err := os.ReadDir("."); err != nil || len(files) > 0 {
		t.Errorf("gpg wrote %v, %v", files, err)
	}
}

func TestProgram(t *testing.T) {
	ring := newKeyring(t)
	dataKey, e := ring.wrap(ring.generate("rsa2048", ""))
	real, err := exec.LookPath("gpg")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Symlink(real, filepath.Join(dir, "my-gpg")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	setting := func(program string, kv ...string) keys.Env {
		env := ring.env(kv...)
		env.Setting = func(name string) string {
			return map[string]string{"gpg_exec": program}[name]
		}
		return env
	}
	for name, env := range map[string]keys.Env{
		"gpg":                       ring.env(),
		"SOPS_GPG_EXEC":             ring.env("SOPS_GPG_EXEC", real),
		"gpg_exec":                  setting(filepath.Join(dir, "my-gpg")),
		"gpg_exec over the other's": setting("gpg", "SOPS_GPG_EXEC", "/nonexistent"),
	} {
		if got, err := unwrap(t.Context(), t, env, e); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for program, want := range map[string]string{
		"gpg --homedir /evil": "neither a name nor an absolute path",
		"no-such-gpg":         `no program "no-such-gpg" (from gpg_exec) on the PATH; install GnuPG, or name its program in KENV_GPG_EXEC`,
		"/nonexistent":        `no program "/nonexistent" (from gpg_exec)`,
		"./my-gpg":            `"./my-gpg" (from gpg_exec) is neither a name nor an absolute path`,
		"my-gpg":              `no program "my-gpg" (from gpg_exec) on the PATH`, // it is in the current directory
	} {
		_, err := unwrap(t.Context(), t, setting(program), e)
		says(t, err, true, want)
	}
	t.Run("the current directory on the PATH", func(t *testing.T) {
		t.Setenv("PATH", "."+string(os.PathListSeparator)+os.Getenv("PATH"))
		_, err := unwrap(t.Context(), t, setting("my-gpg"), e)
		says(t, err, true, "no program")
	})
	t.Run("no home", func(t *testing.T) {
		_, err := unwrap(t.Context(), t, keys.Env{}, e)
		says(t, err, true, "neither HOME nor GNUPGHOME is set")
	})
	t.Run("the home of Env", func(t *testing.T) {
		home, err := os.MkdirTemp("", "kenv")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(home)
		if err := os.Symlink(ring.home, filepath.Join(home, ".gnupg")); err != nil {
			t.Fatal(err)
		}
		t.Setenv("GNUPGHOME", "/nonexistent")
		if got, err := unwrap(t.Context(), t, keys.Env{HomeDir: home}, e); err != nil || !bytes.Equal(got, dataKey) {
			t.Errorf("HomeDir does not count: %v", err)
		}
	})
}

// TestLooked pins what a person sees without the secret key.
func TestLooked(t *testing.T) {
	ring, away := newKeyring(t), newKeyring(t)
	fp := ring.generate("cv25519", "")
	_, e := ring.wrap(fp)
	away.importPublic(ring, fp)
	_, err := unwrap(t.Context(), t, away.env(), e)
	gpg, _ := exec.LookPath("gpg")
	want := "no matching secret key at hand; looked in " + gpg + " with GNUPGHOME " + away.home + " (its agent has no secret key for this entry, or does not run)"
	if err == nil || err.Error() != want || errors.Is(err, keys.ErrQuiet) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// TestFakeGPG has a program that is not gpg, or not any more.
func TestFakeGPG(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("takes a shell script")
	}
	ring := newKeyring(t)
	fp := ring.generate("rsa2048", "")
	_, e := ring.wrap(fp)
	const all = `DECRYPTION_KEY FP FP u\nDECRYPTION_OKAY\nGOODMDC\n`
	status := func(lines string) string {
		return `printf '` + strings.ReplaceAll(strings.ReplaceAll("[GNUPG:] "+strings.TrimSuffix(lines, `\n`)+`\n`, `\nD`, `\n[GNUPG:] D`), `\nG`, `\n[GNUPG:] G`) + `' | sed s/FP/` + fp + `/g >&2`
	}
	for _, tt := range []struct {
		name, script string
		want         string // "" if it opens
	}{
		{"all is well", status(all) + "; printf key", ""},
		{"but it fails", status(all) + "; printf key; exit 1", "does not decrypt"},
		{"no key", status(all), "does not decrypt"},
		{"no integrity", status(`DECRYPTION_KEY FP FP u\nDECRYPTION_OKAY\n`) + "; printf key", "does not decrypt"},
		{"no word on the key", status(`DECRYPTION_OKAY\nGOODMDC\n`) + "; printf key", "GnuPG 2.2 or later"},
		{"half a word on the key", status(`DECRYPTION_KEY\nDECRYPTION_OKAY\nGOODMDC\n`) + "; printf key", "gpg does not"},
		{"no status", "printf key", "GnuPG 2.2 or later"},
		{"a flood", status(all) + "; exec yes", "holds more than 64 bytes"},
		{"a flood of words", "exec yes >&2", "context deadline exceeded"},
		{"much, and then well", "yes gpg: x | head -c 200000 >&2; printf key; exit 1", "gpg does not"},
		{"escapes", `printf 'gpg: \033[2J\r\nnoise\ngpg: h\303\244?\n' >&2; exit 2`, `gpg does not decrypt it: "\x1b[2J; hä?"`},
		{"a long tale", `printf 'gpg: ' >&2; head -c 5000 /dev/zero | tr '\0' x >&2; exit 2`, `xxx…"`},
		{"odd numbers", `printf '[GNUPG:] ERROR pkdecrypt_failed 99999999999999999999\n[GNUPG:] ERROR\n[GNUPG:]\n[GNUPG:] \n' >&2; exit 2`, "it does not say why"},
		{"out of memory", `printf '[GNUPG:] ERROR pkdecrypt_failed 67141718\ngpg: public key decryption failed: Cannot allocate memory\n' >&2; exit 2`, "Cannot allocate memory"},
		{"a signal", "kill -9 $$", "it does not say why"},
		{"no end", "exec sleep 20", "context deadline exceeded"},
		{"no end, and a child that keeps the pipes", "sleep 20 & exec sleep 20", "context deadline exceeded"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), "gpg")
			if err := os.WriteFile(program, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			wait := 20 * time.Second
			if strings.Contains(tt.want, "deadline") {
				wait = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			began := time.Now()
			got, err := unwrap(ctx, t, ring.env("SOPS_GPG_EXEC", program), e)
			if tt.want == "" {
				if err != nil || string(got) != "key" {
					t.Errorf("%q, %v", got, err)
				}
				return
			}
			says(t, err, false, tt.want)
			if got != nil {
				t.Errorf("%q and an error", got)
			}
			if err != nil && len(err.Error()) > 600 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if took := time.Since(began); took > wait+5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	for code, want := range map[string]string{
		"100663408": "the smart card with the secret key cannot be used: \"public key decryption failed: Card not present\"", // scdaemon, 112
		"67108884":  "",
		"67108881":  "its agent has no secret key for this entry", // agent, 17
	} {
		program := ring.write("gpg-"+code, "#!/bin/sh\necho '[GNUPG:] ERROR pkdecrypt_failed "+code+"' >&2; echo 'gpg: public key decryption failed: Card not present' >&2; exit 2\n", 0o700)
		_, err := unwrap(keys.Quiet(t.Context()), t, ring.env("SOPS_GPG_EXEC", program), e)
		says(t, err, want != "", want)
		if card := strings.Contains(want, "card"); errors.Is(err, keys.ErrQuiet) != card {
			t.Errorf("%s: %v; ErrQuiet is %v", code, err, !card)
		}
	}
}

// What wrapping returns is looked at, too.
func TestFakeGPGWraps(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("takes a shell script")
	}
	ring := newKeyring(t)
	fp, other := ring.generate("rsa2048", ""), ring.generate("rsa2048", "")
	two := ring.gpg([]byte("x"), "--trust-model=always", "--armor", "--encrypt", "-r", fp, "-r", other)
	for name, script := range map[string]string{
		"nothing":        "cat >/dev/null",
		"the key itself": "cat",
		"in base64":      "base64",
		"armored":        `echo "-----BEGIN PGP MESSAGE-----"; echo; base64; echo "-----END PGP MESSAGE-----"`,
		"to two":         "cat '" + ring.write("two", string(two), 0o600) + "'",
		"a flood":        "yes",
	} {
		program := ring.write("fake", "#!/bin/sh\n"+script+"\n", 0o700)
		dataKey := keystest.NewDataKey(t, 32)
		k, _, err := pgp.Provider(ring.env("SOPS_GPG_EXEC", program)).Parse(keys.Spec{Name: "pgp:" + fp})
		if err != nil {
			t.Fatal(err)
		}
		e, err := k.Wrap(t.Context(), dataKey)
		if err == nil || e.Fields != nil {
			t.Errorf("%s: %v, %v; want an error", name, e, err)
		} else if strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(dataKey)) || strings.Contains(err.Error(), string(dataKey)) {
			t.Errorf("%s: the error tells the data key", name)
		}
	}
}
