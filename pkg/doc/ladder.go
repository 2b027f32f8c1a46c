package doc

import (
	"bytes"
	"compress/flate"
	"errors"
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
	// Written anew, each line of what is deeply nested would have a long indent.
	if len(roots) == 0 || !pathsFit(roots, maxWhole(src), 0) {
		return nil, nil, ErrRung
	}
	text, err := f.Emit(roots)
	if err != nil || len(text) == 0 {
		return nil, nil, ErrRung
	}
	d, _, err := f.Prepare(text, Splice)
	if errors.Is(err, ErrReserved) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, ErrRung // what is wrong with it is our own doing
	}
	if !sameData(roots, d.Unwrap()) || len(src) > maxWhole(text) {
		return nil, nil, ErrRung
	}
	return d, []Note{{Kind: NoteWhole, Text: deflate(src)}}, nil
}

// maxWhole bounds the original that is remembered beside a text that was written anew
// from it, in bytes. An original that is longer is held in another way: a few bytes of
// DEFLATE can stand for a thousand times as many, and all of them would be read.
func maxWhole(body []byte) int { return 1<<20 + 4*len(body) }

// believeWhole gives back the remembered original if it holds the same data.
func believeWhole(f Format, body []byte, n Note) ([]byte, bool) {
	whole, err := inflate(n.Text, maxWhole(body))
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

// inflate refuses what makes more than limit bytes.
func inflate(s string, limit int) ([]byte, error) {
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(s)), int64(limit)+1))
	if err != nil || len(out) > limit {
		return nil, ErrRung
	}
	return out, nil
}
