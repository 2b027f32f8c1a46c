package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"

	"github.com/kenvhq/kenv/pkg/doc"
)

// layoutAAD is what an entry of the layout authenticates beside itself. Its place
// is inside the entry.
const layoutAAD = "kenv layout v1"

// A layoutCipher seals notes: what decryption could not derive from the
// ciphertext. An entry is base64 of a 12-byte random nonce and the AES-256-GCM
// encryption of
//
//	kind (1 byte) ‖ occurrence (uvarint) ‖ length of path (uvarint) ‖ path ‖ text
type layoutCipher struct{ gcm cipher.AEAD }

func newLayoutCipher(dataKey []byte) (*layoutCipher, error) {
	key := derive(dataKey, purposeLayout)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return &layoutCipher{gcm}, err
}

func (c *layoutCipher) seal(n doc.Note) string {
	plain := append(make([]byte, 0, 16+len(n.Path)+len(n.Text)), n.Kind)
	plain = binary.AppendUvarint(plain, uint64(n.N))
	plain = binary.AppendUvarint(plain, uint64(len(n.Path)))
	plain = append(plain, n.Path...)
	plain = append(plain, n.Text...)
	defer clear(plain)
	nonce := make([]byte, c.gcm.NonceSize(), c.gcm.NonceSize()+len(plain)+c.gcm.Overhead())
	rand.Read(nonce)
	return base64.StdEncoding.EncodeToString(c.gcm.Seal(nonce, nonce, plain, []byte(layoutAAD)))
}

var errLayout = errors.New("an entry of the layout does not decrypt")

func (c *layoutCipher) open(entry string) (doc.Note, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(entry)
	if err != nil || len(raw) < c.gcm.NonceSize() {
		return doc.Note{}, errLayout
	}
	nonce := raw[:c.gcm.NonceSize()]
	plain, err := c.gcm.Open(nil, nonce, raw[len(nonce):], []byte(layoutAAD))
	if err != nil || len(plain) == 0 {
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
