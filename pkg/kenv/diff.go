package kenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// What can be different about something.
const (
	DiffAdded   = "added"
	DiffRemoved = "removed"
	DiffChanged = "changed"
)

// A Difference is one thing that two states of a file do not have in common.
type Difference struct {
	Path   string // of a value; or a key's name, or a rule
	Change string // DiffAdded, DiffRemoved or, for values, DiffChanged
	// Old and New are what a value was and is, in JSON; empty where it was or is not,
	// or cannot be told.
	Old, New json.RawMessage
}

// Differences is how one state of a file differs from another.
type Differences struct {
	Values, Keys, Rules []Difference
	// Layout says that the plaintexts differ in what is no value: quotes, blank lines,
	// the order of keys.
	Layout bool
	// Sealed is DiffAdded or DiffRemoved where only one of the states is sealed, Encrypted
	// where only one is encrypted.
	Sealed, Encrypted string
	// Blind says that a state could not be decrypted here. Then values are the same if
	// their ciphertext is, and a file with a new data key differs in all of them.
	Blind bool
}

// None reports whether there is no difference.
func (d *Differences) None() bool {
	return len(d.Values)+len(d.Keys)+len(d.Rules) == 0 && !d.Layout && d.Sealed == "" && d.Encrypted == ""
}

// Diff compares two states of a file, of which one may be nil: there is none. States
// may be plaintext. Both are checked as Open does. No key being at hand is no error:
// see Blind.
func (s Setup) Diff(ctx context.Context, old, new *Source) (*Differences, error) {
	states := [2]*state{{}, {}}
	defer func() { states[0].wipe(); states[1].wipe() }()
	blind := false
	for i, src := range []*Source{old, new} {
		if src == nil {
			continue
		}
		var err error
		if states[i], err = s.state(ctx, *src); err != nil {
			return nil, &StateError{Old: i == 0, Err: err}
		}
		blind = blind || states[i].noKey
	}
	a, b := states[0], states[1]
	for _, st := range states {
		if err := st.read(blind); err != nil {
			return nil, &StateError{Old: st == a, Err: err}
		}
	}
	d := &Differences{Blind: blind, Values: compareLeaves(a.leaves, b.leaves, blind)}
	if old != nil && new != nil {
		d.Encrypted = oneOf(a.encrypted, b.encrypted)
		if a.encrypted && b.encrypted {
			d.Sealed = oneOf(a.sealed, b.sealed)
		}
		d.Layout = len(d.Values) == 0 && !blind && !bytes.Equal(a.plain, b.plain)
	}
	if d.Encrypted == "" {
		d.Keys, d.Rules = compareSets(a.keys, b.keys), compareSets(a.rules, b.rules)
	}
	return d, nil
}

// A StateError says which of two states of a file an error is about.
type StateError struct {
	Old bool
	Err error
}

func (e *StateError) Error() string { return e.Err.Error() }
func (e *StateError) Unwrap() error { return e.Err }

func oneOf(old, new bool) string {
	switch {
	case old == new:
		return ""
	case old:
		return DiffRemoved
	}
	return DiffAdded
}

// A state is one state of a file.
type state struct {
	src               Source
	file              *envelope.File // nil if it is plaintext or cannot be decrypted
	noKey             bool
	encrypted, sealed bool
	keys, rules       []string
	plain             []byte
	leaves            []leaf
}

func (st *state) wipe() {
	if st != nil && st.file != nil {
		st.file.Wipe()
	}
}

func (s Setup) state(ctx context.Context, src Source) (*state, error) {
	st := &state{src: src}
	f, err := s.Open(ctx, src)
	switch {
	case err == nil:
		st.file, st.plain = f, f.Plaintext()
	case errors.Is(err, ErrNotEncrypted), errors.Is(err, doc.ErrEmpty):
		st.plain = src.Data
		return st, nil
	case as[*envelope.NoKeyError](err):
		st.noKey = true
	default:
		return nil, err
	}
	st.encrypted = true
	r, err := s.Recipients(src)
	if err != nil {
		return nil, err
	}
	for i, g := range r.Groups {
		for _, k := range g {
			name := k.Name
			if len(r.Groups) > 1 {
				name += fmt.Sprintf(" in group %d", i+1)
			}
			st.keys = append(st.keys, name)
		}
	}
	st.sealed, st.rules = r.Sealed, r.Rules
	return st, nil
}

// read takes the leaves out of a state; if blind, of encrypted files their tokens.
func (st *state) read(blind bool) error {
	switch {
	case len(st.src.Data) == 0:
	case st.encrypted && blind:
		format := st.src.Format
		if format == nil {
			format = encryptedFormat("", st.src.Data)
		}
		if format == nil {
			return ErrNotEncrypted
		}
		d, err := format.Parse(st.src.Data)
		if err != nil {
			return err
		}
		st.take(d.Unwrap(), d.Whole)
	case st.encrypted:
		st.take(st.file.Roots())
	default:
		format, err := FormatOf(st.src.Name, st.src.Data)
		if st.src.Format != nil {
			format, err = st.src.Format, nil
		}
		if err != nil {
			return err
		}
		var d *doc.Document
		for rung, ok := doc.Splice, true; ok; rung, ok = rung.Next(err) {
			if d, _, err = format.Prepare(st.src.Data, rung); !errors.Is(err, doc.ErrRung) {
				break
			}
		}
		if err != nil {
			return err
		}
		st.take(d.Unwrap(), d.Whole)
	}
	return nil
}

func (st *state) take(roots []*doc.Node, whole *doc.Node) {
	if whole != nil {
		st.leaves = []leaf{{"whole", "the whole text", whole}}
		return
	}
	for i, root := range roots {
		in := ""
		if len(roots) > 1 {
			in = fmt.Sprintf("document %d: ", i+1)
		}
		st.leaves = leavesOf(root, in, nil, st.leaves)
	}
	seen := map[string]int{}
	for i := range st.leaves {
		l := &st.leaves[i]
		if l.id = l.path; l.node.Kind == doc.Comment {
			l.id += "\x00" + l.node.Text // comments have no other name
		}
		if seen[l.id]++; seen[l.id] > 1 {
			l.id += fmt.Sprintf("\x00%d", seen[l.id])
		}
	}
}

// A leaf is a value, an empty map or list, or a comment, and where it is.
type leaf struct {
	id   string // what the leaf is compared with has the same
	path string
	node *doc.Node
}

func leavesOf(n *doc.Node, in string, path Path, leaves []leaf) []leaf {
	index := 0
	for _, c := range n.Items {
		if c.Kind == doc.Comment {
			where := path.String()
			if where == "" {
				where = "top level"
			}
			leaves = append(leaves, leaf{path: in + where + ": comment", node: c})
			continue
		}
		step := Step{Key: c.Key}
		if n.Kind == doc.List {
			step = Step{Index: index, List: true}
			index++
		}
		leaves = leavesOf(c, in, append(path, step), leaves)
	}
	if n.Kind == doc.Scalar || count(n) == 0 && len(path) > 0 {
		where := path.String()
		if where == "" {
			where = "the value"
		}
		leaves = append(leaves, leaf{path: in + where, node: n})
	}
	return leaves
}

// compareLeaves returns what differs, in the order of the new state, and what is gone
// from the old one where it stood there.
func compareLeaves(old, new []leaf, blind bool) (list []Difference) {
	value := func(n *doc.Node) json.RawMessage {
		if blind {
			return nil
		}
		return valueJSON(n)
	}
	was, is := map[string]int{}, map[string]bool{}
	for i, l := range old {
		was[l.id] = i
	}
	for _, l := range new {
		is[l.id] = true
	}
	next := 0
	gone := func(end int) {
		for ; next < end; next++ {
			if l := old[next]; !is[l.id] {
				list = append(list, Difference{Path: l.path, Change: DiffRemoved, Old: value(l.node)})
			}
		}
	}
	for _, l := range new {
		i, ok := was[l.id]
		if !ok {
			list = append(list, Difference{Path: l.path, Change: DiffAdded, New: value(l.node)})
			continue
		}
		gone(i)
		if o := old[i].node; o.Kind != l.node.Kind || o.Type != l.node.Type || o.Text != l.node.Text {
			list = append(list, Difference{Path: l.path, Change: DiffChanged, Old: value(o), New: value(l.node)})
		}
	}
	gone(len(old))
	return list
}

// valueJSON spells a leaf in JSON.
func valueJSON(n *doc.Node) json.RawMessage {
	switch {
	case n.Kind == doc.Map:
		return json.RawMessage("{}")
	case n.Kind == doc.List:
		return json.RawMessage("[]")
	case n.Kind == doc.Scalar && n.Type == doc.Null:
		return json.RawMessage("null")
	case n.Kind == doc.Scalar && n.Type == doc.Bool:
		return json.RawMessage(strings.ToLower(n.Text))
	case n.Kind == doc.Scalar && (n.Type == doc.Int || n.Type == doc.Float) && json.Valid([]byte(n.Text)):
		return json.RawMessage(n.Text)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(n.Text); err != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func compareSets(old, new []string) (list []Difference) {
	for _, x := range old {
		if !slices.Contains(new, x) {
			list = append(list, Difference{Path: x, Change: DiffRemoved})
		}
	}
	for _, x := range new {
		if !slices.Contains(old, x) {
			list = append(list, Difference{Path: x, Change: DiffAdded})
		}
	}
	return list
}
