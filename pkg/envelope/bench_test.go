package envelope

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// sample returns a file of n leaves, some 33 bytes each, that looks like what
// people keep: maps two deep, a list here and there, mostly strings.
func sample(f doc.Format, n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	word := func() string { return fmt.Sprintf("%08x%06x", r.Uint32(), r.Uint32()&0xffffff) }
	root := &doc.Node{Kind: doc.Map}
	var section *doc.Node
	for i := range n {
		leaf := &doc.Node{Kind: doc.Scalar, Key: fmt.Sprintf("key_%06d", i), Text: word()}
		if i%7 == 3 {
			leaf.Type, leaf.Text = doc.Int, fmt.Sprint(r.Uint32())
		}
		if _, flat := f.(doc.Dotenv); flat {
			leaf.Type = doc.String
			root.Items = append(root.Items, leaf)
			continue
		}
		if i%20 == 0 {
			section = &doc.Node{Kind: doc.Map, Key: fmt.Sprintf("section_%05d", i)}
			root.Items = append(root.Items, section)
		}
		if f.Name() == "ini" {
			leaf.Type = doc.String
		} else if i%20 == 10 {
			section = &doc.Node{Kind: doc.List, Key: fmt.Sprintf("list_%05d", i)}
			root.Items = append(root.Items, section)
		}
		section.Items = append(section.Items, leaf)
	}
	out, err := f.Emit([]*doc.Node{root})
	if err != nil {
		panic(err)
	}
	return out
}

func bench(b *testing.B, run func(b *testing.B, f doc.Format, src []byte)) {
	for _, f := range formats {
		for _, n := range []int{10, 1000, 100000} {
			src := sample(f, n)
			b.Run(fmt.Sprintf("%s/%d", f.Name(), n), func(b *testing.B) {
				b.SetBytes(int64(len(src)))
				b.ReportAllocs()
				run(b, f, src)
			})
		}
	}
}

func BenchmarkParse(b *testing.B) {
	bench(b, func(b *testing.B, f doc.Format, src []byte) {
		for b.Loop() {
			if _, _, err := f.Prepare(src, doc.Splice); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSplice(b *testing.B) {
	bench(b, func(b *testing.B, f doc.Format, src []byte) {
		d, _, err := f.Prepare(src, doc.Splice)
		if err != nil {
			b.Fatal(err)
		}
		var edits []doc.Edit
		var walk func(n *doc.Node)
		walk = func(n *doc.Node) {
			if n.Kind == doc.Scalar {
				edits = append(edits, f.Token(d, n, "ENC[AES256_GCM]"))
			}
			for _, c := range n.Items {
				walk(c)
			}
		}
		walk(d.Roots[0])
		for b.Loop() {
			doc.Apply(d.Src, edits)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	bench(b, func(b *testing.B, f doc.Format, src []byte) {
		for b.Loop() {
			if _, err := Seal(b.Context(), src, f, testPolicy); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	bench(b, func(b *testing.B, f doc.Format, src []byte) {
		sealed, err := Seal(b.Context(), src, f, testPolicy)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			file, err := Open(b.Context(), sealed.Data, f, clearTable, OpenOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if !bytes.Equal(file.Plaintext(), src) {
				b.Fatal("other bytes")
			}
		}
	})
}
