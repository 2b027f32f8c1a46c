package envelope

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// TestINISelectorsInSops: under every kind of rule sops picks the same values and
// comments of an INI file, or it could not decrypt it.
func TestINISelectorsInSops(t *testing.T) {
	run, policy, table := sops(t)
	dir := t.TempDir()
	for name, p := range map[string]Policy{
		"encrypted_regex":           {Selector: Selector{EncryptedRegex: "^(a|b|password|deps|rep|extension|x)$"}},
		"encrypted_suffix":          {Selector: Selector{EncryptedSuffix: "s"}},
		"unencrypted_regex":         {Selector: Selector{UnencryptedRegex: "^(a|s|host)$"}},
		"encrypted_comment_regex":   {Selector: Selector{EncryptedCommentRegex: "comment|of|two|last|nothing|about|PHP"}},
		"unencrypted_comment_regex": {Selector: Selector{UnencryptedCommentRegex: "comment|of|two|last|nothing|about|PHP"}},
		"mac_only_encrypted":        {Selector: Selector{EncryptedRegex: "^(a|b)$"}, MACOnlyEncrypted: true},
	} {
		t.Run(name, func(t *testing.T) {
			done := 0
			for _, path := range seeds(t, doc.INI{}) {
				src, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				p.Groups, p.Now = policy.Groups, policy.Now
				sealed, err := Seal(t.Context(), src, doc.INI{}, p)
				if errors.Is(err, ErrNothingEncrypted) || err != nil && strings.Contains(err.Error(), "do not select the key "+doc.TextKey) {
					continue
				}
				if err != nil {
					t.Errorf("%s: %s", path, allOf(err))
					continue
				}
				file, err := Open(t.Context(), sealed.Data, doc.INI{}, table, OpenOptions{RequireSeal: true})
				if err != nil || string(file.Plaintext()) != string(src) {
					t.Errorf("%s: other bytes, %v", path, err)
				}
				d, _, err := doc.INI{}.Prepare(src, sealed.Rung)
				if err != nil {
					t.Fatal(err)
				}
				var want strings.Builder
				toUTF8(d.Roots[0])
				plainTree(&want, d.Roots[0])
				// Not as INI, which sops cannot write when a comment in clear begins with
				// an empty line.
				name := filepath.Join(dir, "file")
				if err := os.WriteFile(name, sealed.Data, 0o600); err != nil {
					t.Fatal(err)
				}
				got, err := sopsReadsAs(run, doc.INI{}, doc.JSON{}, name)
				if err != nil || got != want.String()+"\n" {
					t.Errorf("%s: %v: %v\nwant %s\ngot  %s\n%s", path, sealed.Rung, err, want.String(), got, sealed.Data)
				}
				done++
			}
			if done < 8 {
				t.Errorf("only %d files", done)
			}
		})
	}
}

// TestINILeaksNothing: what belongs to a key that the rule picks is encrypted with
// it, also where sops sees no value.
func TestINILeaksNothing(t *testing.T) {
	p := testPolicy
	p.Selector = Selector{EncryptedRegex: "^password$"}
	for _, src := range []string{
		"password = hunter2\n",
		"password = hunter2#hunter2\n",
		"password=#hunter2\n",
		"password = \"a;hunter2\"\n",
		"password = hunter2\npassword = hunter2\n",
		"password = hunter2\nx = y\npassword = hunter2\n",
		"password =\n  hunter2\n  hunter2\n",
		"password = x\n\n  hunter2\n# c\n  hunter2\n",
		"password =\n  x=hunter2\n  hunter2\n",
		"password = x \\\n hunter2\n",
		"[password] ; hunter2\na = hunter2 ; hunter2\nhunter2\n",
		"[password]\nhunter2\na = b\n[x]\na = b\n",
		"; hunter2\n[password]\na = `hunter2` hunter2\n",
		"[password]\na = \"\"\"hunter2\nhunter2\"\"\" hunter2 ; hunter2\n",
		"[password]\na = b\n; hunter2\n",
	} {
		sealed, err := Seal(t.Context(), []byte(src), doc.INI{}, p)
		if err != nil {
			t.Errorf("%q: %v", src, err)
		} else if strings.Contains(string(sealed.Data), "hunter2") {
			t.Errorf("%q:\n%s", src, sealed.Data)
		}
	}
}

// iniTwists are what mutants of INI texts get in odd places.
var iniTwists = []string{
	"=", ":", " = ", "#", ";", " ; c", "\n; c\n", "\n;\n", "[", "]", "[s]\n", "\n[DEFAULT]\n", "\"", "'", "`", "\"\"\"", "\\", "\\\n", "\n", "\r\n", "\r",
	"\n\n", " ", "\t", "\n  ", "a = 1\n", "\na = 2\nb = 3\na = 4\n", "- = x\n", "\nbare\n", "\n  bare\n", "`x`", "\"x\"", "kenv_text = x\n", "\u00a0", "\x00", "\xff", "ENC[",
}

// TestINIMutantsInSops: texts that nobody would write decrypt to their own bytes, and
// in sops to the data that kenv sees in them.
func TestINIMutantsInSops(t *testing.T) {
	run, policy, table := sops(t)
	name := filepath.Join(t.TempDir(), "file")
	r := rand.New(rand.NewPCG(5, 6))
	rungs := map[string]int{}
	for _, path := range seeds(t, doc.INI{}) {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for range mutants(4) {
			mutant := bytes.Clone(src)
			for range 1 + r.IntN(3) {
				at := r.IntN(len(mutant) + 1)
				mutant = slices.Insert(mutant, at, []byte(iniTwists[r.IntN(len(iniTwists))])...)
			}
			sealed, err := Seal(t.Context(), mutant, doc.INI{}, policy)
			var syntax *doc.SyntaxError
			if errors.As(err, &syntax) || errors.Is(err, doc.ErrReserved) || errors.Is(err, ErrNothingEncrypted) {
				rungs["refused"]++
				continue
			}
			if err != nil {
				t.Errorf("%q: %s", mutant, allOf(err))
				continue
			}
			rungs[sealed.Rung.String()]++
			file, err := Open(t.Context(), sealed.Data, doc.INI{}, table, OpenOptions{RequireSeal: true})
			if err != nil || !bytes.Equal(file.Plaintext(), mutant) {
				t.Errorf("%q: other bytes, %v", mutant, err)
				continue
			}
			d, _, err := doc.INI{}.Prepare(mutant, sealed.Rung)
			if err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			toUTF8(d.Roots[0])
			plainTree(&want, d.Roots[0])
			if err := os.WriteFile(name, sealed.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := sopsReadsAs(run, doc.INI{}, doc.JSON{}, name)
			if err != nil || got != want.String()+"\n" {
				t.Errorf("%v of %q: %v\nwant %s\ngot  %s", sealed.Rung, mutant, err, want.String(), got)
			}
		}
	}
	t.Log(rungs)
	if rungs["splice"] < 20 {
		t.Error("too few")
	}
}

// TestINISpellings: metadata that sops 3.13.0 wrote, with line breaks in it, reads
// as that of later versions.
func TestINISpellings(t *testing.T) {
	sealed, err := Seal(t.Context(), []byte("[s]\na = 1\n"), doc.INI{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	text := string(sealed.Data)
	for _, with := range []string{`x\ny`, "\"\"\"x\ny\"\"\"", "`x\ny`"} {
		changed := sub(`^(age__list_0__map_enc = ).*`, "${1}"+with)(text)
		m, err := Inspect([]byte(changed), doc.INI{})
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Groups[0][0].Field("enc"); got != "x\ny" {
			t.Errorf("%q reads as %q", with, got)
		}
	}
}
