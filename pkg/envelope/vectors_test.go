package envelope

import (
	"bytes"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// vectorFile reads one file of the vectors.
func vectorFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectorDir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vectorTable holds the vectors' identities of those names.
func vectorTable(t testing.TB, names ...string) keys.Table {
	t.Helper()
	var files []string
	vars := map[string]string{}
	for _, name := range names {
		if name == "ssh" {
			vars["SOPS_AGE_SSH_PRIVATE_KEY_FILE"] = filepath.Join(vectorDir, "keys/ssh_ed25519")
		} else {
			files = append(files, filepath.Join(vectorDir, "keys", name+".txt"))
		}
	}
	vars["KENV_AGE_KEY_FILE"] = strings.Join(files, string(filepath.ListSeparator))
	return keys.Table{age.Provider(keys.Env{Getenv: func(name string) string { return vars[name] }})}
}

var formatNamed = map[string]doc.Format{"yaml": doc.YAML{}, "json": doc.JSON{}, "dotenv": doc.Dotenv{}, "ini": doc.INI{}, "binary": doc.Binary{}}

// sameData reports whether two texts of a format hold the same data, by readers
// that share nothing with ours, and whether every comment of want is in got.
func sameData(t *testing.T, format string, got, want []byte) {
	t.Helper()
	var a, b string
	var errA, errB error
	switch format {
	case "yaml":
		a, errA = yamlTree(got)
		b, errB = yamlTree(want)
		a = strings.ReplaceAll(a, "\nnull\n", "\n[)\n") // to sops an empty document is a map
		for line := range strings.Lines(string(want)) {
			if c := strings.TrimSpace(line); strings.HasPrefix(c, "#") && !bytes.Contains(got, []byte(c)) {
				t.Errorf("comment %q is missing", c)
			}
		}
	case "json":
		a, errA = jsonTree(got)
		b, errB = jsonTree(want)
	default:
		a, b = string(got), string(want)
		if format == "dotenv" { // sops keeps no blank lines
			a = strings.TrimLeft(strings.ReplaceAll(a, "\n\n", "\n"), "\n")
		}
	}
	if errA != nil || errB != nil {
		t.Fatalf("not readable: %v, %v", errA, errB)
	}
	if a != b {
		t.Errorf("other data:\ngot  %.500s\nwant %.500s", a, b)
	}
}

// TestVectors: what sops 3.13.3 wrote under age keys, ssh keys and shares among
// them opens to the data that sops itself gives, under the data key that it has.
func TestVectors(t *testing.T) {
	good, _ := vectors(t)
	opened := map[string]int{}
	for _, v := range good {
		f, ok := formatNamed[v.Format]
		if !ok {
			t.Fatalf("%s: format %s", v.ID, v.Format)
		}
		groups := strings.Contains(v.ID, "shamir")
		if slices.Contains(v.Keys, "kms") || slices.Equal(v.Keys, []string{"pgp"}) {
			continue // no key of ours
		}
		t.Run(v.ID, func(t *testing.T) {
			sets := [][]string{v.Keys} // of the identities at hand
			if !groups {
				for _, k := range v.Keys {
					if k != "pgp" {
						sets = append(sets, []string{k})
					}
				}
			} else if v.Keys = slices.DeleteFunc(v.Keys, func(k string) bool { return k == "pgp" }); len(v.Keys) == 3 {
				sets = [][]string{v.Keys, v.Keys[:2], v.Keys[1:], {v.Keys[0], v.Keys[2]}}
			} else {
				sets = [][]string{v.Keys}
			}
			for _, set := range sets {
				file, err := Open(t.Context(), vectorFile(t, v.Enc), f, vectorTable(t, set...), OpenOptions{})
				if err != nil {
					t.Fatalf("%v: %v", set, err)
				}
				if file.Sealed {
					t.Error("sealed")
				}
				if got := hex.EncodeToString(file.dataKey); got != v.DataKeyHex {
					t.Errorf("%v: data key %s, want %s", set, got, v.DataKeyHex)
				}
				if want := vectorFile(t, v.Dec); !bytes.Equal(file.Plaintext(), want) {
					sameData(t, v.Format, file.Plaintext(), want)
				}
			}
			for _, set := range [][]string{nil, v.Keys[:1]} {
				if !groups && set != nil {
					continue
				}
				var none *NoKeyError
				if file, err := Open(t.Context(), vectorFile(t, v.Enc), f, vectorTable(t, set...), OpenOptions{}); !errors.As(err, &none) || file != nil {
					t.Errorf("with the identities %v: %v, want a NoKeyError", set, err)
				}
			}
			if file, err := Open(t.Context(), vectorFile(t, v.Enc), f, vectorTable(t, v.Keys...), OpenOptions{RequireSeal: true}); !errors.Is(err, ErrUnsealed) || file != nil {
				t.Errorf("where a seal is demanded: %v", err)
			}
			opened[v.Format]++
		})
	}
	for name, n := range map[string]int{"yaml": 47, "json": 16, "dotenv": 9, "ini": 6, "binary": 6} {
		if opened[name] != n {
			t.Errorf("%d %s files opened, want %d", opened[name], name, n)
		}
	}
}

// TestVectorsNegative: of the mutations of one file, those that sops refuses are
// refused, with an IntegrityError where sops finds the values or the mac at fault;
// those that it accepts are read as it reads them. Without --ignore-mac, which
// Open does not have, two of them are not accepted by sops either.
func TestVectorsNegative(t *testing.T) {
	_, negative := vectors(t)
	refused := map[string]string{
		"OK-mac-missing-ignore":      "the file has no mac",
		"OK-edit-unencrypted-ignore": "the mac does not match",
	}
	table := vectorTable(t, "main")
	for _, v := range negative {
		t.Run(v.ID, func(t *testing.T) {
			file, err := Open(t.Context(), vectorFile(t, v.Enc), doc.YAML{}, table, OpenOptions{})
			var integrity *IntegrityError
			switch why, ours := refused[v.ID]; {
			case ours:
				delete(refused, v.ID)
				if !errors.As(err, &integrity) || !strings.Contains(err.Error(), why) || file != nil {
					t.Errorf("%v, want an IntegrityError: %s", err, why)
				}
			case v.Accepted:
				if err != nil {
					t.Fatalf("sops accepts it: %v", err)
				}
				sameData(t, "yaml", file.Plaintext(), vectorFile(t, v.Dec))
			case err == nil || file != nil:
				t.Error("accepted")
			case (v.RC == 25 || v.RC == 51) && !errors.As(err, &integrity):
				t.Errorf("%v, want an IntegrityError", err)
			}
		})
	}
	for _, id := range slices.Sorted(maps.Keys(refused)) {
		t.Errorf("%s: no such vector", id)
	}
}
