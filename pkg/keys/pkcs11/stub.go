//go:build !cgo || nopkcs11

package pkcs11

import (
	"context"

	"github.com/kenvhq/kenv/pkg/keys"
)

// A device stands for the module that cannot be loaded.
type device struct{}

func newDevice(keys.Env) *device { return &device{} }

func (*device) decrypt(context.Context, uri, mech, string, []byte) ([]byte, error) {
	return nil, ErrNoPKCS11
}

func (*device) encrypt(context.Context, uri, []byte) ([]byte, error) { return nil, ErrNoPKCS11 }

func (*device) publicHalf(context.Context, uri, string) (*publicKey, error) {
	return nil, ErrNoPKCS11
}

func (*device) probe(_ context.Context, k *key) keys.Finding {
	if k.public != nil {
		return keys.Finding{State: keys.Note, Detail: "it can be encrypted for; to decrypt, another kenv is needed", Hint: "install the kenv-hsm build"}
	}
	return keys.Finding{State: keys.Missing, Detail: ErrNoPKCS11.Error()}
}

func (*device) examine(context.Context) []keys.Finding {
	return []keys.Finding{{What: "PKCS#11", State: keys.Note, Detail: "not in this build, so HSM keys cannot decrypt", Hint: "install the kenv-hsm build"}}
}

func (*device) forget() {}

// Available returns ErrNoPKCS11 if this program cannot load a module.
func Available() error { return ErrNoPKCS11 }

// List returns the tokens that the module shows. This program has none.
func List(context.Context, keys.Env, string, bool) ([]Token, error) { return nil, ErrNoPKCS11 }

// Enroll proves a key in an HSM. This program reaches none.
func Enroll(context.Context, keys.Env, string, EnrollOptions) (*Enrolled, error) {
	return nil, ErrNoPKCS11
}
