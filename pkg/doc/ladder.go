package doc

import (
	"bytes"
	"compress/flate"
	"io"
	"slices"
	"strings"
)

// textDocument holds a whole file as one string under TextKey.
func textDocument(f Format, src []byte) (*Document, []Note, error) {
	shape, err := f.Emit([]*Node{{Kind: Map, Items: []*Node{{Kind: Scalar, Key: TextKey, Text: "x"}}}})
	if err != nil {
		return nil, nil, err
	}
	d, err := f.shape(shape)
	if err != nil {
		return nil, nil, err
	}
	d.Whole = wholeText(d.Roots)
	d.Whole.Text = string(src)
	return d, nil, nil
}

// restated holds the data of a file written anew, and the original in a note.
func restated(f Format, src []byte, roots []*Node) (*Document, []Note, error) {
	if len(roots) == 0 {
		return nil, nil, ErrRung
	}
	text, err := f.Emit(roots)
	if err != nil || len(text) == 0 {
		return nil, nil, ErrRung
	}
	d, _, err := f.Prepare(text, Splice)
	if err != nil {
		return nil, nil, err
	}
	if !sameData(roots, d.Unwrap()) {
		return nil, nil, ErrRung
	}
	return d, []Note{{Kind: NoteWhole, Text: deflate(src)}}, nil
}

// believeWhole gives back the remembered original if it holds the same data.
func believeWhole(f Format, body []byte, n Note) ([]byte, bool) {
	whole, err := inflate(n.Text, 1<<30)
	if err != nil {
		return nil, false
	}
	now, err := f.shape(body)
	if err != nil {
		return nil, false
	}
	then, _, err := f.Prepare(whole, Restate)
	if err != nil || len(then.Roots) != len(now.Roots) {
		return nil, false
	}
	for i := range now.Roots {
		if !Equal(now.Roots[i], then.Roots[i]) {
			return nil, false
		}
	}
	return whole, true
}

// sameData reports whether the documents of one text hold what those of another
// do. An empty document counts as an empty map.
func sameData(a, b []*Node) bool {
	return slices.EqualFunc(a, b, func(a, b *Node) bool {
		if a.Type == Null || b.Type == Null {
			return a.Type == b.Type
		}
		x, y := *a, *b
		x.Key, y.Key = "", "" // of what was under RootKey
		return Equal(&x, &y)
	})
}

func deflate(src []byte) string {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	w.Write(src)
	w.Close()
	return b.String()
}

// inflate refuses more than 1,100 bytes for one, and more than limit in all.
func inflate(s string, limit int64) ([]byte, error) {
	limit = min(limit, int64(len(s))*1100+1024)
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(s)), limit+1))
	if err != nil || int64(len(out)) > limit {
		return nil, ErrRung
	}
	return out, nil
}
