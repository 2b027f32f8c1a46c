package pkcs11

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

// maxURI bounds a URI. Its attributes are at most 64 bytes long on any token.
const maxURI = 2 << 10

// A uri is a PKCS #11 URI (RFC 7512). Its attributes are in canonical order, their
// values decoded; a name occurs once in each list.
type uri struct {
	path, query []attribute
}

type attribute struct{ name, value string }

// pathOrder is the canonical order of the path's attributes; others follow by name.
var pathOrder = [...]string{
	"token", "manufacturer", "serial", "model", "object", "id", "type",
	"library-manufacturer", "library-description", "library-version",
	"slot-manufacturer", "slot-description", "slot-id",
}

// isURI reports whether a string is meant as a PKCS #11 URI, well formed or not.
func isURI(s string) bool {
	const scheme = "pkcs11:"
	return len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme)
}

// parseURI reads a URI. It takes more characters unescaped than RFC 7512 allows,
// such as spaces, since people copy labels; String escapes them. Its errors hold
// names of attributes and never a value, which may be a PIN.
func parseURI(s string) (uri, error) {
	bad := func(format string, args ...any) (uri, error) {
		return uri{}, fmt.Errorf("not a PKCS#11 URI (pkcs11:token=…;object=…): "+format, args...)
	}
	if !isURI(s) {
		return bad("it does not begin with pkcs11:")
	}
	if len(s) > maxURI {
		return bad("it has %d bytes, more than %d", len(s), maxURI)
	}
	path, query, _ := strings.Cut(s[len("pkcs11:"):], "?")
	var u uri
	for _, part := range []struct {
		text, separator string
		list            *[]attribute
	}{{path, ";", &u.path}, {query, "&", &u.query}} {
		if part.text == "" {
			continue
		}
		for text := range strings.SplitSeq(part.text, part.separator) {
			name, value, ok := strings.Cut(text, "=")
			if !ok || !isName(name) {
				return bad("a part of it is not of the form name=value")
			}
			decoded, err := unescape(value)
			if err != nil {
				return bad("%s: %w", keys.Short(name), err)
			}
			if slices.ContainsFunc(*part.list, func(a attribute) bool { return a.name == name }) {
				return bad("%s is given twice", keys.Short(name))
			}
			*part.list = append(*part.list, attribute{name, decoded})
		}
	}
	slices.SortFunc(u.path, func(a, b attribute) int {
		return cmp.Or(cmp.Compare(rank(a.name), rank(b.name)), strings.Compare(a.name, b.name))
	})
	slices.SortFunc(u.query, func(a, b attribute) int { return strings.Compare(a.name, b.name) })
	if token, _ := u.get("token"); len(token) > 32 {
		return bad("a token's label has at most 32 bytes")
	}
	return u, nil
}

func rank(name string) int {
	if i := slices.Index(pathOrder[:], name); i >= 0 {
		return i
	}
	return len(pathOrder)
}

func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r > 0x7f || !isAlnum(byte(r)) && r != '-' && r != '_'
	})
}

// get returns the value of an attribute of the path.
func (u uri) get(name string) (value string, given bool) {
	for _, a := range u.path {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

// String returns the URI in its canonical spelling, which is ASCII.
func (u uri) String() string {
	var b strings.Builder
	b.WriteString("pkcs11:")
	for i, a := range u.path {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(a.name + "=" + a.escaped())
	}
	for i, a := range u.query {
		b.WriteByte("?&"[min(i, 1)])
		b.WriteString(a.name + "=" + a.escaped())
	}
	return b.String()
}

// escaped spells a value: an id, which is bytes, all in hexadecimal; of others what
// RFC 7512 lets stand in paths and queries alike stays.
func (a attribute) escaped() string {
	var b strings.Builder
	for _, c := range []byte(a.value) {
		if a.name != "id" && (isAlnum(c) || strings.IndexByte("-._~:[]@!$'()*+,=", c) >= 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c < 0x20 || c == 0x7f:
			return "", errors.New("a control character has to be written as %XX")
		case c == '%':
			raw, err := hex.DecodeString(s[i+1 : min(i+3, len(s))])
			if err != nil || len(raw) != 1 {
				return "", errors.New("after % two hexadecimal digits are expected")
			}
			c = raw[0]
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
