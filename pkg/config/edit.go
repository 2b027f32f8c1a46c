package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// What keeps a rule from being changed as asked.
var (
	ErrKeyExists = errors.New("the rule has this key already")
	ErrNoKey     = errors.New("the rule has no such key")
	ErrLastKey   = errors.New("this is the last key, and without it what the rule covers could not be encrypted")
)

// maxCuts bounds in how many places one RemoveKey works.
const maxCuts = 100

// A NewKey is a key to add to a rule.
type NewKey struct {
	Name    string         // a key string, as in a "keys" list
	Attrs   map[string]any // as in Key
	Comment string         // one line to put beside the key, where the list has room for one; "" for none
	Group   int            // which of the rule's groups, from 1; 0 if it has only one
}

// AddKey returns the text of the config with one key more in a rule, which is one
// of c.Rules. Every byte of src, which c was parsed from, stays as it is. The key
// goes to where the rule has keys of its form. In a .sops.yaml that is a list that
// sops knows, if it knows such keys.
//
// The error wraps ErrKeyExists if the rule names the key. Where keys stand behind an
// anchor, or in a way that is seldom used, an *Error says the line to edit by hand.
// What is returned was parsed again and differs from c as asked and in nothing else.
func (c *Config) AddKey(src []byte, rule *Rule, key NewKey) ([]byte, error) {
	e, err := c.edit(src, rule)
	if err != nil {
		return nil, err
	}
	want, err := e.settle(key)
	if err != nil {
		return nil, err
	}
	group := max(key.Group, 1) - 1
	switch n := len(rule.Groups); {
	case key.Group < 0 || group >= n:
		return nil, fmt.Errorf("%s has no group %d of keys: it has %d", e.where(), key.Group, n)
	case key.Group == 0 && n > 1:
		return nil, fmt.Errorf("%s has %d groups of keys; say which the key is for, or edit it by hand", e.where(), n)
	}
	if slices.ContainsFunc(rule.Groups[group], func(k Key) bool { return k.is(want) }) {
		return nil, fmt.Errorf("%s: %w", e.where(), ErrKeyExists)
	}
	cuts, err := e.add(group, want, key.Comment)
	if err != nil {
		return nil, err
	}
	edited := splice(src, cuts)
	if err := e.check(edited, func(i int, was, is []Key) bool {
		if i != group {
			return sameKeys(was, is)
		}
		at := slices.IndexFunc(is, func(k Key) bool { return k.is(want) })
		return at >= 0 && sameKeys(was, slices.Delete(slices.Clone(is), at, at+1))
	}); err != nil {
		return nil, err
	}
	return edited, nil
}

// RemoveKey returns the text of the config without those keys of a rule, one of
// c.Rules, that match. Every other byte of src, which c was parsed from, stays as it
// is, but for the comments behind those keys.
//
// The error wraps ErrNoKey if none matches, and ErrLastKey if the rule or a group of
// it would have no key left. As for AddKey, an *Error says what to edit by hand.
func (c *Config) RemoveKey(src []byte, rule *Rule, match func(Key) bool) (edited []byte, removed []Key, err error) {
	e, err := c.edit(src, rule)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range rule.Groups {
		left := slices.DeleteFunc(slices.Clone(g), match)
		if len(left) == 0 && len(g) > 0 {
			return nil, nil, fmt.Errorf("%s: %w", e.where(), ErrLastKey)
		}
		for _, k := range g {
			if match(k) {
				removed = append(removed, k)
			}
		}
	}
	if len(removed) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", e.where(), ErrNoKey)
	}
	// A key may stand in several places. Each is cut out of a text of its own, so
	// that no cut sees what another left behind.
	now := e
	for range maxCuts {
		spots := now.spots(-1)
		at := slices.IndexFunc(spots, func(s spot) bool { return match(s.key) })
		if at < 0 {
			break
		}
		cuts, err := now.cut(spots[at])
		if err != nil {
			return nil, nil, err
		}
		if now, err = e.again(splice(now.src, cuts)); err != nil {
			return nil, nil, err
		}
	}
	if now == e {
		return nil, nil, &Error{Path: c.Path, Line: removed[0].Line, Msg: "this key is shared with other places in the file; edit it by hand"}
	}
	if err := e.check(now.src, func(_ int, was, is []Key) bool {
		return sameKeys(slices.DeleteFunc(slices.Clone(was), match), is)
	}); err != nil {
		return nil, nil, err
	}
	return now.src, removed, nil
}

// is reports whether two keys are the same master key, said in the same way but for
// the profile, which a rule may give to all of its keys.
func (k Key) is(other Key) bool {
	plain := func(attrs map[string]any) map[string]any {
		attrs = maps.Clone(attrs)
		maps.DeleteFunc(attrs, func(name string, _ any) bool { return name == "aws_profile" || name == "role" }) // the role is in the name
		return attrs
	}
	a, b := plain(k.Attrs), plain(other.Attrs)
	return k.Name == other.Name && (len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b))
}

func sameKeys(a, b []Key) bool {
	return slices.EqualFunc(a, b, func(a, b Key) bool {
		return a.Name == b.Name && (len(a.Attrs) == 0 && len(b.Attrs) == 0 || reflect.DeepEqual(a.Attrs, b.Attrs))
	})
}

// An edit is a config's text on its way to another.
type edit struct {
	text
	config  *Config
	index   int // of the rule
	rule    *yaml.Node
	lists   []list
	groups  []*yaml.Node // of the rule, none if its keys are one group without a name
	strict  bool
	profile string // of the rule's KMS keys that have none
}

// edit reads the text once more, for where everything stands in it.
func (c *Config) edit(src []byte, rule *Rule) (*edit, error) {
	e := &edit{config: c, index: -1, strict: newParser(c.Path).strict}
	for i := range c.Rules {
		if &c.Rules[i] == rule {
			e.index = i
		}
	}
	if e.index < 0 {
		return nil, errors.New("editing a config: the rule is not one of its rules")
	}
	e, err := e.again(src)
	if err != nil {
		return nil, err
	}
	if now, err := read(c.Path, src); err != nil {
		return nil, err
	} else if !c.differsOnly(now, -1, nil) {
		return nil, fmt.Errorf("%s was changed meanwhile; try again", c.Path)
	}
	return e, nil
}

// again is the edit of the same rule in another text.
func (e *edit) again(src []byte) (*edit, error) {
	p := newParser(e.config.Path)
	root := p.document(src)
	if p.err != nil {
		return nil, p.err
	}
	e = &edit{config: e.config, index: e.index, strict: e.strict}
	var ok bool
	if e.text, ok = newText(src); !ok {
		return nil, &Error{Path: e.config.Path, Msg: "not in UTF-8, or with line breaks of an unusual kind; edit it by hand"}
	}
	rules := field(root, "creation_rules")
	if rules == nil || rules.Kind != yaml.SequenceNode || e.index >= len(rules.Content) {
		return nil, e.byHand(root, "its rules stand elsewhere in the file")
	}
	if e.rule = rules.Content[e.index]; e.rule.Kind != yaml.MappingNode {
		return nil, e.byHand(e.rule, "the rule stands elsewhere in the file")
	}
	e.collect()
	return e, nil
}

func (e *edit) where() string {
	return fmt.Sprintf("the rule in %s:%d", e.config.Path, e.config.Rules[e.index].Line)
}

// byHand is the error of a place that is not edited here.
func (e *edit) byHand(n *yaml.Node, why string) error {
	line := 0
	if n != nil {
		line = n.Line
	}
	return &Error{Path: e.config.Path, Line: line, Msg: why + "; edit it by hand"}
}

// field returns the value of a field that a map itself has, or nil.
func field(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// A list is one of the lists of keys in a rule.
type list struct {
	keyList
	group  int
	holder *yaml.Node // the map that it is a field of; nil for a group that is itself a list
	field  int        // which of the holder's fields
	node   *yaml.Node
}

// collect finds the lists of the rule that its keys are taken from.
func (e *edit) collect() {
	from := func(holder *yaml.Node, group int, name func(keyList) string) {
		for i := 0; i+1 < len(holder.Content); i += 2 {
			for _, k := range keyLists() {
				if v := holder.Content[i+1]; holder.Content[i].Value == name(k) && v.ShortTag() != "!!null" {
					e.lists = append(e.lists, list{k, group, holder, i / 2, v})
				}
			}
		}
	}
	for _, name := range []string{"groups", "key_groups"} {
		if n := field(e.rule, name); n != nil && n.Kind == yaml.SequenceNode {
			e.groups = append(e.groups, n.Content...)
		}
	}
	if len(e.groups) == 0 {
		if n := field(e.rule, "aws_profile"); n != nil {
			p := newParser(e.config.Path)
			e.profile = p.text(n, "")
		}
		from(e.rule, 0, func(k keyList) string { return k.inRule })
	}
	for i, g := range e.groups {
		switch g.Kind {
		case yaml.SequenceNode:
			e.lists = append(e.lists, list{keyList: keyLists()[0], group: i, node: g})
		case yaml.MappingNode:
			from(g, i, func(k keyList) string { return k.inGroup })
		}
	}
}

// settle reads a new key as if it stood in a config.
func (e *edit) settle(key NewKey) (Key, error) {
	if strings.ContainsFunc(key.Comment, unicode.IsControl) {
		return Key{}, errors.New("the comment of a key must be one line without control characters")
	}
	p := newParser(e.config.Path)
	p.strict, p.rule = true, &Rule{}
	want := Key{Name: strings.TrimSpace(key.Name)}
	for name, v := range key.Attrs {
		if text, ok := v.(string); ok {
			v = strings.TrimSpace(text)
		}
		if !slices.Contains(keyLists()[0].form[1:], name) {
			return Key{}, fmt.Errorf("this key cannot be added: a key has no %q", name)
		}
		want.set(name, v)
	}
	p.settle(e.rule, "", keyLists()[0], &want)
	if p.err != nil {
		return Key{}, fmt.Errorf("this key cannot be added: %s", p.err.(*Error).Msg)
	}
	if want.Name == "" {
		return Key{}, errors.New("the name of the key to add is empty")
	}
	return want, nil
}

// add returns the cuts that add a key to a group.
func (e *edit) add(group int, key Key, comment string) ([]cut, error) {
	k, err := e.choose(group, key)
	if err != nil {
		return nil, err
	}
	for _, l := range e.lists {
		if l.group == group && l.inRule == k.inRule {
			return e.extend(l, key, comment)
		}
	}
	return e.newList(k, group, key, comment)
}

// choose says which list a key belongs into.
func (e *edit) choose(group int, key Key) (keyList, error) {
	all := keyLists()
	own := all[0]
	inGroup := len(e.groups) > 0
	for _, k := range all[1:] {
		if k.holds(key, inGroup) {
			own = k
		}
	}
	if len(e.groups) > group && e.groups[group].Kind == yaml.SequenceNode {
		return all[0], nil
	}
	if inGroup && own.inRule == "azure_keyvault" {
		return own, e.byHand(e.rule, "in a group, a key of Azure is written in three fields")
	}
	if !e.strict {
		return own, nil
	}
	// In a config of kenv's own, keys is the place, but for a rule that was written
	// for sops, or that has the key's like in another place.
	mixed, like := false, false
	for _, l := range e.lists {
		if l.group == group {
			mixed = mixed || l.inRule == "keys"
			like = like || l.inRule == own.inRule
		}
	}
	if mixed && like && own.inRule != "keys" {
		for _, s := range e.spots(group) {
			if s.list.inRule == "keys" && own.holds(s.key, inGroup) {
				return all[0], nil
			}
		}
		return own, nil
	}
	if mixed || len(e.lists) == 0 {
		return all[0], nil
	}
	return own, nil
}

// holds reports whether a list of sops's is for keys of a form.
func (k keyList) holds(key Key, inGroup bool) bool {
	for name := range key.Attrs {
		if name != "role" && !(inGroup && slices.Contains(k.form, name)) {
			return false
		}
	}
	switch k.inRule {
	case "keys":
		return false
	case "age":
		return strings.HasPrefix(key.Name, "age1") || strings.HasPrefix(key.Name, "ssh-")
	case "kms": // sops knows neither a context nor a public key behind the ARN
		return strings.HasPrefix(key.Name, "arn:") && !strings.ContainsAny(key.Name, "?#")
	}
	return strings.HasPrefix(key.Name, k.prefix)
}

// check parses the result of an edit. The rule may differ in its keys, as same says
// for each group, and nothing else may differ.
func (e *edit) check(edited []byte, same func(group int, was, is []Key) bool) error {
	now, err := read(e.config.Path, edited)
	if err != nil || !e.config.differsOnly(now, e.index, same) {
		return e.byHand(e.rule, "the keys of this rule stand in a way that kenv does not change safely")
	}
	return nil
}

// differsOnly reports whether two configs are the same but for the keys of one rule,
// and those are as same says.
func (c *Config) differsOnly(d *Config, rule int, same func(group int, was, is []Key) bool) bool {
	a, b := *c, *d
	a.Rules, b.Rules = nil, nil
	a.Path, b.Path, a.Dir, b.Dir = "", "", "", ""
	if !reflect.DeepEqual(a, b) || len(c.Rules) != len(d.Rules) {
		return false
	}
	for i := range c.Rules {
		r, s := c.Rules[i], d.Rules[i]
		if len(r.Groups) != len(s.Groups) || (r.fault == nil) != (s.fault == nil) {
			return false
		}
		for g := range r.Groups {
			if i == rule && !same(g, r.Groups[g], s.Groups[g]) || i != rule && !sameKeys(r.Groups[g], s.Groups[g]) {
				return false
			}
		}
		for _, r := range []*Rule{&r, &s} {
			r.Line, r.Groups, r.regex, r.globs, r.fault = 0, nil, nil, nil, nil
		}
		if !reflect.DeepEqual(r, s) {
			return false
		}
	}
	return true
}

// spell writes a string in YAML, in the style of its neighbours if that is possible.
func spell(s string, style yaml.Style) string {
	switch {
	case style&yaml.SingleQuotedStyle != 0 && !strings.ContainsFunc(s, func(r rune) bool { return r == '\'' || !unicode.IsPrint(r) }):
		return "'" + s + "'"
	case style&yaml.DoubleQuotedStyle == 0 && isPlain(s):
		return s
	}
	return jsonString(s)
}

// isPlain reports whether a string may stand in YAML without quotes, also in a list
// in brackets. It is stricter than YAML.
func isPlain(s string) bool {
	if s == "" || !unicode.IsLetter(rune(s[0])) || s[len(s)-1] == ':' || s[len(s)-1] == ' ' {
		return false
	}
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return false
	}
	return !strings.Contains(s, ": ") && !strings.ContainsFunc(s, func(r rune) bool { return !isAlnum(r) && !strings.ContainsRune("-_./+:=@;?%& ", r) })
}
