package kenv

import (
	"regexp"

	"github.com/kenvhq/kenv/pkg/doc"
)

// Redact returns the text of an encrypted file without its metadata, each token cut
// to *** and the beginning of its nonce. So two texts differ where a value does, and
// neither says anything of it. It takes no key, and nothing is verified. A text that
// cannot be read keeps its metadata.
func Redact(data []byte) []byte {
	text := data
	if format := encryptedFormat("", data); format != nil {
		if d, err := format.Parse(data); err == nil {
			text = doc.Apply(d.Src, format.Detach(d))
		}
	}
	// What sops would take for a token, and of its nonce the first 8 digits.
	tokens := regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]\r\n]*?(?:,iv:([^,\]\r\n]{0,8})[^\]\r\n]*)?\]`)
	return tokens.ReplaceAll(text, []byte("***$1"))
}
