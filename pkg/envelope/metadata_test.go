package envelope

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"go.yaml.in/yaml/v3"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// The files that sops wrote, see the README beside them.
const vectorDir = "../../testdata/vectors/sops"

type vector struct {
	ID, Format, Plain, Enc, Dec string
	Keys                        []string
	DataKeyHex                  string `json:"data_key_hex"`
	MACPlaintext                string `json:"mac_plaintext"`

	// Of the negative ones.
	Args     []string
	Accepted bool
	RC       int `json:"sops_rc"`
}

func (v vector) dataKey(t testing.TB) []byte {
	key, err := hex.DecodeString(v.DataKeyHex)
	if err != nil || len(key) != keySize {
		t.Fatalf("manifest: data_key_hex of %s", v.ID)
	}
	return key
}

func vectors(t testing.TB) (good, negative []vector) {
	t.Helper()
	var m struct{ Vectors, Negative []vector }
	src, err := os.ReadFile(filepath.Join(vectorDir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(src, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Vectors) < 90 || len(m.Negative) < 50 {
		t.Fatalf("%d and %d vectors, some are missing", len(m.Vectors), len(m.Negative))
	}
	return m.Vectors, m.Negative
}

// readVector reads an encrypted file with parsers that are good enough for the
// vectors and for nothing else.
func readVector(t testing.TB, format, name string) (roots []*doc.Node, meta doc.Fields, err error) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(vectorDir, name))
	if err != nil {
		t.Fatal(err)
	}
	switch format {
	case "dotenv":
		root := &doc.Node{Kind: doc.Map}
		var flat []doc.Field
		for line := range strings.Lines(string(src)) {
			line = strings.TrimSuffix(line, "\n")
			k, v, ok := strings.Cut(line, "=")
			v = strings.ReplaceAll(v, `\n`, "\n")
			if comment, is := strings.CutPrefix(line, "#"); is {
				root.Items = append(root.Items, &doc.Node{Kind: doc.Comment, Text: comment})
			} else if name, is := strings.CutPrefix(k, "sops_"); is {
				flat = append(flat, doc.Field{Name: name, Value: v})
			} else if ok {
				root.Items = append(root.Items, &doc.Node{Key: k, Text: v})
			}
		}
		return []*doc.Node{root}, unflatten(flat), nil
	case "ini":
		section := &doc.Node{Kind: doc.Map, Key: "DEFAULT"}
		root := &doc.Node{Kind: doc.Map, Items: []*doc.Node{section}}
		var flat []doc.Field
		var comment *doc.Node
		for line := range strings.Lines(string(src)) {
			line = strings.TrimSuffix(line, "\n")
			k, v, ok := strings.Cut(line, "=")
			k, v = strings.TrimSpace(k), strings.TrimSpace(v)
			switch {
			case strings.HasPrefix(line, "; "):
				comment = &doc.Node{Kind: doc.Comment, Text: line[2:]}
				continue
			case strings.HasPrefix(line, "["):
				section = &doc.Node{Kind: doc.Map, Key: strings.Trim(line, "[]")}
				if section.Key != "sops" {
					root.Items = append(root.Items, section)
				}
			case section.Key == "sops" && ok:
				flat = append(flat, doc.Field{Name: k, Value: strings.ReplaceAll(v, `\n`, "\n")})
			case ok:
				section.Items = append(section.Items, &doc.Node{Key: k, Text: v})
			}
			if comment != nil { // after its key, or first in its section
				section.Items = append(section.Items, comment)
				comment = nil
			}
		}
		return []*doc.Node{root}, unflatten(flat), nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(src)) // reads these JSON files too
	for {
		var n yaml.Node
		if err := dec.Decode(&n); err == io.EOF {
			return roots, meta, nil
		} else if err != nil {
			t.Fatal(err)
		}
		root := &doc.Node{Kind: doc.Map}
		root.Items = yamlComments(root.Items, n.HeadComment, n.LineComment)
		root.Items = append(root.Items, yamlNode(n.Content[0]).Items...)
		root.Items = yamlComments(root.Items, n.FootComment)
		root.Items = slices.DeleteFunc(root.Items, func(n *doc.Node) bool { return n.Key == "sops" })
		if roots = append(roots, root); len(roots) > 1 {
			continue
		}
		err = doc.ErrNoMetadata
		for i := 0; i < len(n.Content[0].Content); i += 2 {
			if n.Content[0].Content[i].Value == "sops" {
				var ok bool
				if meta, ok = yamlValue(n.Content[0].Content[i+1]).(doc.Fields); ok {
					err = nil
				}
			}
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

func yamlComments(items []*doc.Node, comments ...string) []*doc.Node {
	for _, c := range comments {
		for line := range strings.SplitSeq(c, "\n") {
			if line != "" {
				items = append(items, &doc.Node{Kind: doc.Comment, Text: line[1:]})
			}
		}
	}
	return items
}

func yamlNode(y *yaml.Node) *doc.Node {
	n := &doc.Node{}
	switch y.Kind {
	case yaml.MappingNode:
		n.Kind = doc.Map
		for i := 0; i < len(y.Content); i += 2 {
			key, value := y.Content[i], y.Content[i+1]
			item := yamlNode(value)
			item.Key = key.Value
			n.Items = yamlComments(n.Items, key.HeadComment, key.LineComment)
			if value.Kind == yaml.ScalarNode {
				n.Items = yamlComments(n.Items, value.HeadComment, value.LineComment)
			} else {
				head := yamlComments(nil, value.HeadComment, value.LineComment)
				item.Items = yamlComments(append(head, item.Items...), value.FootComment)
			}
			n.Items = append(n.Items, item)
			if value.Kind == yaml.ScalarNode {
				n.Items = yamlComments(n.Items, value.FootComment)
			}
			n.Items = yamlComments(n.Items, key.FootComment)
		}
	case yaml.SequenceNode:
		n.Kind = doc.List
		for _, item := range y.Content {
			n.Items = yamlComments(n.Items, item.HeadComment, item.LineComment)
			n.Items = append(n.Items, yamlNode(item))
			n.Items = yamlComments(n.Items, item.FootComment)
		}
	default:
		var v any
		y.Decode(&v)
		n.Type, n.Text = goValue(v)
	}
	return n
}

// goValue returns a value's type and text, as in the rules for tokens.
func goValue(v any) (doc.Type, string) {
	switch v := v.(type) {
	case nil:
		return doc.Null, ""
	case int:
		return doc.Int, strconv.Itoa(v)
	case float64:
		return doc.Float, strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return doc.Bool, map[bool]string{true: "True", false: "False"}[v]
	case time.Time:
		return doc.Time, v.Format(time.RFC3339Nano)
	}
	return doc.String, v.(string)
}

func yamlValue(y *yaml.Node) doc.Value {
	switch y.Kind {
	case yaml.MappingNode:
		f := doc.Fields{}
		for i := 0; i < len(y.Content); i += 2 {
			f = append(f, doc.Field{Name: y.Content[i].Value, Value: yamlValue(y.Content[i+1])})
		}
		return f
	case yaml.SequenceNode:
		l := []doc.Value{}
		for _, item := range y.Content {
			l = append(l, yamlValue(item))
		}
		return l
	}
	return y.Value
}

// unflatten undoes __map_ and __list_; list items come in order.
func unflatten(flat []doc.Field) doc.Fields {
	var root doc.Value = doc.Fields{}
	for _, f := range flat {
		path := strings.ReplaceAll(strings.ReplaceAll(f.Name, "__map_", "\x00"), "__list_", "\x00#")
		root = placeAt(root, strings.Split(path, "\x00"), f.Value)
	}
	return root.(doc.Fields)
}

func placeAt(at doc.Value, path []string, v doc.Value) doc.Value {
	if len(path) == 0 {
		return v
	}
	if index, ok := strings.CutPrefix(path[0], "#"); ok {
		i, _ := strconv.Atoi(index)
		list, _ := at.([]doc.Value)
		if i == len(list) {
			list = append(list, nil)
		}
		list[i] = placeAt(list[i], path[1:], v)
		return list
	}
	f, _ := at.(doc.Fields)
	for i := range f {
		if f[i].Name == path[0] {
			f[i].Value = placeAt(f[i].Value, path[1:], v)
			return f
		}
	}
	return append(f, doc.Field{Name: path[0], Value: placeAt(nil, path[1:], v)})
}

// withoutEmpty returns f without empty lists and maps, which flat formats lose.
func withoutEmpty(v doc.Value) doc.Value {
	switch v := v.(type) {
	case doc.Fields:
		var out doc.Fields
		for _, f := range v {
			if x := withoutEmpty(f.Value); x != nil {
				out = append(out, doc.Field{Name: f.Name, Value: x})
			}
		}
		if out == nil {
			return nil
		}
		return out
	case []doc.Value:
		if len(v) == 0 {
			return nil
		}
		var out []doc.Value
		for _, x := range v {
			out = append(out, withoutEmpty(x))
		}
		return out
	}
	return v
}

func ageIdentities(t testing.TB, names []string) (ids []age.Identity) {
	t.Helper()
	for _, name := range names {
		if name == "pgp" || name == "kms" || name == "ssh" {
			continue // need gpg, a server and a package of their own
		}
		src, err := os.ReadFile(filepath.Join(vectorDir, "keys", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := age.ParseIdentities(bytes.NewReader(src))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, parsed...)
	}
	return ids
}

// ageUnwrap decrypts the first entry of a group that the identities open.
func ageUnwrap(group []keys.Entry, ids []age.Identity) ([]byte, error) {
	err := errors.New("no age key in the group")
	for _, e := range group {
		if e.Kind != "age" || len(ids) == 0 {
			continue
		}
		var r io.Reader
		if r, err = age.Decrypt(armor.NewReader(strings.NewReader(e.Field("enc"))), ids...); err == nil {
			return io.ReadAll(r)
		}
	}
	return nil, err
}

func TestMetadataOfVectors(t *testing.T) {
	good, _ := vectors(t)
	unwrapped := 0
	for _, v := range good {
		t.Run(v.ID, func(t *testing.T) {
			_, f, err := readVector(t, v.Format, v.Enc)
			if err != nil {
				t.Fatal(err)
			}
			strict, err := parseMetadata(f, true)
			if err != nil {
				t.Fatal(err)
			}
			lenient, err := parseMetadata(f, false)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(strict, lenient) {
				t.Error("lenient and strict reading differ")
			}
			if got := strict.fields(); v.Format == "dotenv" || v.Format == "ini" {
				if !reflect.DeepEqual(withoutEmpty(got), withoutEmpty(f)) {
					t.Errorf("fields\n%v\nread from\n%v", got, f)
				}
			} else if !reflect.DeepEqual(got, f) {
				t.Errorf("fields\n%v\nread from\n%v", got, f)
			}
			c, err := newValueCipher(v.dataKey(t))
			if err != nil {
				t.Fatal(err)
			}
			mac, ok := parseToken(strict.MAC, true)
			if !ok {
				t.Fatal("mac is not a token")
			}
			if typ, text, err := c.open(mac, strict.macAAD()); err != nil || typ != tagString || text != v.MACPlaintext {
				t.Errorf("mac: type %q, %v", typ, err)
			}
			if len(strict.Groups) != 1 || len(ageIdentities(t, v.Keys)) == 0 {
				return // those with shares are TestShamirVectors's
			}
			key, err := ageUnwrap(strict.Groups[0], ageIdentities(t, v.Keys))
			if err != nil || !bytes.Equal(key, v.dataKey(t)) {
				t.Errorf("data key of the file is not the manifest's: %v", err)
			}
			unwrapped++
		})
	}
	if unwrapped < 60 {
		t.Errorf("only %d data keys were unwrapped", unwrapped)
	}
}

// F and L build metadata.
type L = []doc.Value

func F(namesAndValues ...any) doc.Fields {
	f := doc.Fields{}
	for i := 0; i < len(namesAndValues); i += 2 {
		f = append(f, doc.Field{Name: namesAndValues[i].(string), Value: namesAndValues[i+1]})
	}
	return f
}

// withFields returns f with fields replaced, removed (nil) or added.
func withFields(f doc.Fields, namesAndValues ...any) doc.Fields {
	f = slices.Clone(f)
	for _, x := range F(namesAndValues...) {
		f = slices.DeleteFunc(f, func(y doc.Field) bool { return y.Name == x.Name })
		if x.Value != nil {
			f = append(f, x)
		}
	}
	slices.SortFunc(f, func(a, b doc.Field) int { return cmp.Compare(a.Name, b.Name) })
	return f
}

const baseDate = "2026-01-02T03:04:05Z"

var (
	ageEntry = F("enc", "ENC1", "recipient", "age1x")
	baseMeta = F("age", L{ageEntry}, "lastmodified", baseDate, "mac", "ENC[m]", "version", "3.13.3")
)

// Everything that this program or sops writes reads back as it was written.
func TestMetadataRoundTrip(t *testing.T) {
	kms := F("arn", "arn:aws:kms:x", "aws_profile", "", "context", F("a", "1", "b", "2"), "created_at", baseDate, "enc", "E", "role", "r")
	plainKMS := F("arn", "arn:aws:kms:x", "aws_profile", "p", "created_at", baseDate, "enc", "E")
	tests := map[string]doc.Fields{
		"one key": baseMeta,
		"every kind": withFields(baseMeta,
			"azure_kv", L{F("created_at", baseDate, "enc", "E", "name", "n", "vault_url", "u", "version", "")},
			"gcp_kms", L{F("created_at", baseDate, "enc", "E", "resource_id", "r")},
			"hc_vault", L{F("created_at", baseDate, "enc", "E", "engine_path", "p", "key_name", "k", "vault_address", "a")},
			"hckms", L{F("created_at", baseDate, "enc", "E", "key_id", "k")},
			"kms", L{kms, plainKMS},
			"kms_rsa", L{F("arn", "arn:aws:kms:y", "created_at", baseDate, "enc", "E", "public_key", "P")},
			"pgp", L{F("created_at", baseDate, "enc", "E", "fp", "F")},
			"pkcs11", L{F("created_at", baseDate, "ek", "K", "enc", "E", "key_fp", "sha256:0", "mech", "rsa-oaep-sha256", "uri", "pkcs11:token=t")},
		),
		"groups": withFields(baseMeta, "age", nil, "shamir_threshold", "2", "key_groups", L{
			F("age", L{ageEntry}, "hc_vault", L{}),
			F("age", L{}, "hc_vault", L{}, "kms", L{kms}, "mystery", "kept"),
			F("age", L{}, "hc_vault", L{}, "pkcs11", L{F("created_at", baseDate, "enc", "E")}),
		}),
		"kenv":       withFields(baseMeta, "kenv", F("conflicts", L{"c"}, "layout", L{"a", "b"}, "seal", "S", "version", "1")),
		"options":    withFields(baseMeta, "encrypted_regex", "^x", "mac_only_encrypted", "true"),
		"unknown":    withFields(baseMeta, "future", F("a", L{F("b", "c", "d", L{})}), "zulu", "z", "age", L{F("enc", "E", "extra", L{"x"}, "more", F("a", "b"), "recipient", "r")}),
		"old date":   withFields(baseMeta, "lastmodified", "2026-01-02T03:04:05+02:00"),
		"prerelease": withFields(baseMeta, "version", "v3.14.0-rc.1+build.5"),
	}
	for _, s := range new(Selector).fields() {
		tests[s.name] = withFields(baseMeta, s.name, "value")
	}
	for name, f := range tests {
		for _, strict := range []bool{true, false} {
			m, err := parseMetadata(f, strict)
			if err != nil {
				t.Errorf("%s: strict %v: %v", name, strict, err)
				continue
			}
			if got := m.fields(); !reflect.DeepEqual(got, f) {
				t.Errorf("%s: strict %v: got\n%v\nwant\n%v", name, strict, got, f)
			}
		}
	}
}

func TestMetadataTyped(t *testing.T) {
	f := withFields(baseMeta, "kenv", F("seal", "S", "version", "1", "layout", L{"a"}), "shamir_threshold", "3",
		"mac_only_encrypted", "true", "encrypted_suffix", "_s",
		"kms", L{F("arn", "A", "context", F("k", "v"), "created_at", baseDate)})
	m, err := parseMetadata(f, true)
	if err != nil {
		t.Fatal(err)
	}
	want := &Metadata{
		Groups: [][]keys.Entry{{
			{Kind: "kms", Fields: map[string]any{"arn": "A", "context": map[string]string{"k": "v"}, "created_at": baseDate}},
			{Kind: "age", Fields: map[string]any{"enc": "ENC1", "recipient": "age1x"}},
		}},
		ShamirThreshold: 3, MACOnlyEncrypted: true, Selector: Selector{EncryptedSuffix: "_s"},
		LastModified: baseDate, MAC: "ENC[m]", Version: "3.13.3",
		Kenv:    Kenv{Version: 1, Seal: "S", Layout: []string{"a"}, Unknown: doc.Fields{}},
		Unknown: doc.Fields{},
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got\n%#v\nwant\n%#v", m, want)
	}
}

// What sops reads and does not write is read in lenient mode alone, as sops
// reads it, and written in its canonical form.
func TestMetadataLenient(t *testing.T) {
	tests := map[string]struct{ in, want doc.Fields }{
		"names in any case":  {F("AGE", L{F("Enc", "ENC1", "RECIPIENT", "age1x")}, "LastModified", baseDate, "MAC", "ENC[m]", "Version", "3.13.3"), baseMeta},
		"a map for a list":   {withFields(baseMeta, "age", ageEntry), baseMeta},
		"null lists":         {withFields(baseMeta, "kms", "", "pgp", "null", "key_groups", ""), baseMeta},
		"bool":               {withFields(baseMeta, "mac_only_encrypted", "T"), withFields(baseMeta, "mac_only_encrypted", "true")},
		"no bool":            {withFields(baseMeta, "mac_only_encrypted", ""), baseMeta},
		"int":                {withFields(baseMeta, "shamir_threshold", "0x2"), withFields(baseMeta, "shamir_threshold", "2")},
		"ignored key_groups": {withFields(baseMeta, "key_groups", L{F("age", L{ageEntry})}), baseMeta},
		"kenv of any shape":  {withFields(baseMeta, "kenv", L{"x"}), withFields(baseMeta, "kenv", L{"x"})},
		"kenv gone wrong":    {withFields(baseMeta, "kenv", F("version", L{})), withFields(baseMeta, "kenv", F("version", L{}))},
		"fractions":          {withFields(baseMeta, "lastmodified", "2026-01-02T03:04:05.5Z"), withFields(baseMeta, "lastmodified", "2026-01-02T03:04:05.5Z")},
	}
	for name, tt := range tests {
		m, err := parseMetadata(tt.in, false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := m.fields(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got\n%v\nwant\n%v", name, got, tt.want)
		}
		if _, err := parseMetadata(tt.in, true); err == nil {
			t.Errorf("%s: accepted in strict mode", name)
		}
	}
	// Empty lists, in any order, are what sops before 3.13 wrote.
	old := F("version", "3.7.1", "kms", L{}, "pgp", L{}, "age", L{ageEntry}, "mac", "ENC[m]", "lastmodified", baseDate)
	for _, strict := range []bool{true, false} {
		if m, err := parseMetadata(old, strict); err != nil {
			t.Error(err)
		} else if got, want := m.fields(), withFields(baseMeta, "version", "3.7.1"); !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%v\nwant\n%v", got, want)
		}
	}
}

func TestMetadataErrors(t *testing.T) {
	group := F("age", L{ageEntry})
	tests := map[string]struct {
		f    doc.Fields
		want string // part of the message
	}{
		"empty":               {F(), "no master keys"},
		"no keys":             {withFields(baseMeta, "age", nil), "no master keys"},
		"only unknown keys":   {withFields(baseMeta, "age", nil, "mystery_kms", L{F("enc", "E")}), "no master keys"},
		"empty groups":        {withFields(baseMeta, "age", nil, "key_groups", L{F("age", L{}), F()}), "no master keys"},
		"no lastmodified":     {withFields(baseMeta, "lastmodified", nil), `"lastmodified"`},
		"lastmodified":        {withFields(baseMeta, "lastmodified", "2026-01-02 03:04:05"), `"lastmodified"`},
		"no version":          {withFields(baseMeta, "version", nil), `"version"`},
		"version":             {withFields(baseMeta, "version", "SECRET"), `"version"`},
		"two selectors":       {withFields(baseMeta, "encrypted_regex", "SECRET", "unencrypted_suffix", "_x"), "encrypted_regex and unencrypted_suffix"},
		"mac twice":           {append(slices.Clone(baseMeta), doc.Field{Name: "mac", Value: "SECRET"}), `"mac" occurs twice`},
		"unknown twice":       {append(slices.Clone(baseMeta), F("x", "1", "x", "2")...), `"x" occurs twice`},
		"mac twice but case":  {append(slices.Clone(baseMeta), doc.Field{Name: "Mac", Value: "SECRET"}), `"m`},
		"created_at":          {withFields(baseMeta, "pgp", L{F("enc", "SECRET", "fp", "F")}), `"pgp[0].created_at"`},
		"date of ours":        {withFields(baseMeta, "pkcs11", L{F("enc", "SECRET", "created_at", "now")}), `"pkcs11[0].created_at"`},
		"enc is a list":       {withFields(baseMeta, "age", L{F("enc", L{"SECRET"})}), `"age[0].enc" is not a string`},
		"key is a string":     {withFields(baseMeta, "age", L{"SECRET"}), `"age[0]" is not a map`},
		"age is a string":     {withFields(baseMeta, "age", "SECRET"), `"age" is not a list`},
		"context is a string": {withFields(baseMeta, "kms", L{F("created_at", baseDate, "context", "SECRET")}), `"kms[0].context" is not a map`},
		"context twice":       {withFields(baseMeta, "kms", L{F("created_at", baseDate, "context", F("a", "1", "a", "2"))}), `"kms[0].context.a" occurs twice`},
		"group is a string":   {withFields(baseMeta, "age", nil, "key_groups", L{group, "SECRET"}), `"key_groups[1]" is not a map`},
		"key in group":        {withFields(baseMeta, "age", nil, "key_groups", L{group, F("age", L{F("enc", F())})}), `"key_groups[1].age[0].enc"`},
		"256 groups":          {withFields(baseMeta, "age", nil, "key_groups", slices.Repeat(L{group}, 256)), "255"},
		"bool":                {withFields(baseMeta, "mac_only_encrypted", "yes"), `"mac_only_encrypted"`},
		"threshold":           {withFields(baseMeta, "shamir_threshold", "two"), `"shamir_threshold"`},
		"negative threshold":  {withFields(baseMeta, "shamir_threshold", "-1"), `"shamir_threshold"`},
		"huge threshold":      {withFields(baseMeta, "shamir_threshold", "99999999999999999999"), `"shamir_threshold"`},
		"keys hidden from sops": {withFields(baseMeta, "age", nil, "key_groups", L{group},
			"pkcs11", L{F("created_at", baseDate, "enc", "E")}), `"key_groups" stands beside`},
	}
	for name, tt := range tests {
		for _, strict := range []bool{true, false} {
			_, err := parseMetadata(tt.f, strict)
			if err == nil {
				t.Errorf("%s: strict %v: accepted", name, strict)
			} else if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s: strict %v: %v", name, strict, err)
			}
		}
	}
}

// What is written is what sops writes, whatever the entries hold.
func TestMetadataCanonical(t *testing.T) {
	m := &Metadata{
		Groups: [][]keys.Entry{{
			{Kind: "age", Fields: map[string]any{"recipient": "age1x", "enc": "ENC1"}},
			{Kind: "pkcs11", Fields: map[string]any{"uri": "pkcs11:", "key_fp": ""}},
			{Kind: "kms", Fields: map[string]any{"arn": "A", "enc": "E", "created_at": baseDate, "role": "", "context": map[string]string{}}},
		}},
		LastModified: baseDate, MAC: "ENC[m]", Version: "3.13.3",
	}
	want := withFields(baseMeta,
		"kms", L{F("arn", "A", "aws_profile", "", "created_at", baseDate, "enc", "E")},
		"pkcs11", L{F("uri", "pkcs11:")})
	if got := m.fields(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	// A single group is written flat, and keeps what it had beside its keys.
	m, err := parseMetadata(withFields(baseMeta, "age", nil, "key_groups", L{F("age", L{ageEntry}, "mystery", "kept")}), true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.fields(), withFields(baseMeta, "mystery", "kept"); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// Members whose place is taken by a known field do not come out twice.
func TestMetadataUnknownGivesWay(t *testing.T) {
	m, err := parseMetadata(withFields(baseMeta, "kenv", "odd"), false)
	if err != nil {
		t.Fatal(err)
	}
	m.Kenv = Kenv{Version: 1, Seal: "S"}
	want := withFields(baseMeta, "kenv", F("seal", "S", "version", "1"))
	if got := m.fields(); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

func TestMACAAD(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-02T03:04:05Z":             "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.999999999Z":   "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05+00:00":        "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.1+02:00":      "2026-01-02T03:04:05+02:00",
		"2026-01-02T03:04:05-07:30":        "2026-01-02T03:04:05-07:30",
		"not a time, so it stays as it is": "not a time, so it stays as it is",
	} {
		if got := (&Metadata{LastModified: in}).macAAD(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestIsVersion(t *testing.T) {
	for _, s := range []string{"3.13.3", "v3.13.3", "0.0.0", "1.14", "4.0.0-rc.1", "4.0.0-0a.x-y+001.b", "4.0.0+5"} {
		if !isVersion(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"", "v", "3", "3.13", "3.13.3.1", "03.1.1", "3.-1.1", "3.1.+1", "3.1.x", "3.1.1-", "3.1.1-01", "3.1.1-a..b",
		"3.1.1+", "3.1.1+é", "vv3.1.1", " 3.1.1", "3.1.99999999999999999999"} {
		if isVersion(s) {
			t.Errorf("%q is accepted", s)
		}
	}
}

// Whatever is accepted comes back the same once it was written, and strict
// reading accepts nothing that lenient reading refuses.
func FuzzMetadata(f *testing.F) {
	add := func(meta doc.Fields) {
		var b strings.Builder
		var write func(v doc.Value)
		write = func(v doc.Value) {
			switch v := v.(type) {
			case doc.Fields:
				b.WriteString("{")
				for i, x := range v {
					if i > 0 {
						b.WriteString(", ")
					}
					fmt.Fprintf(&b, "%q: ", x.Name)
					write(x.Value)
				}
				b.WriteString("}")
			case []doc.Value:
				b.WriteString("[")
				for i, x := range v {
					if i > 0 {
						b.WriteString(", ")
					}
					write(x)
				}
				b.WriteString("]")
			default:
				fmt.Fprintf(&b, "%q", v)
			}
		}
		write(meta)
		f.Add(b.String())
	}
	add(baseMeta)
	add(withFields(baseMeta, "kenv", F("seal", "S", "version", "1", "layout", L{"a"}), "mac_only_encrypted", "true"))
	add(withFields(baseMeta, "age", nil, "shamir_threshold", "2", "key_groups", L{F("age", L{ageEntry}), F("kms", F("created_at", baseDate, "context", F("a", "b")), "x", "y")}))
	f.Fuzz(func(t *testing.T, src string) {
		var n yaml.Node
		if yaml.Unmarshal([]byte(src), &n) != nil || len(n.Content) == 0 {
			t.Skip()
		}
		meta, ok := yamlValue(n.Content[0]).(doc.Fields)
		if !ok {
			t.Skip()
		}
		m, err := parseMetadata(meta, false)
		_, strictErr := parseMetadata(meta, true)
		if strictErr == nil && err != nil {
			t.Fatalf("strict accepts what lenient refuses: %v", err)
		}
		if err != nil {
			return
		}
		once := m.fields()
		again, err := parseMetadata(once, false)
		if err != nil {
			t.Fatalf("does not read back: %v\n%v", err, once)
		}
		if twice := again.fields(); !reflect.DeepEqual(once, twice) {
			t.Fatalf("got\n%v\nwant\n%v", twice, once)
		}
	})
}
