package kenv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
)

// sharedCorpus holds files of many public repositories, kept outside this one.
const sharedCorpus = "../../../shared/corpus"

// paths lists the paths to all that a tree holds.
func paths(root *doc.Node, is func(*doc.Node) bool) (list []kenv.Path) {
	var walk func(n *doc.Node, path kenv.Path)
	walk = func(n *doc.Node, path kenv.Path) {
		if len(path) > 0 && is(n) {
			list = append(list, path)
		}
		i := 0
		for _, c := range n.Items {
			if c.Kind == doc.Comment {
				continue
			}
			step := kenv.Step{Key: c.Key}
			if n.Kind == doc.List {
				step = kenv.Step{Index: i, List: true}
			}
			i++
			walk(c, append(path[:len(path):len(path)], step))
		}
	}
	walk(root, nil)
	return list
}

func everything(*doc.Node) bool { return true }

// spread picks up to n of a list.
func spread[T any](list []T, n int) (some []T) {
	n = min(n, len(list))
	for i := range n {
		some = append(some, list[i*len(list)/n])
	}
	return some
}

// gone counts the lines of a that b does not have, and the other way round.
func gone(a, b []byte) (less, more int) {
	have := map[string]int{}
	for line := range strings.SplitSeq(string(b), "\n") {
		have[line]++
	}
	for line := range strings.SplitSeq(string(a), "\n") {
		if have[line]--; have[line] < 0 {
			less++
		}
	}
	for _, n := range have {
		more += max(n, 0)
	}
	return less, more
}

// TestSetLaw: whatever is set, added or taken away in a file, the new file opens and holds
// the value, and its lines are the old ones but for those that changed in the plaintext
// too, and the integrity lines.
func TestSetLaw(t *testing.T) {
	const few = 1
	s, recipient := newSetup(t)
	for _, f := range []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}, doc.INI{}} {
		t.Run(f.Name(), func(t *testing.T) {
			tried, refused := 0, 0
			for _, dir := range []string{"../../testdata/roundtrip", sharedCorpus} {
				filepath.WalkDir(filepath.Join(dir, f.Name()), func(name string, e fs.DirEntry, err error) error {
					if err != nil || !e.Type().IsRegular() {
						return nil
					}
					src, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					sealed, err := s.Encrypt(t.Context(), kenv.Source{Data: src, Format: f}, kenv.EncryptOptions{Keys: []string{recipient}})
					if err != nil {
						return nil
					}
					text, err := doc.ReadText(f, src)
					if err != nil {
						return nil
					}
					check := func(what string, path kenv.Path, out *kenv.Changed, err error, holds func(*envelope.File) error) {
						t.Helper()
						alias := (*doc.AliasError)(nil)
						switch {
						case errors.As(err, &alias), errors.Is(err, kenv.ErrTwice), err != nil && strings.Contains(err.Error(), "empty file"):
							return
						case err != nil:
							refused++
							t.Logf("%s: %s %s: %v", name, what, path, err)
							return
						}
						tried++
						file, err := s.Open(t.Context(), kenv.Source{Data: out.Data, Format: f})
						if err == nil {
							err = holds(file)
						}
						if err != nil {
							t.Errorf("%s: %s %s: %v", name, what, path, err)
							return
						}
						if sealed.Rung != doc.Splice || out.Rung != doc.Splice || bytes.Contains(sealed.Data, []byte("layout")) {
							return // a note is about a place, which may have moved
						}
						now, err := doc.ReadText(f, file.Plaintext())
						if err != nil {
							t.Fatal(err)
						}
						crlf := []byte("\r\n")
						switch {
						case len(paths(now.Roots[0], everything)) == 0, len(paths(text.Roots[0], everything)) == 0:
							return // the metadata goes between the braces of {}
						case bytes.Contains(src, crlf) != bytes.Contains(file.Plaintext(), crlf):
							return // so do its line breaks
						}
						plainLess, plainMore := gone(src, file.Plaintext())
						less, more := gone(sealed.Data, out.Data)
						// Three integrity lines, and in INI comments that come to stand together are one.
						if less > plainLess+3+3 || more > plainMore+3+2 {
							t.Errorf("%s: %s %s: %d lines of the plaintext became %d, and %d of the file became %d", name, what, path, plainLess, plainMore, less, more)
						}
					}
					value := doc.StringValue("changed: # it")
					holdsIt := func(path kenv.Path) func(*envelope.File) error {
						return func(file *envelope.File) error {
							got, err := kenv.Get(file, path, nil)
							if err == nil && string(got) != "changed: # it" {
								err = fmt.Errorf("holds %q", got)
							}
							return err
						}
					}
					for _, path := range spread(paths(text.Roots[0], func(n *doc.Node) bool { return n.Kind == doc.Scalar }), few) {
						out, err := s.Set(t.Context(), kenv.Source{Data: sealed.Data, Format: f}, path, value, kenv.ChangeOptions{})
						check("set", path, out, err, holdsIt(path))
					}
					maps := paths(text.Roots[0], func(n *doc.Node) bool { return n.Kind == doc.Map })
					if text.Roots[0].Kind == doc.Map {
						maps = append(maps, nil)
					}
					for _, path := range spread(maps, few) {
						path = append(path[:len(path):len(path)], kenv.Step{Key: "NEW_KEY"})
						if f.Name() == "ini" && len(path) == 1 {
							path = append(path, kenv.Step{Key: "NEW_KEY"}) // in a section
						}
						out, err := s.Set(t.Context(), kenv.Source{Data: sealed.Data, Format: f}, path, value, kenv.ChangeOptions{})
						check("add", path, out, err, holdsIt(path))
					}
					for _, path := range spread(paths(text.Roots[0], everything), few) {
						out, err := s.Unset(t.Context(), kenv.Source{Data: sealed.Data, Format: f}, path, kenv.ChangeOptions{})
						check("unset", path, out, err, func(file *envelope.File) error {
							was, is := paths(text.Roots[0], everything), []kenv.Path(nil)
							if now, err := doc.ReadText(f, file.Plaintext()); err != nil {
								return err
							} else {
								is = paths(now.Roots[0], everything)
							}
							if len(is) >= len(was) {
								return fmt.Errorf("%d paths were %d", len(is), len(was))
							}
							return nil
						})
					}
					return nil
				})
			}
			t.Logf("%d changes, %d refused", tried, refused)
			if refused*50 > tried {
				t.Errorf("%d of %d changes are refused", refused, tried)
			}
		})
	}
}

// What cannot be changed in place can be read all the same.
func TestGetUTF16(t *testing.T) {
	text := "\xFF\xFE"
	for _, c := range "a: {b: 7}\n" {
		text += string([]byte{byte(c), 0})
	}
	s, recipient := newSetup(t)
	source := kenv.Source{Data: []byte(text), Format: doc.YAML{}}
	sealed, err := s.Encrypt(t.Context(), source, kenv.EncryptOptions{Keys: []string{recipient}})
	if err != nil {
		t.Fatal(err)
	}
	source.Data = sealed.Data
	f, err := s.Open(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Wipe()
	path := kenv.Path{{Key: "a"}, {Key: "b"}}
	if got, err := kenv.Get(f, path, nil); err != nil || string(got) != "7" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := kenv.GetRaw(f, path); err != nil || string(got) != "7" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.Set(t.Context(), source, path, doc.StringValue("x"), kenv.ChangeOptions{}); err == nil {
		t.Error("UTF-16 was changed")
	}
}

// helmValues is a file like the defaults of a large chart: 2,300 lines, most of them
// comments, the same ones again and again.
func helmValues() []byte {
	var b bytes.Buffer
	b.WriteString("## Default values\n\nglobal:\n  imageRegistry: \"\"\n  pullSecrets: []\n")
	for i := range 115 {
		fmt.Fprintf(&b, `
## @section Component %d
##
component%d:
  ## @param enabled Whether it runs
  enabled: true
  ## @param auth Secrets
  auth:
    ## Who
    username: user%d
    ## @param password The password
    ## Leave it empty for a random one
    password: "secret-%d" # changed in March
    existing: ""
  ## Ports
  ports:
    - name: http
      containerPort: 8080
    - {name: metrics, containerPort: 9100}
  resources: {}
`, i, i, i, i)
	}
	return b.Bytes()
}

// TestSetDiff: one value set in a file of 2,300 lines is a diff of its line and the
// integrity lines. So says git.
func TestSetDiff(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	s, recipient := newSetup(t)
	files := map[string][]byte{"helm": helmValues()}
	set := map[string]string{"helm": "component77.auth.password"}
	if src, err := os.ReadFile(filepath.Join(sharedCorpus, "yaml/bitnami+charts/bitnami__redis__values.yaml")); err == nil {
		files["redis"], set["redis"] = src, "auth.password"
	}
	for name, src := range files {
		t.Run(name, func(t *testing.T) {
			if lines := bytes.Count(src, []byte("\n")); lines < 2200 {
				t.Fatalf("only %d lines", lines)
			}
			sealed, err := s.Encrypt(t.Context(), kenv.Source{Data: src, Format: doc.YAML{}}, kenv.EncryptOptions{Keys: []string{recipient}})
			if err != nil {
				t.Fatal(err)
			}
			path, err := kenv.ParsePath(set[name])
			if err != nil {
				t.Fatal(err)
			}
			source := kenv.Source{Data: sealed.Data, Format: doc.YAML{}}
			out, err := s.Set(t.Context(), source, path, doc.StringValue("new"), kenv.ChangeOptions{})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
			if err := errors.Join(os.WriteFile(before, sealed.Data, 0o600), os.WriteFile(after, out.Data, 0o600)); err != nil {
				t.Fatal(err)
			}
			// It ends with 1, as there are differences.
			stat, _ := exec.Command("git", "diff", "--no-index", "--numstat", before, after).Output()
			var more, less int
			if _, err := fmt.Sscan(string(stat), &more, &less); err != nil {
				t.Fatalf("%v: %q", err, stat)
			}
			// lastmodified has whole seconds.
			if more != less || more < 3 || more > 4 {
				t.Errorf("%d lines were replaced by %d, want those of the value, seal, mac and lastmodified", less, more)
			}
		})
	}
}
