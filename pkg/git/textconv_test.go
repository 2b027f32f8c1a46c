package git

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
)

// There is a text for whatever a commit holds; it is the same each time, and with
// values hidden it has none of their ciphertext.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"", "a: b\n", "sops:\n", "sops: {}\n", "{\"sops\": 1}", "[sops]\nmac=x\n", "sops_mac=x\nsops_version=1\n", "\x00\xff",
		"a: ENC[AES256_GCM,data:aaaa,iv:bbbb,tag:cccc,type:str]\n",
		"a: ENC[AES256_GCM,data:aaaa,iv:bbbb,tag:cccc,type:str]\nsops:\n    mac: ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]\n    version: 3.13.3\n    lastmodified: \"2026-11-25T12:00:00Z\"\n    age:\n        - recipient: x\n          enc: x\n",
		"<<<<<<< a\nx: ENC[AES256_GCM,data:a]\n=======\nx: ENC[\n>>>>>>> b\nsops:\n    mac: x\n",
		"sops:\n    kenv:\n        seal: x\n        version: 9\n    mac: x\n    kms:\n        - arn: \"a\\nb\"\n",
	} {
		f.Add([]byte(seed))
	}
	token := regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]\r\n]*\]`)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s kenv.Setup
		text := Text(t.Context(), s, data, false)
		if again := Text(t.Context(), s, data, false); !bytes.Equal(text, again) {
			t.Errorf("at first\n%s\nthen\n%s", text, again)
		}
		if len(data) > 0 && !bytes.HasSuffix(text, data) {
			t.Errorf("without a key the text of\n%q\nis\n%q", data, text)
		}
		if first, rest, _ := bytes.Cut(text, []byte("\n")); !bytes.Equal(text, data) && (!bytes.HasPrefix(first, []byte("# kenv: ")) || !bytes.Equal(rest, data)) {
			t.Errorf("what is wrong is not said in one line:\n%q", text)
		}
		hidden := Text(t.Context(), s, data, true)
		if !bytes.Equal(hidden, data) && token.Match(hidden) {
			t.Errorf("with values hidden there is a token:\n%s", hidden)
		}
	})
}
