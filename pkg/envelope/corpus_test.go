package envelope

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// clearKey wraps by writing the data key down: for tests of everything else.
type clearKey string

func (k clearKey) Name() string { return string(k) }

func (k clearKey) Wrap(_ context.Context, dataKey []byte) (keys.Entry, error) {
	return keys.Entry{Kind: "age", Fields: map[string]any{
		"recipient": string(k),
		"enc":       base64.StdEncoding.EncodeToString(dataKey),
	}}, nil
}

func (k clearKey) Unwrap(_ context.Context, e keys.Entry) ([]byte, error) {
	return base64.StdEncoding.DecodeString(e.Field("enc"))
}

var clearTable = keys.Table{{
	Kind:      "age",
	Parse:     func(s keys.Spec) (keys.MasterKey, bool, error) { return clearKey(s.Name), true, nil },
	FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return clearKey(e.Field("recipient")), nil },
}}

var testPolicy = Policy{Groups: [][]keys.MasterKey{{clearKey("test")}}, Now: time.Unix(1700000000, 0)}

// sharedCorpus holds files of many public repositories, kept outside this one.
const sharedCorpus = "../../../shared/corpus"

// corpus lists the files of a format: our own and, where they are, the shared ones.
func corpus(t testing.TB, format string) []string {
	var files []string
	for _, dir := range []string{"../../testdata/roundtrip", sharedCorpus} {
		filepath.WalkDir(filepath.Join(dir, format), func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, path)
			}
			return nil
		})
	}
	if len(files) == 0 {
		t.Fatalf("no %s files", format)
	}
	return files
}

// wantHeld is how many files of the shared corpus parse, by format.
var wantHeld = map[string]int{"yaml": 458, "json": 161, "dotenv": 96, "ini": 49}

var formats = []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}, doc.INI{}}

// variants are ways in which the same file may be stored.
var variants = []struct {
	name string
	make func([]byte) []byte
}{
	{"as is", func(b []byte) []byte { return b }},
	{"CRLF", func(b []byte) []byte {
		return bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	}},
	{"BOM", func(b []byte) []byte { return append([]byte("\xEF\xBB\xBF"), b...) }},
	{"no final newline", func(b []byte) []byte { return bytes.TrimSuffix(b, []byte("\n")) }},
}

// TestCorpusRoundTrip: every file that parses decrypts to its own bytes, and few
// need more than values replaced where they stand.
func TestCorpusRoundTrip(t *testing.T) {
	_, err := os.Stat(sharedCorpus)
	shared := err == nil
	if !shared {
		t.Logf("%s is not here: only the files of testdata/roundtrip are tried", sharedCorpus)
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			held, below := 0, 0
			for _, f := range formats {
				counts := map[doc.Rung]int{}
				total, utf16 := 0, 0
				for _, path := range corpus(t, f.Name()) {
					src, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					rung, ok := roundTrip(t, path, v.make(src), f)
					if ok && strings.HasPrefix(path, sharedCorpus) {
						counts[rung]++
						total++
						if rung != doc.Splice {
							t.Logf("%v: %s", rung, path)
							if bytes.HasPrefix(src, []byte("\xFF\xFE")) {
								utf16++ // nothing in it could be replaced by a token
							}
						}
					}
				}
				if shared && total < wantHeld[f.Name()] {
					t.Errorf("%s: %d files of the corpus encrypt, want %d", f.Name(), total, wantHeld[f.Name()])
				}
				t.Logf("%s: %v", f.Name(), counts)
				held += total
				below += total - counts[doc.Splice] - utf16
			}
			if below*100 > held {
				t.Errorf("%d of %d files are not held by splicing: more than 1 %%", below, held)
			}
		})
	}
}

// roundTrip reports on which rung a file was held; ok is false for one that does
// not parse.
func roundTrip(t *testing.T, path string, src []byte, f doc.Format) (rung doc.Rung, ok bool) {
	sealed, err := Seal(t.Context(), src, f, testPolicy)
	var syntax *doc.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, doc.ErrEmpty) {
		return 0, false
	}
	if hold := (*CannotHoldError)(nil); errors.As(err, &hold) {
		err = hold.Unwrap()
	}
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0, false
	}
	back, err := Open(t.Context(), sealed.Data, f, clearTable, OpenOptions{RequireSeal: true})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return 0, false
	}
	if !bytes.Equal(back.Plaintext(), src) {
		t.Errorf("%s: other bytes", path)
	}
	return sealed.Rung, true
}
