package envelope

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// The worked example of docs/format.md is computed here as the page says, with the
// standard library alone, and has to be what Open accepts.
func TestFormatDoc(t *testing.T) {
	page, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(page), "\n## Worked example\n")
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)\n```[a-z]*\n(.*?)```\n").FindAllStringSubmatch(example, -1) {
		blocks = append(blocks, m[1])
	}
	if !ok || len(blocks) != 8 {
		t.Fatalf("the worked example has %d blocks, want 8", len(blocks))
	}
	plaintext, file, keyLines, encoding, seal, entry := blocks[0], blocks[1], blocks[2], unhex(t, blocks[3]), unhex(t, blocks[4]), unhex(t, blocks[5])

	derived := map[string][]byte{}
	for line := range strings.Lines(keyLines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "  ")
		derived[name] = unhex(t, value)
	}
	dataKey := derived["data key"]
	for _, purpose := range []string{"seal", "layout", "mark", "conflict"} {
		want, err := hkdf.Key(sha256.New, dataKey, nil, "kenv "+purpose+" v1", 32)
		if err != nil || !bytes.Equal(derived["K_"+purpose], want) {
			t.Errorf("K_%s is not %x (%v)", purpose, want, err)
		}
	}
	mac := func(key, data []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(nil)
	}
	field := func(expression string) []byte {
		m := regexp.MustCompile(expression).FindStringSubmatch(file)
		if m == nil {
			t.Fatalf("nothing in the file matches %s", expression)
		}
		b, err := base64.StdEncoding.DecodeString(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	if !bytes.Equal(mac(derived["K_seal"], encoding), seal) {
		t.Error("the seal is not the HMAC of the encoding")
	}
	if !bytes.Equal(field(`seal: (\S+)`), seal) {
		t.Error("the file has another seal")
	}
	nonce := field(`mac: ENC\[.*,iv:([^,]+),`)
	if len(nonce) != 32 || !bytes.Equal(mac(derived["K_mark"], nonce[:16])[:16], nonce[16:]) {
		t.Error("the nonce of the mac does not carry the mark")
	}
	conflict, err := base64.StdEncoding.DecodeString(strings.TrimSpace(blocks[6]))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		purpose         string
		sealed, content []byte
	}{{"layout", field(`layout:\n +- (\S+)`), entry}, {"conflict", conflict, unhex(t, blocks[7])}} {
		block, err := aes.NewCipher(derived["K_"+c.purpose])
		if err != nil {
			t.Fatal(err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := gcm.Open(nil, c.sealed[:12], c.sealed[12:], []byte("kenv "+c.purpose+" v1"))
		if err != nil || !bytes.Equal(opened, c.content) {
			t.Errorf("the %s entry is %x (%v)", c.purpose, opened, err)
		}
	}
	// Which is also how it is read here.
	holder := &File{dataKey: dataKey, Meta: &Metadata{Kenv: Kenv{Conflicts: []string{strings.TrimSpace(blocks[6])}}}}
	if c, err := holder.Conflict(); err != nil || string(c.Theirs) != "db: {}\n" {
		t.Errorf("the conflict entry: %v", err)
	}

	table := keys.Table{{Kind: "age", FromEntry: func(keys.Entry) (keys.MasterKey, error) { return knownKey(dataKey), nil }}}
	f, err := Open(t.Context(), []byte(file), doc.YAML{}, table, OpenOptions{RequireSeal: true})
	if err != nil {
		t.Fatal(err)
	}
	if string(f.Plaintext()) != plaintext {
		t.Errorf("decrypts to\n%s", f.Plaintext())
	}
}

// unhex reads hexadecimal digits, blanks between them, and comments behind #.
func unhex(t *testing.T, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A knownKey unwraps every entry to itself.
type knownKey []byte

func (k knownKey) Name() string { return "known" }

func (k knownKey) Wrap(context.Context, []byte) (keys.Entry, error) { return keys.Entry{}, nil }

func (k knownKey) Unwrap(context.Context, keys.Entry) ([]byte, error) { return bytes.Clone(k), nil }
