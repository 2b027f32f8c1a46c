package doc

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"slices"
	"strings"
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
	y, err := newYAMLText(src)
	if err != nil {
		return nil, nil, err
	}
	switch r {
	case Restate:
		return f.restate(src, y)
	case AsText:
		return textDocument(f, src)
	}
	if isUTF16(src) {
		return nil, nil, ErrRung
	}
	roots, err := y.roots()
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
	y, err := newYAMLText(body)
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
	if _, ok := err.(*SyntaxError); ok {
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
		if err := decodeFirstMap(y.src); err != nil {
			return nil, ErrRung
		}
	}
	g := y.scanGaps()
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
	return d, nil
}

func decodeFirstMap(src []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrRung
		}
	}()
	return yaml.NewDecoder(bytes.NewReader(src)).Decode(map[string]any{})
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

// attachAt finds where the metadata of a text goes.
func (y *yamlText) attachAt(g gaps, root *Node) attachment {
	if root.style&inFlow != 0 {
		end := root.Span.End - 1
		last := root.Span.Start + 1
		for _, c := range root.Items {
			last = max(last, c.Span.End, c.key.End)
		}
		comma := len(root.Items) > 0
		for i := last; i < end; i++ {
			if y.src[i] == '#' {
				i = y.skipSpace(i) - 1
			} else if y.src[i] == ',' {
				comma = false
			}
		}
		return attachment{at: end, inFlow: true, comma: comma}
	}
	a := attachment{at: y.firstDocEnd(g, contentStart(root)), indent: max(0, rootIndent(y, root))}
	if a.at > 0 {
		a.noEOL = a.at == len(y.src) && breakBeforeEnd(y.src) == 0
	}
	return a
}

func contentStart(root *Node) int {
	if len(root.Items) == 0 && root.Span.Start == root.Span.End {
		return 1 << 62
	}
	return root.start
}

// breakBeforeEnd returns the length of the line break that src ends with.
func breakBeforeEnd(src []byte) int {
	for n := min(3, len(src)); n > 0; n-- {
		if i := len(src) - n; breakLen(src, i) == n {
			return n
		}
	}
	return 0
}

// rootIndent is the column of a root mapping's keys.
func rootIndent(y *yamlText, root *Node) int {
	for _, c := range root.Items {
		if c.Kind != Comment {
			at := c.key.Start
			line := y.lines[y.lineOf(at)]
			indent := 0
			for i := line; i < at && y.src[i] == ' '; i++ {
				indent++
			}
			return indent
		}
	}
	return 0
}

// Attach implements Format.
func (YAML) Attach(d *Document, meta Fields) Edit {
	a := d.at
	at := Span{a.at, a.at}
	if a.inFlow {
		var b strings.Builder
		if a.comma {
			b.WriteString(`, "sops": `)
		} else {
			// The key without quotes says that no comma was added.
			b.WriteString(`sops: `)
		}
		writeFlow(&b, meta, "")
		return Edit{at, b.String()}
	}
	var b strings.Builder
	if a.noEOL {
		b.WriteString(d.eol)
	}
	pad := strings.Repeat(" ", a.indent)
	b.WriteString(pad + metaKey + ":" + d.eol)
	writeBlock(&b, meta, pad+"    ", "", d.eol)
	text := b.String()
	if a.noEOL {
		// No line break at the end stands for none at the end of the body.
		text = strings.TrimSuffix(text, d.eol)
	}
	return Edit{at, text}
}

// Detach implements Format.
func (YAML) Detach(d *Document) []Edit { return cut(d.blocks) }

// Parse implements Format.
func (f YAML) Parse(src []byte) (*Document, error) {
	y := &yamlText{src: src, within: map[*yaml.Node]bool{}, comments: true}
	if err := y.decode(); err != nil {
		return nil, err
	}
	y.splitLines()
	roots, err := y.roots()
	if err != nil {
		return nil, fmt.Errorf("cannot follow this YAML: %w", err)
	}
	if len(y.blocks) == 0 {
		return nil, ErrNoMetadata
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
	var found []Span
	for _, c := range g.comments {
		if !slices.ContainsFunc(d.blocks, func(b Span) bool { return b.Start <= c.Start && c.Start <= b.End }) {
			found = append(found, c)
		}
	}
	for i, r := range roots {
		if r.Kind == Scalar && r.Type == Null {
			roots[i] = emptyMap(r)
		} else if r.Kind != Map {
			return nil, fmt.Errorf("document %d is not a mapping", i+1)
		}
	}
	if !y.matchComments(roots, found) {
		// Equal comments: read again to tell them apart.
		plain := &yamlText{src: src, docs: y.docs, lines: y.lines, ascii: y.ascii, within: map[*yaml.Node]bool{}}
		if d.Roots, err = plain.roots(); err != nil {
			return nil, err
		}
		for i, r := range d.Roots {
			if r.Kind == Scalar {
				d.Roots[i] = emptyMap(r)
			}
		}
		numbered, err := y.number(gaps{comments: found})
		if err == nil {
			err = plain.placeComments(d.Roots, numbered, found)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot tell where its comments belong: %w", err)
		}
	}
	d.Whole = wholeText(d.Roots)
	return d, nil
}

// matchComments finds the bytes of the tree's comments by their text. It reports
// false when that is not possible.
func (y *yamlText) matchComments(roots []*Node, found []Span) bool {
	at := make(map[string]int, len(found))
	for i, c := range found {
		text := string(y.src[c.Start:c.End])
		if _, dup := at[text]; dup {
			return false
		}
		at[text] = i
	}
	used := make([]bool, len(found))
	var walk func(n *Node) bool
	walk = func(n *Node) bool {
		for _, c := range n.Items {
			if c.Kind == Comment {
				i, ok := at[c.Text]
				if !ok || used[i] {
					return false
				}
				used[i] = true
				c.Span = found[i]
			} else if !walk(c) {
				return false
			}
		}
		return true
	}
	for _, r := range roots {
		if !walk(r) {
			return false
		}
	}
	y.addOrphans(roots, found, used)
	return true
}

// detachAt is what to cut to be rid of a metadata block.
func (y *yamlText) detachAt(b metaBlock) Span {
	at := b.at
	if b.flow {
		// With a quoted key goes the comma before it, see Attach.
		if b.quoted {
			for i := at.Start - 1; i > 0 && (isBlank(y.src[i]) || breakLen(y.src, i) > 0 || y.src[i] == ','); i-- {
				if y.src[i] == ',' {
					at.Start = i
					break
				}
			}
		}
		return at
	}
	at.Start = y.lines[y.lineOf(at.Start)]
	for at.End < len(y.src) {
		if n := breakLen(y.src, at.End); n > 0 {
			// A block scalar's span may end before its line does, never after.
			at.End += n
			return at
		}
		at.End++
	}
	at.Start -= breakBeforeEnd(y.src[:at.Start])
	return at
}

// metaValue converts a metadata node.
func metaValue(n *yaml.Node, depth int) (Value, error) {
	if depth > 20 {
		return nil, fmt.Errorf("metadata nested too deeply")
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value, nil
	case yaml.SequenceNode:
		list := make([]Value, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := metaValue(c, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case yaml.MappingNode:
		fields := make(Fields, 0, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := metaValue(n.Content[i+1], depth+1)
			if err != nil {
				return nil, err
			}
			fields = append(fields, Field{n.Content[i].Value, v})
		}
		return fields, nil
	}
	return nil, fmt.Errorf("an alias in the metadata")
}

// bareField reports whether a metadata field is written as a number or boolean.
func bareField(path string) bool {
	switch path {
	case ".shamir_threshold", ".mac_only_encrypted", ".kenv.version":
		return true
	}
	return false
}

// writeBlock writes fields as YAML in block style.
func writeBlock(b *strings.Builder, fields Fields, pad, path, eol string) {
	for _, f := range fields {
		b.WriteString(pad)
		writeBlockField(b, f, pad, path, eol)
	}
}

func writeBlockField(b *strings.Builder, f Field, pad, path, eol string) {
	path += "." + f.Name
	b.WriteString(yamlPlainOrQuoted(f.Name) + ":")
	switch v := f.Value.(type) {
	case string:
		writeBlockString(b, v, pad, bareField(path), eol)
	case Fields:
		if len(v) == 0 {
			b.WriteString(" {}" + eol)
			return
		}
		b.WriteString(eol)
		writeBlock(b, v, pad+"    ", path, eol)
	case []Value:
		if len(v) == 0 {
			b.WriteString(" []" + eol)
			return
		}
		b.WriteString(eol)
		for _, e := range v {
			writeBlockItem(b, e, pad+"    ", path, eol)
		}
	}
}

func writeBlockItem(b *strings.Builder, e Value, pad, path, eol string) {
	b.WriteString(pad + "-")
	switch e := e.(type) {
	case string:
		writeBlockString(b, e, pad, false, eol)
	case Fields:
		if len(e) == 0 {
			b.WriteString(" {}" + eol)
			return
		}
		b.WriteString(" ")
		writeBlockField(b, e[0], pad+"  ", path, eol)
		writeBlock(b, e[1:], pad+"  ", path, eol)
	default:
		b.WriteString(" ")
		writeFlow(b, e, path)
		b.WriteString(eol)
	}
}

func writeBlockString(b *strings.Builder, s, pad string, bareValue bool, eol string) {
	if bareValue && (plainInt(s) || s == "true" || s == "false") {
		b.WriteString(" " + s + eol)
		return
	}
	if strings.Contains(s, "\n") {
		if lines, chomp, ok := literalLines(s); ok {
			b.WriteString(" |" + chomp + eol)
			for _, l := range lines {
				b.WriteString(pad + "    " + l + eol)
			}
			return
		}
	}
	b.WriteString(" " + yamlPlainOrQuoted(s) + eol)
}

// literalLines returns the lines of a literal block scalar that reads as s and
// its chomping indicator; ok is false where such a scalar would need more care.
func literalLines(s string) (lines []string, chomp string, ok bool) {
	body := strings.TrimSuffix(s, "\n")
	if body == s {
		chomp = "-"
	}
	if body == "" || strings.HasSuffix(body, "\n") || body[0] == ' ' || body[0] == '\n' || body[0] == '\t' {
		return nil, "", false
	}
	lines = strings.Split(body, "\n")
	for _, l := range lines {
		if !printable(l) || strings.HasSuffix(l, " ") || l != "" && (l[0] == ' ' || l[0] == '\t') && strings.TrimLeft(l, " \t") == "" {
			return nil, "", false
		}
	}
	return lines, chomp, true
}

// writeFlow writes a metadata value on one line, as YAML and JSON both read it.
func writeFlow(b *strings.Builder, v Value, path string) {
	switch v := v.(type) {
	case string:
		if bareField(path) && (plainInt(v) || v == "true" || v == "false") {
			b.WriteString(v)
			return
		}
		b.WriteString(quoteJSON(v))
	case []Value:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			writeFlow(b, e, path)
		}
		b.WriteByte(']')
	case Fields:
		b.WriteByte('{')
		for i, f := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(quoteJSON(f.Name) + ": ")
			writeFlow(b, f.Value, path+"."+f.Name)
		}
		b.WriteByte('}')
	}
}

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

func restated(f Format, src []byte, roots []*Node) (*Document, []Note, error) {
	if len(roots) == 0 {
		return nil, nil, ErrRung
	}
	text, err := f.Emit(roots)
	if err != nil {
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

// sameData reports whether the documents of one text hold what those of another
// do. An empty document counts as an empty map.
func sameData(a, b []*Node) bool {
	return slices.EqualFunc(a, b, func(a, b *Node) bool {
		if a.Type == Null || b.Type == Null {
			return a.Type == b.Type && !hasItems(a) && !hasItems(b)
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

// inflate refuses more than 1,000 bytes for one, and more than limit in all.
func inflate(s string, limit int64) ([]byte, error) {
	limit = min(limit, int64(len(s))*1100+1024)
	out, err := io.ReadAll(io.LimitReader(flate.NewReader(strings.NewReader(s)), limit+1))
	if err != nil || int64(len(out)) > limit {
		return nil, ErrRung
	}
	return out, nil
}

// printable reports whether YAML can show every character of s as it is.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r == '\t':
		case r < 0x20, r >= 0x7F && r < 0xA0, r == 0x2028, r == 0x2029, r == 0xFEFF, r >= 0xFFFE && r <= 0xFFFF, r >= 0xD800 && r < 0xE000:
			return false
		}
	}
	return true
}
