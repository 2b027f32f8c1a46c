package envelope

import (
	"crypto/rand"
	"errors"
	"fmt"
)

// Shamir's secret sharing over GF(2^8) with the polynomial x^8+x^4+x^3+x+1, in
// the encoding of HashiCorp Vault, which sops uses: each byte of the secret is
// the constant term of a random polynomial of degree threshold-1, and a share is
// the values of all of them at one x, followed by x.

// maxShares is the number of points other than 0 in the field.
const maxShares = 255

// split returns parts shares of secret, the i-th for x = i+1, of which any
// threshold give it back. 2 ≤ threshold ≤ parts ≤ 255.
func split(secret []byte, parts, threshold int) ([][]byte, error) {
	switch {
	case len(secret) == 0:
		return nil, errors.New("an empty secret cannot be split")
	case parts > maxShares:
		return nil, fmt.Errorf("%d key groups are too many, the most is %d", parts, maxShares)
	case threshold < 2:
		return nil, fmt.Errorf("a threshold of %d is too low: with several key groups it is at least 2", threshold)
	case threshold > parts:
		return nil, fmt.Errorf("a threshold of %d is more than the %d key groups", threshold, parts)
	}
	shares := make([][]byte, parts)
	for i := range shares {
		shares[i] = make([]byte, len(secret)+1)
		shares[i][len(secret)] = byte(i + 1)
	}
	terms := make([]byte, threshold-1) // of degree 1 and up
	defer clear(terms)
	for j, constant := range secret {
		rand.Read(terms)
		for i := range shares {
			x, y := byte(i+1), byte(0)
			for k := len(terms) - 1; k >= 0; k-- {
				y = gfMul(y^terms[k], x)
			}
			shares[i][j] = y ^ constant
		}
	}
	return shares, nil
}

// combine returns the secret of at least two shares. It cannot know whether they
// are enough, or of one secret: then what it returns is not that secret.
func combine(shares [][]byte) ([]byte, error) {
	if len(shares) < 2 {
		return nil, fmt.Errorf("%d share of the data key is not enough, at least 2 are needed", len(shares))
	}
	size := len(shares[0]) - 1
	if size < 1 {
		return nil, errors.New("a share of the data key is too short")
	}
	var seen [maxShares + 1]bool
	for _, s := range shares {
		if len(s) != size+1 {
			return nil, errors.New("the shares of the data key differ in length")
		}
		x := s[size]
		if x == 0 {
			return nil, errors.New("a share of the data key is damaged: its number is 0")
		}
		if seen[x] {
			return nil, fmt.Errorf("two shares of the data key have the same number %d", x)
		}
		seen[x] = true
	}
	secret := make([]byte, size)
	for i, s := range shares {
		// The share's Lagrange basis polynomial at 0.
		above, below := byte(1), byte(1)
		for k, other := range shares {
			if k != i {
				above = gfMul(above, other[size])
				below = gfMul(below, other[size]^s[size])
			}
		}
		basis := gfMul(above, gfInverse(below))
		for j := range secret {
			secret[j] ^= gfMul(basis, s[j])
		}
	}
	return secret, nil
}

// gfMul multiplies in the field, without branches or look-ups, so that its time
// says nothing of the factors.
func gfMul(a, b byte) byte {
	var product byte
	for range 8 {
		product ^= a & -(b & 1)
		b >>= 1
		a = a<<1 ^ 0x1b&-(a>>7)
	}
	return product
}

// gfInverse returns a^254, the inverse of a; 0 for 0.
func gfInverse(a byte) byte {
	power := a // a^(2^n - 1), n growing from 1 to 7
	for range 6 {
		power = gfMul(gfMul(power, power), a)
	}
	return gfMul(power, power)
}
