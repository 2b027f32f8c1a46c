package envelope

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// A contentMAC is the digest of a file's values that sops keeps, encrypted, in
// the field mac: SHA-512 over their plaintexts, one after the other with nothing
// between. It is not keyed and does not tell where one value ends; that is what
// the seal is for.
type contentMAC struct {
	hash          hash.Hash
	onlyEncrypted bool
	buf           []byte // texts not hashed yet
}

// newContentMAC starts a digest; onlyEncrypted is the file's mac_only_encrypted.
func newContentMAC(onlyEncrypted bool) *contentMAC {
	m := &contentMAC{hash: sha512.New(), onlyEncrypted: onlyEncrypted}
	if onlyEncrypted {
		// So that turning the option on or off changes the digest of any file.
		seed := sha256.Sum256([]byte("sops"))
		m.hash.Write(seed[:])
	}
	return m
}

// add takes in the text of the next value in file order. The caller leaves out
// nulls and comments.
func (m *contentMAC) add(text string, encrypted bool) {
	if m.onlyEncrypted && !encrypted {
		return
	}
	const block = 4096 // many texts a call of the hash, which is what costs
	if len(m.buf)+len(text) > block {
		m.flush()
	}
	if m.buf == nil {
		m.buf = make([]byte, 0, block)
	}
	for len(text) > block {
		m.buf = append(m.buf, text[:block]...)
		text = text[block:]
		m.flush()
	}
	m.buf = append(m.buf, text...)
}

func (m *contentMAC) flush() {
	m.hash.Write(m.buf)
	m.buf = m.buf[:0]
}

// wipe clears the texts that were not hashed yet, and those that were.
func (m *contentMAC) wipe() { clear(m.buf[:cap(m.buf)]) }

// sum returns the digest of what was added so far as the file has it: 128
// upper-case hexadecimal digits.
func (m *contentMAC) sum() string {
	m.flush()
	m.wipe()
	return fmt.Sprintf("%X", m.hash.Sum(nil))
}
