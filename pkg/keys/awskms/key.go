package awskms

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/kenvhq/kenv/pkg/keys"
)

// maxBlob bounds a wrapped key. KMS makes none larger than 6144 bytes.
const maxBlob = 6144

var errAnotherKey = errors.New("KMS answered for another key than the one that was named; check the endpoint (AWS_ENDPOINT_URL)")

// A key is a master key in KMS.
type key struct {
	name
	profile string // "" for none
	entry   bool   // known from a file alone, so that role and profile are only its word
	alias   arn    // the alias that the entry was made for, if any
	public  publicKey
	clients *clients
}

func (k *key) Name() string { return k.name.String() }

func (k *key) kind() string {
	if k.fp != "" {
		return KindRSA
	}
	return Kind
}

// algorithm returns how KMS is to decrypt.
func (k *key) algorithm() types.EncryptionAlgorithmSpec {
	if k.fp != "" {
		return types.EncryptionAlgorithmSpecRsaesOaepSha256
	}
	return types.EncryptionAlgorithmSpecSymmetricDefault
}

// Matches reports whether an entry was wrapped for the key: one of the same key, or of
// the alias that this one is, or of a replica in another Region, for the same role and
// with the same encryption context. A key that is named without the fingerprint of
// its public half matches entries of either kind.
func (k *key) Matches(e keys.Entry) bool {
	of, err := k.clients.fromEntry(e.Kind, e)
	if err != nil || e.Kind != Kind && e.Kind != KindRSA {
		return false
	}
	if k.role != of.role || !same(k.context, of.context) || k.fp != "" && k.fp != of.fp {
		return false
	}
	return k.means(of.arn, of.alias)
}

// means reports whether the key is the one that an entry has as its ARN, or the alias
// that the entry was made for.
func (k *key) means(of, alias arn) bool {
	return k.arn.is(of) || k.arn.isAlias() && k.arn.is(alias) && alias.beside(of)
}

func (k *key) Wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	e, err := k.wrap(ctx, dataKey)
	if err != nil {
		return keys.Entry{}, fmt.Errorf("wrapping the data key for %s: %w", keys.Short(k.Name()), err)
	}
	return e, nil
}

func (k *key) wrap(ctx context.Context, dataKey []byte) (keys.Entry, error) {
	if len(dataKey) == 0 || len(dataKey) > keys.MaxDataKey {
		return keys.Entry{}, fmt.Errorf("a data key has 1 to %d bytes, not %d", keys.MaxDataKey, len(dataKey))
	}
	if err := ctx.Err(); err != nil {
		return keys.Entry{}, err
	}
	e := keys.Entry{Kind: k.kind(), Fields: map[string]any{
		"created_at": time.Now().UTC().Format(time.RFC3339),
	}}
	if k.role != "" {
		e.Fields["role"] = k.role
	}
	if k.fp != "" {
		blob, err := k.wrapOffline(ctx, dataKey)
		if err != nil {
			return keys.Entry{}, err
		}
		e.Fields["arn"] = k.arn.String()
		e.Fields["key_fp"] = k.fp
		e.Fields["enc"] = base64.StdEncoding.EncodeToString(blob)
		return e, nil
	}

	out, err := call(ctx, k, k.path(ctx), k.arn, "Encrypt", func(ctx context.Context, s *service, keyID string, o func(*kms.Options)) (*kms.EncryptOutput, error) {
		return s.kms.Encrypt(ctx, &kms.EncryptInput{KeyId: &keyID, Plaintext: dataKey, EncryptionContext: k.context}, o)
	})
	var usage *types.InvalidKeyUsageException
	if errors.As(err, &usage) {
		return keys.Entry{}, fmt.Errorf("the KMS key does not encrypt symmetrically; if it is an RSA key, put its public half into the config, which kenv keys add %s does", keys.Short(k.arn.String()))
	}
	if err != nil {
		return keys.Entry{}, err
	}
	of, ok := parseARN(aws.ToString(out.KeyId))
	if !ok || of.isAlias() || len(out.CiphertextBlob) == 0 || len(out.CiphertextBlob) > maxBlob {
		return keys.Entry{}, errors.New("KMS gave an answer without a key ARN or a ciphertext; check the endpoint (AWS_ENDPOINT_URL)")
	}
	switch {
	case k.arn.isAlias():
		if !k.arn.beside(of) {
			return keys.Entry{}, errAnotherKey
		}
		alias := of
		alias.resource = k.arn.resource
		e.Fields["alias"] = alias.String()
	case !k.arn.is(of):
		return keys.Entry{}, errAnotherKey
	case !k.arn.bare():
		of = k.arn // a replica may have answered, and its blob opens in each Region
	}
	e.Fields["arn"] = of.String()
	if k.alias.isAlias() {
		e.Fields["alias"] = k.alias.String()
	}
	if k.context != nil {
		e.Fields["context"] = maps.Clone(k.context)
	}
	e.Fields["aws_profile"] = "" // sops has it always; profiles are one machine's own
	e.Fields["enc"] = base64.StdEncoding.EncodeToString(out.CiphertextBlob)
	return e, nil
}

// Unwrap asks KMS to decrypt the entry under the key that it was wrapped with, never
// under one that KMS would pick by what the blob says.
func (k *key) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	dataKey, err := k.unwrap(ctx, e)
	var away *noCredentialsError
	switch {
	case err == nil:
		return dataKey, nil
	case errors.As(err, &away):
		return nil, &keys.NotHereError{Looked: away.looked, Asks: away.asks}
	}
	return nil, fmt.Errorf("unwrapping the data key with %s: %w", keys.Short(k.Name()), err)
}

func (k *key) unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e.Kind != k.kind() {
		return nil, fmt.Errorf("an entry of kind %q is not a %s entry", keys.Short(e.Kind), k.kind())
	}
	blob, err := decodeBlob(e.Field("enc"))
	if err != nil {
		return nil, err
	}
	target := k.target(e)
	p := k.path(ctx)
	id := fmt.Sprintf("%q", []any{target, blob, encodeContext(k.context), k.algorithm(), p.role, p.profile, keys.IsQuiet(ctx)})
	return k.clients.memo.get(ctx, id, func(ctx context.Context) ([]byte, error) {
		out, err := k.decrypt(ctx, p, target, blob)
		if err != nil {
			return nil, err
		}
		if n := len(out.Plaintext); n == 0 || n > keys.MaxDataKey {
			clear(out.Plaintext)
			return nil, fmt.Errorf("the entry holds %d bytes, and a data key has 1 to %d", n, keys.MaxDataKey)
		}
		return out.Plaintext, nil
	})
}

func (k *key) decrypt(ctx context.Context, p path, target arn, blob []byte) (*kms.DecryptOutput, error) {
	return call(ctx, k, p, target, "Decrypt", func(ctx context.Context, s *service, keyID string, o func(*kms.Options)) (*kms.DecryptOutput, error) {
		return s.kms.Decrypt(ctx, &kms.DecryptInput{
			KeyId: &keyID, CiphertextBlob: blob, EncryptionContext: k.context, EncryptionAlgorithm: k.algorithm(),
		}, o)
	})
}

// target returns which key is to decrypt an entry: this one, or the one that its
// alias meant when the entry was made.
func (k *key) target(e keys.Entry) arn {
	if a, ok := parseARN(e.Field("arn")); ok && (k.arn.isAlias() && k.arn.beside(a) || k.arn.is(a)) {
		return a
	}
	return k.arn
}

func decodeBlob(enc string) ([]byte, error) {
	damaged := func(why string) ([]byte, error) {
		return nil, fmt.Errorf("the entry is damaged: %s; restore it from an earlier version of the file", why)
	}
	enc = strings.TrimSpace(enc)
	switch {
	case enc == "":
		return damaged("it has no enc field that is a text")
	case len(enc) > base64.StdEncoding.EncodedLen(maxBlob):
		return damaged("its enc field is longer than anything that KMS makes")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(enc)
	if err != nil {
		return damaged("its enc field is not base64")
	}
	return blob, nil
}
