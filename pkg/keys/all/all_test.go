package all_test

import (
	"slices"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/all"
)

func TestTable(t *testing.T) {
	remote := false
	var kinds []string
	for _, p := range all.Table(keys.Env{}) {
		ours := p.Kind == "pkcs11" // which sops does not have, so there is no flag of its
		if p.Kind == "" || p.Parse == nil || p.FromEntry == nil || (p.Flag == "") != ours || len(p.Forms) == 0 {
			t.Errorf("the row of %q is not complete", p.Kind)
		}
		if slices.Contains(kinds, p.Kind) {
			t.Errorf("two rows of %s", p.Kind)
		}
		kinds = append(kinds, p.Kind)
		if remote && !p.Remote {
			t.Errorf("%s is local and comes after a remote kind", p.Kind)
		}
		remote = p.Remote
	}
}
