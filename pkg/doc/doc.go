// Package doc knows the syntax of files: where each value's bytes are, how a
// value is spelled in a given place, and where the metadata block goes. It finds
// byte ranges and replaces them; it re-emits a file only to convert it or where
// no range can be found. It knows nothing of keys or encryption.
//
// The tree it gives is the one that sops sees (its "tree branches"): maps with
// string keys in file order, lists, scalars with sops's types and texts, and
// comments as items of the map or list that holds them.
package doc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind says what a Node is.
type Kind uint8

// The kinds of Node.
const (
	Scalar Kind = iota
	Map
	List
	Comment
)

// Type is a scalar's type in sops's terms.
type Type uint8

// The types of a scalar. Null has no text and is never encrypted.
const (
	String Type = iota
	Int
	Float
	Bool
	Time
	Null
)

// A Node is one item of the tree.
type Node struct {
	Kind Kind
	Type Type   // Scalar only
	Key  string // of an item of a Map; empty for comments
	// Text is a Scalar's value as sops writes it into a token ("True", "1000",
	// "2024-01-02T00:00:00Z", the string itself), or a Comment's text without
	// its marker.
	Text  string
	Items []*Node // of a Map or List, comments among them

	// Span is the bytes of Document.Src that hold the value and that Spell and
	// Token replace. It is empty for what has no text of its own.
	Span Span
	// Mark is the tags and anchors that stand before the value and its key: part
	// of what the seal covers. Empty for most nodes.
	// It is set too where a key is quoted or no string, and at a first root where
	// YAML has directives.
	Mark string
	// Encrypted says that a selector in force calls for encryption here.
	Encrypted bool
	// Hidden is set for what sops passes over in a file that it reads: a value that
	// gives way to a later one of its key, a comment in a place that has none.
	Hidden bool

	virtual  bool   // a copy that an alias stands for: nothing to replace
	explicit bool   // of a block scalar: the header gives the indent
	style    style  // how it is written
	indent   int    // of the collection that holds it; of a block scalar, its content's
	trailing int    // of a block scalar: the line breaks that its value ends with
	header   int    // of a block scalar: where its indicator is
	start    int    // of the value, properties included
	key      Span   // the key's bytes, properties included
	anchor   string // the value's anchor
}

// A slab makes many nodes with few allocations.
type slab struct {
	free []Node
	size int
}

func (s *slab) new(n Node) *Node {
	if len(s.free) == 0 {
		s.size = min(max(16, 2*s.size), 1024)
		s.free = make([]Node, s.size)
	}
	out := &s.free[0]
	s.free = s.free[1:]
	*out = n
	return out
}

// A Span is a range of bytes, Start included, End not.
type Span struct{ Start, End int }

// A Document is a text and its tree. Spans refer to Src.
type Document struct {
	Src   []byte
	Roots []*Node // of kind Map; one for each YAML document, exactly one elsewhere
	Meta  Fields  // the metadata block, where the text has one
	// Whole is set where one string is the whole of the file: its bytes are the
	// plaintext, and Src is only how that string is held.
	Whole *Node

	blocks []Span   // what to cut to be rid of the metadata
	odd    []string // what a strict reader objects to
	eol    string
	ini    bool
	at     attachment
}

// Odd lists what in an encrypted file deviates from how kenv writes it: metadata
// out of its place, aliases. A sealed file must have none.
func (d *Document) Odd() []string { return d.odd }

// An attachment says where and how a metadata block is added to a text.
type attachment struct {
	at     int
	indent int
	inFlow bool // inside the braces of the root
	comma  bool // after a comma
	noEOL  bool // the text before it does not end its line
}

// An Edit replaces the bytes of a span.
type Edit struct {
	Span
	Text string
}

// Apply returns src with the edits made. They may come in any order and must not
// overlap; of several for one empty or equal span the first given comes first.
func Apply(src []byte, edits []Edit) []byte {
	byStart := func(a, b Edit) int { return cmp.Compare(a.Start, b.Start) }
	if !slices.IsSortedFunc(edits, byStart) {
		slices.SortStableFunc(edits, byStart)
	}
	size := len(src)
	for _, e := range edits {
		size += len(e.Text) - (e.End - e.Start)
	}
	out := make([]byte, 0, max(size, 0))
	at := 0
	for _, e := range edits {
		if e.Start < at {
			continue
		}
		out = append(out, src[at:e.Start]...)
		out = append(out, e.Text...)
		at = e.End
	}
	return append(out, src[at:]...)
}

// cut returns the edits that remove spans.
func cut(spans []Span) []Edit {
	edits := make([]Edit, len(spans))
	for i, s := range spans {
		edits[i] = Edit{Span: s}
	}
	return edits
}

// A Rung is a way to hold a file that sops can read, best first.
type Rung int

// The rungs of the ladder.
const (
	Splice  Rung = iota // values replaced where they stand
	Restate             // the data written anew, the whole original in a note
	AsText              // the whole file as one string under TextKey
	noRung
)

func (r Rung) String() string {
	return [...]string{"splice", "restate", "text"}[r]
}

// Next returns the rung below, given what was wrong with this one; ok is false when there
// is none.
func (r Rung) Next(why error) (next Rung, ok bool) {
	if errors.Is(why, ErrDense) {
		r = max(r, AsText-1)
	}
	return r + 1, r+1 < noRung
}

// Reserved keys. A map with RootKey alone stands for its value, one with TextKey
// alone for the file whose text is its value.
const (
	RootKey = "kenv_root"
	TextKey = "kenv_text"
	metaKey = "sops"
)

// The kinds of Note.
const (
	NoteLexeme  = 's' // a scalar's own spelling; found by Spelling
	NotePlain   = 'p' // the same, where it is the bare text
	NoteComment = 'c' // a comment's text, where another had to be encrypted
	NoteValue   = 'v' // a scalar with its tag, respelled because of it
	NoteAlias   = 'a' // an alias that was written out
	NoteKey     = 'k' // a key that is no string, or an alias
	NoteRoot    = 'r' // what was put before a root value to give it a key
	NoteBOM     = 'b' // a byte order mark that had to go
	NoteWhole   = 'w' // the whole original, deflated
)

// A Note is something that the text in a Document cannot hold and that its
// original had: the spelling of a scalar, an alias, a tag. Notes are sealed into
// the file's layout and given back on decryption. A note is believed only where
// it reads as the value that stands there.
type Note struct {
	Kind byte
	Path string // see Index
	N    int    // which of the nodes with that path, from 0
	Text string
}

// A Format is one syntax.
type Format interface {
	Name() string

	// Prepare reads a plaintext and returns it in a form that sops can hold,
	// and what turns that form back into src. On rung Splice the form is src
	// itself wherever possible. A text that does not parse gives a *SyntaxError;
	// ErrRung says to try the next rung. AsText is for texts for which all others
	// did that, and is not read again.
	Prepare(src []byte, r Rung) (*Document, []Note, error)
	// Restore is the inverse of Prepare, for a prepared text whose values may
	// have changed since: notes that no longer fit are passed over.
	Restore(body []byte, notes []Note) ([]byte, error)

	// Attach returns the edit that adds a metadata block to a prepared document.
	Attach(d *Document, meta Fields) Edit
	// Parse reads an encrypted file, metadata included. It returns ErrNoMetadata
	// when there is none.
	Parse(src []byte) (*Document, error)
	// Detach returns the edits that take the metadata out of a document that
	// Parse gave: the inverse of Attach, byte for byte.
	Detach(d *Document) []Edit

	// Token returns the edit that puts an encrypted token in n's place.
	Token(d *Document, n *Node, token string) Edit
	// Spell returns the edit that writes a value in n's place, in the way that
	// n's surroundings suggest and that reads as that value.
	Spell(d *Document, n *Node, t Type, text string) Edit
	// Recall is Spell with a remembered spelling; ok is false when it does not
	// read as that value.
	Recall(d *Document, n *Node, t Type, text, lexeme string) (e Edit, ok bool)
	// Uncomment returns the edit for an encrypted list item that turns out to be
	// a comment, as sops writes comments in lists.
	Uncomment(d *Document, n *Node, text string) Edit

	// Emit writes trees, of any kind, as a new text.
	Emit(roots []*Node) ([]byte, error)

	// shape reads a text that sops can hold as it is, without metadata.
	shape(body []byte) (*Document, error)
}

// ErrRung is what Prepare returns when a text cannot be held on that rung.
var ErrRung = errors.New("cannot be held this way")

// ErrNoMetadata is what Parse returns for a text without a metadata block.
var ErrNoMetadata = errors.New("no sops metadata")

// ErrReserved is wrapped by Prepare's error for a text that has a key which the
// metadata needs.
var ErrReserved = errors.New("reserved key")

// ErrEmpty is what Prepare returns for a text with nothing in it.
var ErrEmpty = errors.New("file is empty")

// A SyntaxError says why and where a text does not parse. Msg never holds text
// of the file.
type SyntaxError struct {
	Format    string
	Line, Col int // from 1; 0 when not known
	Msg       string
}

func (e *SyntaxError) Error() string {
	switch {
	case e.Line == 0:
		return fmt.Sprintf("not valid %s: %s", e.Format, e.Msg)
	case e.Col == 0:
		return fmt.Sprintf("line %d: not valid %s: %s", e.Line, e.Format, e.Msg)
	}
	return fmt.Sprintf("line %d, column %d: not valid %s: %s", e.Line, e.Col, e.Format, e.Msg)
}

// sole returns the value of the only item of a map if its key is that one.
func sole(root *Node, key string) *Node {
	var only *Node
	for _, c := range root.Items {
		if c.Kind == Comment {
			continue
		}
		if only != nil || c.Key != key {
			return nil
		}
		only = c
	}
	return only
}

// wholeText returns the value under TextKey where that is all there is.
func wholeText(roots []*Node) *Node {
	if len(roots) == 1 {
		if v := sole(roots[0], TextKey); v != nil && v.Kind == Scalar {
			return v
		}
	}
	return nil
}

// Wrapped reports whether some root stands for the value under its RootKey, so
// that Restore has something to take away.
func (d *Document) Wrapped() bool { return slices.ContainsFunc(d.Roots, IsWrapped) }

// IsWrapped reports whether a root stands for the value under its RootKey.
func IsWrapped(root *Node) bool { return sole(root, RootKey) != nil }

// Unwrap returns the trees that the roots stand for: roots of any kind, without what
// is hidden.
func (d *Document) Unwrap() []*Node {
	if d.ini {
		return iniTrees(d.Roots[0])
	}
	roots := make([]*Node, len(d.Roots))
	for i, r := range d.Roots {
		roots[i] = r
		if v := sole(r, RootKey); v != nil {
			roots[i] = v
		}
	}
	return roots
}

// Equal reports whether two trees hold the same data: keys, order, types and
// texts; comments do not count.
func Equal(a, b *Node) bool {
	if a.Kind != b.Kind || a.Key != b.Key || a.Type != b.Type {
		return false
	}
	if a.Kind == Scalar {
		return a.Text == b.Text
	}
	i, j := 0, 0
	for {
		for i < len(a.Items) && a.Items[i].Kind == Comment {
			i++
		}
		for j < len(b.Items) && b.Items[j].Kind == Comment {
			j++
		}
		if i == len(a.Items) || j == len(b.Items) {
			return i == len(a.Items) && j == len(b.Items)
		}
		if !Equal(a.Items[i], b.Items[j]) {
			return false
		}
		i, j = i+1, j+1
	}
}

// Value is a metadata value: a string, a []Value or Fields.
type Value any

// Fields is a map of metadata in order.
type Fields []Field

// Field is one member of the metadata or of a map within it.
type Field struct {
	Name  string
	Value Value // string, []Value or Fields
}

// Get returns the value of the field with exactly that name, or nil.
func (f Fields) Get(name string) Value {
	for _, x := range f {
		if x.Name == name {
			return x.Value
		}
	}
	return nil
}

// lineCol returns the 1-based line and column (in bytes) of an offset.
func lineCol(src []byte, off int) (line, col int) {
	off = min(off, len(src))
	before := string(src[:off])
	return 1 + strings.Count(before, "\n"), off - strings.LastIndexByte(before, '\n')
}

// TokenText is the text in which a reader looks for a token: Text without the
// line breaks that a block scalar ends with by its nature.
func (n *Node) TokenText() string {
	if n.style.isBlock() {
		return strings.TrimRight(n.Text, "\n")
	}
	return n.Text
}

// Replaceable reports whether the node has bytes of its own in Src: it is not
// one that an alias stands for.
func (n *Node) Replaceable() bool { return !n.virtual && n.style&isAlias == 0 }

// HasStringKey reports whether the node's key is a string in YAML, the only kind that sops
// reads.
func (n *Node) HasStringKey() bool { return n.style&badKey == 0 }

// IsEmptyListComment reports whether the node is a comment without text in a
// list, which sops turns into a list element.
func (n *Node) IsEmptyListComment() bool {
	return n.Kind == Comment && n.Text == "" && n.style&inList != 0
}

// Form is what there is to how a scalar or comment is written that is not white
// space, and that a seal covers beside its text. Of a scalar that has a token (see
// Encrypted) it is the quotes around that or a block's header; of one in clear,
// all of it if it is on one line. Of a comment it says whether it has the line for
// itself. It is the same for a prepared text and the encrypted one.
func (d *Document) Form(n *Node) string {
	if d.ini {
		return d.iniForm(n)
	}
	if n.Kind == Comment {
		for i := n.Span.Start - 2; i >= 0 && d.Src[i] != '\n' && d.Src[i] != '\r'; i-- {
			if !isBlank(d.Src[i]) && !(i == 2 && bytes.HasPrefix(d.Src, utf8BOM)) {
				return "+"
			}
		}
		return ""
	}
	token := n.Encrypted && n.Text != ""
	kind := n.style.kind()
	if token {
		if kind = tokenKind(n.style); n.style&dropTag != 0 {
			kind = double
		}
	}
	switch kind {
	case literal, folded:
		end := n.header + 1
		for end < len(d.Src) && strings.IndexByte("+-0123456789", d.Src[end]) >= 0 {
			end++
		}
		return string(d.Src[n.header:end])
	case single, double:
		if lexeme := d.Src[n.Span.Start:n.Span.End]; token || bytes.ContainsAny(lexeme, "\r\n") {
			return map[style]string{single: "'", double: `"`}[kind]
		}
	}
	if token {
		return ""
	}
	lexeme := string(d.Src[n.Span.Start:n.Span.End])
	if strings.ContainsAny(lexeme, "\r\n") {
		return ""
	}
	if n.style&dropTag != 0 {
		lexeme = "! " + lexeme
	}
	return lexeme
}

// Line returns the 1-based line on which the node's value starts.
func (d *Document) Line(n *Node) int {
	line, _ := lineCol(d.Src, n.Span.Start)
	return line
}

// Leaves returns how many values and comments there are.
func (d *Document) Leaves() (n int) {
	var count func(*Node)
	count = func(in *Node) {
		for _, c := range in.Items {
			if c.Kind == Scalar || c.Kind == Comment {
				n++
			} else {
				count(c)
			}
		}
	}
	for _, r := range d.Roots {
		count(r)
	}
	return n
}
