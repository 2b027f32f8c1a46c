package doc

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// YAML is the format of .yaml and .yml files, as go.yaml.in/yaml/v3 reads it:
// the parser that sops uses.
type YAML struct{}

var _ Format = YAML{}

// Name returns "yaml".
func (YAML) Name() string { return "yaml" }

func isUTF16(src []byte) bool {
	return bytes.HasPrefix(src, []byte("\xFF\xFE")) || bytes.HasPrefix(src, []byte("\xFE\xFF"))
}

// Prepare implements Format.
func (f YAML) Prepare(src []byte, r Rung) (*Document, []Note, error) {
	if len(src) == 0 {
		return nil, nil, ErrEmpty
	}
	if r == AsText {
		return textDocument(f, src)
	}
	y, err := newYAMLText(src, 0)
	if err != nil {
		return nil, nil, err
	}
	if r == Restate {
		return f.restate(src, y)
	}
	if isUTF16(src) {
		return nil, nil, ErrRung
	}
	roots, err := y.roots()
	if err == nil {
		err = checkPaths(roots)
	}
	if err != nil {
		return nil, nil, rungError(err)
	}
	if len(y.blocks) > 0 {
		return nil, nil, fmt.Errorf("%w: the top-level key \"sops\" is where the metadata goes", ErrReserved)
	}
	body, notes, err := y.normalize(roots)
	if err != nil {
		return nil, nil, err
	}
	if len(notes) > 0 {
		d, err := f.shape(body)
		if err == nil && !sameData(roots, d.Roots) {
			err = ErrRung
		}
		return d, notes, err
	}
	d, err := y.document(roots)
	if err != nil {
		return nil, nil, rungError(err)
	}
	return d, nil, nil
}

// shape reads a text that sops can hold as it is.
func (YAML) shape(body []byte) (*Document, error) {
	y, err := newYAMLText(body, 0)
	if err != nil {
		return nil, ErrRung
	}
	roots, err := y.roots()
	if err != nil {
		return nil, ErrRung
	}
	d, err := y.document(roots)
	if err != nil {
		return nil, ErrRung
	}
	return d, nil
}

// rungError keeps what is a fault of the file and turns everything else, values
// that were not located and the like, into ErrRung.
func rungError(err error) error {
	if _, ok := err.(*SyntaxError); ok || errors.Is(err, ErrDense) {
		return err
	}
	return ErrRung
}

// document finishes a text in sops's shape: duplicate keys refused, comments in
// the tree, the metadata's place known.
func (y *yamlText) document(roots []*Node) (*Document, error) {
	if len(roots) == 0 {
		roots = []*Node{{Kind: Map, indent: -1}}
	}
	for i, r := range roots {
		if r.Kind == Scalar && r.Type == Null {
			roots[i] = emptyMap(r)
		}
		if roots[i].Kind != Map || i == 0 && duplicateKeys(roots[i]) || needsNormalizing(roots[i]) {
			return nil, ErrRung
		}
	}
	if y.special {
		// sops reads the first document into generic maps first.
		if err := decodeMap(y.docs[0]); err != nil {
			return nil, ErrRung
		}
	}
	g := y.scanGaps()
	if err := y.checkDensity(len(g.comments)); err != nil {
		return nil, err
	}
	d := &Document{Src: y.src, Roots: roots, eol: y.eol()}
	d.at = y.attachAt(g, roots[0])
	if len(g.comments) > 0 {
		standIn := YAML{}.Attach(d, Fields{{"mac", "x"}, {"version", "x"}})
		numbered, err := y.number(g, standIn)
		if err != nil {
			return nil, err
		}
		if err := y.placeComments(roots, numbered, g.comments); err != nil {
			return nil, err
		}
	}
	markDocument(d.Roots, g)
	return d, nil
}

// decodeMap decodes a document into generic maps. As the decoder compares each key of a
// map with all others, maps with many keys are decoded in pieces.
func decodeMap(d *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrRung
		}
	}()
	if len(d.Content) != 1 {
		return nil
	}
	root := &inPieces{}
	pieces := []*yaml.Node{root.node(d.Content[0])}
	if pieces[0].Kind == yaml.SequenceNode && d.Content[0].Kind == yaml.MappingNode {
		pieces = pieces[0].Content
	}
	for _, p := range pieces {
		if err := p.Decode(map[string]any{}); err != nil {
			return err
		}
	}
	return nil
}

// inPieces makes lists of small maps of large ones.
type inPieces struct{ made map[*yaml.Node]*yaml.Node }

const mostPairs = 256

func (p *inPieces) node(n *yaml.Node) *yaml.Node {
	if n == nil || n.Kind == yaml.ScalarNode {
		return n
	}
	if out, ok := p.made[n]; ok {
		return out
	}
	if p.made == nil {
		p.made = map[*yaml.Node]*yaml.Node{}
	}
	out := new(yaml.Node)
	*out = *n
	p.made[n] = out
	out.Alias = p.node(n.Alias)
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = p.node(c)
	}
	if n.Kind == yaml.MappingNode && len(n.Content) > 2*mostPairs {
		whole := *out
		out.Kind, out.Tag, out.Style, out.Content = yaml.SequenceNode, "", 0, nil
		for pairs := range slices.Chunk(whole.Content, 2*mostPairs) {
			piece := whole
			piece.Anchor, piece.Content = "", pairs
			out.Content = append(out.Content, &piece)
		}
	}
	return out
}

// duplicateKeys reports whether some map has a key twice.
func duplicateKeys(n *Node) bool {
	var seen map[string]bool
	if n.Kind == Map && len(n.Items) > 1 {
		seen = make(map[string]bool, len(n.Items))
	}
	for _, c := range n.Items {
		if seen != nil && c.Kind != Comment {
			if seen[c.Key] {
				return true
			}
			seen[c.Key] = true
		}
		if duplicateKeys(c) {
			return true
		}
	}
	return false
}

// isBinary reports whether the node is a string that only a !!binary tag can hold.
func (n *Node) isBinary() bool {
	return n.style&(dropTag|badKey) == dropTag && n.Type == String && !utf8.ValidString(n.Text)
}

func needsNormalizing(n *Node) bool {
	if n.style&(isAlias|badKey|dropTag) != 0 && !n.isBinary() {
		return true
	}
	for _, c := range n.Items {
		if needsNormalizing(c) {
			return true
		}
	}
	return false
}

// restate writes the data of a file anew and remembers the original.
func (f YAML) restate(src []byte, y *yamlText) (*Document, []Note, error) {
	roots := make([]*Node, 0, len(y.docs))
	for _, n := range y.docs {
		if len(n.Content) != 1 {
			return nil, nil, ErrRung
		}
		r, err := y.expand(n.Content[0])
		if err != nil {
			return nil, nil, rungError(err)
		}
		roots = append(roots, r)
	}
	return restated(f, src, roots)
}

// Parse implements Format.
func (f YAML) Parse(src []byte) (*Document, error) {
	y := &yamlText{src: src, within: map[*yaml.Node]bool{}, comments: true, spare: metaNodes}
	if err := y.decode(); errors.Is(err, ErrDense) && !y.hasMeta() {
		return nil, ErrNoMetadata
	} else if err != nil {
		return nil, err
	}
	y.splitLines()
	roots, err := y.roots()
	if err != nil && !y.hasMeta() {
		return nil, ErrNoMetadata
	}
	if err != nil {
		return nil, fmt.Errorf("cannot follow this YAML: %w", err)
	}
	if len(y.blocks) == 0 {
		return nil, ErrNoMetadata
	}
	if err := checkPaths(roots); err != nil {
		return nil, err
	}
	if i := y.blocks[0].doc; i > 0 {
		return nil, fmt.Errorf("the metadata is in document %d, not in the first", i+1)
	}
	if y.blocks[0].value.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("the key %q is not a mapping", metaKey)
	}
	d := &Document{Src: src, Roots: roots, eol: y.eol()}
	if y.alias || y.blocks[0].alias {
		d.odd = append(d.odd, "an alias")
	}
	if y.afterBlock {
		d.odd = append(d.odd, "keys after the metadata")
	}
	if len(y.blocks) > 1 {
		d.odd = append(d.odd, "metadata in several documents") // as sops writes it; it reads the first alone
	}
	value, err := metaValue(y.blocks[0].value, 0)
	if err != nil {
		return nil, err
	}
	d.Meta, _ = value.(Fields)
	for _, b := range y.blocks {
		d.blocks = append(d.blocks, y.detachAt(b))
	}

	g := y.scanGaps()
	if err := y.checkDensity(len(g.comments)); err != nil {
		return nil, err
	}
	found := outside(d.blocks, g.comments)
	for i, r := range roots {
		if r.Kind == Scalar && r.Type == Null {
			roots[i] = emptyMap(r)
		} else if r.Kind != Map {
			return nil, fmt.Errorf("document %d is not a mapping", i+1)
		}
	}
	if !y.matchComments(roots, found) {
		if d.Roots, err = y.rootsAgain(found); err != nil {
			return nil, err
		}
	}
	markDocument(d.Roots, g)
	d.Whole = wholeText(d.Roots)
	return d, nil
}

// rootsAgain reads trees in which several comments have the same text.
func (y *yamlText) rootsAgain(comments []Span) ([]*Node, error) {
	plain := &yamlText{src: y.src, docs: y.docs, lines: y.lines, ascii: y.ascii, within: map[*yaml.Node]bool{}}
	roots, err := plain.roots()
	if err != nil {
		return nil, err
	}
	for i, r := range roots {
		if r.Kind == Scalar {
			roots[i] = emptyMap(r)
		}
	}
	numbered, err := y.number(gaps{comments: comments})
	if err == nil {
		err = plain.placeComments(roots, numbered, comments)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell where its comments belong: %w", err)
	}
	return roots, nil
}

// outside returns the comments that are in no block; both are in the order of the text.
func outside(blocks, comments []Span) (found []Span) {
	for _, c := range comments {
		for len(blocks) > 0 && blocks[0].End < c.Start {
			blocks = blocks[1:]
		}
		if len(blocks) == 0 || c.Start < blocks[0].Start {
			found = append(found, c)
		}
	}
	return found
}

// hasMeta reports whether a document has the key of the metadata.
func (y *yamlText) hasMeta() bool {
	return slices.ContainsFunc(y.docs, func(d *yaml.Node) bool {
		if len(d.Content) != 1 || d.Content[0].Kind != yaml.MappingNode {
			return false
		}
		for i := 0; i+1 < len(d.Content[0].Content); i += 2 {
			if key := d.Content[0].Content[i]; isMetaKey(key) {
				return true
			}
		}
		return false
	})
}

// markDocument adds to the first root's mark what is in no other place of the
// tree: directives, and the braces of an empty document.
func markDocument(roots []*Node, g gaps) {
	r := roots[0]
	if r.style&inFlow != 0 && !hasItems(r) {
		r.Mark = "{}\x00" + r.Mark
	}
	if g.directives != "" {
		r.Mark = g.directives + "\x00" + r.Mark
	}
}
