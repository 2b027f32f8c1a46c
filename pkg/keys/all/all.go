// Package all is the table of every kind of master key that kenv has. Programs
// that need fewer make a table of their own, and so leave out what they do not
// name.
package all

import (
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
	"github.com/kenvhq/kenv/pkg/keys/pgp"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11"
)

// Table returns the providers, local ones first. Making it costs nothing: each
// sets itself up when a key of its kind is used.
func Table(env keys.Env) keys.Table {
	return append(keys.Table{
		age.Provider(env),
		pkcs11.Provider(env),
		pgp.Provider(env),
	}, awskms.Providers(env)...)
}
