package doc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestEmit: a tree that is written anew reads as the same data; comments too, where
// the format has them.
func TestEmit(t *testing.T) {
	for _, f := range []Format{YAML{}, JSON{}, Dotenv{}, INI{}} {
		var files []string
		for _, dir := range []string{"../../testdata/roundtrip", "../../../shared/corpus"} {
			filepath.WalkDir(filepath.Join(dir, f.Name()), func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					files = append(files, path)
				}
				return nil
			})
		}
		emitted := 0
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := f.Prepare(src, Splice)
			if err != nil {
				continue
			}
			roots := d.Unwrap()
			for _, as := range []Format{f, YAML{}} {
				out, err := as.Emit(roots)
				if err != nil {
					t.Errorf("%s as %s: %v", path, as.Name(), err)
					continue
				}
				got, _, err := as.Prepare(out, Splice)
				if errors.Is(err, ErrEmpty) && len(out) == 0 {
					continue // nothing but comments that are no key's
				}
				if as != f && (errors.Is(err, ErrRung) || errors.Is(err, ErrReserved)) {
					continue // a key twice, or one that YAML files need
				}
				if err != nil {
					t.Errorf("%s as %s: %v:\n%.300q", path, as.Name(), err, out)
				} else if !sameData(roots, got.Unwrap()) {
					t.Errorf("%s as %s: other data:\n%.300q", path, as.Name(), out)
				}
				emitted++
			}
		}
		if emitted < 20 {
			t.Errorf("%s: only %d files", f.Name(), emitted)
		}
	}
}
