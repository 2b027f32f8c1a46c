package pgp

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

// maxEnc bounds an entry's message. One to an RSA key of 4096 bits takes 900 bytes.
const maxEnc = 64 << 10

const (
	armorHead = "-----BEGIN PGP MESSAGE-----"
	armorTail = "-----END PGP MESSAGE-----"
)

// entryMessage returns the message of an entry without its armor.
func entryMessage(e keys.Entry) ([]byte, error) {
	enc := e.Field("enc")
	switch {
	case enc == "":
		return nil, damaged("it has no enc field that is a text")
	case len(enc) > maxEnc:
		return nil, damaged("its enc field has %d bytes, more than %d", len(enc), maxEnc)
	}
	message, ok := dearmor(enc)
	if !ok {
		return nil, damaged("its enc field is not an armored PGP message")
	}
	return message, nil
}

// dearmor takes the armor off a message. It wants what programs write and nothing
// else, where gpg would pass over damage: lines of one length, the checksum right
// if there is one, no text around.
func dearmor(text string) (message []byte, ok bool) {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")), "\n")
	last := len(lines) - 1
	if last < 3 || lines[0] != armorHead || lines[last] != armorTail {
		return nil, false
	}
	lines = lines[1:last]
	for lines[0] != "" { // such as "Version: GnuPG v2"
		if !strings.Contains(lines[0], ": ") || len(lines) == 1 {
			return nil, false
		}
		lines = lines[1:]
	}
	lines = lines[1:]
	var sum string
	if n := len(lines); n > 0 && strings.HasPrefix(lines[n-1], "=") {
		sum, lines = lines[n-1], lines[:n-1]
	}
	if len(lines) == 0 {
		return nil, false
	}
	const widest = 76
	width := len(lines[0])
	for i, line := range lines {
		if len(line) > min(width, widest) || len(line) < width && i < len(lines)-1 {
			return nil, false
		}
	}
	message, err := base64.StdEncoding.Strict().DecodeString(strings.Join(lines, ""))
	if err != nil || sum != "" && sum != checksum(message) {
		return nil, false
	}
	return message, true
}

// checksum is the line that armor ends in: OpenPGP's CRC-24, behind an equals sign.
func checksum(message []byte) string {
	const initial, generator = 0xB704CE, 0x1864CFB
	crc := uint32(initial)
	for _, b := range message {
		crc ^= uint32(b) << 16
		for range 8 {
			if crc <<= 1; crc&(1<<24) != 0 {
				crc ^= generator
			}
		}
	}
	return "=" + base64.StdEncoding.EncodeToString([]byte{byte(crc >> 16), byte(crc >> 8), byte(crc)})
}

// recipients returns the key ids of those that a message is encrypted to, zeros for
// one that it keeps to itself. A message that asks for a passphrase, is not
// encrypted at all or has no integrity protection never gets to gpg.
func recipients(message []byte) (ids []string, err error) {
	const (
		sessionKey = 1  // public-key encrypted session key
		sealed     = 18 // symmetrically encrypted, integrity protected data
		aead       = 20 // GnuPG's AEAD encrypted data
	)
	for {
		tag, body, rest, ok := packet(message)
		switch {
		case ok && tag == sessionKey && len(body) >= 9:
			ids = append(ids, fmt.Sprintf("%016X", binary.BigEndian.Uint64(body[1:])))
			message = rest
		case (tag == sealed || tag == aead) && len(ids) > 0:
			return ids, nil
		default:
			return nil, damaged("its message is not one that is encrypted to a PGP key")
		}
	}
}

// packet splits a message after its first packet. ok is false if that has no length
// of its own or is cut short; the tag counts all the same, 0 being none.
func packet(message []byte) (tag int, body, rest []byte, ok bool) {
	if len(message) < 2 || message[0]&0x80 == 0 {
		return 0, nil, nil, false
	}
	first, lead := message[0], message[1]
	message = message[1:]
	octets, base := 1, 0 // of the length
	switch {
	case first&0x40 == 0:
		tag, octets = int(first>>2&0xf), 1<<(first&3)
	case lead < 192:
		tag = int(first & 0x3f)
	case lead < 224:
		tag, octets, base = int(first&0x3f), 2, 192-192<<8
	case lead == 255:
		tag, octets, message = int(first&0x3f), 4, message[1:]
	default:
		return int(first & 0x3f), nil, nil, false
	}
	if octets > 4 || len(message) < octets {
		return tag, nil, nil, false
	}
	var length uint64
	for _, b := range message[:octets] {
		length = length<<8 | uint64(b)
	}
	length += uint64(base)
	message = message[octets:]
	if length > uint64(len(message)) {
		return tag, nil, nil, false
	}
	return tag, message[:length], message[length:], true
}
