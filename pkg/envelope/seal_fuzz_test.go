package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
)

// A recorder is a hash that keeps what it is given.
type recorder struct{ bytes.Buffer }

func (*recorder) Sum([]byte) []byte { return nil }
func (*recorder) Size() int         { return 0 }
func (*recorder) BlockSize() int    { return 1 }

// A sealReader reads the encoding that docs/format.md specifies, and shows it with
// brackets and quotes. That it can, with nothing left over, is what makes the encoding
// injective.
type sealReader struct {
	in  []byte
	out strings.Builder
	err error
}

func (r *sealReader) take() byte {
	if len(r.in) == 0 {
		r.err = errors.New("cut short")
		return 0
	}
	b := r.in[0]
	r.in = r.in[1:]
	return b
}

// text shows a string with what it is.
func (r *sealReader) text(kinds string) byte {
	kind := r.take()
	if strings.IndexByte(kinds, kind) < 0 || len(r.in) < 8 {
		r.err = fmt.Errorf("%q where one of %q belongs", kind, kinds)
		return 0
	}
	n := binary.BigEndian.Uint64(r.in)
	r.in = r.in[8:]
	if n > uint64(len(r.in)) {
		r.err = errors.New("a length beyond the end")
		return 0
	}
	fmt.Fprintf(&r.out, "%c%q ", kind, r.in[:n])
	r.in = r.in[n:]
	return kind
}

func (r *sealReader) node() {
	switch k := r.take(); k {
	case 'c', 'e':
		r.out.WriteByte(k)
		r.text("sifbtn")
		r.text("W")
	case 'M', 'L':
		r.out.WriteString(string(k) + "( ")
		for r.err == nil {
			switch next := append(r.in, 0)[0]; {
			case next == '.':
				r.take()
				r.out.WriteString(") ")
				return
			case next == '#' || next == '%':
				r.text("#%")
				r.text("W")
				continue
			case k == 'M':
				r.text("K")
			case r.take() != 'I':
				r.err = errors.New("no item")
			}
			r.text("T")
			r.node()
		}
	default:
		r.err = fmt.Errorf("a node of kind %q", k)
	}
}

func (r *sealReader) value() {
	switch {
	case r.err != nil:
	case len(r.in) > 0 && r.in[0] == 's':
		r.text("s")
	default:
		k := r.take()
		if k != 'M' && k != 'L' {
			r.err = fmt.Errorf("metadata of kind %q", k)
			return
		}
		r.out.WriteString(string(k) + "( ")
		for r.err == nil && (len(r.in) == 0 || r.in[0] != '.') {
			if k == 'M' {
				r.text("K")
			} else if r.take() != 'I' {
				r.err = errors.New("no item")
			}
			r.value()
		}
		r.take()
		r.out.WriteString(") ")
	}
}

func (r *sealReader) file() {
	r.text("F")
	for r.err == nil && len(r.in) > 0 && r.in[0] != '.' {
		fmt.Fprintf(&r.out, "\n%c ", r.take())
		r.text("T")
		r.node()
	}
	r.take()
	r.out.WriteByte('\n')
	r.value()
	if r.err == nil && len(r.in) > 0 {
		r.err = errors.New("something is left over")
	}
}

// shown is what a sealReader should show of a document.
func shown(format string, d *doc.Document, meta doc.Fields, comments bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "F%q ", format)
	var node func(n *doc.Node)
	node = func(n *doc.Node) {
		if n.Kind == doc.Scalar {
			code := "c"
			if n.Encrypted {
				code = "e"
			}
			fmt.Fprintf(&b, "%s%c%q W%q ", code, "sifbtn"[n.Type], n.Text, d.Form(n))
			return
		}
		fmt.Fprintf(&b, "%c( ", "?ML"[n.Kind])
		for _, c := range n.Items {
			switch {
			case c.Kind == doc.Comment && c.Encrypted:
				fmt.Fprintf(&b, "#%q W%q ", c.Text, d.Form(c))
			case c.Kind == doc.Comment && comments:
				fmt.Fprintf(&b, "%%%q W%q ", c.Text, d.Form(c))
			case c.Kind == doc.Comment:
			default:
				if n.Kind == doc.Map {
					fmt.Fprintf(&b, "K%q ", c.Key)
				}
				fmt.Fprintf(&b, "T%q ", c.Mark)
				node(c)
			}
		}
		b.WriteString(") ")
	}
	for i, r := range d.Roots {
		kind := "D"
		switch {
		case i > 0 && r.Type == doc.Null:
			kind = "N"
		case d.Whole != nil:
			kind = "X"
		case doc.IsWrapped(r):
			kind = "R"
		}
		fmt.Fprintf(&b, "\n%s T%q ", kind, r.Mark)
		node(r)
	}
	b.WriteByte('\n')
	var value func(v doc.Value, path string)
	value = func(v doc.Value, path string) {
		switch v := v.(type) {
		case string:
			fmt.Fprintf(&b, "s%q ", v)
		case []doc.Value:
			b.WriteString("L( ")
			for _, x := range v {
				value(x, path+"[]")
			}
			b.WriteString(") ")
		case doc.Fields:
			b.WriteString("M( ")
			for _, x := range sorted(v) {
				if at := path + "." + x.Name; at != ".mac" && at != ".kenv.seal" && !empty(x.Value) {
					fmt.Fprintf(&b, "K%q ", x.Name)
					value(x.Value, at)
				}
			}
			b.WriteString(") ")
		}
	}
	value(meta, "")
	return b.String()
}

// FuzzSealEncoding: what is sealed can be read back out of the encoding, all of it and
// nothing else. So no two files have one encoding.
func FuzzSealEncoding(f *testing.F) {
	addSeeds(f, func(which uint8, src []byte) { f.Add(which, src, "x", "y\x00") })
	f.Fuzz(func(t *testing.T, which uint8, src []byte, name, text string) {
		format := formats[int(which)%len(formats)]
		d, _, err := format.Prepare(src, doc.Splice)
		if err != nil {
			return
		}
		m := &Metadata{Unknown: doc.Fields{
			{Name: name, Value: []doc.Value{text, doc.Fields{{Name: text, Value: name}}, []doc.Value{}, ""}}, {Name: "kenv" + name, Value: text},
		}}
		if len(name) > 0 && name[0]%2 == 0 {
			m.Selector.EncryptedCommentRegex = "x"
		}
		// Which of them are encrypted is any pattern.
		i := 0
		var mark func(n *doc.Node)
		mark = func(n *doc.Node) {
			if n.Kind == doc.Scalar || n.Kind == doc.Comment {
				n.Encrypted = len(text) > 0 && text[i%len(text)]>>(i/len(text)%8)&1 == 1
				i++
			}
			for _, c := range n.Items {
				mark(c)
			}
		}
		for _, r := range d.Roots {
			mark(r)
		}
		meta := m.fields()
		all := &recorder{}
		s := &sealer{doc: d, mac: all, allComments: allComments(format.Name(), m)}
		s.encode(format.Name(), meta)
		r := &sealReader{in: all.Bytes()}
		r.file()
		if want := shown(format.Name(), d, meta, s.allComments); r.err != nil || r.out.String() != want {
			t.Fatalf("%v: read as\n%s\nwant\n%s", r.err, r.out.String(), want)
		}
	})
}

// FuzzEntries: what is sealed into the layout or as a conflict comes out the same, and not
// if one bit of it is another; whatever a holder of the key sealed does no harm.
func FuzzEntries(f *testing.F) {
	f.Add(byte('s'), 0, "0\x00.db", "0x1538", uint16(3))
	f.Add(byte(0), 1<<20, "", "", uint16(999))
	f.Add(byte('w'), 300, strings.Repeat("p", 200), "\xff\n", uint16(40))
	f.Fuzz(func(t *testing.T, kind byte, n int, path, text string, flip uint16) {
		dataKey := bytes.Repeat([]byte{7}, keySize)
		c, err := newLayoutCipher(dataKey)
		if err != nil {
			t.Fatal(err)
		}
		note := doc.Note{Kind: kind, N: n & (1<<31 - 1), Path: path, Text: text}
		entry := c.seal(note)
		if got, err := c.open(entry); err != nil || got != note {
			t.Fatalf("%+v became %+v, %v", note, got, err)
		}
		raw, _ := base64.StdEncoding.DecodeString(entry)
		raw[int(flip)/8%len(raw)] ^= 1 << (flip % 8)
		if got, err := c.open(base64.StdEncoding.EncodeToString(raw)); err == nil {
			t.Fatalf("opens to %+v with another bit", got)
		}
		if got, err := c.open(c.box.seal([]byte(path + text))); err == nil && len(got.Path)+len(got.Text) > len(path+text) {
			t.Fatalf("more comes out than went in: %+v", got)
		}

		conflict := &Conflict{Base: []byte(path), Theirs: []byte(text), Why: []string{text, path}}
		entries, err := conflict.seal(dataKey)
		if err != nil {
			t.Fatal(err)
		}
		file := &File{dataKey: dataKey, Meta: &Metadata{Kenv: Kenv{Conflicts: entries}}}
		got, err := file.Conflict()
		if err != nil || !bytes.Equal(got.Base, conflict.Base) || !bytes.Equal(got.Theirs, conflict.Theirs) || !reflect.DeepEqual(got.Why, conflict.Why) {
			t.Fatalf("%+v became %+v, %v", conflict, got, err)
		}
		if _, err := c.open(entries[0]); err == nil {
			t.Fatal("an entry of conflicts opens as one of the layout")
		}
	})
}
