// Package doc knows the syntax of files: where each value's bytes are, how a
// value is spelled in a given place, and where the metadata block goes. It never
// re-emits a file; it finds byte ranges and replaces them. It knows nothing of
// keys or encryption.
//
// The tree it gives is the one that sops sees (its "tree branches"): maps with
// string keys in file order, lists, scalars with sops's types and texts, and
// comments as items of the map or list that holds them.
package doc

import (
	"errors"
	"fmt"
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

	Span  Span  // the bytes of Document.Src that Spell and Token replace
	Style Style // how those bytes are written; the format's own business

	// Mark is the text of the tag and anchor that stand before the value and
	// before its key, which the seal covers.
	Mark string
	// Encrypted is set by whoever walked the tree with a selector.
	Encrypted bool
}

// A Span is a range of bytes, Start included, End not.
type Span struct{ Start, End int }

// Style is how a scalar or comment is written, in its format's own encoding.
type Style uint32

// A Document is a text and its tree. Spans refer to Src.
type Document struct {
	Src   []byte
	Roots []*Node // of kind Map; one for each YAML document, exactly one elsewhere
}

// A Note is something that the text in a Document cannot hold and that its
// original had: the spelling of a scalar, an alias, a tag. Notes are sealed into
// the file's layout and given back on decryption.
type Note struct {
	Kind byte
	Path string // of the node it is about, see PathKey
	N    int    // which of the nodes with that path, from 0
	Text string
}

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

// ErrNoMetadata is what Detach returns for a text without a metadata block.
var ErrNoMetadata = errors.New("no sops metadata")

// Value is a metadata value: a string, a List of values or a Fields map.
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
