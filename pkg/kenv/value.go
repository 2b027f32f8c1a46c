package kenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// Get returns what stands at a path in a file's first document, in a format; nil is raw
// for a single value and the file's own for maps and lists. In dotenv, values are what
// programs read: see doc.EnvVar. The error is a *PathError if nothing stands there.
func Get(f *envelope.File, path Path, format doc.Format) ([]byte, error) {
	text, n, err := value(f, path)
	switch {
	case err != nil:
		return nil, err
	case format == nil && n.Kind == doc.Scalar:
		return plain(text, n), nil
	case format == nil:
		format = f.Format
	}
	if _, dotenv := format.(doc.Dotenv); dotenv {
		if n.Kind == doc.Scalar {
			return doc.EnvLines([]*doc.Node{n})
		}
		if n.Kind == doc.Map {
			return doc.EnvLines(n.Items)
		}
	}
	if text != nil {
		text.ExactNumbers(n)
	}
	return emit([]*doc.Node{n}, format)
}

// GetRaw is Get for a single value: its text without any syntax around it.
func GetRaw(f *envelope.File, path Path) ([]byte, error) {
	text, n, err := value(f, path)
	if err == nil && n.Kind != doc.Scalar {
		err = fmt.Errorf("%q is %s, which needs a format to be shown in", path.String(), describe(n))
	}
	if err != nil {
		return nil, err
	}
	return plain(text, n), nil
}

func plain(text *doc.Text, n *doc.Node) []byte {
	if text == nil {
		return []byte(doc.PlainText(n))
	}
	return []byte(text.PlainText(n))
}

// value returns the node at a path of the plaintext. The text is nil for one that cannot
// be read as such, of which only the data is known.
func value(f *envelope.File, path Path) (*doc.Text, *doc.Node, error) {
	text, err := readValues(f.Format, f.Plaintext())
	if err != nil {
		if flat := f.Format.Name() == "dotenv" || f.Format.Name() == "ini"; flat && errors.Is(err, doc.ErrDense) {
			return nil, nil, err // which of several with one name counts, the data does not say
		}
		n, err := find(f, path)
		return nil, n, err
	}
	n, err := valueIn(text, f.Format, path)
	return text, n, err
}

// readValues reads a plaintext to look values up in it. Of variables with one name, and
// of keys in a section of INI, the last counts.
func readValues(format doc.Format, plaintext []byte) (*doc.Text, error) {
	text, err := doc.ReadText(format, plaintext)
	if err != nil {
		return nil, err
	}
	switch root := text.Roots[0]; format.(type) {
	case doc.Dotenv:
		slices.Reverse(root.Items)
	case doc.INI:
		for _, section := range root.Items {
			section.Items = slices.DeleteFunc(section.Items, func(n *doc.Node) bool { return n.Hidden })
		}
	}
	return text, nil
}

// valueIn returns the node at a path of what readValues read.
func valueIn(text *doc.Text, format doc.Format, path Path) (*doc.Node, error) {
	found, missing := locate(text.Roots[0], path)
	if missing != nil {
		return nil, missing
	}
	if _, dotenv := format.(doc.Dotenv); !dotenv {
		if err := unambiguous(found, path); err != nil {
			return nil, err
		}
	}
	return found[len(found)-1], nil
}

// ErrTwice is wrapped by the error about a path with a key that a map has twice.
var ErrTwice = errors.New("is there twice")

// unambiguous returns an error if a key on the way is there twice.
func unambiguous(found []*doc.Node, path Path) error {
	for i, n := range found[:min(len(found), len(path))] {
		same := 0
		for _, c := range n.Items {
			if c.Kind != doc.Comment && n.Kind == doc.Map && c.Key == path[i].Key {
				same++
			}
		}
		if same > 1 {
			return fmt.Errorf("%q %w", path[:i+1].String(), ErrTwice)
		}
	}
	return nil
}

// ChangeOptions say what Set and Unset may do.
type ChangeOptions struct {
	AcceptRecipients bool // keys of the file that its rule does not name
	FollowAliases    bool // change also what YAML aliases repeat of the value elsewhere
}

// A Changed is a file in which one value was set or taken away.
type Changed struct {
	*Encrypted
	Same  bool // there was nothing to change
	Added bool // the key or list item is new
	Clear bool // what was set stands in clear: the file's rules leave it so
}

// Set puts a value where a path leads, in the first document. Missing maps on the way
// are made, and lists of one; an index that is the length of a list appends. In the
// result only the lines of that value differ and the integrity lines: recipients, data
// key and rules stay as they are. The new file decrypts to the old plaintext with that
// one change, byte for byte.
//
// The error is a *PathError if the path leads through single values, a *doc.AliasError
// where YAML aliases repeat the value, and wraps doc.ErrChange, doc.ErrReserved or
// ErrTwice where the place or the key will not do.
func (s Setup) Set(ctx context.Context, src Source, path Path, v *doc.Document, o ChangeOptions) (*Changed, error) {
	added := false
	out, err := s.change(ctx, src, path, o, func(t *doc.Text) (plaintext []byte, err error) {
		plaintext, added, err = set(t, path, v)
		return plaintext, err
	})
	if err == nil {
		out.Added = added
	}
	return out, err
}

// Unset takes away what stands where a path leads, in the first document, and the
// comments that belong to it: see doc.Text.Remove. Errors are as those of Set.
func (s Setup) Unset(ctx context.Context, src Source, path Path, o ChangeOptions) (*Changed, error) {
	return s.change(ctx, src, path, o, func(t *doc.Text) ([]byte, error) { return unset(t, path) })
}

func (s Setup) change(ctx context.Context, src Source, path Path, o ChangeOptions, edit func(*doc.Text) ([]byte, error)) (*Changed, error) {
	f, err := s.open(ctx, src, envelope.OpenOptions{ForReuse: true})
	if err != nil {
		return nil, err
	}
	defer f.Wipe()
	plaintext, inClear, err := changed(f, f.Plaintext(), path, o, edit)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	out := &Changed{Same: bytes.Equal(plaintext, f.Plaintext()), Clear: inClear}
	out.Encrypted, err = s.Resealed(f, src.Name, plaintext, o.AcceptRecipients)
	return out, err
}

// changed returns a plaintext of a file with one edit made, and whether what is at the
// path now would stand in clear.
func changed(f *envelope.File, was []byte, path Path, o ChangeOptions, edit func(*doc.Text) ([]byte, error)) (now []byte, inClear bool, err error) {
	t, err := doc.ReadText(f.Format, was)
	if err != nil {
		return nil, false, err
	}
	t.FollowAliases = o.FollowAliases
	if now, err = edit(t); err != nil {
		return nil, false, err
	}
	if len(now) == 0 {
		return nil, false, errors.New("that would leave an empty file, which cannot be encrypted")
	}
	if !bytes.Equal(now, was) {
		inClear, err = exposed(f, was, now, path)
	}
	if err != nil {
		clear(now)
		return nil, false, err
	}
	return now, inClear, nil
}

// unset returns the plaintext without what is at a path.
func unset(t *doc.Text, path Path) ([]byte, error) {
	found, missing := locate(t.Roots[0], path)
	if missing != nil {
		return nil, missing
	}
	if err := unambiguous(found, path); err != nil {
		return nil, err
	}
	return t.Remove(found[len(found)-1])
}

// set returns the plaintext with a value set, and whether it is new there.
func set(t *doc.Text, path Path, v *doc.Document) (plaintext []byte, added bool, err error) {
	found, missing := locate(t.Roots[0], path)
	if err := unambiguous(found, path); err != nil {
		return nil, false, err
	}
	n := found[len(found)-1]
	if missing == nil {
		plaintext, err = t.Replace(n, v)
		return plaintext, false, err
	}
	steps := path[len(found)-1:]
	for _, s := range slices.Backward(steps[1:]) {
		if s.List && s.Index > 0 {
			return nil, false, &PathError{Path: path, Why: "a new list begins with [0]"}
		}
		v = wrap(s, v)
	}
	step := steps[0]
	switch {
	case !step.List && n.Kind == doc.Map:
		plaintext, err = t.Insert(n, step.Key, v)
	case step.List && n.Kind == doc.List && step.Index == count(n):
		plaintext, err = t.Append(n, v)
	case n.Kind == doc.Scalar && n.Type == doc.Null && (!step.List || step.Index == 0):
		plaintext, err = t.Replace(n, wrap(step, v))
	default:
		return nil, false, missing
	}
	return plaintext, true, err
}

func wrap(s Step, v *doc.Document) *doc.Document {
	if s.List {
		return doc.InList(v)
	}
	return doc.InMap(s.Key, v)
}

// exposed reports whether something at a path would stand in clear. It is an error if
// anything else would that does not now, as where a comment went that kept it secret.
func exposed(f *envelope.File, before, after []byte, path Path) (bool, error) {
	now, err := f.Mark(after)
	if errors.Is(err, doc.ErrRung) {
		return false, nil // it is encrypted as a whole
	}
	if err != nil {
		return false, err
	}
	target := false
	if found, missing := locate(now.Unwrap()[0], path); missing == nil {
		target = hasClear(found[len(found)-1])
		mute(found[len(found)-1])
	}
	if r := f.Meta.Selector; r.EncryptedCommentRegex == "" && r.UnencryptedCommentRegex == "" {
		return target, nil // the keys alone decide
	}
	was, err := f.Mark(before)
	if errors.Is(err, doc.ErrRung) {
		return target, nil
	}
	if err != nil {
		return false, err
	}
	var paths doc.Paths
	clear := map[int]int{} // how many values stand in clear, by their path
	paths.Walk(was, func(n *doc.Node, path int) {
		if isClear(n) {
			clear[path]++
		}
	})
	paths.Walk(now, func(n *doc.Node, path int) {
		if !isClear(n) {
			return
		}
		if clear[path]--; clear[path] < 0 && err == nil {
			err = fmt.Errorf("it would put %q in clear, as the rules of this file look at the comments before a value", paths.String(path))
		}
	})
	return target && err == nil, err
}

func isClear(n *doc.Node) bool {
	return n.Kind == doc.Scalar && !n.Encrypted && n.Type != doc.Null && n.Text != ""
}

func hasClear(n *doc.Node) bool {
	return isClear(n) || slices.ContainsFunc(n.Items, hasClear)
}

// mute has everything below a node count as encrypted.
func mute(n *doc.Node) {
	n.Encrypted = true
	for _, c := range n.Items {
		mute(c)
	}
}
