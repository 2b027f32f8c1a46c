package doc

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Place names a node in a way that survives changes elsewhere in the file.
type Place struct {
	Path string // the document's number and the map keys down to the node
	N    int    // which of the nodes with that path, from 0
}

// Index returns the place of every node of a document. List indexes are not part
// of a path, so that an element added to a list moves only its neighbours.
func (d *Document) Index() map[*Node]Place {
	at := map[*Node]Place{}
	seen := map[string]int{}
	var walk func(n *Node, path string)
	walk = func(n *Node, path string) {
		at[n] = Place{path, seen[path]}
		seen[path]++
		for _, c := range n.Items {
			switch {
			case c.Kind == Comment:
				walk(c, path+"\x00#")
			case n.Kind == Map:
				walk(c, path+"\x00."+c.Key)
			default:
				walk(c, path)
			}
		}
	}
	for i, r := range d.Roots {
		walk(r, fmt.Sprint(i))
	}
	return at
}

// Paths numbers the paths of nodes, in several documents alike: equal paths as in a Place
// have one number. It takes memory for each path, however long that is.
type Paths struct {
	numbers map[step]int
	steps   []step // by number
}

type step struct {
	above   int // the path it goes on from, -1 for a document
	comment bool
	key     string
}

// Walk visits every node of a document, with the number of its path.
func (p *Paths) Walk(d *Document, visit func(n *Node, path int)) {
	var walk func(n *Node, path int)
	walk = func(n *Node, path int) {
		visit(n, path)
		for _, c := range n.Items {
			switch {
			case c.Kind == Comment:
				walk(c, p.number(step{above: path, comment: true}))
			case n.Kind == Map:
				walk(c, p.number(step{above: path, key: c.Key}))
			default:
				walk(c, path)
			}
		}
	}
	for i, r := range d.Roots {
		walk(r, p.number(step{above: -1, key: fmt.Sprint(i)}))
	}
}

func (p *Paths) number(s step) int {
	n, ok := p.numbers[s]
	if !ok {
		if p.numbers == nil {
			p.numbers = map[step]int{}
		}
		n = len(p.steps)
		p.numbers[s] = n
		p.steps = append(p.steps, s)
	}
	return n
}

// String returns a path for people: the keys down to the node.
func (p *Paths) String(path int) string {
	var keys []string
	end := ""
	for s := p.steps[path]; s.above >= 0; s = p.steps[s.above] {
		if s.comment {
			end = " (comment)"
		} else {
			keys = append(keys, s.key)
		}
	}
	slices.Reverse(keys)
	return strings.Join(keys, ".") + end
}

// Whatever a value is encrypted under or remembered by has the whole path to it, so
// without a bound on paths the work for a file would grow with the square of its size:
// a long key above many others does it, and so do lists in lists.
const (
	freePaths = 16 << 20 // bytes of all paths in a file together that are always allowed
	pathsEach = 512      // bytes that each node adds to that
	stepBytes = 3        // what a step counts beside its key

	// sops's text of 1e308 has three hundred digits, for five bytes in the file.
	longFloat   = 64
	floatFactor = 16
)

var errPaths = errors.New("nested too deep, or long keys above too many others: the paths to its values are too long together")

// checkPaths returns errPaths if the paths to all nodes are too long together.
func checkPaths(roots []*Node) error {
	if !pathsFit(roots, freePaths, pathsEach) {
		return errPaths
	}
	return nil
}

func pathsFit(roots []*Node, free, each int) bool {
	var fit func(n *Node, path int) bool
	fit = func(n *Node, path int) bool {
		path += stepBytes + len(n.Key)
		free += each - path
		if n.Type == Float && len(n.Text) > longFloat {
			free -= floatFactor * len(n.Text)
		}
		return free >= 0 && !slices.ContainsFunc(n.Items, func(c *Node) bool { return !fit(c, path) })
	}
	return !slices.ContainsFunc(roots, func(r *Node) bool { return !fit(r, 0) })
}

// A value or comment costs much the same memory and time however short it is, so without
// a bound on how dense they stand a small file could cost many times what others do.
const (
	freeNodes = 48 << 10 // values, comments, maps and lists that any file may have
	nodeBytes = 16       // bytes of the file for each that it has besides
	metaNodes = 8 << 10  // what an encrypted file may have besides, for its metadata
)

// ErrDense is the error of reading a text that has more values than one of its size may
// have. It is an ErrRung: such a plaintext is held as one text.
var ErrDense error = denseError{}

type denseError struct{}

func (denseError) Error() string {
	return "more values and comments than kenv reads in a file of its size"
}

func (denseError) Is(target error) bool { return target == ErrRung }

// What is remembered of a text that is rewritten here and there is bounded, too: with more,
// the whole of it costs less.
const (
	freeNotes = 16 << 10
	noteBytes = 64
)

// tooManyNotes reports whether there are more notes about a text than there may be.
func tooManyNotes(src []byte, notes []Note) bool { return len(notes) > freeNotes+len(src)/noteBytes }

// tooDense reports whether a text has more than so many nodes may be in it.
func tooDense(src []byte, nodes int) bool { return nodes > freeNodes+len(src)/nodeBytes }

// DuplicateKeys returns which keys are in a map of a plaintext twice, each with the keys
// above it; none of a text that does not parse.
func DuplicateKeys(f Format, src []byte) []string {
	if _, ini := f.(INI); ini {
		return iniDuplicateKeys(src)
	}
	t, err := ReadText(f, src)
	if err != nil {
		return nil
	}
	return t.duplicateKeys()
}

func (d *Document) duplicateKeys() (paths []string) {
	var walk func(n *Node, above string)
	walk = func(n *Node, above string) {
		above = shortAbove(above)
		times := map[string]int{}
		for _, c := range n.Items {
			below := above
			if n.Kind == Map && c.Kind != Comment {
				if times[c.Key]++; times[c.Key] == 2 {
					paths = append(paths, above+c.Key)
				}
				if c.Kind != Scalar {
					below += c.Key + "."
				}
			}
			walk(c, below)
		}
	}
	for _, r := range d.Roots {
		walk(r, "")
	}
	return paths
}

// shortAbove shortens keys that go before each key below.
func shortAbove(above string) string {
	if len(above) <= 1000 {
		return above
	}
	return fmt.Sprintf("%.200s… (%x).", above, sha256.Sum256([]byte(above)))
}

// HasDuplicateKeys reports whether some map has a key twice.
func (d *Document) HasDuplicateKeys() bool { return slices.ContainsFunc(d.Roots, duplicateKeys) }
