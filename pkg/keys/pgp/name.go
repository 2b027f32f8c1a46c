package pgp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

const prefix = "pgp:"

// The lengths of what names an OpenPGP key, in hexadecimal digits.
const (
	longID = 16
	v4     = 40
	v5     = 64
)

// A fingerprint names a key as gpg takes it: digits in upper case, and an
// exclamation mark behind them if that very subkey is meant. In an entry it may be
// a long key id instead.
type fingerprint string

func (f fingerprint) hex() string { return strings.TrimSuffix(string(f), "!") }

func (f fingerprint) exact() bool { return strings.HasSuffix(string(f), "!") }

// covers reports whether f is a key's fingerprint or the long id of that.
func (f fingerprint) covers(full string) bool {
	switch hex := f.hex(); {
	case len(hex) != longID:
		return hex == full
	case len(full) == v5:
		return strings.HasPrefix(full, hex)
	default:
		return strings.HasSuffix(full, hex)
	}
}

// parseName reads a key string: the prefix and a fingerprint, or 40 digits alone.
// ok is false for what is no PGP key at all.
func parseName(name string) (fp fingerprint, ok bool, err error) {
	text, prefixed := strings.CutPrefix(strings.TrimSpace(name), prefix)
	fp, valid := parseFingerprint(text)
	digits := len(fp.hex())
	switch {
	case !prefixed && !(valid && digits == v4):
		return "", false, nil
	case valid && digits != longID:
		return fp, true, nil
	case valid:
		err = fmt.Errorf("PGP key %q: this is a key id, which the key of somebody else can have as well; name the fingerprint, which gpg --fingerprint %s shows", name, fp.hex())
	case len(text) == 0:
		err = errors.New("pgp: needs a fingerprint after it; gpg --fingerprint shows those of your keys")
	default:
		err = fmt.Errorf("PGP key %q: a fingerprint has %d digits from 0 to 9 and A to F (%d for a version 5 key); gpg --fingerprint shows it", keys.Short(name), v4, v5)
	}
	return "", true, err
}

// parseFingerprint reads a fingerprint or a long key id in any of the spellings that
// gpg takes or prints. Without valid, fp means nothing.
func parseFingerprint(text string) (fp fingerprint, valid bool) {
	const longest = v5 + 32 // with blanks in it
	if len(text) > longest {
		return "", false
	}
	text = strings.ToUpper(strings.Join(strings.Fields(text), ""))
	fp = fingerprint(strings.TrimPrefix(text, "0X"))
	hex := fp.hex()
	if strings.Trim(hex, "0123456789ABCDEF") != "" {
		return "", false
	}
	return fp, len(hex) == longID || len(hex) == v4 || len(hex) == v5
}

// entryKey returns the key that an entry says it was wrapped for.
func entryKey(e keys.Entry) (fingerprint, error) {
	if e.Kind != Kind {
		return "", fmt.Errorf("an entry of kind %q is not a PGP entry", keys.Short(e.Kind))
	}
	text := e.Field("fp")
	if text == "" {
		return "", errors.New("a PGP entry has no fp")
	}
	fp, valid := parseFingerprint(text)
	if !valid {
		return "", fmt.Errorf("the fp of a PGP entry, %q, is no fingerprint", keys.Short(text))
	}
	return fp, nil
}
