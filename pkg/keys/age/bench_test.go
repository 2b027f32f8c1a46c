package age_test

import (
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// BenchmarkFirstUnwrap is what one command pays: a fresh provider that has to find
// its identity in a file, and one entry.
func BenchmarkFirstUnwrap(b *testing.B) {
	file, name, err := age.Generate(false)
	if err != nil {
		b.Fatal(err)
	}
	config, home := b.TempDir(), b.TempDir()
	env := keys.Env{ConfigDir: config, HomeDir: home}
	write(b, file, age.IdentityFile(env))
	k, _, err := age.Provider(env).Parse(keys.Spec{Name: name})
	if err != nil {
		b.Fatal(err)
	}
	e, err := k.Wrap(b.Context(), make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		k, err := age.Provider(env).FromEntry(e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Unwrap(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}
