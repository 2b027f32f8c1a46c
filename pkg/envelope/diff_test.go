package envelope

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
)

// TestSmallDiff: one changed value in a file of 2,348 lines, most of them
// comments, changes that value's line, the seal, the mac and lastmodified.
func TestSmallDiff(t *testing.T) {
	const path = "../../../shared/corpus/yaml/bitnami+charts/bitnami__redis__values.yaml"
	src, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the corpus is not here: %v", err)
	}
	before, err := Seal(t.Context(), src, doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	old, err := Open(t.Context(), before.Data, doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
	if err != nil {
		t.Fatal(err)
	}
	p := testPolicy
	p.Previous, p.Now = old, time.Unix(1800000000, 0)
	edited := strings.Replace(string(src), "repository: bitnami/redis\n", "repository: example/other\n", 1)
	if edited == string(src) {
		t.Fatal("nothing to edit")
	}
	after, err := Seal(t.Context(), []byte(edited), doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	a, b := strings.Split(string(before.Data), "\n"), strings.Split(string(after.Data), "\n")
	if len(a) != len(b) {
		t.Fatalf("%d lines became %d", len(a), len(b))
	}
	var changed []string
	for i := range a {
		if a[i] != b[i] {
			key, _, _ := strings.Cut(strings.TrimSpace(b[i]), ":")
			changed = append(changed, key)
		}
	}
	if got := strings.Join(changed, " "); got != "repository seal lastmodified mac" {
		t.Errorf("changed lines: %s", got)
	}

	p.Previous = old
	same, err := Seal(t.Context(), src, doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(same.Data, before.Data) {
		t.Error("an unchanged plaintext gave another ciphertext")
	}
}
