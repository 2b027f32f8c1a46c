package envelope

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// Metadata is what stands under sops: in a file: who can decrypt it and how it
// was encrypted.
type Metadata struct {
	// Groups are the wrapped data keys. With one group, each of its entries wraps
	// the whole data key; with several, each wraps the group's share of it.
	Groups          [][]keys.Entry
	ShamirThreshold int // how many groups are needed; 0 is all of them

	Selector         Selector
	MACOnlyEncrypted bool

	LastModified string // RFC 3339, as it stands in the file
	MAC          string // a token; empty when the file has none
	Version      string // of the sops format, "3.13.3"

	Kenv Kenv

	// Unknown is the fields that are none of the above, which sops ignores and
	// drops when it writes. They are kept word for word.
	Unknown doc.Fields

	groupUnknown []doc.Fields // the same for each key group
}

// Kenv is the part of the metadata that sops does not have. Its zero value stands
// for a file without it.
type Kenv struct {
	Version   int
	Seal      string   // base64
	Layout    []string // sealed entries
	Conflicts []string // sealed entries: what an unresolved merge left
	Unknown   doc.Fields
}

func (k Kenv) isZero() bool {
	return k.Version == 0 && k.Seal == "" && len(k.Layout) == 0 && len(k.Conflicts) == 0 && len(k.Unknown) == 0
}

// A kind is one of the lists of wrapped data keys and the fields its entries have.
type kind struct {
	name   string
	fields []string
	always []string // written even when empty
	dated  bool     // created_at is required
	ours   bool     // sops does not know it
}

// kinds is in the order in which sops loads a group, then ours.
var kinds = []kind{
	{name: "kms", fields: []string{"alias", "arn", "aws_profile", "context", "created_at", "enc", "role"}, always: []string{"arn", "aws_profile", "created_at", "enc"}, dated: true},
	{name: "gcp_kms", fields: []string{"created_at", "enc", "resource_id"}, always: []string{"created_at", "enc", "resource_id"}, dated: true},
	{name: "hckms", fields: []string{"created_at", "enc", "key_id"}, always: []string{"created_at", "enc", "key_id"}, dated: true},
	{name: "azure_kv", fields: []string{"created_at", "enc", "name", "vault_url", "version"}, always: []string{"created_at", "enc", "name", "vault_url", "version"}, dated: true},
	{name: "hc_vault", fields: []string{"created_at", "enc", "engine_path", "key_name", "vault_address"}, always: []string{"created_at", "enc", "engine_path", "key_name", "vault_address"}, dated: true},
	{name: "pgp", fields: []string{"created_at", "enc", "fp"}, always: []string{"created_at", "enc", "fp"}, dated: true},
	{name: "age", fields: []string{"enc", "recipient"}, always: []string{"enc", "recipient"}},
	{name: "pkcs11", fields: []string{"created_at", "ek", "enc", "key_fp", "mech", "uri"}, dated: true, ours: true},
	{name: "kms_rsa", fields: []string{"alias", "arn", "created_at", "enc", "key_fp", "role"}, dated: true, ours: true},
}

func kindOf(name string) kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return kind{name: name}
}

// macAAD returns what the token in mac authenticates: lastmodified, in the
// spelling that sops gives it after reading.
func (m *Metadata) macAAD() string {
	normal, err := normalTime(m.LastModified)
	if err != nil {
		return m.LastModified
	}
	return normal
}

// fields is the inverse of parseMetadata: the fields as sops 3.13 writes them, in
// alphabetical order at every level, empty ones left out but for those that are
// always there. Members of Unknown whose names are taken are left out.
func (m *Metadata) fields() doc.Fields {
	var f doc.Fields
	if len(m.Groups) == 1 {
		f = groupFields(m.Groups[0], false)
		if len(m.groupUnknown) > 0 {
			f = withUnknown(f, m.groupUnknown[0])
		}
	} else if len(m.Groups) > 1 {
		groups := make([]doc.Value, len(m.Groups))
		for i, g := range m.Groups {
			group := groupFields(g, true)
			if i < len(m.groupUnknown) {
				group = withUnknown(group, m.groupUnknown[i])
			}
			groups[i] = sorted(group)
		}
		f = append(f, doc.Field{Name: "key_groups", Value: groups})
	}
	add := func(name, value string) { f = append(f, doc.Field{Name: name, Value: value}) }
	if m.ShamirThreshold != 0 {
		add("shamir_threshold", strconv.Itoa(m.ShamirThreshold))
	}
	for _, s := range m.Selector.fields() {
		if *s.value != "" {
			add(s.name, *s.value)
		}
	}
	if m.MACOnlyEncrypted {
		add("mac_only_encrypted", "true")
	}
	add("lastmodified", m.LastModified)
	add("mac", m.MAC)
	add("version", m.Version)
	if !m.Kenv.isZero() {
		f = append(f, doc.Field{Name: "kenv", Value: m.Kenv.fields()})
	}
	return sorted(withUnknown(f, m.Unknown))
}

func (k Kenv) fields() doc.Fields {
	var f doc.Fields
	if k.Version != 0 {
		f = append(f, doc.Field{Name: "version", Value: strconv.Itoa(k.Version)})
	}
	if k.Seal != "" {
		f = append(f, doc.Field{Name: "seal", Value: k.Seal})
	}
	for _, l := range []struct {
		name    string
		entries []string
	}{{"layout", k.Layout}, {"conflicts", k.Conflicts}} {
		if len(l.entries) == 0 {
			continue
		}
		list := make([]doc.Value, len(l.entries))
		for i, s := range l.entries {
			list[i] = s
		}
		f = append(f, doc.Field{Name: l.name, Value: list})
	}
	return sorted(withUnknown(f, k.Unknown))
}

// groupFields returns a group's lists. In key_groups sops writes those of age and
// hc_vault even when they are empty.
func groupFields(entries []keys.Entry, nested bool) doc.Fields {
	lists := make(map[string][]doc.Value)
	if nested {
		lists["age"], lists["hc_vault"] = []doc.Value{}, []doc.Value{}
	}
	for _, e := range entries {
		lists[e.Kind] = append(lists[e.Kind], entryFields(e))
	}
	var f doc.Fields
	for name, list := range lists {
		f = append(f, doc.Field{Name: name, Value: list})
	}
	return f
}

func entryFields(e keys.Entry) doc.Fields {
	k := kindOf(e.Kind)
	var f doc.Fields
	for _, name := range k.always {
		if _, ok := e.Fields[name]; !ok {
			f = append(f, doc.Field{Name: name, Value: ""})
		}
	}
	for name, value := range e.Fields {
		known := slices.Contains(k.fields, name)
		switch value := value.(type) {
		case string:
			if value == "" && known && !slices.Contains(k.always, name) {
				continue
			}
			f = append(f, doc.Field{Name: name, Value: value})
		case map[string]string:
			if len(value) == 0 && known {
				continue
			}
			c := make(doc.Fields, 0, len(value))
			for _, key := range slices.Sorted(maps.Keys(value)) {
				c = append(c, doc.Field{Name: key, Value: value[key]})
			}
			f = append(f, doc.Field{Name: name, Value: c})
		case []doc.Value, doc.Fields, nil:
			f = append(f, doc.Field{Name: name, Value: value})
		default:
			// Not input: a provider has to be corrected.
			panic(fmt.Sprintf("envelope: a %s key has a field of type %T", e.Kind, value))
		}
	}
	return sorted(f)
}

// withUnknown appends the fields of unknown whose names are free.
func withUnknown(f, unknown doc.Fields) doc.Fields {
	taken := make(map[string]bool, len(f))
	for _, x := range f {
		taken[x.Name] = true
	}
	for _, x := range unknown {
		if !taken[x.Name] {
			f = append(f, x)
		}
	}
	return f
}

// sorted returns a copy of f in alphabetical order, and so all that is in it.
func sorted(f doc.Fields) doc.Fields {
	out := make(doc.Fields, len(f))
	for i, x := range f {
		out[i] = doc.Field{Name: x.Name, Value: sortedValue(x.Value)}
	}
	slices.SortStableFunc(out, func(a, b doc.Field) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func sortedValue(v doc.Value) doc.Value {
	switch v := v.(type) {
	case doc.Fields:
		return sorted(v)
	case []doc.Value:
		out := make([]doc.Value, len(v))
		for i, x := range v {
			out[i] = sortedValue(x)
		}
		return out
	case nil:
		return ""
	}
	return v
}
