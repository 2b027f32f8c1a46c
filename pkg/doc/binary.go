package doc

import "fmt"

// Binary holds any file as one string. Encrypted, it is JSON with the members
// data and sops; sops's selectors do not apply to it.
type Binary struct{ JSON }

var _ Format = Binary{}

const binaryKey = "data"

// Name returns "binary".
func (Binary) Name() string { return "binary" }

// Prepare implements Format.
func (b Binary) Prepare(src []byte, r Rung) (*Document, []Note, error) {
	if r != Splice {
		return nil, nil, ErrRung
	}
	if len(src) == 0 {
		return nil, nil, ErrEmpty
	}
	d, err := b.shape([]byte("{\n\t\"" + binaryKey + "\": \"x\"\n}\n"))
	if err != nil {
		return nil, nil, err
	}
	d.Whole = d.Roots[0].Items[0]
	d.Whole.Text = string(src)
	return d, nil, nil
}

// Parse implements Format.
func (b Binary) Parse(src []byte) (*Document, error) {
	d, err := b.JSON.Parse(src)
	if err != nil {
		return nil, err
	}
	if d.Whole = sole(d.Roots[0], binaryKey); d.Whole == nil || d.Whole.Kind != Scalar {
		return nil, fmt.Errorf("an encrypted binary file holds the key %q alone; this is another kind of file", binaryKey)
	}
	return d, nil
}

// Restore implements Format: body is the whole text already.
func (Binary) Restore(body []byte, notes []Note) ([]byte, error) { return body, nil }

// Emit implements Format: of a map with the key data, its value; nothing else
// can be written as bytes.
func (b Binary) Emit(roots []*Node) ([]byte, error) {
	if len(roots) == 1 {
		if v := sole(roots[0], binaryKey); v != nil && v.Kind == Scalar {
			return []byte(v.Text), nil
		}
	}
	return b.JSON.Emit(roots)
}
