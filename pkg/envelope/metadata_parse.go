package envelope

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// parseMetadata reads the fields under sops:. Its errors name the field and never
// hold its value. It does not look into mac and the kenv part, and an absent mac
// is left to the caller.
//
// In lenient mode, for files that sops wrote, it takes what sops takes: names in
// any case, a map where a list of one is meant, every spelling of a bool, and
// key_groups beside a flat list, which are then ignored. A field that occurs
// twice is an error all the same: sops would take either. In strict mode, for
// sealed files, fields are as fields writes them, in any order.
func parseMetadata(f doc.Fields, strict bool) (*Metadata, error) {
	p := &parser{strict: strict}
	m := &Metadata{}
	var flat, flatOurs []keys.Entry // all, and those of them that sops does not see

	top := p.members("", f)
	for _, k := range kinds {
		entries := p.entries(k.name, k, top.take(k.name))
		flat = append(flat, entries...)
		if k.ours {
			flatOurs = append(flatOurs, entries...)
		}
	}
	groups := p.list("key_groups", top.take("key_groups"))
	m.ShamirThreshold = p.int("shamir_threshold", top.take("shamir_threshold"))
	for _, s := range m.Selector.fields() {
		*s.value = p.string(s.name, top.take(s.name))
	}
	m.MACOnlyEncrypted = p.bool("mac_only_encrypted", top.take("mac_only_encrypted"))
	m.LastModified = p.string("lastmodified", top.take("lastmodified"))
	m.MAC = p.string("mac", top.take("mac"))
	m.Version = p.string("version", top.take("version"))
	p.kenv(&m.Kenv, &top)
	m.Unknown = top.rest

	switch {
	case len(flat) == 0 && len(groups) == 0:
		p.fail("", "no master keys are listed: the metadata was cut off, or all its keys are of kinds that are not known here")
	case len(flat) == 0:
		p.groups(m, groups)
	case len(groups) > 0 && (strict || len(flat) == len(flatOurs)):
		// Two programs would read two sets of keys.
		p.fail("key_groups", "stands beside key lists outside it: remove one of the two")
	default:
		m.Groups = [][]keys.Entry{flat}
	}
	if m.ShamirThreshold < 0 || m.ShamirThreshold > maxShares {
		p.fail("shamir_threshold", "is not between 0 and 255")
	}
	if err := m.Selector.checkOne(); err != nil && p.err == nil {
		p.err = fmt.Errorf("sops metadata: %w", err)
	}
	if normal, err := normalTime(m.LastModified); err != nil {
		p.fail("lastmodified", "is missing or not an RFC 3339 time such as 2024-01-02T03:04:05Z")
	} else if strict && normal != m.LastModified {
		p.fail("lastmodified", "is not in whole seconds, with Z for UTC")
	}
	if !isVersion(m.Version) {
		p.fail("version", "is missing or not a version such as 3.13.3")
	}
	if p.err != nil {
		return nil, p.err
	}
	return m, nil
}

// normalTime returns a time in RFC 3339 without fractions, its offset kept and
// Z for UTC.
func normalTime(s string) (string, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", err
	}
	return t.Format(time.RFC3339), nil
}

// maxEntries bounds the master keys that a file may be encrypted for: each of them may
// have to be tried, and to try one may start a program or ask a server.
const maxEntries = 1000

// A parser takes metadata apart and keeps the first error.
type parser struct {
	strict      bool
	err         error
	entriesRead int
}

func (p *parser) fail(path, problem string) {
	if p.err != nil {
		return
	}
	if path == "" {
		p.err = fmt.Errorf("sops metadata: %s", problem)
		return
	}
	p.err = fmt.Errorf("sops metadata: field %q %s", path, problem)
}

// members are the fields of a map that nobody has taken yet.
type members struct {
	p    *parser
	path string
	rest doc.Fields
}

// members refuses a name that occurs twice.
func (p *parser) members(path string, f doc.Fields) members {
	seen := make(map[string]bool, len(f))
	for _, x := range f {
		if seen[x.Name] {
			p.fail(join(path, x.Name), "occurs twice")
		}
		seen[x.Name] = true
	}
	return members{p: p, path: path, rest: slices.Clone(f)}
}

// take removes the field with that name and returns its value, or nil.
func (m *members) take(name string) doc.Value {
	var v doc.Value
	found := false
	m.rest = slices.DeleteFunc(m.rest, func(f doc.Field) bool {
		if f.Name != name && !strings.EqualFold(f.Name, name) {
			return false
		}
		switch {
		case found:
			m.p.fail(join(m.path, name), "occurs twice")
		case m.p.strict && f.Name != name:
			m.p.fail(join(m.path, f.Name), fmt.Sprintf("is spelt %q", name))
		}
		v, found = f.Value, true
		if v == nil {
			v = ""
		}
		return true
	})
	return v
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// The methods below read a value that may be nil, for a field that is not there.

func (p *parser) string(path string, v doc.Value) string {
	s, ok := v.(string)
	if v != nil && !ok {
		p.fail(path, "is not a string")
	}
	return s
}

func (p *parser) bool(path string, v doc.Value) bool {
	s := p.string(path, v)
	switch {
	case v == nil, s == "false", s == "" && !p.strict:
		return false
	case s == "true":
		return true
	}
	b, err := strconv.ParseBool(s)
	if err != nil || p.strict {
		p.fail(path, "is not true or false")
	}
	return b
}

func (p *parser) int(path string, v doc.Value) int {
	s := p.string(path, v)
	if v == nil || s == "" && !p.strict {
		return 0
	}
	base := 0 // sops takes any prefix that Go knows
	if p.strict {
		base = 10
	}
	i, err := strconv.ParseInt(s, base, 32)
	if err != nil || p.strict && strconv.FormatInt(i, 10) != s {
		p.fail(path, "is not a whole number")
		return 0
	}
	return int(i)
}

func (p *parser) list(path string, v doc.Value) []doc.Value {
	switch v := v.(type) {
	case nil:
		return nil
	case []doc.Value:
		return v
	case doc.Fields:
		switch {
		case p.strict:
		case len(v) == 0:
			return nil
		default:
			return []doc.Value{v}
		}
	case string:
		// Old programs wrote null for a list without items.
		if !p.strict && (v == "" || v == "null") {
			return nil
		}
	}
	p.fail(path, "is not a list")
	return nil
}

func (p *parser) strings(path string, v doc.Value) (out []string) {
	for i, item := range p.list(path, v) {
		out = append(out, p.string(fmt.Sprintf("%s[%d]", path, i), item))
	}
	return out
}

func (p *parser) entries(path string, k kind, v doc.Value) []keys.Entry {
	list := p.list(path, v)
	if p.entriesRead += len(list); p.entriesRead > maxEntries {
		p.fail("", errManyKeys.Error())
		return nil
	}
	entries := make([]keys.Entry, 0, len(list))
	for i, item := range list {
		path := fmt.Sprintf("%s[%d]", path, i)
		f, ok := item.(doc.Fields)
		if !ok {
			p.fail(path, "is not a map")
			break
		}
		entries = append(entries, p.entry(path, k, f))
	}
	return entries
}

func (p *parser) entry(path string, k kind, f doc.Fields) keys.Entry {
	m := p.members(path, f)
	e := keys.Entry{Kind: k.name, Fields: make(map[string]any, len(f))}
	for _, name := range k.fields {
		v := m.take(name)
		if v == nil {
			continue
		}
		path := join(path, name)
		if name == "context" {
			e.Fields[name] = p.context(path, v)
		} else {
			e.Fields[name] = p.string(path, v)
		}
	}
	if k.dated {
		if _, err := time.Parse(time.RFC3339, e.Field("created_at")); err != nil {
			p.fail(join(path, "created_at"), "is missing or not an RFC 3339 time such as 2024-01-02T03:04:05Z")
		}
	}
	for _, x := range m.rest {
		e.Fields[x.Name] = x.Value
	}
	return e
}

func (p *parser) context(path string, v doc.Value) map[string]string {
	f, ok := v.(doc.Fields)
	if !ok {
		if v != "" || p.strict {
			p.fail(path, "is not a map")
		}
		return nil
	}
	context := make(map[string]string, len(f))
	for _, x := range p.members(path, f).rest {
		context[x.Name] = p.string(join(path, x.Name), x.Value)
	}
	return context
}

func (p *parser) groups(m *Metadata, groups []doc.Value) {
	if len(groups) > maxShares {
		p.fail("key_groups", "has more than 255 groups")
		return
	}
	found := false
	for i, g := range groups {
		path := fmt.Sprintf("key_groups[%d]", i)
		f, ok := g.(doc.Fields)
		if !ok && (p.strict || g != "") {
			p.fail(path, "is not a map")
			return
		}
		fields := p.members(path, f)
		group := []keys.Entry{}
		for _, k := range kinds {
			group = append(group, p.entries(join(path, k.name), k, fields.take(k.name))...)
		}
		found = found || len(group) > 0
		m.Groups = append(m.Groups, group)
		m.groupUnknown = append(m.groupUnknown, fields.rest)
	}
	if !found {
		p.fail("key_groups", "lists no master keys")
	}
}

// kenv reads our own part. In a file that sops wrote it may be anything, as sops
// does not look at it: what does not fit is kept as unknown.
func (p *parser) kenv(k *Kenv, top *members) {
	v := top.take("kenv")
	if v == nil {
		return
	}
	f, ok := v.(doc.Fields)
	if !ok {
		if p.strict {
			p.fail("kenv", "is not a map")
		}
		top.rest = append(top.rest, doc.Field{Name: "kenv", Value: v})
		return
	}
	quiet := &parser{strict: true} // sops has no say in how these are written
	if p.strict {
		quiet = p
	}
	m := quiet.members("kenv", f)
	k.Version = quiet.int("kenv.version", m.take("version"))
	k.Seal = quiet.string("kenv.seal", m.take("seal"))
	k.Layout = quiet.strings("kenv.layout", m.take("layout"))
	k.Conflicts = quiet.strings("kenv.conflicts", m.take("conflicts"))
	k.Unknown = m.rest
	if !p.strict && quiet.err != nil {
		*k = Kenv{}
		top.rest = append(top.rest, doc.Field{Name: "kenv", Value: v})
	}
}

// isVersion reports whether s is a semantic version, of semver.org 2.0.0, with or
// without a v before it. The first sops had numbers such as 1.14, which it still
// takes.
func isVersion(s string) bool {
	if strings.HasPrefix(s, "1.") {
		return true
	}
	s = strings.TrimPrefix(s, "v")
	s, build, hasBuild := strings.Cut(s, "+")
	s, pre, hasPre := strings.Cut(s, "-")
	numbers := strings.Split(s, ".")
	if len(numbers) != 3 {
		return false
	}
	for _, n := range numbers {
		if _, err := strconv.ParseUint(n, 10, 64); err != nil || leadingZero(n) {
			return false
		}
	}
	word := func(s string) bool {
		return s != "" && strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") == ""
	}
	if hasPre {
		for s := range strings.SplitSeq(pre, ".") {
			if !word(s) || leadingZero(s) && strings.Trim(s, "0123456789") == "" {
				return false
			}
		}
	}
	if hasBuild {
		for s := range strings.SplitSeq(build, ".") {
			if !word(s) {
				return false
			}
		}
	}
	return true
}

func leadingZero(s string) bool { return len(s) > 1 && s[0] == '0' }
