package pgp_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

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
	ring := newKeyring(t)
	ring.gpg(nil, "--import", filepath.Join(dir, "keys", "pgp-rsa.secret.asc"), filepath.Join(dir, "keys", "pgp-ecc.secret.asc"))

	type entries []struct{ FP, Enc string }
	type group struct {
		PGP entries `yaml:"pgp"`
	}
	var file struct {
		Sops struct {
			group     `yaml:",inline"`
			KeyGroups []group `yaml:"key_groups"`
		}
	}
	flat := regexp.MustCompile(`(?m)pgp__list_0__map_(fp|enc) *= *(.*)$`)
	opened := 0
	for _, v := range manifest.Vectors {
		if !slices.Contains(v.Keys, "pgp") {
			continue
		}
		t.Run(v.ID, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, v.Enc))
			if err != nil {
				t.Fatal(err)
			}
			want, err := hex.DecodeString(v.DataKeyHex)
			if err != nil || len(want) != 32 {
				t.Fatalf("data_key_hex: %d bytes, %v", len(want), err)
			}
			file.Sops.PGP, file.Sops.KeyGroups = nil, nil
			switch v.Format {
			case "yaml", "json": // JSON is YAML
				if err := yaml.Unmarshal(text, &file); err != nil {
					t.Fatal(err)
				}
			default:
				field := map[string]string{}
				for _, m := range flat.FindAllStringSubmatch(string(text), -1) {
					field[m[1]] = strings.ReplaceAll(m[2], `\n`, "\n")
				}
				file.Sops.PGP = entries{{field["fp"], field["enc"]}}
			}
			n := 0
			open := func(all entries, right func([]byte) bool) {
				for _, e := range all {
					e := entry(e.FP, e.Enc)
					k, err := ring.provider().FromEntry(e)
					if err != nil {
						t.Fatal(err)
					}
					got, err := k.Unwrap(t.Context(), e)
					if err != nil || !right(got) {
						t.Errorf("%s gives %d bytes, %v; that is not the data key", k.Name(), len(got), err)
					}
					n++
				}
			}
			open(file.Sops.PGP, func(got []byte) bool { return string(got) == string(want) })
			for i, g := range file.Sops.KeyGroups {
				open(g.PGP, func(share []byte) bool { return len(share) == 33 && int(share[32]) == i+1 })
			}
			if n != 1 {
				t.Errorf("%d entries, not 1", n)
			}
			opened += n
		})
	}
	if opened < 10 {
		t.Errorf("only %d entries were opened: the manifest or this test is broken", opened)
	}
}
