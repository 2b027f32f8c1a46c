package envelope

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The vectors of Project Wycheproof, as a Go module of 26 MB. It is fetched for these
// tests alone, so it is not in go.mod, and its checksum is here.
const (
	wycheproof    = "github.com/c2sp/wycheproof@v0.0.0-20260902155932-3fa63dd0344a"
	wycheproofSum = "h1:pNbL2nztRsWfW/ispAwsvcDFxs9Id38uIsR2/Up5G2c="
)

type wycheproofTest struct {
	TcID    int
	Comment string
	Result  string
	// Hexadecimal.
	Key, IV, AAD, Msg, CT, Tag string // of GCM; some of them of HMAC
	IKM, Salt, Info, OKM       string // of HKDF
}

type wycheproofGroup struct {
	KeySize, IVSize, TagSize int
	Tests                    []wycheproofTest
}

// wycheproofVectors reads a file of Wycheproof's.
func wycheproofVectors(t *testing.T, name string) []wycheproofGroup {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", wycheproof)
	cmd.Dir = t.TempDir() // no module
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	var module struct{ Dir, Sum string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("go mod download %s: %v\n%s", wycheproof, err, out)
		}
		t.Skipf("go mod download %s: %v", wycheproof, err)
	}
	if module.Sum != wycheproofSum {
		t.Fatalf("%s has the checksum %s", wycheproof, module.Sum)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "testvectors_v1", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ TestGroups []wycheproofGroup }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.TestGroups
}

// TestWycheproofToken: tokens open for the valid vectors of AES-256-GCM, of every nonce
// length that is believed, and for no others; those with a nonce as it is written come out
// of appendToken, too.
func TestWycheproofToken(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString
	opened, refused, written := 0, 0, 0
	for _, g := range wycheproofVectors(t, "aes_gcm_test.json") {
		for _, v := range g.Tests {
			c, err := newValueCipher(unhex(t, v.Key))
			if g.KeySize != 256 {
				if err == nil {
					t.Errorf("a key of %d bits is accepted", g.KeySize)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			iv, aad, msg, ct, tag := unhex(t, v.IV), unhex(t, v.AAD), unhex(t, v.Msg), unhex(t, v.CT), unhex(t, v.Tag)
			text := "ENC[AES256_GCM,data:" + b64(ct) + ",iv:" + b64(iv) + ",tag:" + b64(tag) + ",type:str]"
			tok, ok := parseToken(text, false)
			strict, strictOK := parseToken(text, true)
			switch {
			case ok != (len(ct) > 0 && len(iv) > 0):
				t.Errorf("%d: parses: %v", v.TcID, ok)
			case strictOK != (len(ct) > 0 && len(iv) == nonceSize && len(tag) == gcmTag):
				t.Errorf("%d: parses strictly: %v", v.TcID, strictOK)
			case strictOK && strict != tok:
				t.Errorf("%d: two readings", v.TcID)
			case !ok:
				tok = token{data: b64(ct), iv: b64(iv), tag: b64(tag), typ: tagString}
			}
			_, plain, err := c.open(tok, string(aad))
			switch {
			case v.Result == "invalid":
				if err == nil || plain != "" {
					t.Errorf("%d, %s: opens", v.TcID, v.Comment)
				}
				refused++
			case err != nil || plain != string(msg):
				t.Errorf("%d, %s: %q, %v", v.TcID, v.Comment, plain, err)
			default:
				opened++
			}
			if v.Result == "valid" && len(iv) == nonceSize && len(msg) > 0 {
				written++
				if got := string(c.appendTokenWithNonce(nil, iv, tagString, string(msg), string(aad))); got != text {
					t.Errorf("%d: %s, want %s", v.TcID, got, text)
				}
			}
		}
	}
	if opened < 70 || refused < 25 || written < 1 {
		t.Errorf("%d opened, %d refused, %d written", opened, refused, written)
	}
}

// TestWycheproofEntry: the same for entries of the layout and of conflicts, whose nonces
// have 12 bytes.
func TestWycheproofEntry(t *testing.T) {
	opened, refused := 0, 0
	for _, g := range wycheproofVectors(t, "aes_gcm_test.json") {
		if g.KeySize != 256 || g.IVSize != 96 {
			continue
		}
		for _, v := range g.Tests {
			box, err := entryCipherOf(unhex(t, v.Key), string(unhex(t, v.AAD)))
			if err != nil {
				t.Fatal(err)
			}
			msg := unhex(t, v.Msg)
			plain, ok := box.open(base64.StdEncoding.EncodeToString(unhex(t, v.IV+v.CT+v.Tag)))
			if want := v.Result == "valid" && len(msg) > 0; ok != want || ok && !bytes.Equal(plain, msg) {
				t.Errorf("%d, %s: %x, %v", v.TcID, v.Comment, plain, ok)
			}
			if ok {
				opened++
			} else {
				refused++
			}
		}
	}
	if opened < 30 || refused < 25 {
		t.Errorf("%d opened, %d refused", opened, refused)
	}
}

// TestWycheproofDerive: keys are HKDF-SHA-256 without salt. They have 32 bytes, and those
// of a shorter or a longer one are its first.
func TestWycheproofDerive(t *testing.T) {
	done := 0
	for _, g := range wycheproofVectors(t, "hkdf_sha256_test.json") {
		for _, v := range g.Tests {
			if v.Salt != "" || v.Result != "valid" {
				continue // no salt is ours, nor a length
			}
			done++
			got, want := hex.EncodeToString(expand(unhex(t, v.IKM), string(unhex(t, v.Info)))), v.OKM
			if n := min(len(got), len(want)); got[:n] != want[:n] {
				t.Errorf("%d, %s: %s, want %s", v.TcID, v.Comment, got, want)
			}
		}
	}
	if done < 20 {
		t.Errorf("%d vectors", done)
	}
}

// TestWycheproofSeal: a sealer computes HMAC-SHA-256, however its input is cut up, and none
// of the tags that are not.
func TestWycheproofSeal(t *testing.T) {
	valid, invalid := 0, 0
	for _, g := range wycheproofVectors(t, "hmac_sha256_test.json") {
		for _, v := range g.Tests {
			s := &sealer{mac: hmac.New(sha256.New, unhex(t, v.Key))}
			for i, b := range unhex(t, v.Msg) {
				if s.byte(b); i%7 == 0 {
					s.flush()
				}
			}
			s.flush()
			sum := s.mac.Sum(nil)
			if g.TagSize < 256 { // the mark is cut as these are
				sum = sum[:g.TagSize/8]
			}
			switch same := subtle.ConstantTimeCompare(sum, unhex(t, v.Tag)) == 1; {
			case same != (v.Result == "valid"):
				t.Errorf("%d, %s: %x is %s", v.TcID, v.Comment, sum, v.Result)
			case same:
				valid++
			default:
				invalid++
			}
		}
	}
	if valid < 50 || invalid < 100 {
		t.Errorf("%d valid, %d not", valid, invalid)
	}
}
