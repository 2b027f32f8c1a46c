package awskms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/kenvhq/kenv/pkg/keys"
)

type publicKey = *rsa.PublicKey

// The RSA keys that are taken. KMS has them up to 4096 bits.
const minBits, maxBits = 2048, 8192

// namesRSA reports whether a Spec says that it is about an RSA key.
func namesRSA(s keys.Spec) bool {
	for _, r := range s.Name {
		if r == '#' {
			return true
		}
	}
	return s.Text("public_key") != ""
}

// parsePublicKey reads a public key in PEM and returns its fingerprint as well.
func parsePublicKey(text string) (public publicKey, fp string, err error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, "", errors.New("its public_key is not a public key in PEM, -----BEGIN PUBLIC KEY-----")
	}
	return parseDER(block.Bytes)
}

func parseDER(der []byte) (public publicKey, fp string, err error) {
	if len(der) > maxBits {
		return nil, "", errors.New("its public key is too long")
	}
	any, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, "", errors.New("its public key is damaged")
	}
	public, ok := any.(*rsa.PublicKey)
	if !ok {
		return nil, "", errors.New("its public key is not an RSA key; KMS unwraps with symmetric and RSA keys only")
	}
	if bits := public.N.BitLen(); bits < minBits || bits > maxBits {
		return nil, "", fmt.Errorf("its public key has %d bits, and %d to %d are taken", bits, minBits, maxBits)
	}
	sum := sha256.Sum256(der)
	return public, "sha256:" + hex.EncodeToString(sum[:16]), nil
}

// wrapOffline wraps with the public half, which KMS is asked for only if no config
// has it.
func (k *key) wrapOffline(ctx context.Context, dataKey []byte) ([]byte, error) {
	public := k.public
	if public == nil {
		var err error
		if public, err = k.fetch(ctx); err != nil {
			return nil, err
		}
	}
	blob, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, dataKey, nil)
	if err != nil {
		return nil, fmt.Errorf("the public key cannot be used: %w", err)
	}
	return blob, nil
}

// fetch returns the public half that has the key's fingerprint, once asked for.
func (k *key) fetch(ctx context.Context) (publicKey, error) {
	if public, ok := k.clients.public.Load(k.fp); ok {
		return public.(publicKey), nil
	}
	der, err := k.getPublicKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("its public half is not in the config, and KMS did not give it: %w", err)
	}
	public, fp, err := parseDER(der)
	if err != nil {
		return nil, err
	}
	if fp != k.fp {
		return nil, fmt.Errorf("the key has another public half by now (%s); find out why before you put that into the config", fp)
	}
	k.clients.public.Store(fp, public)
	return public, nil
}

func (k *key) getPublicKey(ctx context.Context) ([]byte, error) {
	out, err := call(ctx, k, k.path(ctx), k.arn, "GetPublicKey", func(ctx context.Context, s *service, keyID string, o func(*kms.Options)) (*kms.GetPublicKeyOutput, error) {
		return s.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &keyID}, o)
	})
	var usage *types.InvalidKeyUsageException
	var unsupported *types.UnsupportedOperationException
	switch {
	case errors.As(err, &usage), errors.As(err, &unsupported):
		return nil, errors.New("the key is a symmetric one and has no public half; name it by its ARN alone")
	case err != nil:
		return nil, err
	case out.KeyUsage != types.KeyUsageTypeEncryptDecrypt:
		return nil, errors.New("the key is for signing, not for encrypting")
	}
	return out.PublicKey, nil
}

// PublicKey asks KMS for the public half of an RSA key, so that a config can hold it
// and encrypting needs no AWS. The name is one that [Providers] would take; the result is
// a text in PEM, and the fingerprint that the key's name has with it.
func PublicKey(ctx context.Context, env keys.Env, name string) (text, fingerprint string, err error) {
	fail := func(err error) (string, string, error) {
		return "", "", fmt.Errorf("fetching the public half of %s: %w", keys.Short(name), err)
	}
	k, err := newClients(env).fromSpec(keys.Spec{Name: name})
	if err != nil {
		return "", "", err
	}
	der, err := k.getPublicKey(ctx)
	if err != nil {
		return fail(err)
	}
	_, fp, err := parseDER(der)
	if err != nil {
		return fail(err)
	}
	if k.fp != "" && k.fp != fp {
		return fail(fmt.Errorf("the key has another public half, %s", fp))
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), fp, nil
}
