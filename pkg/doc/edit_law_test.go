package doc

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sharedCorpus holds files of many public repositories, kept outside this one.
const sharedCorpus = "../../../shared/corpus"

// eachText calls f with every file of a format that parses and can be edited.
func eachText(t *testing.T, format Format, f func(path string, text *Text)) {
	files, refused := 0, 0
	for _, dir := range []string{"../../testdata/roundtrip", sharedCorpus} {
		filepath.WalkDir(filepath.Join(dir, format.Name()), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := ReadText(format, src)
			if syntax := (*SyntaxError)(nil); errors.As(err, &syntax) || errors.Is(err, ErrEmpty) {
				return nil
			}
			files++
			if err != nil {
				refused++
				t.Logf("%s: %v", path, err)
				return nil
			}
			f(path, text)
			return nil
		})
	}
	t.Logf("%d files, %d of them refused", files, refused)
	if refused*50 > files+100 {
		t.Errorf("%d of %d files are refused", refused, files)
	}
}

// tally counts what was tried and what was refused.
type tally struct{ tried, refused int }

func (c *tally) add(d tally) {
	c.tried += d.tried
	c.refused += d.refused
}

func (c *tally) check(t *testing.T, what string, most float64) {
	t.Helper()
	t.Logf("%s: %d of %d refused", what, c.refused, c.tried)
	if float64(c.refused) > most*float64(c.tried) {
		t.Errorf("%s: too many are refused", what)
	}
}

// uneditable are the files of our own with a place that cannot be edited alone: an
// anchor that is needed elsewhere, a backslash at the end, or a form whose lines
// mean something to the others.
var uneditable = []string{
	"alias-key.yaml", "anchor-before-tag.yaml", "anchors.yaml", "document-start.yaml", "flow-in-block.yaml", "nel.yaml",
	"no-newline-crlf.ini", "numbered.ini", "python.ini",
}

// pick returns up to n numbers below size, spread over it.
func pick(size, n int) (list []int) {
	for i := range min(size, n) {
		list = append(list, i*size/min(size, n))
	}
	return list
}

// TestEditLaw: in every file values are set, keys added and taken away. What the
// change is about is all that differs.
func TestEditLaw(t *testing.T) {
	few := 6
	if testing.Short() {
		few = 3
	}
	values := map[string]string{"string": `"changed # it"`, "int": `123456789012345678901234567890`, "map": `{"k": {"l": [1, "two"]}}`, "empty": `[]`}
	for _, f := range []Format{YAML{}, JSON{}, Dotenv{}, INI{}} {
		t.Run(f.Name(), func(t *testing.T) {
			// Of others' files a few edits may be refused; of our own, which are odd
			// on purpose, those that are known.
			var sets, inserts, removes tally
			eachText(t, f, func(path string, text *Text) {
				var set, insert, remove tally
				defer func() {
					if strings.HasPrefix(path, sharedCorpus) {
						sets.add(set)
						inserts.add(insert)
						removes.add(remove)
						return
					}
					known := slices.Contains(uneditable, filepath.Base(path))
					refused := set.refused + insert.refused + remove.refused
					if refused > 0 && !known {
						t.Errorf("%s: %d edits are refused", path, refused)
					}
					if refused == 0 && known && !testing.Short() {
						t.Errorf("%s: no edit is refused", path)
					}
				}()
				var leaves, maps, all []*Node
				text.nodes(func(n *Node) {
					if n.Kind == Comment || text.lineage(n) == nil {
						return
					}
					switch {
					case n.Kind == Map && n.style&isAlias == 0:
						maps = append(maps, n)
					case n.Kind == Scalar || n.style&isAlias != 0:
						leaves = append(leaves, n)
					}
					if len(text.lineage(n)) > 1 {
						all = append(all, n)
					}
				})
				text.FollowAliases = true
				// within says that out is the text but for something in n's lines, and
				// the comments and blank lines around them.
				within := func(out []byte, what string, n *Node) {
					t.Helper()
					if text.bom {
						out = bytes.TrimPrefix(out, utf8BOM)
					}
					from, to := n.begin(), text.nextLine(n.Span.End)
					if f.Name() == "yaml" {
						to = text.nextLine(text.tail(n))
					}
					if at := text.lineage(n); len(at) > 1 && f.Name() == "yaml" {
						if parent := at[len(at)-2]; text.block(parent) {
							from = text.itemStart(parent, n) // a dash may be on another line
						} else {
							from = parent.begin() // a comma may be
						}
					}
					from = text.lineStart(from)
					for aside := func(start int) bool { _, ok := text.commentLine(start); return ok || text.blankLine(start) }; ; {
						above := text.lineStart(from - breakBeforeEnd(text.Src[:from]))
						if from > 0 && aside(above) {
							from = above
						} else if to < len(text.Src) && aside(to) {
							to = text.nextLine(to)
						} else {
							break
						}
					}
					if n.begin() > n.start { // of a whole document
						from = 0
					}
					for to < len(text.Src) && isBlank(text.Src[to]) {
						to++ // an item that comes to stand on another's line
					}
					// Of two line breaks in a row either may be the one that went.
					head, rest := text.Src[:max(from-2, 0)], text.Src[min(to+2, len(text.Src)):]
					if !bytes.HasPrefix(out, head) || !bytes.HasSuffix(out, rest) || len(out) < len(head)+len(rest) {
						t.Errorf("%s: line %d: %s changed more than its lines:\n%s", path, text.Line(n), what, out)
					}
				}
				for _, i := range pick(len(leaves), few) {
					n := leaves[i]
					if len(text.lineage(n)) < 2 {
						continue
					}
					for what, json := range values {
						v, _ := ParseValue([]byte(json))
						if (f.Name() == "dotenv" || f.Name() == "ini") && v.Roots[0].Kind != Scalar {
							continue
						}
						set.tried++
						out, err := text.Replace(n, v)
						if err != nil {
							set.refused++
							if errors.Is(err, ErrChange) {
								t.Logf("%s: line %d: set %s: %v", path, text.Line(n), what, err)
							}
							continue
						}
						within(out, "set "+what, n)
					}
				}
				for _, i := range pick(len(maps), few) {
					if f.Name() == "dotenv" {
						break
					}
					for what, json := range values {
						v, _ := ParseValue([]byte(json))
						if f.Name() == "ini" {
							switch section := maps[i] != text.Roots[0]; {
							case v.Roots[0].Kind != Scalar:
								continue
							case !section:
								v = InMap("key", v)
							}
						}
						insert.tried++
						out, err := text.Insert(maps[i], "new key", v)
						if err != nil {
							insert.refused++
							t.Logf("%s: line %d: insert %s: %v", path, text.Line(maps[i]), what, err)
							continue
						}
						within(out, "insert "+what, maps[i])
					}
				}
				for _, i := range pick(len(all), few) {
					remove.tried++
					out, err := text.Remove(all[i])
					if err != nil {
						remove.refused++
						if errors.Is(err, ErrChange) {
							t.Logf("%s: line %d: remove: %v", path, text.Line(all[i]), err)
						}
						continue
					}
					at := text.lineage(all[i])
					n, parent := at[len(at)-1], at[len(at)-2]
					if f.Name() == "json" || f.Name() == "yaml" && len(items(parent)) == 1 {
						n = parent // {} stays of it, or its commas change
					}
					within(out, "remove", n)
				}
			})
			sets.check(t, "set", 0.02)
			inserts.check(t, "insert", 0.02)
			removes.check(t, "remove", 0.02)
		})
	}
}
