package envelope

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
)

// The kinds of Flaw.
const (
	InClear     = "in clear"     // a value or comment that the file's rule would have encrypted
	BadToken    = "bad token"    // it begins like a token and is none
	BadMetadata = "bad metadata" // something under sops: is missing or damaged
	Unresolved  = "unresolved"   // a merge left conflicts
)

// maxFlaws bounds what is told of one file.
const maxFlaws = 100

// A Flaw is something that no encrypted file has.
type Flaw struct {
	Kind string
	Line int    // 0 when it concerns the metadata
	Path string // the keys down to the value, quoted for a terminal
	Msg  string // holds nothing of the file
}

// A Checked is what can be told of an encrypted file without any of its keys.
type Checked struct {
	Meta      *Metadata
	Sealed    bool
	Encrypted int    // how many values and comments are well-formed tokens
	Flaws     []Flaw // those of the body first, in its order, and no more than a hundred of them
	More      int    // how many it has besides
}

// Check looks at an encrypted file without opening it: whether every value and comment
// that its rule would have encrypted is a token, each of several with the same key,
// and whether the metadata has all that decrypting takes. Nothing is verified. The
// errors are those of Inspect.
func Check(src []byte, f doc.Format) (*Checked, error) {
	o, err := inspect(src, f, false)
	if err != nil {
		return nil, err
	}
	c := &Checked{Meta: o.meta, Sealed: o.sealed}
	sel, err := o.meta.Selector.compile(!o.sealed)
	if err != nil {
		return nil, err
	}
	for _, root := range o.doc.Roots {
		err := sel.walk(root, func(n *doc.Node, aad string, encrypted bool) error {
			if !encrypted || n.Text == "" && (n.Kind == doc.Comment || n.Type == doc.String) {
				return nil
			}
			text := n.Text
			if n.Kind == doc.Scalar {
				text = n.TokenText()
			}
			typ, ok := wellFormed(text, o.sealed)
			// sops writes a comment of a list as one of its items.
			isComment := n.Kind == doc.Comment || typ == tagComment && !o.sealed && n.Key == ""
			flaw := Flaw{Kind: BadToken, Path: displayPath(n, aad)}
			switch {
			case n.Kind == doc.Scalar && n.Type != doc.String, !ok && !strings.HasPrefix(text, "ENC["):
				flaw.Kind, flaw.Msg = InClear, "should be encrypted and is in clear"
			case !ok:
				flaw.Msg = "is not a well-formed ENC[…] token"
			case isComment != (typ == tagComment):
				flaw.Msg = "is a token of another type than what stands here"
			default:
				c.Encrypted++
				return nil
			}
			if n.Kind == doc.Comment {
				flaw.Msg = "a comment " + flaw.Msg
			}
			if len(c.Flaws) == maxFlaws {
				c.More++
				return nil
			}
			flaw.Line = o.doc.Line(n)
			c.Flaws = append(c.Flaws, flaw)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	c.checkMetadata()
	return c, nil
}

// wellFormed reports whether a text is a token as it is written, and of which type.
// Old versions of sops wrote one type more.
func wellFormed(text string, sealed bool) (typ string, ok bool) {
	if t, ok := parseToken(text, true); ok {
		return t.typ, true
	}
	head, ok := strings.CutSuffix(text, tokenType+tagBytes+tokenEnd)
	if !ok || sealed {
		return "", false
	}
	_, ok = parseToken(head+tokenType+tagString+tokenEnd, true)
	return tagBytes, ok
}

// checkMetadata looks for what parsing leaves to those who open a file.
func (c *Checked) checkMetadata() {
	m := c.Meta
	flaw := func(kind, format string, args ...any) {
		c.Flaws = append(c.Flaws, Flaw{Kind: kind, Msg: fmt.Sprintf(format, args...)})
	}
	switch typ, ok := wellFormed(m.MAC, c.Sealed); {
	case m.MAC == "":
		flaw(BadMetadata, NoMAC)
	case !ok || typ != tagString:
		flaw(BadMetadata, "the mac is damaged")
	}
	if c.Sealed && base64Len(m.Kenv.Seal) != sha256.Size {
		flaw(BadMetadata, "the seal is damaged")
	}
	for i, entry := range m.Kenv.Layout {
		if base64Len(entry) < 1 {
			flaw(BadMetadata, "entry %d of the layout is damaged", i+1)
			break
		}
	}
	if n := len(m.Groups); n > 1 && m.ShamirThreshold != 0 && (m.ShamirThreshold < 2 || m.ShamirThreshold > n) {
		flaw(BadMetadata, "shamir_threshold is %d, for %d key groups", m.ShamirThreshold, n)
	}
	for i, g := range m.Groups {
		if len(g) == 0 {
			flaw(BadMetadata, "key group %d has no keys", i+1)
		}
		for _, e := range g {
			if e.Field("enc") == "" {
				flaw(BadMetadata, "a %s key has no wrapped data key (enc)", e.Kind)
			}
		}
	}
	if len(m.Kenv.Conflicts) > 0 {
		flaw(Unresolved, "it has conflicts from a merge that nobody has resolved")
	}
}
