package doc

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

var _ editor = INI{}

// read implements editor. Values are what most programs read: see Prepare. Every line
// of a comment is a node, and so is a line without a delimiter. DEFAULT without a header
// is there if it has keys, which it spans; another section spans all up to the comments
// directly above the next header.
func (INI) read(src []byte) (*Document, error) {
	lines, err := iniItems(src)
	if err != nil {
		return nil, err
	}
	runs := (&iniNormal{src: src, items: lines}).runs()
	root := &Node{Kind: Map, Span: Span{0, len(src)}}
	d := &Document{Src: src, Roots: []*Node{root}, ini: true}
	section := &Node{Kind: Map, Key: iniDefault}
	root.Items = []*Node{section}
	byName := map[string]*Node{}
	comment := func(at Span) {
		if at.Start < at.End {
			n := commentNode(src, at, 0)
			n.Text = strings.TrimLeft(n.Text, "#; ")
			section.Items = append(section.Items, n)
		}
	}
	endBefore := func(i int) {
		if section.key.End > 0 {
			section.Span.End = trimmedEnd(src, Span{section.key.End, i})
		}
	}
	for i := 0; i < len(lines); i++ {
		it := lines[i]
		switch it.kind {
		case iniComment, iniBare:
			comment(Span{it.start, trimmedEnd(src, it.Span)})
		case iniHeader:
			endBefore(d.commentsAbove(it.start))
			section = &Node{Kind: Map, Key: it.name, start: it.start, key: Span{it.start, it.after}, Span: Span{Start: it.start}}
			root.Items = append(root.Items, section)
			byName = map[string]*Node{}
			comment(it.note)
		case iniKey:
			v := it.loosely(src)
			note := v.note
			if isRaw(v.how) {
				note = v.rest
			}
			if last, ok := runs[i]; ok {
				v, note = runOf(src, it, lines[last]), Span{}
				i = last
			}
			comment(note)
			n := &Node{Kind: Scalar, Key: it.name, Text: v.text, Span: v.Span, style: v.how, start: it.start, key: Span{it.start, it.after}}
			if same := byName[n.Key]; same != nil {
				same.Hidden = true
			}
			byName[n.Key] = n
			section.Items = append(section.Items, n)
		}
	}
	endBefore(len(src))
	headless := root.Items[0]
	if keys := items(headless); len(keys) > 0 {
		headless.start = keys[0].start
		headless.Span = Span{keys[0].start, keys[len(keys)-1].Span.End}
	} else {
		root.Items = append(headless.Items, root.Items[1:]...)
	}
	return d, nil
}

func isSpace(c byte) bool { return strings.IndexByte(" \t\r\n", c) >= 0 }

func isRaw(how style) bool { return how == iniTick || how == iniTriple }

// isHeadless reports whether a section of INI has no header.
func (d *Document) isHeadless(section *Node) bool {
	return d.ini && section.Kind == Map && section.key.End == 0 && section != d.Roots[0]
}

// hold implements editor: values are strings.
func (f INI) hold(depth int, v *Document) (*Document, error) {
	var hold func(depth int, n *Node) (*Node, error)
	hold = func(depth int, n *Node) (*Node, error) {
		held := &Node{Kind: n.Kind, Key: n.Key}
		switch {
		case depth < 2 && n.Kind != Map:
			return nil, errors.New("INI holds values under the keys of sections, as in SECTION.KEY; the section of those before any header is " + iniDefault)
		case depth == 2 && n.Kind != Scalar:
			return nil, errors.New("INI holds single values in sections, no map or list")
		case n.Kind == Scalar:
			if held.Text = v.number(n); held.Text == "" {
				held.Text = PlainText(n)
			}
		}
		for _, c := range items(n) {
			if err := f.checkKey(depth+1, c.Key); err != nil {
				return nil, err
			}
			item, err := hold(depth+1, c)
			if err != nil {
				return nil, err
			}
			held.Items = append(held.Items, item)
		}
		return held, nil
	}
	held, err := hold(depth, v.Roots[0])
	if err != nil {
		return nil, err
	}
	return &Document{Roots: []*Node{held}}, nil
}

func (INI) checkKey(depth int, key string) error {
	if depth == 1 {
		lines, err := iniItems([]byte("[" + key + "]"))
		if err != nil || len(lines) != 1 || lines[0].name != key || strings.TrimSpace(key) != key || strings.ContainsFunc(key, func(r rune) bool { return r == ']' || unicode.IsControl(r) }) {
			return fmt.Errorf("%q is no name for a section", key)
		}
		return nil
	}
	if _, ok := iniKeySpelling(key); !ok || strings.ContainsFunc(key, unicode.IsControl) {
		return fmt.Errorf("INI cannot hold the key %q", key)
	}
	return nil
}

// iniSpellings returns ways to write a value, that of what stands in its place first.
// Few programs know raw quotes, so they stay only where they are needed.
func iniSpellings(text string, like style) []string {
	styles := []style{like, plain, double, single, iniTick, iniTriple}
	switch several := strings.Contains(text, "\n"); {
	case several && isRaw(like):
		styles = []style{like, iniTriple, iniTick}
	case several:
		styles = []style{iniTriple, iniTick}
	case isRaw(like):
		styles = []style{plain, like, double, single, iniTick, iniTriple}
	}
	ways := make([]string, len(styles))
	for i, how := range styles {
		ways[i] = iniQuotes[how] + text + iniQuotes[how]
	}
	return ways
}

func (f INI) replace(d *Document, at []*Node, v *Document) iter.Seq[[]Edit] {
	n := at[len(at)-1]
	switch len(at) {
	case 2:
		return f.replaceSection(d, n, v.Roots[0].Items)
	case 3:
		return f.replaceValue(d, n, v.Roots[0].Text)
	}
	return slices.Values[[][]Edit](nil)
}

func (INI) replaceValue(d *Document, n *Node, text string) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		lexeme, how := string(d.lexeme(n)), n.style.kind()
		ways := iniSpellings(text, how)
		if i := strings.LastIndexByte(lexeme, '\n'); i >= 0 && !isRaw(how) {
			indent := lexeme[i+1:]
			indent = indent[:len(indent)-len(strings.TrimLeft(indent, " \t"))]
			ways = slices.Insert(ways, 0, strings.ReplaceAll(text, "\n", d.lineBreak()+indent))
		}
		// A value that begins right at the delimiter keeps no blank from it.
		touches := n.Span.Start == n.key.End && (lexeme == "" || isSpace(lexeme[0]))
		apart := isBlank(d.Src[n.key.End-2]) || n.Span.End < len(d.Src) && isBlank(d.Src[n.Span.End])
		for _, spelled := range ways {
			e := Edit{n.Span, spelled}
			switch {
			case spelled == "":
				e.Start = n.key.End
			case touches && apart && !isSpace(spelled[0]):
				e.Text = " " + spelled
			}
			if !yield([]Edit{e}) {
				return
			}
		}
	}
}

func (INI) replaceSection(d *Document, section *Node, keys []*Node) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		lines, ok := d.keyLines(section, keys)
		if !ok {
			return
		}
		end := d.endOfLine(section.Span.End)
		if d.isHeadless(section) {
			yield([]Edit{{Span{d.lineStart(section.start), end}, strings.Join(lines, d.lineBreak())}})
			return
		}
		below := d.below(section.key.End, lines)
		below.End = end
		yield([]Edit{below})
	}
}

func (INI) insert(d *Document, at []*Node, key string, v *Document) iter.Seq[[]Edit] {
	return func(yield func([]Edit) bool) {
		parent, added := at[len(at)-1], *v.Roots[0]
		added.Key = key
		if len(at) == 2 {
			lines, ok := d.keyLines(parent, []*Node{&added})
			place := parent.Span.End
			if keys := items(parent); len(keys) > 0 {
				place = keys[len(keys)-1].Span.End
			}
			if ok {
				yield([]Edit{d.below(place, lines)})
			}
			return
		}
		lines, ok := d.keyLines(&Node{Kind: Map, Key: key}, added.Items)
		if !ok {
			return
		}
		sections := items(parent)
		if key == iniDefault && len(sections) > 0 {
			if d.sectionsApart() {
				lines = append(lines, "")
			}
			top := d.commentsAbove(sections[0].start)
			eol := d.lineBreak()
			yield([]Edit{{Span{top, top}, strings.Join(lines, eol) + eol}})
			return
		}
		if key != iniDefault {
			lines = append([]string{"[" + key + "]"}, lines...)
			if d.sectionsApart() {
				lines = append([]string{""}, lines...)
			}
		}
		yield([]Edit{d.below(len(d.Src), lines)})
	}
}

// remove implements editor. What is directly above a header is about that section,
// whatever stands below it.
func (INI) remove(d *Document, at []*Node) iter.Seq[[]Edit] {
	n, parent := at[len(at)-1], at[len(at)-2]
	var next *Node
	if n.Kind == Scalar {
		next = nextOf(parent, n)
	}
	return d.cutLines(Span{n.start, n.Span.End}, next)
}

// below returns the edit that adds lines below that of a place, or at the end of a text
// that has none. Blank lines at the end of a text stay there.
func (d *Document) below(place int, lines []string) Edit {
	eol := d.lineBreak()
	if place == len(d.Src) {
		place = trimmedEnd(d.Src, Span{0, place})
	}
	if place == 0 {
		text := strings.TrimPrefix(strings.Join(lines, eol), eol)
		return Edit{Span{len(d.Src), len(d.Src)}, text + eol}
	}
	place = d.endOfLine(place)
	e := Edit{Span: Span{place, place}}
	for _, line := range lines {
		e.Text += eol + line
	}
	return e
}

// endOfLine is where the line break of the line at i begins. To INI, no other character
// is one.
func (d *Document) endOfLine(i int) int {
	end, next := lineEnd(d.Src, i)
	if end > i && end < next && d.Src[end-1] == '\r' {
		end--
	}
	return end
}

// sectionsApart reports whether a blank line stands above headers, as it does unless the
// text shows otherwise.
func (d *Document) sectionsApart() bool {
	for _, section := range slices.Backward(items(d.Roots[0])) {
		if top := d.commentsAbove(section.start); top > 0 && !d.isHeadless(section) {
			return d.blankLine(d.lineStart(top - breakBeforeEnd(d.Src[:top])))
		}
	}
	return true
}

// An iniStyle is how keys are written: what stands before them and around the delimiter.
type iniStyle struct {
	indent, before, delimiter, after string
	width                            int // of key and before where delimiters stand one below the other; 0 if they do not
}

// styleOf returns the style of the keys of a section, or if it has none, of the last
// section that has.
func (d *Document) styleOf(section *Node) iniStyle {
	s := iniStyle{before: " ", delimiter: "=", after: " "}
	keys := items(section)
	for _, other := range slices.Backward(items(d.Roots[0])) {
		if len(keys) == 0 {
			keys = items(other)
		}
	}
	if len(keys) == 0 {
		return s
	}
	least, widths, names := len(d.Src), map[int]bool{}, map[int]bool{}
	for _, n := range keys {
		head := string(d.Src[n.start : n.key.End-1])
		name := strings.TrimRight(head, " \t")
		s.before, s.delimiter = head[len(name):], string(d.Src[n.key.End-1:n.key.End])
		s.width = utf8.RuneCountInString(head)
		widths[s.width], names[utf8.RuneCountInString(name)] = true, true
		least = min(least, len(s.before))
	}
	last := keys[len(keys)-1]
	s.indent = string(d.Src[d.lineStart(last.start):last.start])
	switch {
	case strings.Contains(s.before, "\t"):
		s.width = 0
	case len(widths) > 1 || len(names) == 1 && len(s.before) < 2:
		s.width = 0
		s.before = s.before[:min(len(s.before), 1)]
	default:
		s.before = strings.Repeat(" ", min(least, 1))
	}
	switch behind := string(d.Src[last.key.End:last.Span.Start]); {
	case last.Span.Start < last.Span.End && !strings.Contains(behind, "\n") && !isSpace(d.Src[last.Span.Start]):
		s.after = behind
	case s.before == "" && s.delimiter == "=":
		s.after = ""
	}
	if section.key.End == 0 && len(items(section)) == 0 && section.Key == iniDefault {
		s.indent = ""
	}
	return s
}

// keyLines writes keys in the style of a section. ok is false for what has no spelling.
func (d *Document) keyLines(section *Node, keys []*Node) (lines []string, ok bool) {
	s := d.styleOf(section)
	for _, n := range keys {
		name, _ := iniKeySpelling(n.Key)
		pad := strings.Repeat(" ", max(0, s.width-utf8.RuneCountInString(name)-len(s.before)))
		head := s.indent + name + pad + s.before + s.delimiter
		i := slices.IndexFunc(iniSpellings(n.Text, plain), func(spelled string) bool {
			made, err := INI{}.read([]byte(head + s.after + spelled + "\n"))
			return err == nil && len(made.Roots[0].Items) == 1 && sameValue(made.Roots[0].Items[0], &Node{Kind: Map, Items: []*Node{n}})
		})
		if i < 0 {
			return nil, false
		}
		if spelled := iniSpellings(n.Text, plain)[i]; spelled != "" {
			head += s.after + spelled
		}
		lines = append(lines, head)
	}
	return lines, true
}
