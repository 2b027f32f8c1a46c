package envelope

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
)

// leavesOf lists the scalars that may be changed.
func leavesOf(d *doc.Document) []*doc.Node {
	var list []*doc.Node
	var walk func(n *doc.Node)
	walk = func(n *doc.Node) {
		if n.Kind == doc.Scalar && n.Type != doc.Null {
			list = append(list, n)
		}
		for _, c := range n.Items {
			walk(c)
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
	return list
}

func common(a, b []byte) (prefix, suffix int) {
	for prefix < len(a) && prefix < len(b) && a[prefix] == b[prefix] {
		prefix++
	}
	for suffix < len(a)-prefix && suffix < len(b)-prefix && a[len(a)-1-suffix] == b[len(b)-1-suffix] {
		suffix++
	}
	return prefix, suffix
}

// TestChangeOneValue: one value of each corpus file changes, and of the rest of
// the plaintext not a byte; then the ciphertext of what did not change stays.
func TestChangeOneValue(t *testing.T) {
	values := []struct {
		t    doc.Type
		text string
	}{
		{doc.String, "changed"}, {doc.String, "true"}, {doc.String, "a: b #c"}, {doc.Int, "42"},
		{doc.String, "two\nlines"}, {doc.String, " '\"\\ "}, {doc.Bool, "True"}, {doc.Float, "1"}, {doc.String, ""},
	}
	for _, f := range formats {
		t.Run(f.Name(), func(t *testing.T) {
			changed, files := 0, 0
			for i, path := range corpus(t, f.Name()) {
				src, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				_, notes, err := f.Prepare(src, doc.Splice)
				if err != nil {
					continue
				}
				d, err := doc.ReadText(f, src)
				if err != nil || len(leavesOf(d.Document)) == 0 {
					continue
				}
				before, err := Seal(t.Context(), src, f, testPolicy)
				if err != nil {
					t.Fatal(err)
				}
				if before.Rung != doc.Splice {
					continue // no value stands for itself there
				}
				files++
				r := rand.New(rand.NewPCG(7, uint64(i)))
				k := r.IntN(len(leavesOf(d.Document)))
				v := values[r.IntN(len(values))]
				if f.Name() == "dotenv" || f.Name() == "ini" {
					v.t = doc.String
				}
				n := leavesOf(d.Document)[k]
				lexeme := d.Src[n.Span.Start:n.Span.End]
				d.FollowAliases = true
				out, err := d.Replace(n, &doc.Document{Roots: []*doc.Node{{Kind: doc.Scalar, Type: v.t, Text: v.text}}})
				if err != nil {
					// Of what is written out in place of an alias nothing can be
					// changed in the alias itself.
					if slices.ContainsFunc(notes, func(n doc.Note) bool { return strings.ContainsRune("avk", rune(n.Kind)) }) {
						continue
					}
					t.Errorf("%s: leaf %d %q to %q: %v", path, k, lexeme, v.text, err)
					continue
				}
				prefix, suffix := common(src, out)
				rewritten := slices.ContainsFunc(notes, func(n doc.Note) bool { return strings.ContainsRune("avk", rune(n.Kind)) })
				// A block scalar's header goes with its text.
				if rest := len(src) - prefix - suffix; rest > len(lexeme)+20 && !rewritten {
					t.Errorf("%s: leaf %d %q to %q changed %d bytes", path, k, lexeme, v.text, rest)
				}
				changed++

				old, err := Open(t.Context(), before.Data, f, clearTable, OpenOptions{ForReuse: true})
				if err != nil {
					t.Fatal(err)
				}
				p := testPolicy
				p.Previous, p.Now = old, time.Unix(1800000000, 0)
				after, err := Seal(t.Context(), out, f, p)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				file, err := Open(t.Context(), after.Data, f, clearTable, OpenOptions{})
				if err != nil || !bytes.Equal(file.Plaintext(), out) {
					t.Errorf("%s: changed file does not come back: %v", path, err)
				}
				if after.FreshKey != "" {
					t.Errorf("%s: fresh data key: %s", path, after.FreshKey)
				}
				gone := linesGone(before.Data, after.Data)
				// The value, seal, mac and lastmodified; a remembered spelling is a
				// line of its own, and the only one has a heading; so may a block's
				// header go.
				if limit := 7 + bytes.Count(lexeme, []byte("\n")); gone > limit && !rewritten && after.Rung == doc.Splice {
					t.Errorf("%s: leaf %d %q to %q changed %d ciphertext lines", path, k, lexeme, v.text, gone)
				}
			}
			t.Logf("%d of %d files changed", changed, files)
			if changed < files*9/10 {
				t.Errorf("only %d of %d files could be changed", changed, files)
			}
		})
	}
}

// TestEqualNeighbours: of values and comments that are equal and under the same keys,
// those stay that did not change, on both sides of what did.
func TestEqualNeighbours(t *testing.T) {
	var b strings.Builder
	b.WriteString("list:\n")
	for i := range 20 {
		fmt.Fprintf(&b, "  # optional\n  - same # optional\n  - %d # optional\n", i)
	}
	src := b.String()
	sealed, err := Seal(t.Context(), []byte(src), doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	for what, edited := range map[string]string{
		"out":     strings.Replace(src, "  # optional\n  - same # optional\n  - 7 # optional\n", "", 1),
		"in":      strings.Replace(src, "  - 7 # optional\n", "  - 7 # optional\n  # optional\n  - same # optional\n  - new\n", 1),
		"changed": strings.Replace(src, "  - 7 # optional\n", "  - 8 # optional\n", 1),
	} {
		f, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
		if err != nil {
			t.Fatal(err)
		}
		after, err := f.Reseal([]byte(edited), time.Unix(1700000009, 0))
		if err != nil {
			t.Fatal(err)
		}
		if want, got := linesGone([]byte(src), []byte(edited))+3, linesGone(sealed.Data, after.Data); got != want {
			t.Errorf("%s: %d lines went, want %d", what, got, want)
		}
		if want, got := linesGone([]byte(edited), []byte(src))+3, linesGone(after.Data, sealed.Data); got != want {
			t.Errorf("%s: %d lines came, want %d", what, got, want)
		}
	}
}

// linesGone counts the lines of a that b does not have.
func linesGone(a, b []byte) int {
	have := map[string]int{}
	for line := range strings.SplitSeq(string(b), "\n") {
		have[line]++
	}
	gone := 0
	for line := range strings.SplitSeq(string(a), "\n") {
		if have[line]--; have[line] < 0 {
			gone++
		}
	}
	return gone
}
