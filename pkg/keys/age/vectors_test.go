package age_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"go.yaml.in/yaml/v3"
)

// TestSopsVectors unwraps what sops wrapped.
func TestSopsVectors(t *testing.T) {
	const dir = "../../../testdata/vectors/sops"
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatalf("the sops vectors are not in %s", dir)
	}
	var manifest struct {
		Vectors []struct {
			ID, Format, Enc string
			Keys            []string
			DataKeyHex      string `json:"data_key_hex"`
		}
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	identity := func(t *testing.T, id string) keys.Provider {
		if id == "ssh" {
			return age.Provider(keys.Env{Getenv: vars("SOPS_AGE_SSH_PRIVATE_KEY_FILE", filepath.Join(dir, "keys", "ssh_ed25519"))})
		}
		return age.Provider(keys.Env{Getenv: vars("SOPS_AGE_KEY_FILE", filepath.Join(dir, "keys", id+".txt"))})
	}

	type entry struct{ Recipient, Enc string }
	type group struct{ Age []entry }
	type file struct {
		Sops struct {
			Age       []entry
			KeyGroups []group `yaml:"key_groups" json:"key_groups"`
		}
	}
	opened := 0
	for _, v := range manifest.Vectors {
		if v.Format != "yaml" && v.Format != "json" && v.Format != "binary" {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, v.Enc))
			if err != nil {
				t.Fatal(err)
			}
			var f file
			unmarshal := json.Unmarshal
			if v.Format == "yaml" {
				unmarshal = func(b []byte, f any) error { return yaml.Unmarshal(b, f) }
			}
			if err := unmarshal(text, &f); err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(v.DataKeyHex)
			if err != nil || len(want) != 32 {
				t.Fatalf("data_key_hex: %d bytes, %v", len(want), err)
			}
			for _, id := range v.Keys {
				if id == "pgp" || id == "kms" {
					continue
				}
				p := identity(t, id)
				n := 0
				open := func(e entry, check func([]byte) bool) {
					k, err := p.FromEntry(keys.Entry{Kind: "age", Fields: map[string]any{"recipient": e.Recipient, "enc": e.Enc}})
					if err != nil {
						t.Fatal(err)
					}
					if k.Name() != e.Recipient {
						t.Errorf("the name of %q is %q", e.Recipient, k.Name())
					}
					got, err := k.Unwrap(t.Context(), keys.Entry{Kind: "age", Fields: map[string]any{"recipient": e.Recipient, "enc": e.Enc}})
					switch {
					case errors.Is(err, keys.ErrNotHere):
						return
					case err != nil:
						t.Errorf("with %s: %v", id, err)
					case !check(got):
						t.Errorf("with %s: %d bytes that are not the data key", id, len(got))
					}
					n++
				}
				for _, e := range f.Sops.Age {
					open(e, func(got []byte) bool { return string(got) == string(want) })
				}
				for i, g := range f.Sops.KeyGroups {
					for _, e := range g.Age {
						open(e, func(share []byte) bool { return len(share) == 33 && int(share[32]) == i+1 })
					}
				}
				if n != 1 {
					t.Errorf("%s opens %d entries, not 1", id, n)
				}
				opened += n
			}
		})
	}
	if opened < 50 {
		t.Errorf("only %d entries were opened: the manifest or this test is broken", opened)
	}
}
