package doc

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
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
		if len(above) > 1000 { // it goes before each key below
			above = fmt.Sprintf("%.200s… (%x).", above, sha256.Sum256([]byte(above)))
		}
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

// HasDuplicateKeys reports whether some map has a key twice.
func (d *Document) HasDuplicateKeys() bool { return slices.ContainsFunc(d.Roots, duplicateKeys) }
