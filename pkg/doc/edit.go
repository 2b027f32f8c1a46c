package doc

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A Text is a plaintext that can be changed where it stands. Its trees are what
// the text says, not the form that sops can hold: roots of any kind, every key.
// In dotenv, names and values are what programs read: see EnvVar. In INI, DEFAULT is
// there only if it has keys or a header.
//
// Replace, Insert, Append and Remove return the text with one change made and every
// other byte as it was. Each reads what it made and compares: the trees are the old
// ones with that change and no other, and no comment was lost that did not belong to
// what went. Where that cannot be had, the error is ErrChange, and ErrDense where there
// would be too many values. The Text itself does not change.
type Text struct {
	*Document
	// FollowAliases allows changes of what YAML aliases repeat elsewhere: it
	// changes there too. They are refused otherwise, with an *AliasError.
	FollowAliases bool

	format editor
	bom    bool
}

// An editor is a Format whose plaintexts can be changed in place. What it proposes
// need not be right, as the result is read again: the first that is counts.
type editor interface {
	// read returns the trees of a plaintext without a byte order mark.
	read(src []byte) (*Document, error)
	// hold returns a value as the format can hold it, so many steps below a root.
	hold(depth int, v *Document) (*Document, error)
	// checkKey says what is wrong with a new key, so many steps below a root.
	checkKey(depth int, key string) error
	// replace returns ways to put a value in the place of the last of the nodes that
	// at lists, from a root down.
	replace(d *Document, at []*Node, v *Document) iter.Seq[[]Edit]
	// insert returns ways to give the last node of at, a map or list, one item more.
	insert(d *Document, at []*Node, key string, v *Document) iter.Seq[[]Edit]
	// remove returns ways to take the last node of at away.
	remove(d *Document, at []*Node) iter.Seq[[]Edit]
}

// ErrChange is the error of a change that cannot be made in place.
var ErrChange = errors.New("this cannot be changed in place")

// An AliasError says that what would change is repeated elsewhere by YAML aliases.
type AliasError struct {
	Anchor string
	Lines  []int // where the aliases are
	Gone   bool  // the anchor itself would go, so that nothing could be repeated
	Copy   bool  // it stands only where an alias repeats it
}

func (e *AliasError) Error() string {
	lines := make([]string, len(e.Lines))
	for i, l := range e.Lines {
		lines[i] = fmt.Sprint(l)
	}
	where := "line " + strings.Join(lines, ", ")
	if len(e.Lines) > 1 {
		where = "lines " + strings.Join(lines, ", ")
	}
	switch {
	case e.Copy:
		return fmt.Sprintf("it is not there itself: *%s on %s of the plaintext repeats it", e.Anchor, where)
	case e.Gone:
		return fmt.Sprintf("it has the anchor &%s, which %s of the plaintext needs", e.Anchor, where)
	}
	return fmt.Sprintf("it is part of what &%s names, which %s of the plaintext repeats: it would change there too", e.Anchor, where)
}

// ReadText reads a plaintext to change it.
func ReadText(f Format, src []byte) (*Text, error) {
	e, ok := f.(editor)
	if _, binary := f.(Binary); binary {
		return nil, errors.New("nothing in a binary file can be changed by its path")
	}
	if !ok {
		return nil, fmt.Errorf("%s files cannot be changed in place yet", f.Name())
	}
	if isUTF16(src) {
		return nil, errors.New("UTF-16 text cannot be changed in place")
	}
	body, bom := bytes.CutPrefix(src, utf8BOM)
	d, err := e.read(body)
	if err != nil {
		return nil, err
	}
	return &Text{Document: d, format: e, bom: bom}, nil
}

// ParseValue reads a JSON text as a value for a Text. Numbers will be written as they
// are there, wherever that means the same. The error is a *SyntaxError.
func ParseValue(src []byte) (*Document, error) {
	p := &jsonText{src: src, spare: len(src)} // whoever reads the file with it sees to its density
	p.space()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(src) {
		return nil, p.fail("text after the value")
	}
	switch {
	case p.anyLone:
		return nil, &SyntaxError{Format: "JSON", Msg: "half of a surrogate pair is no character"}
	case !finite(n):
		return nil, &SyntaxError{Format: "JSON", Msg: "a number is too large"}
	case duplicateKeys(n):
		return nil, &SyntaxError{Format: "JSON", Msg: "a key is there twice"}
	}
	return &Document{Src: src, Roots: []*Node{n}}, nil
}

// StringValue returns a string as a value for a Text.
func StringValue(text string) *Document {
	return &Document{Roots: []*Node{{Kind: Scalar, Text: text}}}
}

// InMap returns a map with a value under a key, as a value for a Text.
func InMap(key string, v *Document) *Document {
	item := *v.Roots[0]
	item.Key = key
	return &Document{Src: v.Src, Roots: []*Node{{Kind: Map, Items: []*Node{&item}}}}
}

// InList returns a list of one value, as a value for a Text.
func InList(v *Document) *Document {
	return &Document{Src: v.Src, Roots: []*Node{{Kind: List, Items: v.Roots}}}
}

// Replace puts a value in n's place. The text stays as it is if n is that value.
func (t *Text) Replace(n *Node, v *Document) ([]byte, error) {
	v, err := t.format.hold(len(t.lineage(n))-1, v)
	if err != nil {
		return nil, err
	}
	if slices.Contains(t.Roots, n) {
		for _, c := range v.Roots[0].Items {
			if err := checkTop(c.Key); err != nil {
				return nil, err
			}
		}
	}
	if t.isHeadless(n) && len(v.Roots[0].Items) == 0 {
		return t.Remove(n)
	}
	if t.same(n, v) {
		return t.whole(bytes.Clone(t.Src)), nil
	}
	return t.change(&change{target: n, value: v.Roots[0]}, n, func(at []*Node) iter.Seq[[]Edit] {
		return t.format.replace(t.Document, at, v)
	})
}

// Insert gives a map a new key.
func (t *Text) Insert(m *Node, key string, v *Document) ([]byte, error) {
	depth := len(t.lineage(m))
	v, err := t.format.hold(depth, v)
	if err != nil {
		return nil, err
	}
	if m.Kind == Map {
		if err := t.format.checkKey(depth, key); err != nil {
			return nil, err
		}
		if slices.Contains(t.Roots, m) {
			if err := checkTop(key); err != nil {
				return nil, err
			}
		}
	}
	return t.change(&change{parent: m, key: key, value: v.Roots[0]}, m, func(at []*Node) iter.Seq[[]Edit] {
		return t.format.insert(t.Document, at, key, v)
	})
}

// Append gives a list a new last item.
func (t *Text) Append(list *Node, v *Document) ([]byte, error) { return t.Insert(list, "", v) }

// Remove takes n away, with the comments that belong to it: that on its own line and,
// if they can be about nothing else, the lines directly above. Of a map or list
// without items {} or [] stays, of a section its header.
func (t *Text) Remove(n *Node) ([]byte, error) {
	if at := t.lineage(n); len(at) > 1 {
		if section := at[len(at)-2]; t.isHeadless(section) && len(items(section)) == 1 {
			n = section
		}
	}
	return t.change(&change{target: n}, n, func(at []*Node) iter.Seq[[]Edit] {
		return t.format.remove(t.Document, at)
	})
}

func (t *Text) change(c *change, n *Node, ways func(at []*Node) iter.Seq[[]Edit]) ([]byte, error) {
	at := t.lineage(n)
	if at == nil {
		return nil, t.copied(n)
	}
	if err := t.checkAliases(at, c); err != nil {
		return nil, err
	}
	c.follow, c.old = t.FollowAliases, t.Document
	for edits := range ways(at) {
		out := Apply(t.Src, slices.Clone(edits))
		var err error
		if c.now, err = t.format.read(out); errors.Is(err, ErrDense) {
			clear(out)
			return nil, err
		}
		if err != nil || !c.made() || !commentsKept(c.old, c.now, edits) {
			clear(out)
			continue
		}
		return t.whole(out), nil
	}
	return nil, ErrChange
}

// same reports whether n is a value already, numbers also as they are written.
func (t *Text) same(n *Node, v *Document) bool {
	if t.lineage(n) == nil || n.style&isAlias != 0 || !sameValue(n, v.Roots[0]) {
		return false
	}
	number := v.number(v.Roots[0])
	return number == "" || number == t.PlainText(n)
}

// whole puts what stood before the text there again.
func (t *Text) whole(out []byte) []byte {
	if t.bom {
		return append(bytes.Clone(utf8BOM), out...)
	}
	return out
}

func checkTop(key string) error {
	if key == metaKey || key == RootKey || key == TextKey {
		return fmt.Errorf("%w: the top-level key %q has a meaning of its own in an encrypted file", ErrReserved, key)
	}
	return nil
}

// lineage returns the nodes from a root down to n, nil if it is not in the text
// itself.
func (d *Document) lineage(n *Node) (at []*Node) {
	var walk func(x *Node) bool
	walk = func(x *Node) bool {
		at = append(at, x)
		if x == n || x.style&isAlias == 0 && slices.ContainsFunc(x.Items, walk) {
			return true
		}
		at = at[:len(at)-1]
		return false
	}
	if !slices.ContainsFunc(d.Roots, walk) {
		return nil
	}
	return at
}

// copied is the error of changing what only an alias repeats.
func (t *Text) copied(n *Node) error {
	err := ErrChange
	var holds func(in *Node) bool
	holds = func(in *Node) bool { return in == n || slices.ContainsFunc(in.Items, holds) }
	t.nodes(func(x *Node) {
		if x.style&isAlias != 0 && holds(x) {
			err = &AliasError{Anchor: string(t.lexeme(x)[1:]), Lines: []int{t.Line(x)}, Copy: true}
		}
	})
	return err
}

// A change is what two versions of a text should differ by: target has become value,
// or is gone, or parent has got value under key.
type change struct {
	target, parent, value *Node
	key                   string
	follow                bool
	old, now              *Document
}

func (c *change) made() bool {
	return slices.EqualFunc(c.old.Roots, c.now.Roots, c.between)
}

func (c *change) between(old, now *Node) bool {
	if old.Key != now.Key {
		return false
	}
	if old == c.target {
		return sameValue(c.value, now)
	}
	if c.follow && old.style&isAlias != 0 && now.style&isAlias != 0 {
		return bytes.Equal(c.old.lexeme(old), c.now.lexeme(now))
	}
	switch {
	case old.Kind != now.Kind, old.Kind == Scalar && old.Text != now.Text, old.Mark != now.Mark,
		old.Type != now.Type && old != c.parent: // a document without items has the type Null
		return false
	}
	was, is := items(old), items(now)
	if c.parent == old {
		i := len(is) - 1
		if old.Kind == Map {
			i = slices.IndexFunc(is, func(n *Node) bool { return n.Key == c.key })
		}
		if i < 0 || !sameValue(c.value, is[i]) {
			return false
		}
		is = slices.Delete(is, i, i+1)
	}
	if i := slices.Index(was, c.target); i >= 0 && c.value == nil {
		was = slices.Delete(was, i, i+1)
	}
	return slices.EqualFunc(was, is, c.between)
}

// sameValue is Equal but for the keys of the two.
func sameValue(a, b *Node) bool {
	x, y := *a, *b
	x.Key, y.Key = "", ""
	return Equal(&x, &y)
}

// items returns what a map or list holds besides comments.
func items(n *Node) []*Node {
	var list []*Node
	for _, c := range n.Items {
		if c.Kind != Comment {
			list = append(list, c)
		}
	}
	return list
}

func (d *Document) lexeme(n *Node) []byte { return d.Src[n.Span.Start:n.Span.End] }

// nodes calls f for every node that the text itself has, in order.
func (d *Document) nodes(f func(*Node)) {
	var walk func(n *Node)
	walk = func(n *Node) {
		f(n)
		if n.style&isAlias == 0 {
			for _, c := range n.Items {
				walk(c)
			}
		}
	}
	for _, r := range d.Roots {
		walk(r)
	}
}

// commentsKept reports whether now has the comments of old, but for some that the
// edits take out, and no other.
func commentsKept(old, now *Document, edits []Edit) bool {
	most, least := map[string]int{}, map[string]int{}
	old.nodes(func(n *Node) {
		if n.Kind != Comment {
			return
		}
		most[n.Text]++
		if !slices.ContainsFunc(edits, func(e Edit) bool { return e.Start <= n.Span.Start && n.Span.End <= e.End }) {
			least[n.Text]++
		}
	})
	ok := true
	now.nodes(func(n *Node) {
		if n.Kind == Comment {
			most[n.Text]--
			least[n.Text]--
			ok = ok && most[n.Text] >= 0
		}
	})
	for _, missing := range least {
		ok = ok && missing <= 0
	}
	return ok
}

// checkAliases returns an error if aliases repeat what would change.
func (t *Text) checkAliases(at []*Node, c *change) error {
	target := c.target
	var followed *AliasError
	for i, root := range t.Roots {
		if root != at[0] {
			continue
		}
		anchors := map[string]*Node{}
		inside := map[*Node]bool{}
		(&Document{Roots: t.Roots[i : i+1]}).nodes(func(n *Node) {
			if n == target || inside[n] {
				for _, c := range n.Items {
					inside[c] = true
				}
			}
			if n.anchor != "" {
				anchors[n.anchor] = n
			}
			if n.style&isAlias == 0 || inside[n] || n == target {
				return
			}
			name := string(t.lexeme(n)[1:])
			of := anchors[name]
			gone := of != nil && (inside[of] || of == target && c.value == nil)
			switch {
			case !gone && !slices.Contains(at, of):
			case followed == nil || gone && !followed.Gone:
				followed = &AliasError{Anchor: name, Lines: []int{t.Line(n)}, Gone: gone}
			case followed.Anchor == name:
				followed.Lines = append(followed.Lines, t.Line(n))
			}
		})
	}
	if followed == nil || t.FollowAliases && !followed.Gone {
		return nil
	}
	return followed
}

// PlainText is how a scalar of the text is written where there is no syntax around
// it: a number that has no other short form as it stands in the text.
func (t *Text) PlainText(n *Node) string {
	if n.Kind == Scalar && n.Type == Float && !n.virtual && n.style&isAlias == 0 {
		lexeme := string(t.lexeme(n))
		if v, err := readJSON([]byte(lexeme)); err == nil && v.Type == Float && v.Text == n.Text {
			return lexeme
		}
	}
	return PlainText(n)
}

// ExactNumbers has the numbers below a node keep all their digits when they are
// written anew.
func (t *Text) ExactNumbers(n *Node) {
	if n.Kind == Scalar && n.Type == Float {
		if text := t.PlainText(n); strings.Trim(text, "-.0123456789") == "" {
			n.Text = text
		}
	}
	for _, c := range n.Items {
		t.ExactNumbers(c)
	}
}

// number returns how a number of a value is written, "" if that is not known.
func (d *Document) number(n *Node) string {
	if d.Src == nil || n.Type != Int && n.Type != Float {
		return ""
	}
	return string(d.lexeme(n))
}
