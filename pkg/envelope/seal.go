package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/secret"
)

// The keys that are derived from the data key, each for one purpose:
// HKDF-SHA-256 (RFC 5869) without salt, info "kenv PURPOSE v1", 32 bytes.
const (
	purposeSeal     = "seal"
	purposeLayout   = "layout"
	purposeMark     = "mark"
	purposeConflict = "conflict"
)

func derive(dataKey []byte, purpose string) []byte {
	return expand(dataKey, "kenv "+purpose+" v1")
}

func expand(ikm []byte, info string) []byte {
	key, err := hkdf.Key(sha256.New, ikm, nil, info, 32)
	if err != nil {
		panic(err) // only for impossible lengths
	}
	return key
}

// newMAC starts an HMAC-SHA-256 under the derived key for a purpose.
func newMAC(dataKey []byte, purpose string) (mac hash.Hash) {
	secret.Do(func() {
		key := derive(dataKey, purpose)
		defer clear(key)
		mac = hmac.New(sha256.New, key)
	})
	return mac
}

// A sealer writes the encoding that the seal is the HMAC of; docs/format.md
// specifies it. Every item starts with a byte that says what it is and every
// string has its length before it, so no two files have one encoding.
type sealer struct {
	doc *doc.Document
	mac hash.Hash
	buf []byte

	// What is left out: comments in clear, unless the selector looks at comments;
	// with mac_only_encrypted, clear values and what holds only those.
	allComments   bool
	onlyEncrypted bool
	covered       map[*doc.Node]bool
}

// sealOf returns the seal, 32 bytes, of a decrypted document whose nodes are marked
// as encrypted or not, and the metadata around it.
func sealOf(dataKey []byte, format string, d *doc.Document, meta doc.Fields, m *Metadata) []byte {
	s := &sealer{
		doc:           d,
		mac:           newMAC(dataKey, purposeSeal),
		buf:           make([]byte, 0, 4096),
		allComments:   allComments(format, m),
		onlyEncrypted: m.MACOnlyEncrypted,
	}
	if s.onlyEncrypted {
		s.covered = map[*doc.Node]bool{}
		for _, r := range d.Roots {
			s.cover(r)
		}
	}
	s.encode(format, meta)
	return s.mac.Sum(nil)
}

// allComments reports whether comments in clear are covered, too.
func allComments(format string, m *Metadata) bool {
	// In dotenv and INI, what is a comment is not the same to all readers.
	return m.Selector.EncryptedCommentRegex != "" || m.Selector.UnencryptedCommentRegex != "" || format == "dotenv" || format == "ini"
}

// encode writes a whole file.
func (s *sealer) encode(format string, meta doc.Fields) {
	d := s.doc
	s.str('F', format)
	for i, r := range d.Roots {
		switch {
		case i > 0 && r.Type == doc.Null:
			s.byte('N')
		case d.Whole != nil:
			s.byte('X')
		case doc.IsWrapped(r):
			s.byte('R')
		default:
			s.byte('D')
		}
		s.str('T', r.Mark)
		s.node(r)
	}
	s.byte('.')
	s.fields(meta, 0)
	s.flush()
}

// cover notes which nodes hold something encrypted or a comment that may say what is.
func (s *sealer) cover(n *doc.Node) bool {
	c := n.Encrypted && (n.Kind == doc.Scalar || n.Kind == doc.Comment) || n.Kind == doc.Comment && s.allComments
	for _, item := range n.Items {
		if s.cover(item) {
			c = true
		}
	}
	if c {
		s.covered[n] = true
	}
	return c
}

func (s *sealer) flush() {
	s.mac.Write(s.buf)
	clear(s.buf)
	s.buf = s.buf[:0]
}

// room makes room in the buffer, which does not grow: that would leave plaintext in what
// it was before.
func (s *sealer) room(n int) {
	if len(s.buf)+n > cap(s.buf) {
		s.flush()
	}
}

func (s *sealer) byte(b byte) {
	s.room(1)
	s.buf = append(s.buf, b)
}

func (s *sealer) str(kind byte, text string) {
	s.byte(kind)
	s.room(8)
	s.buf = binary.BigEndian.AppendUint64(s.buf, uint64(len(text)))
	for s.room(min(len(text), cap(s.buf))); len(text) > cap(s.buf); s.flush() {
		s.buf = append(s.buf, text[:cap(s.buf)]...)
		text = text[cap(s.buf):]
	}
	s.buf = append(s.buf, text...)
}

func (s *sealer) node(n *doc.Node) {
	switch n.Kind {
	case doc.Scalar:
		encrypted := byte('c')
		if n.Encrypted {
			encrypted = 'e'
		}
		s.byte(encrypted)
		s.str(valueCode[n.Type], n.Text)
		s.str('W', s.doc.Form(n))
	case doc.Map, doc.List:
		if n.Kind == doc.Map {
			s.byte('M')
		} else {
			s.byte('L')
		}
		for _, c := range n.Items {
			switch {
			case s.onlyEncrypted && !s.covered[c]:
			case c.Kind == doc.Comment:
				switch {
				case c.Encrypted:
					s.str('#', c.Text)
				case s.allComments:
					s.str('%', c.Text)
				default:
					continue
				}
				s.str('W', s.doc.Form(c))
			default:
				if n.Kind == doc.Map {
					s.str('K', c.Key)
				} else {
					s.byte('I')
				}
				s.str('T', c.Mark)
				s.node(c)
			}
		}
		s.byte('.')
	}
}

var valueCode = [...]byte{
	doc.String: 's',
	doc.Int:    'i',
	doc.Float:  'f',
	doc.Bool:   'b',
	doc.Time:   't',
	doc.Null:   'n',
}

// fields encodes metadata: maps by name, everything but the mac and the seal
// themselves. Empty lists and maps are as good as none: dotenv has no way to
// write them.
func (s *sealer) fields(f doc.Fields, depth int) {
	s.byte('M')
	f = slices.Clone(f)
	slices.SortStableFunc(f, func(a, b doc.Field) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range f {
		if depth == 0 && x.Name == "mac" || empty(x.Value) {
			continue
		}
		if k, ok := x.Value.(doc.Fields); ok && depth == 0 && x.Name == kenvField {
			x.Value = slices.DeleteFunc(slices.Clone(k), func(y doc.Field) bool { return y.Name == sealField })
		}
		s.str('K', x.Name)
		s.value(x.Value, depth+1)
	}
	s.byte('.')
}

func empty(v doc.Value) bool {
	switch v := v.(type) {
	case doc.Fields:
		return len(v) == 0
	case []doc.Value:
		return len(v) == 0
	}
	return false
}

func (s *sealer) value(v doc.Value, depth int) {
	switch v := v.(type) {
	case string:
		s.str('s', v)
	case doc.Fields:
		s.fields(v, depth)
	case []doc.Value:
		s.byte('L')
		for _, e := range v {
			s.byte('I')
			s.value(e, depth)
		}
		s.byte('.')
	}
}

const (
	kenvField = "kenv"
	sealField = "seal"
)

// markedNonce returns a nonce for the mac of a sealed file: 16 random bytes and
// what only a holder of the data key can add to them. It says that the file has a
// seal, so the seal cannot be taken away.
func markedNonce(dataKey []byte) []byte {
	nonce := make([]byte, nonceSize)
	rand.Read(nonce[:16])
	copy(nonce[16:], markOf(dataKey, nonce[:16]))
	return nonce
}

func markOf(dataKey, random []byte) []byte {
	h := newMAC(dataKey, purposeMark)
	h.Write(random)
	return h.Sum(nil)[:16]
}

func isMarked(dataKey []byte, t token) bool {
	nonce := t.nonce()
	return nonce != nil && hmac.Equal(nonce[16:], markOf(dataKey, nonce[:16]))
}
