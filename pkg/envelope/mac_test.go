package envelope

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

func TestContentMAC(t *testing.T) {
	long := strings.Repeat("0123456789", 3000)
	texts := []string{"a", "", "True", long, "b", long[:4096], long[:4095], "c", long[:4097]}
	seed, _ := hex.DecodeString("8a3fd2ad54ce66527b1034f3d147be0b0b975b3bf44f72c6fdadec8176f27d69")
	for _, only := range []bool{false, true} {
		m := newContentMAC(only)
		var want bytes.Buffer
		if only {
			want.Write(seed)
		}
		for i, text := range texts {
			encrypted := i%3 != 1
			m.add(text, encrypted)
			if encrypted || !only {
				want.WriteString(text)
			}
			if got, want := m.sum(), fmt.Sprintf("%X", sha512.Sum512(want.Bytes())); got != want {
				t.Fatalf("only encrypted %v, after %d texts: got %s, want %s", only, i+1, got, want)
			}
		}
		if bytes.ContainsAny(m.buf[:cap(m.buf)], "0123456789abcTrue") {
			t.Error("plaintext is left")
		}
	}
}

// sopsOpen does with a file what sops decrypt does, and returns an error where
// sops exits with one. strict also refuses what a sealed file must not have.
func sopsOpen(t *testing.T, v vector, strict, ignoreMAC bool) (values int, err error) {
	roots, f, err := readVector(t, v.Format, v.Enc)
	if err != nil {
		return 0, err
	}
	meta, err := parseMetadata(f, strict)
	if err != nil {
		return 0, err
	}
	key := []byte(nil)
	if v.DataKeyHex != "" {
		key = v.dataKey(t)
	} else if key, err = ageUnwrap(meta.Groups[0], ageIdentities(t, []string{"main"})); err != nil {
		return 0, err
	}
	c, err := newValueCipher(key)
	if err != nil {
		return 0, err
	}
	selector, err := meta.Selector.compile(!strict)
	if err != nil {
		return 0, err
	}
	mac := newContentMAC(meta.MACOnlyEncrypted)
	for _, root := range roots {
		err := selector.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			text := n.Text
			if encrypted && n.Kind == doc.Scalar && n.Type != doc.String {
				return errors.New("clear value where a token belongs")
			}
			if encrypted && text != "" {
				tok, ok := parseToken(text, strict)
				if n.Kind == doc.Comment && !ok {
					return nil // taken for one of an old file
				}
				if !ok {
					return errors.New("not a token")
				}
				tag, plaintext, err := c.open(tok, aad)
				if err != nil {
					return err
				}
				values++
				if tag == tagComment {
					return nil
				}
				if _, text, err = checkText(tag, plaintext, strict); err != nil {
					return err
				}
			} else if _, ok := parseToken(text, true); ok && !encrypted {
				return errors.New("token where a clear value belongs")
			}
			if n.Kind == doc.Scalar && n.Type != doc.Null {
				mac.add(text, encrypted)
			}
			return nil
		})
		if err != nil {
			return values, err
		}
	}
	if ignoreMAC {
		return values, nil
	}
	tok, ok := parseToken(meta.MAC, strict)
	if !ok {
		return values, errors.New("no mac")
	}
	_, stored, err := c.open(tok, meta.macAAD())
	if err != nil {
		return values, err
	}
	if stored != mac.sum() {
		return values, errors.New("mac does not match")
	}
	if v.MACPlaintext != "" && stored != v.MACPlaintext {
		return values, errors.New("mac is not the manifest's")
	}
	return values, nil
}

// Every value and comment of every file that sops wrote opens at the place that
// the walk gives it, nothing that the walk calls clear is a token, and the MAC is
// the one in the file.
func TestVectorsOpen(t *testing.T) {
	good, _ := vectors(t)
	total := 0
	for _, v := range good {
		values, err := sopsOpen(t, v, true, false)
		if err != nil {
			t.Errorf("%s: %v", v.ID, err)
		}
		total += values
	}
	if total != 456 {
		t.Errorf("%d tokens were opened, the files hold 456", total)
	}
}

// What sops refuses is refused, and what it accepts is accepted.
func TestNegativeVectors(t *testing.T) {
	// Deviations that a sealed file may not have and that show without the seal.
	strictRefuses := []string{"OK-field-name-case", "OK-junk-after-enc", "OK-lastmodified-fraction"}
	_, negative := vectors(t)
	for _, v := range negative {
		v.Format = "yaml"
		ignoreMAC := slices.Contains(v.Args, "--ignore-mac")
		_, err := sopsOpen(t, v, false, ignoreMAC)
		if (err == nil) != v.Accepted {
			t.Errorf("%s: sops accepts it: %v, here: %v", v.ID, v.Accepted, err)
		}
		want := v.Accepted && !slices.Contains(strictRefuses, v.ID)
		if _, err = sopsOpen(t, v, true, ignoreMAC); (err == nil) != want {
			t.Errorf("%s: strict: %v", v.ID, err)
		}
	}
}
