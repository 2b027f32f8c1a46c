package envelope

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/pgp"
)

// TestVectorsPGP: what sops 3.13.3 wrote under PGP keys, alone, beside age keys and in
// groups with them, opens with gpg, to the data that sops gives.
func TestVectorsPGP(t *testing.T) {
	gpg, err := exec.LookPath("gpg")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("gpg is not installed")
	}
	home, err := os.MkdirTemp("/tmp", "kg") // an agent's socket has to have a short path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	for _, name := range []string{"pgp-rsa.secret.asc", "pgp-ecc.secret.asc"} {
		path, err := filepath.Abs(filepath.Join(vectorDir, "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(gpg, "--homedir", home, "--batch", "--quiet", "--import", path).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	good, _ := vectors(t)
	opened := 0
	for _, v := range good {
		if !slices.Contains(v.Keys, "pgp") {
			continue
		}
		opened++
		t.Run(v.ID, func(t *testing.T) {
			vars := map[string]string{"GNUPGHOME": home}
			for _, k := range v.Keys { // for groups; alone they are not enough
				if k != "pgp" && len(v.Keys) > 2 {
					vars["KENV_AGE_KEY_FILE"] = filepath.Join(vectorDir, "keys", k+".txt")
				}
			}
			env := keys.Env{Getenv: func(name string) string { return vars[name] }, HomeDir: t.TempDir()}
			table := keys.Table{age.Provider(env), pgp.Provider(env)}
			file, err := Open(t.Context(), vectorFile(t, v.Enc), formatNamed[v.Format], table, OpenOptions{Order: []string{"pgp"}})
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(file.dataKey); got != v.DataKeyHex {
				t.Errorf("data key %s, want %s", got, v.DataKeyHex)
			}
			if want := vectorFile(t, v.Dec); !bytes.Equal(file.Plaintext(), want) {
				sameData(t, v.Format, file.Plaintext(), want)
			}
		})
	}
	if opened < 6 {
		t.Errorf("%d vectors have PGP keys: does this test still see them?", opened)
	}
}
