package envelope

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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
	Parse:     func(name string) (keys.MasterKey, bool, error) { return clearKey(name), true, nil },
	FromEntry: func(e keys.Entry) (keys.MasterKey, error) { return clearKey(e.Field("recipient")), nil },
}}

var testPolicy = Policy{Groups: [][]keys.MasterKey{{clearKey("test")}}, Now: time.Unix(1700000000, 0)}

func corpus(t testing.TB, format string) []string {
	var files []string
	for _, dir := range []string{"../../testdata/roundtrip", "../../../shared/corpus"} {
		filepath.WalkDir(filepath.Join(dir, format), func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, path)
			}
			return nil
		})
	}
	return files
}

var formats = []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}}

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

func TestCorpusRoundTrip(t *testing.T) {
	for _, f := range formats {
		files := corpus(t, f.Name())
		if len(files) == 0 {
			t.Fatalf("no %s files", f.Name())
		}
		for _, v := range variants {
			t.Run(f.Name()+"/"+v.name, func(t *testing.T) {
				counts := map[string]int{}
				for _, path := range files {
					src, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					src = v.make(src)
					sealed, err := Seal(t.Context(), src, f, testPolicy)
					var syntax *doc.SyntaxError
					if errors.As(err, &syntax) || errors.Is(err, doc.ErrEmpty) || errors.Is(err, doc.ErrReserved) {
						counts["refused"]++
						continue
					}
					if err != nil {
						var hold *CannotHoldError
						if errors.As(err, &hold) {
							err = hold.Unwrap()
						}
						t.Errorf("%s: %v", path, err)
						continue
					}
					counts[fmt.Sprintf("%d %v", sealed.Rung, sealed.Rung)]++
					if sealed.Rung != doc.Splice {
						t.Logf("%v: %s", sealed.Rung, path)
					}
					back, err := Open(t.Context(), sealed.Data, f, clearTable, OpenOptions{RequireSeal: true})
					if err != nil {
						t.Errorf("%s: %v", path, err)
						continue
					}
					if !bytes.Equal(back.Plaintext(), src) {
						t.Errorf("%s: other bytes", path)
					}
				}
				t.Logf("%d files: %v", len(files), strings.TrimPrefix(fmt.Sprint(counts), "map"))
			})
		}
	}
}
