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
		ours := p.Kind == "pkcs11" || p.Kind == "kms_rsa" // which sops does not have
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

// FuzzNames: whatever names a key, its own name names the same key.
func FuzzNames(f *testing.F) {
	for _, s := range []string{
		"age1zyj8plu2hwwpp5wr5lv5eu40gnk3xugluv5mktj2gz78vkvjs9zqxhjlru", "pgp:85D77543B3D624B63CEA9E6DBC17301B491B3F21", "85d7 7543 B3D6",
		"arn:aws:kms:eu-west-1:123456789012:key/0a-b+arn:aws:iam::123456789012:role/r", "arn:aws-cn:kms:cn-north-1:1:alias/a",
		"pkcs11:token=a%20b;object=k;type=private", "pkcs11:id=%01;serial=1", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIC6XD1t0pjJrY4VHYoFWdBJ5XRY4MGRB0LeP8lMoZpm1 me",
	} {
		f.Add(s)
	}
	table := all.Table(keys.Env{})
	f.Fuzz(func(t *testing.T, name string) {
		k, err := table.Parse(name)
		if err != nil {
			return
		}
		again, err := table.Parse(k.Name())
		if err != nil || again.Name() != k.Name() {
			t.Fatalf("%q is %q, which is not a key's name: %v", name, k.Name(), err)
		}
	})
}
