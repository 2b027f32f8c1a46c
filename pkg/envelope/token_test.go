package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

func testCipher(t testing.TB) *valueCipher {
	t.Helper()
	c, err := newValueCipher(bytes.Repeat([]byte{7}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTokenRoundTrip(t *testing.T) {
	c := testCipher(t)
	for _, plaintext := range []string{"x", "True", "\x00\xff\n", "é,iv:]", strings.Repeat("long ", 10_000)} {
		for _, aad := range []string{":", "a:b:", strings.Repeat("k:", 5000)} {
			out := string(c.appendToken([]byte("before "), tagString, plaintext, aad))
			text, ok := strings.CutPrefix(out, "before ")
			if !ok {
				t.Fatal("appendToken changed what was there")
			}
			for _, strict := range []bool{true, false} {
				tok, ok := parseToken(text, strict)
				if !ok {
					t.Fatalf("strict %v: own token is not accepted", strict)
				}
				typ, got, err := c.open(tok, aad)
				if err != nil || typ != tagString || got != plaintext {
					t.Fatalf("opened to type %q, %d bytes, %v", typ, len(got), err)
				}
				if _, _, err := c.open(tok, aad+"x"); !errors.Is(err, errTampered) {
					t.Fatalf("opened at another path: %v", err)
				}
			}
		}
	}
	if got := c.appendToken([]byte("x"), tagString, "", ":"); string(got) != "x" {
		t.Errorf("an empty plaintext gave %q", got)
	}
}

// The token is AES-256-GCM with a 32-byte nonce as the standard library has it,
// and the nonce that was asked for.
func TestTokenIsGCM(t *testing.T) {
	key := bytes.Repeat([]byte{7}, keySize)
	nonce := bytes.Repeat([]byte{9}, nonceSize)
	block, _ := aes.NewCipher(key)
	gcm, _ := cipher.NewGCMWithNonceSize(block, nonceSize)
	sealed := gcm.Seal(nil, nonce, []byte("5432"), []byte("db:port:"))
	b64 := base64.StdEncoding.EncodeToString
	want := fmt.Sprintf("ENC[AES256_GCM,data:%s,iv:%s,tag:%s,type:int]", b64(sealed[:4]), b64(nonce), b64(sealed[4:]))
	got := string(testCipher(t).appendTokenWithNonce(nil, nonce, tagInt, "5432", "db:port:"))
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	tok, _ := parseToken(got, true)
	if !bytes.Equal(tok.nonce(), nonce) {
		t.Errorf("nonce is %x", tok.nonce())
	}
}

func TestNoncesDiffer(t *testing.T) {
	c := testCipher(t)
	seen := map[string]bool{}
	for _, c := range []*valueCipher{c, c.clone(), testCipher(t)} {
		for range 3*nonceBatch + 1 {
			tok, _ := parseToken(string(c.appendToken(nil, tagString, "same", ":")), true)
			if seen[tok.iv] {
				t.Fatal("a nonce came twice")
			}
			seen[tok.iv] = true
		}
	}
}

// Nor is anything in a file, nor in what becomes of it under the same data key: no
// value, comment, mac, entry of the layout or of a conflict.
func TestNoncesDifferInFiles(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	var b strings.Builder
	for i := range window { // two tokens and an entry of the layout each
		fmt.Fprintf(&b, "a%d: 0x%x # c\n", i, i)
	}
	src := b.String()
	tokens := regexp.MustCompile(`data:([^,]*),iv:([^,]*),`)
	used := map[string]string{} // ciphertexts by key and nonce
	look := func(data []byte) *File {
		t.Helper()
		f := reopen(t, doc.YAML{}, data)
		here := map[string]bool{}
		note := func(nonce, ciphertext string) {
			if was, again := used[nonce]; here[nonce] || again && was != ciphertext {
				t.Fatalf("a nonce came twice: %x", nonce)
			}
			here[nonce], used[nonce] = true, ciphertext
		}
		for _, m := range tokens.FindAllSubmatch(data, -1) {
			note("value "+string(m[2]), string(m[1]))
		}
		if len(here) != 2*window+1 {
			t.Fatalf("%d tokens", len(here))
		}
		for purpose, list := range map[string][]string{"layout ": f.Meta.Kenv.Layout, "conflict ": f.Meta.Kenv.Conflicts} {
			for _, e := range list {
				raw, err := base64.StdEncoding.DecodeString(e)
				if err != nil {
					t.Fatal(err)
				}
				note(purpose+string(raw[:12]), string(raw[12:]))
			}
		}
		if len(f.Meta.Kenv.Layout) < window/2 {
			t.Fatalf("%d entries of the layout", len(f.Meta.Kenv.Layout))
		}
		return f
	}
	sealed, err := Seal(t.Context(), []byte(src), doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	f := look(sealed.Data)
	for i, c := range []*Conflict{nil, {Base: []byte("b"), Theirs: []byte("t"), Why: []string{"w", "w"}}, {Theirs: []byte("other")}} {
		edited := strings.ReplaceAll(src, fmt.Sprint(i, ": 0x"), fmt.Sprint(i, ": 0x1"))
		if sealed, err = f.ResealMerge([]byte(edited), nil, c, testPolicy.Now); err != nil {
			t.Fatal(err)
		}
		f = look(sealed.Data)
	}
}

func TestCloneServesAnotherGoroutine(t *testing.T) {
	c := testCipher(t)
	var wg sync.WaitGroup
	for range 4 {
		mine := c.clone()
		wg.Go(func() {
			for i := range 2000 {
				want := fmt.Sprint("value ", i)
				tok, _ := parseToken(string(mine.appendToken(nil, tagString, want, "k:")), true)
				if _, got, err := mine.open(tok, "k:"); err != nil || got != want {
					t.Errorf("got %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestWipe(t *testing.T) {
	c := testCipher(t)
	canary := strings.Repeat("canary ", 20)
	tok, _ := parseToken(string(c.appendToken(nil, tagString, canary, ":")), true)
	if _, _, err := c.open(tok, ":"); err != nil {
		t.Fatal(err)
	}
	c.appendToken(nil, tagString, "a shorter one", ":")
	if !bytes.Contains(c.buf[:cap(c.buf)], []byte("canary")) {
		t.Fatal("the test looks in the wrong place")
	}
	c.wipe()
	if bytes.Contains(c.buf[:cap(c.buf)], []byte("canary")) {
		t.Error("plaintext is left")
	}
}

func TestDataKeySize(t *testing.T) {
	for _, n := range []int{0, 16, 24, 31, 33} {
		if _, err := newValueCipher(make([]byte, n)); err == nil {
			t.Errorf("a data key of %d bytes is accepted", n)
		}
	}
}

// Every single change to a strict token is noticed, by the parser or by GCM; only
// the type is free, which is what checkText and the seal are for.
func TestTokenMalleability(t *testing.T) {
	c := testCipher(t)
	text := string(c.appendToken(nil, tagString, "pa", "k:"))
	end := strings.Index(text, ",type:")
	for i := range text[:end] {
		for b := range 256 {
			if byte(b) == text[i] {
				continue
			}
			changed := text[:i] + string([]byte{byte(b)}) + text[i+1:]
			tok, ok := parseToken(changed, true)
			if !ok {
				continue
			}
			if _, _, err := c.open(tok, "k:"); err == nil {
				t.Fatalf("byte %d changed to %#x is accepted", i, b)
			}
		}
	}
	for i := range text {
		if _, ok := parseToken(text[:i], true); ok {
			t.Errorf("accepted when cut at %d", i)
		}
	}
}

func TestStrictToken(t *testing.T) {
	iv, tag := strings.Repeat("A", 43)+"=", strings.Repeat("A", 22)+"=="
	tok := func(data, iv, tag, typ string) string {
		return "ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:" + tag + ",type:" + typ + "]"
	}
	for _, typ := range []string{tagString, tagInt, tagFloat, tagBool, tagTime, tagComment} {
		if _, ok := parseToken(tok("AA==", iv, tag, typ), true); !ok {
			t.Errorf("type %s is refused", typ)
		}
	}
	for name, s := range map[string]string{
		"junk after it":       tok("AA==", iv, tag, "str") + "x",
		"line after it":       tok("AA==", iv, tag, "str") + "\n",
		"space before it":     " " + tok("AA==", iv, tag, "str"),
		"bytes":               tok("AA==", iv, tag, "bytes"),
		"unknown type":        tok("AA==", iv, tag, "zzz"),
		"type in capitals":    tok("AA==", iv, tag, "STR"),
		"a second bracket":    tok("AA==", iv, tag, "str]"),
		"12-byte nonce":       tok("AA==", "AAAAAAAAAAAAAAAA", tag, "str"),
		"33-byte nonce":       tok("AA==", strings.Repeat("A", 44), tag, "str"),
		"15-byte tag":         tok("AA==", iv, strings.Repeat("A", 20), "str"),
		"unused bits":         tok("AB==", iv, tag, "str"),
		"unused bits, 2":      tok("AAB=", iv, tag, "str"),
		"no padding":          tok("AA", iv, tag, "str"),
		"URL alphabet":        tok("_-==", iv, tag, "str"),
		"carriage return":     tok("AA\r==", iv, tag, "str"),
		"carriage returns":    tok("AA==\r\r\r\r", iv, tag, "str"),
		"padding in the data": tok("AA==AA==", iv, tag, "str"),
		"only padding":        tok("====", iv, tag, "str"),
		"three paddings":      tok("A===", iv, tag, "str"),
		"no data":             tok("", iv, tag, "str"),
		"another cipher":      "ENC[AES128_GCM,data:AA==,iv:" + iv + ",tag:" + tag + ",type:str]",
	} {
		if _, ok := parseToken(s, true); ok {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What sops opens, lenient reading opens.
func TestLenientToken(t *testing.T) {
	key := bytes.Repeat([]byte{7}, keySize)
	block, _ := aes.NewCipher(key)
	b64 := base64.StdEncoding.EncodeToString
	seal := func(nonceSize int) (data, iv, tag string) {
		gcm, err := cipher.NewGCMWithNonceSize(block, nonceSize)
		if err != nil {
			t.Fatal(err)
		}
		nonce := bytes.Repeat([]byte{9}, nonceSize)
		sealed := gcm.Seal(nil, nonce, []byte("value"), []byte("k:"))
		return b64(sealed[:5]), b64(nonce), b64(sealed[5:])
	}
	data, iv, tag := seal(nonceSize)
	_, iv12, tag12 := seal(12)
	data12, _, _ := seal(12)
	dataMax, ivMax, tagMax := seal(maxNonce)
	dataOver, ivOver, tagOver := seal(maxNonce + 1)
	raw, _ := base64.StdEncoding.DecodeString(data)
	rawTag, _ := base64.StdEncoding.DecodeString(tag)
	moved := b64(append(raw, rawTag[:4]...))
	for name, tt := range map[string]struct {
		s  string
		ok bool
	}{
		"as written":           {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:" + tag + ",type:str]", true},
		"junk after it":        {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:" + tag + ",type:str] # x", true},
		"lines after it":       {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:" + tag + ",type:str]\n]", true},
		"12-byte nonce":        {"ENC[AES256_GCM,data:" + data12 + ",iv:" + iv12 + ",tag:" + tag12 + ",type:str]", true},
		"longest nonce":        {"ENC[AES256_GCM,data:" + dataMax + ",iv:" + ivMax + ",tag:" + tagMax + ",type:str]", true},
		"nonce too long":       {"ENC[AES256_GCM,data:" + dataOver + ",iv:" + ivOver + ",tag:" + tagOver + ",type:str]", false},
		"part of tag in data":  {"ENC[AES256_GCM,data:" + moved + ",iv:" + iv + ",tag:" + b64(rawTag[4:]) + ",type:str]", true},
		"carriage return":      {"ENC[AES256_GCM,data:" + data + "\r,iv:" + iv + ",tag:" + tag + ",type:str]", true},
		"empty nonce":          {"ENC[AES256_GCM,data:" + data + ",iv:\r,tag:" + tag + ",type:str]", false},
		"empty tag":            {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:\r,type:str]", false},
		"data is not base64":   {"ENC[AES256_GCM,data:!!!!,iv:" + iv + ",tag:" + tag + ",type:str]", false},
		"nonce is not base64":  {"ENC[AES256_GCM,data:" + data + ",iv:!,tag:" + tag + ",type:str]", false},
		"an iv in the data":    {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",iv:" + iv + ",tag:" + tag + ",type:str]", false},
		"of another nonce":     {"ENC[AES256_GCM,data:" + data + ",iv:" + iv12 + ",tag:" + tag + ",type:str]", false},
		"tag is not base64":    {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:*,type:str]", false},
		"of no known type":     {"ENC[AES256_GCM,data:" + data + ",iv:" + iv + ",tag:" + tag + ",type:zzz]", true},
		"line within the data": {"ENC[AES256_GCM,data:" + data + "\n,iv:" + iv + ",tag:" + tag + ",type:str]", false},
	} {
		tok, ok := parseToken(tt.s, false)
		text := ""
		if ok {
			var err error
			if _, text, err = testCipher(t).open(tok, "k:"); err != nil {
				ok = false
				if strings.Contains(err.Error(), "value") || strings.Contains(err.Error(), data) {
					t.Errorf("%s: the error tells: %v", name, err)
				}
			}
		}
		if ok != tt.ok || ok && text != "value" {
			t.Errorf("%s: opened %v, want %v", name, ok, tt.ok)
		}
	}
}

func TestCheckText(t *testing.T) {
	for _, tt := range []struct {
		tag, text string
		typ       doc.Type
		want      string // "" when refused
	}{
		{"str", "any\x00\xff", doc.String, "any\x00\xff"},
		{"bytes", "x", doc.String, "x"},
		{"int", "-42", doc.Int, "-42"},
		{"int", "+5", doc.Int, "5"},
		{"int", "007", doc.Int, "7"},
		{"int", "9223372036854775807", doc.Int, "9223372036854775807"},
		{"int", "9223372036854775808", 0, ""},
		{"int", "0x10", 0, ""},
		{"int", "1_0", 0, ""},
		{"int", "alice", 0, ""},
		{"float", "1.5", doc.Float, "1.5"},
		{"float", "1.0", doc.Float, "1"},
		{"float", "1e10", doc.Float, "10000000000"},
		{"float", "1.5e-9", doc.Float, "0.0000000015"},
		{"float", "-0.0", doc.Float, "-0"},
		{"float", "0x1p-2", doc.Float, "0.25"},
		{"float", "inf", doc.Float, "+Inf"},
		{"float", "NaN", doc.Float, "NaN"},
		{"float", "1e400", 0, ""},
		{"float", "", 0, ""},
		{"bool", "True", doc.Bool, "True"},
		{"bool", "t", doc.Bool, "True"},
		{"bool", "0", doc.Bool, "False"},
		{"bool", "FALSE", doc.Bool, "False"},
		{"bool", "yes", 0, ""},
		{"time", "2024-01-02T03:04:05.678+02:00", doc.Time, "2024-01-02T03:04:05.678+02:00"},
		{"time", "2024-01-02T03:04:05.500Z", doc.Time, "2024-01-02T03:04:05.5Z"},
		{"time", "2024-01-02T03:04:05+00:00", doc.Time, "2024-01-02T03:04:05Z"},
		{"time", "2024-01-02", 0, ""},
		{"time", "2024-01-02T3:04:05Z", doc.Time, "2024-01-02T03:04:05Z"}, // Go is lenient here, so sops is
		{"time", "2024-01-02T25:04:05Z", 0, ""},
		{"comment", "x", 0, ""},
		{"zzz", "x", 0, ""},
		{"", "x", 0, ""},
	} {
		for _, strict := range []bool{false, true} {
			accepted := tt.want != "" && (!strict || tt.want == tt.text && tt.tag != "bytes")
			typ, got, err := checkText(tt.tag, tt.text, strict)
			if (err == nil) != accepted {
				t.Errorf("%s %q, strict %v: %v", tt.tag, tt.text, strict, err)
			} else if accepted && (typ != tt.typ || got != tt.want) {
				t.Errorf("%s %q: got %v %q, want %v %q", tt.tag, tt.text, typ, got, tt.typ, tt.want)
			}
			if err != nil && len(tt.text) > 3 && strings.Contains(err.Error(), tt.text) {
				t.Errorf("%s: the error tells: %v", tt.tag, err)
			}
		}
	}
}

// Each type's tag leads back to the type.
func TestTypeTag(t *testing.T) {
	for typ, text := range map[doc.Type]string{
		doc.String: "x", doc.Int: "1", doc.Float: "1.5", doc.Bool: "True", doc.Time: "2024-01-02T00:00:00Z",
	} {
		if got, _, err := checkText(typeTag(typ), text, true); err != nil || got != typ {
			t.Errorf("type %d came back as %d, %v", typ, got, err)
		}
	}
	if typeTag(doc.Null) != "" {
		t.Error("null has a tag")
	}
}

// FuzzParseToken holds the hand-written parser to the pattern that sops
// matches, and strict tokens to base64 as the standard library checks it.
func FuzzParseToken(f *testing.F) {
	for _, s := range []string{
		"ENC[AES256_GCM,data:AA==,iv:AAAA,tag:AAAA,type:str]",
		"ENC[AES256_GCM,data:AA==,iv:" + strings.Repeat("A", 43) + "=,tag:" + strings.Repeat("A", 22) + "==,type:str]",
		"ENC[AES256_GCM,data:,iv:,iv:,tag:,tag:,type:,type:]]",
		"ENC[AES256_GCM,data:a,iv:b,tag:c,type:d]e]\nf]",
		"ENC[AES256_GCM,data:a,iv:b,tag:c\n,type:d]",
		"ENC[AES256_GCM,data:a,tag:c,iv:b,type:d,iv:e,tag:f,type:g\xff]",
		"ENC[AES256_GCM,data:]",
	} {
		f.Add(s)
	}
	pattern := regexp.MustCompile(`^ENC\[AES256_GCM,data:(.+),iv:(.+),tag:(.+),type:(.+)\]`)
	c := testCipher(f)
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseToken(s, false)
		m := pattern.FindStringSubmatch(s)
		if ok != (m != nil) {
			t.Fatalf("accepted %v, the pattern says %v", ok, m)
		}
		if ok && got != (token{data: m[1], iv: m[2], tag: m[3], typ: m[4]}) {
			t.Fatalf("got %q, want %q", got, m[1:])
		}
		if ok {
			c.open(got, ":") // must not panic
		}
		strict, ok := parseToken(s, true)
		canonical := m != nil && m[0] == s
		if canonical {
			for i, size := range []int{-1, nonceSize, gcmTag} {
				b, err := base64.StdEncoding.Strict().DecodeString(m[i+1])
				canonical = canonical && err == nil && len(b) > 0 && (size < 0 || len(b) == size) &&
					base64.StdEncoding.EncodeToString(b) == m[i+1]
			}
			canonical = canonical && strings.Contains(" str int float bool time comment ", " "+m[4]+" ") && !strings.Contains(m[4], " ")
		}
		if ok != canonical {
			t.Fatalf("strict: accepted %v, want %v", ok, canonical)
		}
		if ok && strict != got {
			t.Fatal("strict and lenient reading differ")
		}
	})
}

const benchValues = 100_000

func BenchmarkEncrypt100k(b *testing.B) {
	c := testCipher(b)
	b.ReportAllocs()
	var out []byte
	for b.Loop() {
		out = out[:0]
		for range benchValues {
			out = c.appendToken(out, tagString, "a value of thirty-two characters", "service:key_000001:")
		}
	}
}

func BenchmarkDecrypt100k(b *testing.B) {
	for _, strict := range []bool{true, false} {
		b.Run(fmt.Sprintf("strict=%v", strict), func(b *testing.B) {
			c := testCipher(b)
			tokens := make([]string, benchValues)
			for i := range tokens {
				tokens[i] = string(c.appendToken(nil, tagString, "a value of thirty-two characters", "service:key_000001:"))
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, s := range tokens {
					tok, ok := parseToken(s, strict)
					if !ok {
						b.Fatal("not a token")
					}
					if _, _, err := c.open(tok, "service:key_000001:"); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
