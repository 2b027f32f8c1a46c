package envelope

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// fullGroup is a group with an entry of every kind, or two, each with all the fields
// that the kind has and one that nobody knows. Those of age can be opened.
func fullGroup(t *testing.T, dataKey []byte, name string) (group []keys.Entry) {
	t.Helper()
	for _, k := range kinds {
		for n := range 2 {
			e := keys.Entry{Kind: k.name, Fields: map[string]any{"other": "x"}}
			for _, field := range k.fields {
				switch field {
				case "context":
					e.Fields[field] = map[string]string{"app": "one", "stage": "two"}
				case "created_at":
					e.Fields[field] = "2020-01-01T00:00:00Z"
				default:
					e.Fields[field] = fmt.Sprint(name, field, n)
				}
			}
			if k.name == "age" {
				opens, err := clearKey(fmt.Sprint(name, n)).Wrap(context.Background(), dataKey)
				if err != nil {
					t.Fatal(err)
				}
				maps.Copy(e.Fields, opens.Fields)
			}
			group = append(group, e)
		}
	}
	return group
}

// sealFull seals a text with metadata that has everything in it: what Seal is told of, and
// what it would keep of an earlier file.
func sealFull(t *testing.T, f doc.Format, src string, p Policy, groups [][]keys.Entry, need int, dataKey []byte) string {
	t.Helper()
	p.Now, p.AllowUnencrypted = time.Unix(1700000000, 0), true
	p.Conflict = &Conflict{Base: []byte(src), Theirs: []byte(src)}
	s, err := newSealing(f, p)
	if err != nil {
		t.Fatal(err)
	}
	other := doc.Fields{{Name: "other", Value: doc.Fields{{Name: "list", Value: []doc.Value{"a", "b"}}, {Name: "text", Value: "x"}}}}
	s.dataKey, s.groups, s.need = dataKey, groups, need
	s.keep = &Metadata{Unknown: other, Kenv: Kenv{Unknown: other}}
	for range groups {
		s.keep.groupUnknown = append(s.keep.groupUnknown, other)
	}
	if len(groups) == 1 {
		s.keep.groupUnknown = nil // they are those of the file
	}
	sealed, err := s.hold([]byte(src), s.prepare([]byte(src)))
	if err != nil {
		t.Fatal(allOf(err))
	}
	return string(sealed.Data)
}

// A change makes other metadata of metadata; name says what it did to which field.
type change func(name string, f doc.Fields)

// changeFields makes every change to metadata that can be made to it by fields: each one
// changed in every way that its value allows, removed, doubled, renamed; and one added.
func changeFields(path string, f doc.Fields, emit change) {
	for i, x := range f {
		at := join(path, x.Name)
		with := func(what string, fields ...doc.Field) {
			emit(at+" "+what, slices.Concat(f[:i:i], fields, f[i+1:]))
		}
		if !empty(x.Value) { // an empty list is as good as none
			with("removed")
		}
		with("twice", x, x)
		with("renamed", doc.Field{Name: x.Name + "x", Value: x.Value})
		with("in capitals", doc.Field{Name: strings.ToUpper(x.Name), Value: x.Value})
		changeValue(x.Value, func(what string, v doc.Value) { with(what, doc.Field{Name: x.Name, Value: v}) })
	}
	emit(join(path, "new")+" added", slices.Concat(f, doc.Fields{{Name: "new", Value: "x"}}))
}

func changeValue(v doc.Value, emit func(what string, v doc.Value)) {
	switch v := v.(type) {
	case string:
		emit("changed at its end", v+"A")
		emit("with a blank", v+" ")
		if v != "" {
			emit("changed at its start", string(v[0]^1)+v[1:])
			emit("cut", v[:len(v)-1])
			emit("emptied", "")
		}
		emit("in a list", []doc.Value{v})
		emit("in a map", doc.Fields{{Name: "a", Value: v}})
	case []doc.Value:
		for i, item := range v {
			at := func(what string) string { return fmt.Sprintf("[%d] %s", i, what) }
			emit(at("removed"), slices.Concat(v[:i:i], v[i+1:]))
			emit(at("twice"), slices.Insert(slices.Clone(v), i, item))
			if i > 0 {
				swapped := slices.Clone(v)
				swapped[i-1], swapped[i] = v[i], v[i-1]
				emit(at("moved up"), swapped)
			}
			if _, entry := item.(doc.Fields); entry && i > 0 {
				continue // the same fields once more
			}
			changeValue(item, func(what string, to doc.Value) {
				list := slices.Clone(v)
				list[i] = to
				emit(at(what), list)
			})
		}
		emit("with one more", append(slices.Clone(v), doc.Value("x")))
		emit("turned to text", "x")
	case doc.Fields:
		changeFields("", v, func(what string, f doc.Fields) { emit("."+what, f) })
		emit("in a list", []doc.Value{v})
		emit("turned to text", "x")
	}
}

// dropped is what is left of metadata when sops writes it.
func dropped(f doc.Fields) doc.Fields {
	ours := func(x doc.Field) bool {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == x.Name })
		return x.Name == kenvField || x.Name == "other" || x.Name == "new" || i >= 0 && kinds[i].ours
	}
	return slices.DeleteFunc(slices.Clone(f), ours)
}

// TestTamperMetadata: of the metadata of a sealed file nothing can be changed, whatever is
// in it. The rows are made of the tables that the code goes by, so a field that is new
// there has its rows here, or fails the test because no file has it.
func TestTamperMetadata(t *testing.T) {
	sources := map[string]string{
		"yaml": "# note\na: 0x10\nb: {c: d}\n", "json": "{\"a\": 1.0, \"b\": {\"c\": \"d\"}}\n",
		"dotenv": "# note\nA=\"1\"\nB=2\n", "ini": "; note\n[a]\nb = 1\nc = \"d\"\n",
	}
	dataKey := make([]byte, keySize)
	type variant struct {
		name   string
		policy Policy
		groups [][]keys.Entry
		need   int
	}
	one := [][]keys.Entry{fullGroup(t, dataKey, "one")}
	shares, err := split(dataKey, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	var three [][]keys.Entry
	for i, share := range shares {
		three = append(three, fullGroup(t, share, fmt.Sprint("g", i)))
	}
	variants := []variant{
		{"one group", Policy{MACOnlyEncrypted: true}, one, 0},
		{"key groups", Policy{}, three, 2},
	}
	for i, field := range (&Selector{}).fields() {
		var s Selector
		*s.fields()[i].value = "note"
		variants = append(variants, variant{field.name, Policy{Selector: s}, [][]keys.Entry{{one[0][slices.IndexFunc(one[0], func(e keys.Entry) bool { return e.Kind == "age" })]}}, 0})
	}

	seen := map[string]bool{}  // names of fields that some file has
	var filled []reflect.Value // what was read of the files
	rows := 0
	for _, f := range formats {
		src, ok := sources[f.Name()]
		if !ok {
			continue
		}
		for _, v := range variants {
			sealed := sealFull(t, f, src, v.policy, v.groups, v.need, dataKey)
			d, err := f.Parse([]byte(sealed))
			if err != nil {
				t.Fatal(err)
			}
			body := doc.Apply(d.Src, f.Detach(d))
			bare, _, err := f.Prepare(body, doc.Splice)
			if err != nil {
				t.Fatal(err)
			}
			attach := func(meta doc.Fields) string { return string(doc.Apply(bare.Src, []doc.Edit{f.Attach(bare, meta)})) }
			if got := attach(d.Meta); got != sealed {
				t.Fatalf("%s, %s: the same metadata makes another file:\n%s\nof\n%s", f.Name(), v.name, got, sealed)
			}
			file, err := Open(t.Context(), []byte(sealed), f, clearTable, OpenOptions{RequireSeal: true})
			if err != nil {
				t.Fatal(err)
			}
			changeFields("", d.Meta, func(name string, _ doc.Fields) {
				for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune(". []", r) }) {
					seen[part] = true
				}
			})
			filled = append(filled, reflect.ValueOf(*file.Meta))

			tried := map[string]bool{}
			changeFields("", d.Meta, func(name string, meta doc.Fields) {
				tampered := attach(meta)
				if tampered == sealed || !strings.HasPrefix(name, v.name) && v.groups[0][0].Kind == "age" {
					return // a selector's own row is what is new in its file
				}
				for how, text := range map[string]string{"": tampered, ", stripped": attach(dropped(meta))} {
					if tried[text] {
						continue
					}
					tried[text] = true
					rows++
					file, err := Open(t.Context(), []byte(text), f, clearTable, OpenOptions{})
					var integrity *IntegrityError
					var noKey *NoKeyError
					switch {
					case file != nil || err == nil:
						t.Errorf("%s, %s: %s%s: opens\n%s", f.Name(), v.name, name, how, text)
					case !errors.As(err, &integrity) && !errors.As(err, &noKey) && !strings.Contains(err.Error(), "metadata") && !strings.Contains(err.Error(), "file version"):
						t.Errorf("%s, %s: %s%s: %v", f.Name(), v.name, name, how, err)
					}
				}
			})
		}
	}
	t.Log(rows, "rows")

	for _, k := range kinds {
		for _, field := range append(slices.Clone(k.fields), k.name) {
			if !seen[field] {
				t.Errorf("no file has %s of %s", field, k.name)
			}
		}
	}
	var all func(path string, typ reflect.Type, of []reflect.Value)
	all = func(path string, typ reflect.Type, of []reflect.Value) {
		for i := range typ.NumField() {
			field := typ.Field(i)
			var values []reflect.Value
			for _, v := range of {
				if v = v.Field(i); !v.IsZero() {
					values = append(values, v)
				}
			}
			if len(values) == 0 {
				t.Errorf("no file has Metadata%s.%s", path, field.Name)
			} else if field.Type.Kind() == reflect.Struct {
				all(path+"."+field.Name, field.Type, values)
			}
		}
	}
	all("", reflect.TypeFor[Metadata](), filled)
}

// TestTamperBase64: a seal and an entry of the layout have one spelling each.
func TestTamperBase64(t *testing.T) {
	sealed, err := Seal(t.Context(), []byte("a: 0x10\n"), doc.YAML{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	file, err := Open(t.Context(), sealed.Data, doc.YAML{}, clearTable, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"seal": file.Meta.Kenv.Seal, "layout": file.Meta.Kenv.Layout[0]} {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, other := range []string{
			strings.TrimRight(text, "="), text + "=", `"` + text[:4] + `\n` + text[4:] + `"`, base64.URLEncoding.EncodeToString(raw) + " ", text + text,
		} {
			tampered := strings.Replace(string(sealed.Data), text, other, 1)
			if o, err := file.Format.Parse([]byte(tampered)); err != nil || fmt.Sprint(o.Meta) == fmt.Sprint(file.doc.Meta) {
				continue // the same text to YAML
			}
			refused(t, name, tampered, doc.YAML{}, clearTable)
		}
	}
}
