package pkcs11

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // for crypto.SHA1
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// What the HSM wraps is a seed, from which the key that seals the data key is
// derived. So every mechanism binds the entry's purpose, though OAEP labels and
// associated data do not work on every HSM, and a wrong key is told from a damaged
// entry without the codes of vendors. docs/format.md specifies it.
const (
	seedSize  = 32
	nonceSize = 12
	tagSize   = 16
	sealAAD   = "kenv pkcs11 v1"
	sealInfo  = "kenv/pkcs11/v1"
)

// A mech is how an HSM key wraps.
type mech string

const (
	oaepSHA256 mech = "rsa-oaep-sha256"
	oaepSHA1   mech = "rsa-oaep-sha1"
	aesGCM     mech = "aes-256-gcm"
)

func parseMech(s string) (mech, error) {
	switch m := mech(s); m {
	case oaepSHA256, oaepSHA1, aesGCM:
		return m, nil
	}
	return "", fmt.Errorf("mech %q is none of %s, %s, %s", keys.Short(s), oaepSHA256, oaepSHA1, aesGCM)
}

// hash returns the hash of an RSA mechanism. SHA-1 is as good as another in OAEP,
// which does not need it to be free of collisions.
func (m mech) hash() crypto.Hash {
	if m == oaepSHA1 {
		return crypto.SHA1
	}
	return crypto.SHA256
}

// An entry is a keys.Entry, read.
type entry struct {
	uri  uri
	mech mech
	fp   string // of the RSA key
	ek   []byte // the wrapped seed
	enc  []byte // the sealed data key
}

// readEntry checks everything that can be told without the HSM. Its errors say what
// is wrong with the entry.
func readEntry(e keys.Entry) (n entry, err error) {
	const maxField = 8 << 10
	for _, name := range []string{"uri", "mech", "key_fp", "ek", "enc"} {
		text, isText := e.Fields[name].(string)
		switch {
		case e.Fields[name] == nil && name == "key_fp":
		case !isText || text == "":
			return entry{}, fmt.Errorf("it has no %s that is a text", name)
		case len(text) > maxField:
			return entry{}, fmt.Errorf("its %s has %d bytes, more than %d", name, len(text), maxField)
		}
	}
	if n.uri, err = parseURI(e.Field("uri")); err != nil {
		return entry{}, err
	}
	if len(n.uri.query) > 0 {
		return entry{}, errors.New("its uri has a query")
	}
	if n.mech, err = parseMech(e.Field("mech")); err != nil {
		return entry{}, err
	}
	if err = check(n.uri, n.mech); err != nil {
		return entry{}, err
	}
	switch n.fp = e.Field("key_fp"); {
	case n.mech == aesGCM && n.fp != "":
		return entry{}, errors.New("it has a key_fp, which a secret key has not")
	case n.mech != aesGCM && !isFingerprint(n.fp):
		return entry{}, errors.New("its key_fp is not of the form sha256:… with 32 hexadecimal digits")
	}
	if n.ek, err = decode(e.Field("ek")); err != nil {
		return entry{}, fmt.Errorf("its ek %w", err)
	}
	if n.enc, err = decode(e.Field("enc")); err != nil {
		return entry{}, fmt.Errorf("its enc %w", err)
	}
	switch {
	case len(n.enc) <= tagSize || len(n.enc) > keys.MaxDataKey+tagSize:
		return entry{}, fmt.Errorf("its enc stands for %d bytes, not %d to %d", len(n.enc), tagSize+1, keys.MaxDataKey+tagSize)
	case n.mech == aesGCM && len(n.ek) != nonceSize+seedSize+tagSize:
		return entry{}, fmt.Errorf("its ek stands for %d bytes, not %d", len(n.ek), nonceSize+seedSize+tagSize)
	}
	return n, nil
}

// decode reads base64 in its one spelling.
func decode(text string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || base64.StdEncoding.EncodeToString(b) != text {
		return nil, errors.New("is not base64 as it should be")
	}
	return b, nil
}

func (n entry) fields() map[string]any {
	f := map[string]any{
		"uri":        n.uri.String(),
		"mech":       string(n.mech),
		"created_at": time.Now().UTC().Format(time.RFC3339),
		"ek":         base64.StdEncoding.EncodeToString(n.ek),
		"enc":        base64.StdEncoding.EncodeToString(n.enc),
	}
	if n.fp != "" {
		f["key_fp"] = n.fp
	}
	return f
}

// seal encrypts the data key under the seed.
func (n *entry) seal(seed, dataKey []byte) error {
	aead, err := n.sealer(seed)
	if err != nil {
		return err
	}
	n.enc = aead.Seal(nil, make([]byte, nonceSize), dataKey, []byte(sealAAD))
	return nil
}

// open is the inverse of seal.
func (n *entry) open(seed []byte) ([]byte, error) {
	aead, err := n.sealer(seed)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, make([]byte, nonceSize), n.enc, []byte(sealAAD))
}

// sealer returns the cipher of an entry. Its key is used once, so the nonce may be
// zero.
func (n *entry) sealer(seed []byte) (cipher.AEAD, error) {
	info := sealInfo + "\x00" + string(n.mech) + "\x00" + n.fp
	kek, err := hkdf.Key(sha256.New, seed, nil, info, 32)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// A publicKey is the public half of an RSA key.
type publicKey struct {
	*rsa.PublicKey
	fp string // "sha256:" and the first half of the SHA-256 of its SPKI in DER
}

const fpPrefix = "sha256:"

func newPublicKey(pub *rsa.PublicKey) (publicKey, error) {
	if n := pub.N.BitLen(); n < 2048 || n > 16384 {
		return publicKey{}, fmt.Errorf("an RSA key of %d bits is not used; it should have 2048 to 16384, 3072 for preference", n)
	}
	if pub.E < 3 || pub.E%2 == 0 {
		return publicKey{}, errors.New("its exponent is not that of an RSA key")
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return publicKey{}, err
	}
	sum := sha256.Sum256(der)
	return publicKey{pub, fpPrefix + hex.EncodeToString(sum[:16])}, nil
}

// parsePublicKey reads a public key in PEM.
func parsePublicKey(text string) (publicKey, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case len(text) > 16<<10:
		return publicKey{}, errors.New("public_key is too long to be a key")
	case block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "":
		return publicKey{}, errors.New("public_key is not one block of PEM that begins with -----BEGIN PUBLIC KEY-----; kenv hsm enroll prints it")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return publicKey{}, errors.New("public_key is damaged; kenv hsm enroll prints it again")
	}
	pub, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return publicKey{}, errors.New("public_key is not an RSA key, and no other is used")
	}
	p, err := newPublicKey(pub)
	if err != nil {
		return publicKey{}, fmt.Errorf("public_key: %w", err)
	}
	return p, nil
}

// wrap encrypts a seed, which takes no HSM.
func (p publicKey) wrap(m mech, seed []byte) ([]byte, error) {
	return rsa.EncryptOAEP(m.hash().New(), rand.Reader, p.PublicKey, seed, nil)
}

func isFingerprint(s string) bool {
	digits, ok := strings.CutPrefix(s, fpPrefix)
	raw, err := hex.DecodeString(digits)
	return ok && err == nil && len(raw) == 16 && digits == strings.ToLower(digits)
}
