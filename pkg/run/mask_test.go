package run_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/run"
)

func newMask(t testing.TB, secrets, clear []string) *run.Mask {
	t.Helper()
	m, err := run.NewMask(secrets, clear)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mask passes text on in pieces of size bytes.
func mask(t testing.TB, m *run.Mask, text string, size int) string {
	t.Helper()
	var out strings.Builder
	w := m.Writer(&out)
	for rest := []byte(text); len(rest) > 0; {
		n := min(size, len(rest))
		piece := bytes.Clone(rest[:n])
		if got, err := w.Write(piece); got != n || err != nil {
			t.Fatalf("wrote %d, %v", got, err)
		}
		clear(piece) // nobody may hold on to it
		rest = rest[n:]
	}
	if err := w.Release(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const pem = `-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj
ab==
-----END PRIVATE KEY-----
`

func TestMask(t *testing.T) {
	for name, c := range map[string]struct {
		secrets, clear []string
		text, want     string
	}{
		"nothing":              {nil, nil, "some text", "some text"},
		"one":                  {[]string{"hunter2"}, nil, "a hunter2 b", "a *** b"},
		"at the ends":          {[]string{"hunter2"}, nil, "hunter2 hunter2", "*** ***"},
		"all":                  {[]string{"hunter2"}, nil, "hunter2", "***"},
		"twice in a row":       {[]string{"hunter2"}, nil, "hunter2hunter2", "***"},
		"too short":            {[]string{"12345", ""}, nil, "12345", "12345"},
		"six characters":       {[]string{"123456"}, nil, "1234567", "***7"},
		"characters, no bytes": {[]string{"äöü", "äöüäöü"}, nil, "äöü, äöüäöü", "äöü, ***"},
		"beginnings":           {[]string{"hunter2"}, nil, "hunter hunthunter2 hunte", "hunter hunt*** hunte"},
		"overlapping":          {[]string{"abcdefg", "efghijk"}, nil, "-abcdefghijk-", "-***-"},
		"one in another":       {[]string{"abcdefghijkl", "defghi"}, nil, "abcdefghijk abcdefghijkl", "abc***jk ***"},
		"long after short":     {[]string{"bcdefg", "abcdefghi"}, nil, "abcdefgh", "a***h"},
		"of a single byte":     {[]string{"aaaaaa"}, nil, "aaaaaaaaaa aaaaa", "*** aaaaa"},
		"binary":               {[]string{"\xff\xfe\xfd\xfc\xfb\xfa"}, nil, "\xff\xff\xfe\xfd\xfc\xfb\xfa\xfa", "\xff***\xfa"},
		"trailing line feed":   {[]string{"hunter2\n"}, nil, "hunter2\r\n", "***\r\n"},

		"lines":           {[]string{pem}, nil, pem, "-----BEGIN PRIVATE KEY-----\n***\n***\nab==\n-----END PRIVATE KEY-----\n"},
		"lines, CRLF":     {[]string{pem}, nil, strings.ReplaceAll(pem, "\n", "\r\n"), "-----BEGIN PRIVATE KEY-----\r\n***\r\n***\r\nab==\r\n-----END PRIVATE KEY-----\r\n"},
		"lines, indented": {[]string{"{\n  \"key\": \"v\"\n}"}, nil, "> \"key\": \"v\"", "> ***"},
		"clear lines":     {[]string{"region: eu\ntoken: x"}, []string{"a\n  region: eu  \nb"}, "region: eu\ntoken: x\n", "region: eu\n***\n"},
		"short lines":     {[]string{"abc\ndef"}, nil, "abc\ndef abc def", "*** abc def"},

		"URL, query":      {[]string{"p@ss/w rd"}, nil, "https://u:p%40ss%2Fw+rd@h", "https://u:***@h"},
		"URL, path":       {[]string{"p@ss/w rd"}, nil, "https://u:p%40ss%2fw%20rd@h/p@ss%2Fw%20rd", "https://u:***@h/***"},
		"URL, browser":    {[]string{"it's(1)!/x"}, nil, "it's(1)!%2Fx", "***"},
		"JSON":            {[]string{"a\"b\\c<d>\te"}, nil, `{"k":"a\"b\\c\u003cd\u003e\te", "k": "a\"b\\c<d>\te"}`, `{"k":"***", "k": "***"}`},
		"JSON, lines":     {[]string{"one line\nanother"}, nil, `"one line\nanother"`, `"***"`},
		"base64":          {[]string{"hunter2"}, nil, "aHVudGVyMg==.", "***."},
		"base64, at 1":    {[]string{"hunter2!?"}, nil, base64.StdEncoding.EncodeToString([]byte(":hunter2!?")), "Om***w=="},
		"base64, of more": {[]string{"hunter2!?"}, nil, base64.StdEncoding.EncodeToString([]byte("user:hunter2!?")), "dXNlcjp***8="},
		"base64, URL":     {[]string{"\xff\xfe\xfd\xfc\xfb\xfa"}, nil, "__79_Pv6 //79/Pv6", "*** ***"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMask(t, c.secrets, c.clear)
			for size := 1; size <= len(c.text); size++ {
				if got := mask(t, m, c.text, size); got != c.want {
					t.Fatalf("in pieces of %d bytes: %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

// Of no encoding of a text that holds a secret so much is left that the secret could be
// read from it.
func TestMaskEncodings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		secret := make([]byte, 8+r.IntN(40))
		for i := range secret {
			secret[i] = byte(32 + r.IntN(95))
		}
		before, after := strings.Repeat(".", r.IntN(9)), strings.Repeat(",", r.IntN(9))
		text := before + string(secret) + after
		m := newMask(t, []string{string(secret)}, nil)
		js, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		for name, encoded := range map[string]string{
			"query": url.QueryEscape(text), "path": url.PathEscape(text), "JSON": string(js), "plain": text,
			"base64":     base64.StdEncoding.EncodeToString([]byte(text)),
			"base64 raw": base64.RawStdEncoding.EncodeToString([]byte(text)),
			"base64 URL": base64.RawURLEncoding.EncodeToString([]byte(text)),
		} {
			got := mask(t, m, encoded, 1+r.IntN(len(encoded)))
			left, right, ok := strings.Cut(got, run.Masked)
			// Of base64, the characters at the ends that hold bits of neighbours stay.
			if !ok || !strings.HasPrefix(encoded, left) || !strings.HasSuffix(encoded, right) ||
				len(left) > 3*len(before)+2 || len(right) > 3*len(after)+3 {
				t.Fatalf("%s: %q in %q became %q", name, secret, encoded, got)
			}
		}
	}
}

// A reference that takes its time: every byte that a secret covers goes.
func maskSlowly(secrets []string, text string) string {
	covered := make([]bool, len(text))
	for _, s := range secrets {
		for i := range text {
			if strings.HasPrefix(text[i:], s) {
				for j := range s {
					covered[i+j] = true
				}
			}
		}
	}
	var b strings.Builder
	for i := range text {
		switch {
		case !covered[i]:
			b.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			b.WriteString(run.Masked)
		}
	}
	return b.String()
}

// Whatever the secrets and the pieces, the output is the reference's.
func FuzzMask(f *testing.F) {
	f.Add("abcabcabc\x00bcabcabca", "xabcabcabcabcax", uint64(3))
	f.Add("aaaaaa\x00aaaaaaaab", "aaaaaaaaaaaaaaaabaaaaa", uint64(9))
	f.Fuzz(func(t *testing.T, joined, text string, seed uint64) {
		var secrets []string
		for s := range strings.SplitSeq(joined, "\x00") {
			// Plain text only: encodings would be found as well.
			if len(s) >= 6 && strings.Trim(s, "abcx") == "" {
				secrets = append(secrets, s)
			}
		}
		if strings.Trim(text, "abcx -") != "" || len(text) > 1000 || len(joined) > 1000 {
			return
		}
		var out strings.Builder
		w := newMask(t, secrets, nil).Writer(&out)
		r := rand.New(rand.NewPCG(seed, 0))
		for rest := text; len(rest) > 0; {
			n := 1 + r.IntN(len(rest))
			io.WriteString(w, rest[:n])
			rest = rest[n:]
		}
		w.Release()
		if want := maskSlowly(secrets, text); out.String() != want {
			t.Errorf("%q in %q: %q, want %q", secrets, text, out.String(), want)
		}
	})
}

// The same on texts that are all beginnings of secrets, in many of which others end.
func TestMaskAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	word := func(n, letters int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte('a' + r.IntN(letters))
		}
		return string(b)
	}
	for range 3000 {
		letters := 1 + r.IntN(3)
		var secrets []string
		for range 1 + r.IntN(5) {
			secrets = append(secrets, word(6+r.IntN(8), letters))
		}
		text := word(r.IntN(200), letters) + " " + word(r.IntN(20), letters)
		if got, want := mask(t, newMask(t, secrets, nil), text, 1+r.IntN(50)), maskSlowly(secrets, text); got != want {
			t.Fatalf("%q in %q: %q, want %q", secrets, text, got, want)
		}
	}
}

func TestMaskHolds(t *testing.T) {
	var out strings.Builder
	w := newMask(t, []string{"hunter2"}, nil).Writer(&out)
	step := func(text, want string, holding bool) {
		t.Helper()
		out.Reset()
		io.WriteString(w, text)
		if out.String() != want || w.Holding() != holding {
			t.Errorf("after %q: %q, holding %v", text, out.String(), w.Holding())
		}
	}
	step("hello hun", "hello ", true)
	step("ter", "", true)
	step("s\nhu", "hunters\n", true)
	out.Reset()
	if err := w.Release(); err != nil || out.String() != "hu" || w.Holding() {
		t.Errorf("released %q, %v", out.String(), err)
	}
	step("nter2 hunter2\n", "nter2 ***\n", false)
}

type failingWriter struct{ writes int }

func (w *failingWriter) Write(p []byte) (int, error) {
	w.writes++
	return 0, io.ErrClosedPipe
}

func TestMaskPassesErrorsOn(t *testing.T) {
	sink := &failingWriter{}
	w := newMask(t, []string{"hunter2"}, nil).Writer(sink)
	if _, err := io.WriteString(w, "a hunter2 b hunter2 c"); err != io.ErrClosedPipe || sink.writes != 1 {
		t.Errorf("%v after %d writes", err, sink.writes)
	}
}

func TestMaskLimit(t *testing.T) {
	if _, err := run.NewMask([]string{strings.Repeat("x", 300<<10)}, nil); err == nil || !strings.Contains(err.Error(), "can be masked") {
		t.Errorf("%v", err)
	}
}

func TestGitHubMasks(t *testing.T) {
	got := run.GitHubMasks([]string{"hunter2", "short", "100%\rsure", pem, "hunter2", "clear line\nother line"}, []string{"clear line"})
	want := "::add-mask::hunter2\n::add-mask::100%25%0Dsure\n::add-mask::MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" +
		"::add-mask::BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n::add-mask::other line\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Text made of secrets' beginnings takes time linear in its length.
func BenchmarkMask(b *testing.B) {
	r := rand.New(rand.NewPCG(5, 6))
	var secrets []string
	for i := range 100 {
		secret := make([]byte, 16+r.IntN(32))
		for j := range secret {
			secret[j] = byte(33 + r.IntN(94))
		}
		secrets = append(secrets, fmt.Sprintf("%02d%s", i, secret))
	}
	var log, mixed, near bytes.Buffer
	for i := 0; log.Len() < 1<<20; i++ {
		fmt.Fprintf(&log, "2026-11-25T10:%02d:%02dZ INFO request id=%08x path=/api/v1/users/%d status=200 took=%dms\n", i/60%60, i%60, r.Uint32(), r.IntN(1000), r.IntN(99))
	}
	for mixed.Len() < 1<<20 {
		fmt.Fprintf(&mixed, "Authorization: Basic %s\n%s and more\n", base64.StdEncoding.EncodeToString([]byte("user:"+secrets[r.IntN(100)])), secrets[r.IntN(100)])
	}
	for near.Len() < 1<<20 {
		s := secrets[r.IntN(100)]
		near.WriteString(s[:len(s)-1])
	}
	base := make([]byte, 3<<18)
	for i := range base {
		base[i] = byte(r.Uint32())
	}
	for _, c := range []struct {
		name    string
		secrets []string
		text    []byte
	}{
		{"log", secrets, log.Bytes()},
		{"base64", secrets, []byte(base64.StdEncoding.EncodeToString(base))},
		{"secrets", secrets, mixed.Bytes()},
		{"beginnings", secrets, near.Bytes()},
		{"repetition", []string{strings.Repeat("a", 4000)}, bytes.Repeat([]byte("a"), 1<<20)},
		{"nearly", []string{strings.Repeat("a", 4000) + "b"}, bytes.Repeat([]byte("a"), 1<<20)},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newMask(b, c.secrets, nil).Writer(io.Discard)
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				for rest := c.text; len(rest) > 0; {
					n := min(64<<10, len(rest))
					w.Write(rest[:n])
					rest = rest[n:]
				}
			}
		})
	}
}

func BenchmarkNewMask(b *testing.B) {
	var secrets []string
	for i := range 100 {
		secrets = append(secrets, fmt.Sprintf("%032x", i*i*7919))
	}
	for b.Loop() {
		newMask(b, secrets, nil)
	}
}
