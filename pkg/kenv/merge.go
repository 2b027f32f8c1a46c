package kenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// ErrUnresolved is wrapped by the error of opening a file that holds a merge which is
// not resolved: see OpenForEdit.
var ErrUnresolved = errors.New("a merge of it is not resolved, and it holds one side only")

// Merged is a file that was merged. Where it is not Clean the text in it is that of our
// side, the others are sealed in it, and nothing but OpenForEdit opens it.
type Merged struct {
	*Encrypted
	Clean  bool
	Places int      // where both sides changed the same lines
	Why    []string // what else keeps the two apart
	// Kept are the names of keys that their side took away and our rule names.
	Kept []string
}

// Merge merges two states of a file and the one both come from, as git merges plain
// texts: what each side changed, byte for byte. Base has no data where the file is new on
// both sides. All have the name of the file. What one side changed keeps its ciphertext
// if both have one data key; if not, or if somebody whom the result is not for could
// have it, there is a new one.
//
// Their side may be anybody's. All three are opened and their integrity is checked first.
// The recipients and rules are ours; of theirs only what the config in force for the
// file asks for is taken over, and the rest is a conflict. So is whatever would put in
// clear what either side has encrypted, a text that does not parse, or a key that is
// there twice.
//
// Nobody is asked a question, and no remote key is called that the config does not name.
func (s Setup) Merge(ctx context.Context, base, ours, theirs Source) (*Merged, error) {
	ctx = keys.Quiet(s.named(ctx, ours.Name))
	m := &merging{Setup: s}
	m.Keys = s.callingNamed(ctx)
	defer m.wipe()
	var err error
	if m.config, m.rule, _, err = s.rule(ours.Name); err != nil {
		return nil, err
	}
	reuse := envelope.OpenOptions{ForReuse: true}
	if m.ours, err = m.open(ctx, ours, reuse); err != nil {
		return nil, fmt.Errorf("our side: %w", err)
	}
	if m.theirs, err = m.open(ctx, theirs, reuse); err != nil {
		return nil, fmt.Errorf("their side: %w", err)
	}
	if err := m.openBase(ctx, base); err != nil {
		return nil, fmt.Errorf("the state both come from: %w", err)
	}
	return m.merge(ctx)
}

// openBase takes what both sides come from. It may have been encrypted since. If it is a
// merge of several states itself, as git makes where there is no single one, and that has
// conflicts, then its text is as git has it: with the marks of them.
func (m *merging) openBase(ctx context.Context, src Source) (err error) {
	if len(src.Data) == 0 {
		return nil
	}
	m.base, err = m.openAny(ctx, src, envelope.OpenOptions{})
	if errors.Is(err, ErrNotEncrypted) {
		m.baseText = bytes.Clone(src.Data)
		return nil
	}
	if err == nil {
		m.baseText, _, err = EditText(m.base)
	}
	return err
}

// callingNamed returns the table in which remote keys that the config in force does not
// name are never asked for anything.
func (s Setup) callingNamed(ctx context.Context) keys.Table {
	table := slices.Clone(s.Keys)
	for i, p := range table {
		if !p.Remote {
			continue
		}
		table[i].FromEntry = func(e keys.Entry) (keys.MasterKey, error) {
			k, err := p.FromEntry(e)
			if err == nil && s.of(keys.Named(ctx), e) < 0 {
				k = uncalled{k}
			}
			return k, err
		}
	}
	return table
}

// An uncalled is a master key that is left alone.
type uncalled struct{ keys.MasterKey }

func (uncalled) Unwrap(context.Context, keys.Entry) ([]byte, error) {
	return nil, fmt.Errorf("%w: the config does not name this key, so it was not called", keys.ErrNotHere)
}

func (uncalled) Wrap(context.Context, []byte) (keys.Entry, error) {
	return keys.Entry{}, errors.New("the config does not name this key, so it was not called")
}

// A merging is a merge on its way.
type merging struct {
	Setup
	config *config.Config // nil if none is in force
	rule   *config.Rule   // nil if there is none for the file

	base, ours, theirs *envelope.File // base is nil if it is not there or not encrypted
	baseText           []byte

	// What is decided.
	selector  envelope.Selector
	macOnly   bool
	changed   bool // recipients or rules are not those of our side
	added     []keys.MasterKey
	removed   []string // names
	regrouped [][]keys.MasterKey
	threshold int
	kept      []string
	why       []string
}

func (m *merging) wipe() {
	for _, f := range []*envelope.File{m.base, m.ours, m.theirs} {
		if f != nil {
			f.Wipe()
		}
	}
	clear(m.baseText)
}

func (m *merging) merge(ctx context.Context) (*Merged, error) {
	if m.ours.Format.Name() != m.theirs.Format.Name() {
		return nil, fmt.Errorf("our side is %s and theirs %s, which cannot be merged", m.ours.Format.Name(), m.theirs.Format.Name())
	}
	ours, theirs := m.ours.Plaintext(), m.theirs.Plaintext()
	if bytes.IndexByte(ours, 0) >= 0 || bytes.IndexByte(theirs, 0) >= 0 {
		return nil, errors.New("its plaintext is binary, which cannot be merged")
	}
	m.selector, m.macOnly, m.threshold = m.ours.Meta.Selector, m.ours.Meta.MACOnlyEncrypted, m.ours.Meta.ShamirThreshold
	m.mergeRules()
	m.mergeRecipients()

	both := doc.MergeText(m.baseText, ours, theirs)
	var unfit []string
	text := both.Text(false)
	defer clear(text)
	var err error
	if both.Conflicts() == 0 {
		if unfit, err = m.unfit(text); err != nil {
			return nil, err
		}
	}
	out := &Merged{Places: both.Conflicts(), Why: slices.Concat(m.why, unfit), Kept: m.kept}
	if out.Clean = out.Places == 0 && len(out.Why) == 0; out.Clean {
		out.Encrypted, err = m.seal(ctx, text, nil)
		return out, err
	}
	// Their rules do not count before somebody has looked.
	m.selector, m.macOnly = m.ours.Meta.Selector, m.ours.Meta.MACOnlyEncrypted
	out.Encrypted, err = m.seal(ctx, ours, &envelope.Conflict{Base: m.baseText, Theirs: theirs, Why: m.why, Unfit: unfit})
	return out, err
}

// conflictf notes what keeps the two sides apart.
func (m *merging) conflictf(format string, args ...any) {
	m.why = append(m.why, fmt.Sprintf(format, args...))
}

// mergeRules settles what is encrypted.
func (m *merging) mergeRules() {
	type rules struct {
		envelope.Selector
		macOnly bool
	}
	of := func(f *envelope.File) rules { return rules{f.Meta.Selector.InForce(), f.Meta.MACOnlyEncrypted} }
	ours, theirs := of(m.ours), of(m.theirs)
	switch {
	case ours == theirs, m.base != nil && of(m.base) == theirs:
		return
	case m.base != nil && of(m.base) == ours && m.rule != nil &&
		theirs == rules{withRule(envelope.Selector{}, m.rule).InForce(), m.rule.MACOnlyEncrypted}:
		m.selector, m.macOnly, m.changed = theirs.Selector, theirs.macOnly, true
		return
	}
	name, value := theirs.Rule()
	m.conflictf("their side has other rules of what is encrypted (%s: %s, mac_only_encrypted: %t)", name, keys.Short(value), theirs.macOnly)
}

// mergeRecipients settles who can decrypt.
func (m *merging) mergeRecipients() {
	ours, theirs := m.names(m.ours), m.names(m.theirs)
	if m.sameReaders(m.ours, m.theirs) || m.base != nil && m.sameReaders(m.base, m.theirs) {
		return
	}
	if len(ours) > 1 || len(theirs) > 1 {
		if m.rule != nil && m.base != nil && m.sameReaders(m.base, m.ours) {
			groups, err := m.ruleGroups(m.config, m.rule)
			p := envelope.Policy{Groups: groups, Threshold: m.rule.Threshold}
			if err == nil {
				if differs, err := m.compare(m.theirs.Meta, p); err == nil && differs.None() {
					m.regrouped, m.threshold, m.changed = groups, p.Threshold, true
					return
				}
			}
		}
		m.conflictf("their side has other key groups (%s)", grouping(len(theirs), m.theirs.Meta.ShamirThreshold))
		return
	}
	var base []string
	if m.base != nil {
		base = slices.Concat(m.names(m.base)...)
	}
	var others []string
	named := m.ruleKeys(m.theirs)
	for i, name := range theirs[0] {
		switch {
		case slices.Contains(ours[0], name), slices.Contains(base, name):
		case named[i] == nil:
			others = append(others, keys.Short(name))
		default:
			m.added, m.changed = append(m.added, named[i]), true
		}
	}
	if n := len(others); n > 0 {
		const most = 5 // their side may name thousands
		if n > most {
			others = append(others[:most], fmt.Sprintf("%d more", n-most))
		}
		m.conflictf("their side can be decrypted with %s too, which the rule for this file does not name", strings.Join(others, ", "))
	}
	named = m.ruleKeys(m.ours)
	for i, name := range ours[0] {
		switch {
		case slices.Contains(theirs[0], name), !slices.Contains(base, name):
		case named[i] != nil:
			m.kept = append(m.kept, name)
		case m.rule == nil:
			m.conflictf("their side took away %s, and no rule says whether this file is for it", keys.Short(name))
		default:
			m.removed, m.changed = append(m.removed, name), true
		}
	}
}

// names returns the names of a file's master keys, by group.
func (m *merging) names(f *envelope.File) [][]string { return envelope.Recipients(f.Meta, m.Keys) }

// sameReaders reports whether two files are for the same keys, in the same groups.
func (m *merging) sameReaders(a, b *envelope.File) bool {
	return a.Meta.ShamirThreshold == b.Meta.ShamirThreshold && slices.EqualFunc(m.names(a), m.names(b), func(a, b []string) bool {
		return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
	})
}

// ruleKeys returns for each key of a file's first group the one that the rule names for
// it, or nil.
func (m *merging) ruleKeys(f *envelope.File) []keys.MasterKey {
	list := make([]keys.MasterKey, len(f.Meta.Groups[0]))
	if m.rule == nil {
		return list
	}
	groups, _ := m.ruleGroups(m.config, m.rule) // those of kinds that are not known here are not wrapped for either
	all := slices.Concat(groups...)
	for i, e := range f.Meta.Groups[0] {
		if n := m.of(all, e); n >= 0 {
			list[i] = all[n]
		}
	}
	return list
}

// unfit returns what is wrong with a merged text although its lines fit together.
func (m *merging) unfit(text []byte) (why []string, err error) {
	ours, err := m.ours.MarkBy(m.ours.Plaintext(), m.ours.Meta.Selector)
	if err != nil {
		return nil, err
	}
	theirs, err := m.theirs.MarkBy(m.theirs.Plaintext(), m.theirs.Meta.Selector)
	if err != nil {
		return nil, err
	}
	now, err := m.ours.MarkBy(text, m.selector)
	switch syntax := (*doc.SyntaxError)(nil); {
	case errors.As(err, &syntax):
		return []string{fmt.Sprintf("the lines of both sides together are not valid %s", syntax.Format)}, nil
	case err != nil:
		return []string{fmt.Sprintf("the lines of both sides together cannot be encrypted: %v", err)}, nil
	}
	twice := func(text []byte) []string { return doc.DuplicateKeys(m.ours.Format, text) }
	if after := twice(text); len(after) > 0 {
		before := map[string]bool{}
		for _, path := range slices.Concat(twice(m.ours.Plaintext()), twice(m.theirs.Plaintext())) {
			before[path] = true
		}
		if n := slices.IndexFunc(after, func(path string) bool { return !before[path] }); n >= 0 {
			why = append(why, fmt.Sprintf("both sides together have the key %q twice", keys.Short(after[n])))
		}
	}
	if path, ok := newlyClear(ours, theirs, now); ok {
		why = append(why, fmt.Sprintf("it would put %q in clear", keys.Short(path)))
	}
	return why, nil
}

// newlyClear returns a place at which a merged text has something in clear that neither
// side has there in clear, or one has encrypted.
func newlyClear(ours, theirs, now *doc.Document) (path string, found bool) {
	type leaf struct {
		path int
		text string
	}
	var paths doc.Paths
	secret := map[int]bool{} // paths at which something is encrypted
	var clear [2]map[leaf]bool
	open := map[int]bool{} // paths at which something is in clear
	allSecret := ours.Whole != nil || theirs.Whole != nil
	for i, d := range []*doc.Document{ours, theirs} {
		clear[i] = map[leaf]bool{}
		paths.Walk(d, func(n *doc.Node, path int) {
			switch {
			case n.Kind != doc.Scalar && n.Kind != doc.Comment:
			case n.Encrypted || n == d.Whole:
				secret[path] = true
			default:
				clear[i][leaf{path, n.Text}] = true
				open[path] = true
			}
		})
	}
	paths.Walk(now, func(n *doc.Node, at int) {
		in := leaf{at, n.Text}
		switch {
		case found, n.Encrypted, n == now.Whole, n.Text == "", n.Kind == doc.Scalar && n.Type == doc.Null:
		case n.Kind != doc.Scalar && n.Kind != doc.Comment:
		case !allSecret && open[at] && !secret[at], clear[0][in] && clear[1][in]:
		default:
			path, found = paths.String(at), true
		}
	})
	return path, found
}

// seal encrypts what the merge came to.
func (m *merging) seal(ctx context.Context, text []byte, conflict *envelope.Conflict) (*Encrypted, error) {
	now := time.Now()
	var lost []string
	if m.rule != nil {
		all, err := m.ruleGroups(m.config, m.rule)
		if err != nil && !errors.Is(err, keys.ErrUnsupported) {
			return nil, err
		}
		var others []string
		lost, others = m.difference(m.ours.Meta, all, m.rule)
		lost = slices.DeleteFunc(lost, func(name string) bool {
			return m.regrouped != nil || slices.ContainsFunc(m.added, func(k keys.MasterKey) bool { return k.Name() == name })
		})
		others = slices.DeleteFunc(others, func(name string) bool { return slices.Contains(m.removed, name) })
		if len(others) > 0 && m.regrouped == nil {
			return nil, &RecipientsError{Names: others, Config: m.config.Path, Line: m.rule.Line}
		}
	}
	if !m.changed && m.ours.SharesKey(m.theirs) && m.within(m.names(m.theirs), m.names(m.ours)) {
		sealed, err := m.ours.ResealMerge(text, m.theirs, conflict, now)
		if err != nil {
			return nil, err
		}
		return &Encrypted{
			Data: sealed.Data, Format: m.ours.Format, Rung: sealed.Rung, FirstSeal: !m.ours.Sealed,
			Recipients: m.names(m.ours), Threshold: m.threshold, Lost: lost,
		}, nil
	}
	groups := m.regrouped
	if groups == nil {
		var err error
		if groups, err = m.rotated(m.ours.Meta, m.config, m.rule, RotateOptions{AcceptRecipients: true}); err != nil {
			return nil, err
		}
		for _, k := range m.added {
			groups[0] = appendKey(groups[0], k)
		}
		groups[0] = slices.DeleteFunc(groups[0], func(k keys.MasterKey) bool { return slices.Contains(m.removed, k.Name()) })
		if len(groups[0]) == 0 {
			return nil, ErrNoKeys
		}
	}
	p := envelope.Policy{
		Groups: groups, Threshold: m.threshold, Selector: m.selector, MACOnlyEncrypted: m.macOnly,
		AllowUnencrypted: true, Theirs: m.theirs, Conflict: conflict, Now: now,
	}
	if m.ours.SharesKey(m.theirs) && !slices.ContainsFunc(slices.Concat(m.theirs.Meta.Groups...), func(e keys.Entry) bool { return !m.ofAny(groups, e) }) {
		p.Previous = m.ours
	}
	sealed, err := envelope.Seal(ctx, text, m.ours.Format, p)
	if err != nil {
		return nil, err
	}
	out := encrypted(sealed, m.ours.Format, p)
	out.FirstSeal, out.Lost = !m.ours.Sealed, lost
	switch {
	case p.Previous != nil:
	case m.ours.SharesKey(m.theirs):
		out.FreshKey = "their side can be decrypted with other keys"
	default:
		out.FreshKey = "the two sides have two data keys"
	}
	if err := m.prove(ctx, sealed, out); err != nil {
		return nil, err
	}
	return out, nil
}

// within reports whether all of some keys are among others.
func (m *merging) within(some, others [][]string) bool {
	all := slices.Concat(others...)
	return !slices.ContainsFunc(slices.Concat(some...), func(name string) bool { return !slices.Contains(all, name) })
}

// EditText returns what a file that OpenForEdit opened is edited as: its plaintext, or
// where a merge is not resolved the merged text, with what is in conflict between marks
// as git makes them. Where the lines fit together and the text that they make is no good,
// all that only one side changed is between marks. Why is what keeps the sides apart
// beside lines that both changed. The caller wipes the text.
func EditText(f *envelope.File) (text []byte, why []string, err error) {
	c, err := f.Conflict()
	if err != nil {
		return nil, nil, err
	}
	if c == nil {
		return bytes.Clone(f.Plaintext()), nil, nil
	}
	defer c.Wipe()
	return doc.MergeText(c.Base, f.Plaintext(), c.Theirs).Text(len(c.Unfit) > 0), slices.Concat(c.Why, c.Unfit), nil
}
