package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/secret"
)

// The type tags of a token. tagBytes is never written; old files may hold it.
const (
	tagString  = "str"
	tagInt     = "int"
	tagFloat   = "float"
	tagBool    = "bool"
	tagTime    = "time"
	tagComment = "comment"
	tagBytes   = "bytes"
)

const (
	keySize   = 32 // a data key, for AES-256
	nonceSize = 32 // what sops writes; GCM derives its first counter from it by GHASH
	gcmTag    = 16

	// maxNonce bounds the nonces that are believed when reading.
	maxNonce = 1024
	// nonceBatch is how many nonces are drawn from the system at a time.
	nonceBatch = 64
)

// errTampered is what opening a token gives when authentication fails. GCM
// cannot say which of the causes it was.
var errTampered = errors.New("does not decrypt: it was changed or moved to another key, or belongs to a file with another data key")

// A token is an encrypted value in its written form,
//
//	ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]
//
// cut into its fields, which are still base64.
type token struct {
	data, iv, tag string
	typ           string
}

const (
	tokenStart = "ENC[AES256_GCM,data:"
	tokenIV    = ",iv:"
	tokenTag   = ",tag:"
	tokenType  = ",type:"
	tokenEnd   = "]"
)

// parseToken cuts s into a token; ok is false when it is none.
//
// A strict token is one that appendToken could have written: canonical base64, a
// 32-byte nonce, a 16-byte tag, a type that is written, and nothing after the
// bracket. Otherwise a token is whatever sops takes for one: the fields are as
// long as they can be, end at the last bracket of the first line, and are not
// looked into; what follows the bracket is ignored.
func parseToken(s string, strict bool) (t token, ok bool) {
	rest, ok := strings.CutPrefix(s, tokenStart)
	if !ok {
		return token{}, false
	}
	rest, _, _ = strings.Cut(rest, "\n")
	end := strings.LastIndex(rest, tokenEnd)
	if end < 0 {
		return token{}, false
	}
	after := len(tokenStart) + end + len(tokenEnd)
	rest = rest[:end]
	// Each field is not empty and the ones before it are as long as they can be,
	// so the separators are found from the right.
	if rest, t.typ, ok = cutLast(rest, tokenType); !ok {
		return token{}, false
	}
	if rest, t.tag, ok = cutLast(rest, tokenTag); !ok {
		return token{}, false
	}
	if t.data, t.iv, ok = cutLast(rest, tokenIV); !ok || t.data == "" {
		return token{}, false
	}
	if strict {
		switch t.typ {
		case tagString, tagInt, tagFloat, tagBool, tagTime, tagComment:
		default:
			return token{}, false
		}
		if after != len(s) ||
			base64Len(t.iv) != nonceSize || base64Len(t.tag) != gcmTag || base64Len(t.data) < 1 {
			return token{}, false
		}
	}
	return t, true
}

// cutLast cuts s around the last sep, a comma and more, that has something after
// it. Base64 has no commas, so in a token that was written the first look finds it.
func cutLast(s, sep string) (before, after string, ok bool) {
	for i := strings.LastIndexByte(s, ','); i >= 0; i = strings.LastIndexByte(s[:i], ',') {
		if after, ok := strings.CutPrefix(s[i:], sep); ok && after != "" {
			return s[:i], after, true
		}
	}
	return "", "", false
}

// base64Len returns how many bytes the canonical base64 text s stands for, or -1
// when s is not canonical: the standard alphabet, padded, no line breaks, unused
// bits zero.
func base64Len(s string) int {
	if len(s)%4 != 0 || len(s) == 0 {
		return -1
	}
	body := strings.TrimSuffix(s, "=")
	if len(body) < len(s) {
		body = strings.TrimSuffix(body, "=")
	}
	var all int8 // negative if one of the values is
	for i := range len(body) {
		all |= base64Value[body[i]]
	}
	if all < 0 {
		return -1
	}
	last := base64Value[body[len(body)-1]]
	switch pad := len(s) - len(body); {
	case pad == 1 && last&0b11 != 0, pad == 2 && last&0b1111 != 0:
		return -1
	default:
		return len(s)/4*3 - pad
	}
}

// base64Value is the value of each byte in the standard alphabet, -1 for none.
var base64Value = func() (v [256]int8) {
	for i := range v {
		v[i] = -1
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i, c := range []byte(alphabet) {
		v[c] = int8(i)
	}
	return v
}()

// nonce returns the nonce of the token, or nil when it is not valid base64 or not
// of the length that is written.
func (t token) nonce() []byte {
	n, err := base64.StdEncoding.DecodeString(t.iv)
	if err != nil || len(n) != nonceSize {
		return nil
	}
	return n
}

// A valueCipher turns plaintexts into tokens and back under one data key. It
// keeps scratch space between calls, so it serves one goroutine at a time; clone
// gives another goroutine its own.
type valueCipher struct {
	block cipher.Block
	gcm   cipher.AEAD // for nonceSize

	nonces []byte // random bytes not used yet
	random [nonceBatch * nonceSize]byte

	made arena          // the strings that it gave out
	team []*valueCipher // its clones, for start

	text []byte // base64 on its way in
	out  []byte // a token
	buf  []byte // plaintext, then ciphertext and tag, or the reverse
	aad  []byte
	iv   [maxNonce + 2]byte
}

// newValueCipher returns the cipher for a data key of 32 bytes.
func newValueCipher(dataKey []byte) (*valueCipher, error) {
	if len(dataKey) != keySize {
		return nil, fmt.Errorf("data key is %d bytes long, want %d", len(dataKey), keySize)
	}
	c := &valueCipher{}
	var err error
	secret.Do(func() { // the round keys begin with the key itself
		if c.block, err = aes.NewCipher(dataKey); err == nil {
			c.gcm, err = cipher.NewGCMWithNonceSize(c.block, nonceSize)
		}
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// clone returns a cipher for the same data key that shares no scratch space.
func (c *valueCipher) clone() *valueCipher {
	return &valueCipher{block: c.block, gcm: c.gcm}
}

// wipe clears the plaintext that the scratch space holds.
func (c *valueCipher) wipe() {
	clear(c.buf[:cap(c.buf)])
	for _, other := range c.team {
		other.wipe()
	}
}

// token returns the token for plaintext, under a nonce of its own.
func (c *valueCipher) token(typ, plaintext, aad string) string {
	c.out = c.appendToken(c.out[:0], typ, plaintext, aad)
	return c.made.keep(c.out)
}

// appendToken appends the token for plaintext, under a nonce of its own, and
// returns the longer slice. The format has no token for an empty plaintext: dst
// is then returned as it is.
func (c *valueCipher) appendToken(dst []byte, typ, plaintext, aad string) []byte {
	if len(c.nonces) == 0 {
		rand.Read(c.random[:]) // never fails: it ends the program instead
		c.nonces = c.random[:]
	}
	nonce := c.nonces[:nonceSize]
	c.nonces = c.nonces[nonceSize:]
	return c.appendTokenWithNonce(dst, nonce, typ, plaintext, aad)
}

// appendTokenWithNonce is appendToken for a nonce of 32 bytes that the caller
// has made. A nonce must not serve two different plaintexts.
func (c *valueCipher) appendTokenWithNonce(dst, nonce []byte, typ, plaintext, aad string) []byte {
	if plaintext == "" {
		return dst
	}
	c.aad = append(c.aad[:0], aad...)
	c.grow(len(plaintext) + gcmTag)
	c.buf = append(c.buf[:0], plaintext...)
	c.buf = c.gcm.Seal(c.buf[:0], nonce, c.buf, c.aad)
	data, tag := c.buf[:len(plaintext)], c.buf[len(plaintext):]

	dst = append(dst, tokenStart...)
	dst = base64.StdEncoding.AppendEncode(dst, data)
	dst = append(dst, tokenIV...)
	dst = base64.StdEncoding.AppendEncode(dst, nonce)
	dst = append(dst, tokenTag...)
	dst = base64.StdEncoding.AppendEncode(dst, tag)
	dst = append(dst, tokenType...)
	dst = append(dst, typ...)
	return append(dst, tokenEnd...)
}

// grow makes room for n bytes in c.buf, and leaves no plaintext in what it drops.
func (c *valueCipher) grow(n int) {
	if cap(c.buf) < n {
		c.wipe()
		c.buf = make([]byte, 0, max(n, 2*cap(c.buf)))
	}
}

// open decrypts a token. typ is the token's tag as it stands there: it is not
// authenticated, so the caller gives it to checkText. An error never holds the
// token or its plaintext.
func (c *valueCipher) open(t token, aad string) (typ, plaintext string, err error) {
	iv, err := c.decode(c.iv[:0], t.iv)
	if err != nil || len(iv) == 0 || len(iv) > maxNonce {
		return "", "", errors.New("damaged: its iv is not base64 or has an impossible length")
	}
	c.grow(base64.StdEncoding.DecodedLen(len(t.data)) + base64.StdEncoding.DecodedLen(len(t.tag)))
	// Where the ciphertext ends and its tag begins is not for the file to say:
	// both are joined, as sops does, and GCM takes the last 16 bytes.
	if c.buf, err = c.decode(c.buf[:0], t.data); err == nil {
		c.buf, err = c.decode(c.buf, t.tag)
	}
	if err != nil {
		return "", "", errors.New("damaged: its data or tag is not base64")
	}
	gcm := c.gcm
	if len(iv) != nonceSize {
		secret.Do(func() { gcm, err = cipher.NewGCMWithNonceSize(c.block, len(iv)) })
		if err != nil {
			return "", "", err
		}
	}
	c.aad = append(c.aad[:0], aad...)
	out, err := gcm.Open(c.buf[:0], iv, c.buf, c.aad)
	if err != nil {
		return "", "", errTampered
	}
	return t.typ, c.made.keep(out), nil
}

// decode appends the bytes that a base64 text stands for to dst.
func (c *valueCipher) decode(dst []byte, text string) ([]byte, error) {
	c.text = append(c.text[:0], text...)
	return base64.StdEncoding.AppendDecode(dst, c.text)
}

// typeTag returns the tag of a token that holds a value of type t; Null has none.
func typeTag(t doc.Type) string {
	switch t {
	case doc.String:
		return tagString
	case doc.Int:
		return tagInt
	case doc.Float:
		return tagFloat
	case doc.Bool:
		return tagBool
	case doc.Time:
		return tagTime
	}
	return ""
}

// checkText checks that a decrypted text is a value of the type that the token's
// tag claims, and returns that type and the text as this program would write it
// ("True", "1000", "2024-01-02T00:00:00Z"). What is accepted is what sops accepts:
//
//	str    anything; bytes counts as str
//	int    a decimal number of 64 bits
//	float  whatever strconv.ParseFloat takes
//	bool   1 t T TRUE true True 0 f F FALSE false False
//	time   RFC 3339
//
// In strict mode the text must be the canonical one already and bytes is
// refused. The error never holds the text. A comment is not a value.
func checkText(tag, text string, strict bool) (doc.Type, string, error) {
	var (
		typ       doc.Type
		canonical string
		err       error
	)
	switch {
	case tag == tagString, tag == tagBytes && !strict:
		return doc.String, text, nil
	case tag == tagInt:
		var v int64
		v, err = strconv.ParseInt(text, 10, 64)
		typ, canonical = doc.Int, strconv.FormatInt(v, 10)
	case tag == tagFloat:
		var v float64
		v, err = strconv.ParseFloat(text, 64)
		typ, canonical = doc.Float, strconv.FormatFloat(v, 'f', -1, 64)
	case tag == tagBool:
		var v bool
		v, err = strconv.ParseBool(text)
		typ, canonical = doc.Bool, "False"
		if v {
			canonical = "True"
		}
	case tag == tagTime:
		var v time.Time
		if err = v.UnmarshalText([]byte(text)); err == nil {
			var b []byte
			b, err = v.MarshalText()
			canonical = string(b)
		}
		typ = doc.Time
	case tag == tagComment:
		return 0, "", errors.New("marked as a comment, where a value belongs")
	default:
		return 0, "", errors.New("of a type that is not known")
	}
	if err != nil {
		return 0, "", fmt.Errorf("marked as %s, but its text is not one", tag)
	}
	if strict && canonical != text {
		return 0, "", fmt.Errorf("marked as %s, but not in the one spelling of it that is written", tag)
	}
	return typ, canonical, nil
}
