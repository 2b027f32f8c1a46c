package pgp

import "encoding/base64"

// Armor is the inverse of dearmor.
func Armor(message []byte) string {
	const width = 64
	out := armorHead + "\n\n"
	text := base64.StdEncoding.EncodeToString(message)
	for len(text) > width {
		out, text = out+text[:width]+"\n", text[width:]
	}
	return out + text + "\n" + checksum(message) + "\n" + armorTail
}
