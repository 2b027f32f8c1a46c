package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/secret"
)

// An entryCipher seals entries of the metadata that only holders of the data key can
// read. An entry is base64 of a 12-byte random nonce and an AES-256-GCM encryption.
// Its place is not authenticated beside it: the seal covers that.
type entryCipher struct {
	gcm cipher.AEAD
	aad []byte // "kenv PURPOSE v1"
}

func newEntryCipher(dataKey []byte, purpose string) (c *entryCipher, err error) {
	secret.Do(func() {
		key := derive(dataKey, purpose)
		defer clear(key)
		c, err = entryCipherOf(key, "kenv "+purpose+" v1")
	})
	return c, err
}

func entryCipherOf(key []byte, aad string) (*entryCipher, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return &entryCipher{gcm, []byte(aad)}, err
}

func (c *entryCipher) seal(plain []byte) string {
	nonce := make([]byte, c.gcm.NonceSize(), c.gcm.NonceSize()+len(plain)+c.gcm.Overhead())
	rand.Read(nonce)
	return base64.StdEncoding.EncodeToString(c.gcm.Seal(nonce, nonce, plain, c.aad))
}

// open returns the plaintext of an entry, which is not empty.
func (c *entryCipher) open(entry string) (plain []byte, ok bool) {
	raw, err := base64.StdEncoding.Strict().DecodeString(entry)
	if err != nil || len(raw) < c.gcm.NonceSize() {
		return nil, false
	}
	nonce := raw[:c.gcm.NonceSize()]
	plain, err = c.gcm.Open(nil, nonce, raw[len(nonce):], c.aad)
	return plain, err == nil && len(plain) > 0
}

// A layoutCipher seals notes: what decryption could not derive from the
// ciphertext. The plaintext of an entry is
//
//	kind (1 byte) ‖ occurrence (uvarint) ‖ length of path (uvarint) ‖ path ‖ text
type layoutCipher struct{ box *entryCipher }

func newLayoutCipher(dataKey []byte) (*layoutCipher, error) {
	box, err := newEntryCipher(dataKey, purposeLayout)
	return &layoutCipher{box}, err
}

func (c *layoutCipher) seal(n doc.Note) string {
	plain := append(make([]byte, 0, 16+len(n.Path)+len(n.Text)), n.Kind)
	plain = binary.AppendUvarint(plain, uint64(n.N))
	plain = binary.AppendUvarint(plain, uint64(len(n.Path)))
	plain = append(plain, n.Path...)
	plain = append(plain, n.Text...)
	defer clear(plain)
	return c.box.seal(plain)
}

var errLayout = errors.New("an entry of the layout does not decrypt")

func (c *layoutCipher) open(entry string) (doc.Note, error) {
	plain, ok := c.box.open(entry)
	if !ok {
		return doc.Note{}, errLayout
	}
	defer clear(plain)
	n := doc.Note{Kind: plain[0]}
	rest := plain[1:]
	occurrence, k := binary.Uvarint(rest)
	if k <= 0 || occurrence > 1<<31 {
		return doc.Note{}, errLayout
	}
	n.N, rest = int(occurrence), rest[k:]
	size, k := binary.Uvarint(rest)
	if k <= 0 || size > uint64(len(rest)-k) {
		return doc.Note{}, errLayout
	}
	rest = rest[k:]
	n.Path, n.Text = string(rest[:size]), string(rest[size:])
	return n, nil
}
