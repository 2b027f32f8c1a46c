package envelope

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestFieldLaws(t *testing.T) {
	slow := func(a, b byte) byte { // carry-less product, then the remainder by 0x11B
		var p uint
		for i := range 8 {
			if b>>i&1 == 1 {
				p ^= uint(a) << i
			}
		}
		for i := 15; i >= 8; i-- {
			if p>>i&1 == 1 {
				p ^= 0x11B << (i - 8)
			}
		}
		return byte(p)
	}
	for a := range 256 {
		for b := range 256 {
			if gfMul(byte(a), byte(b)) != slow(byte(a), byte(b)) {
				t.Fatalf("%d × %d", a, b)
			}
		}
		if want := byte(min(a, 1)); gfMul(byte(a), gfInverse(byte(a))) != want {
			t.Fatalf("inverse of %d", a)
		}
	}
	if gfMul(0x53, 0xCA) != 1 { // the example of FIPS 197
		t.Error("0x53 × 0xCA")
	}
}

// Any threshold of the shares give the secret, in any order, and one fewer do not.
func TestSplitCombine(t *testing.T) {
	secret := []byte("a data key, thirty-two bytes it ")
	for _, tt := range []struct{ parts, threshold int }{{2, 2}, {3, 2}, {3, 3}, {5, 3}, {6, 2}, {6, 6}} {
		shares, err := split(secret, tt.parts, tt.threshold)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range shares {
			if len(s) != 33 || s[32] != byte(i+1) {
				t.Fatalf("share %d is %d bytes with number %d", i, len(s), s[len(s)-1])
			}
		}
		for set := range 1 << tt.parts {
			var some [][]byte
			for i := tt.parts - 1; i >= 0; i-- {
				if set>>i&1 == 1 {
					some = append(some, shares[i])
				}
			}
			if len(some) < 2 {
				continue
			}
			got, err := combine(some)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(got, secret) != (len(some) >= tt.threshold) {
				t.Errorf("%d of %d, with %d shares: recovered %v", tt.threshold, tt.parts, len(some), bytes.Equal(got, secret))
			}
		}
	}
	shares, err := split(secret, 255, 255)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := combine(shares); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("255 of 255: %v", err)
	}
}

// Splitting twice gives different shares, or the terms are not random.
func TestSplitIsRandom(t *testing.T) {
	secret := make([]byte, 32)
	a, _ := split(secret, 2, 2)
	b, _ := split(secret, 2, 2)
	for i := range a {
		if bytes.Equal(a[i], b[i]) || bytes.Equal(a[i][:32], secret) {
			t.Errorf("share %d is predictable", i)
		}
	}
}

func TestSplitErrors(t *testing.T) {
	for _, tt := range []struct{ size, parts, threshold int }{
		{32, 3, 1}, {32, 3, 0}, {32, 3, -1}, {32, 3, 4}, {32, 1, 1}, {32, 256, 2}, {0, 3, 2},
	} {
		if _, err := split(make([]byte, tt.size), tt.parts, tt.threshold); err == nil {
			t.Errorf("%+v is accepted", tt)
		}
	}
}

func TestCombineErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		shares [][]byte
		want   string
	}{
		"none":         {nil, "not enough"},
		"one":          {[][]byte{{1, 1}}, "not enough"},
		"empty":        {[][]byte{{}, {}}, "too short"},
		"no secret":    {[][]byte{{1}, {2}}, "too short"},
		"lengths":      {[][]byte{{9, 9, 1}, {9, 2}}, "differ in length"},
		"one empty":    {[][]byte{{9, 1}, {}}, "differ in length"},
		"number 0":     {[][]byte{{9, 1}, {9, 0}}, "number is 0"},
		"same numbers": {[][]byte{{8, 3}, {9, 2}, {9, 3}}, "same number 3"},
	} {
		if _, err := combine(tt.shares); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Shares that sops made and wrapped combine to its data key, from every pair of
// groups at hand.
func TestShamirVectors(t *testing.T) {
	good, _ := vectors(t)
	pairs := 0
	for _, v := range good {
		_, f, err := readVector(t, v.Format, v.Enc)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseMetadata(f, true)
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Groups) < 2 {
			continue
		}
		var shares [][]byte
		for i, g := range m.Groups {
			share, err := ageUnwrap(g, ageIdentities(t, v.Keys))
			if err != nil {
				if v.Keys[i] != "pgp" {
					t.Errorf("%s: group %d: %v", v.ID, i, err)
				}
				continue
			}
			if len(share) != 33 || share[32] != byte(i+1) {
				t.Errorf("%s: share %d is %d bytes with number %d", v.ID, i, len(share), share[len(share)-1])
			}
			shares = append(shares, share)
		}
		for i, a := range shares {
			for _, b := range shares[:i] {
				pairs++
				if got, err := combine([][]byte{a, b}); err != nil || hex.EncodeToString(got) != v.DataKeyHex {
					t.Errorf("%s: shares %d and %d do not give the data key: %v", v.ID, a[32], b[32], err)
				}
			}
		}
	}
	if pairs < 25 {
		t.Errorf("only %d pairs of shares were found", pairs)
	}
}

// FuzzCombine cuts its input into shares: none may make combine panic, and what
// is split combines.
func FuzzCombine(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 4, 5, 6, 2}, uint8(2), uint8(2))
	f.Add([]byte{9, 1, 9, 1}, uint8(2), uint8(3))
	f.Add([]byte{}, uint8(0), uint8(255))
	f.Fuzz(func(t *testing.T, data []byte, count, extra uint8) {
		var shares [][]byte
		if count > 0 {
			size := len(data) / int(count)
			for i := range int(count) {
				shares = append(shares, data[i*size:(i+1)*size])
			}
		}
		secret, err := combine(shares)
		if err == nil && len(secret) != len(shares[0])-1 {
			t.Fatalf("secret of %d bytes", len(secret))
		}
		threshold := max(2, int(count)%16)
		parts := min(threshold+int(extra)%16, 255)
		if len(data) == 0 || len(data) > 64 {
			return
		}
		shares, err = split(data, parts, threshold)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := combine(shares[parts-threshold:]); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d: %v", threshold, parts, err)
		}
	})
}
