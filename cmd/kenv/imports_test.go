package main

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/kenvhq/kenv/"

// mayImport says which of kenv's packages a package may import, by the longest
// prefix of its path that is listed. Tests are free.
var mayImport = map[string][]string{
	"cmd/kenv":           {"pkg/"},
	"pkg/kenv":           {"pkg/envelope", "pkg/doc", "pkg/keys", "pkg/config"},
	"pkg/kenv/faulttest": {},
	"pkg/git":            {"pkg/kenv", "pkg/envelope", "pkg/doc", "pkg/keys", "pkg/config"},
	"pkg/envelope":       {"pkg/doc", "pkg/keys", "pkg/secret"},
	"pkg/doc":            {},
	"pkg/config":         {},
	"pkg/run":            {},
	"pkg/secret":         {},
	"pkg/keys":           {},
	"pkg/keys/":          {"pkg/keys", "pkg/secret"},
	"pkg/keys/all":       {"pkg/keys", "pkg/keys/"},
	"scripts/":           {"pkg/"},
}

func TestImportDirections(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := strings.TrimPrefix(words[0], module)
		allowed, ok := rulesFor(name)
		if !ok {
			t.Errorf("%s is in no layer: say in mayImport what it may import", name)
			continue
		}
		packages++
		for _, path := range words[1:] {
			if imported, ours := strings.CutPrefix(path, module); ours && !isAllowed(imported, allowed) {
				t.Errorf("%s imports %s, which is not below it", name, imported)
			}
		}
	}
	if packages < 8 {
		t.Errorf("only %d packages were looked at", packages)
	}
}

func rulesFor(name string) ([]string, bool) {
	longest, found := "", false
	for prefix := range mayImport {
		fits := name == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(name, prefix)
		if fits && len(prefix) >= len(longest) {
			longest, found = prefix, true
		}
	}
	return mayImport[longest], found
}

// isAllowed takes an entry that ends in a slash for all that is below it.
func isAllowed(imported string, allowed []string) bool {
	for _, a := range allowed {
		if imported == a || strings.HasSuffix(a, "/") && strings.HasPrefix(imported, a) {
			return true
		}
	}
	return false
}
