package kenv_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

const threeValues = "# first\na: hunter2\nb:\n  - c-value\n  - 1000\nd: d-value # last\n"

// saved writes an encrypted file into a directory of its own.
func saved(t *testing.T, s kenv.Setup, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := s.Encrypt(t.Context(), kenv.Source{Name: path, Data: []byte(text)}, kenv.EncryptOptions{Keys: []string{"test"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := kenv.Replace(path, out.Data, kenv.WriteOptions{Ciphertext: true}); err != nil {
		t.Fatal(err)
	}
	return path
}

// openFile opens it with the keys of a setup.
func openFile(t *testing.T, s kenv.Setup, path string) *kenv.File {
	t.Helper()
	f, err := kenv.Open(t.Context(), path, s.Keys...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Wipe)
	return f
}

func text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whatever is saved, how often: what a File says of itself is what the file holds for
// whoever opens it next, and between one save and the next the lines of what changed
// differ, and the integrity lines.
func TestFileSavesWhatItSays(t *testing.T) {
	s, _ := newSetup(t)
	path := saved(t, s, "a.yaml", threeValues)
	f := openFile(t, s, path)
	steps := []struct {
		change func() error
		want   string
		lines  int // of the body that change
	}{
		{func() error { return f.Set("a", "new") }, strings.Replace(threeValues, "hunter2", "new", 1), 1},
		{func() error { return f.Set("d", "d-2") }, "# first\na: new\nb:\n  - c-value\n  - 1000\nd: d-2 # last\n", 1},
		{func() error { return errors.Join(f.Set("b[2]", true), f.Set("b[0]", 5)) }, "# first\na: new\nb:\n  - 5\n  - 1000\n  - true\nd: d-2 # last\n", 2},
		{func() error { return f.Unset("b") }, "# first\na: new\nd: d-2 # last\n", 4},
		{func() error { return f.Set("e", map[string]any{"x": []int{1}, "y": nil}) }, "# first\na: new\nd: d-2 # last\ne:\n  x:\n    - 1\n  \"y\": null\n", 4},
	}
	for i, step := range steps {
		before := text(t, path)
		if err := step.change(); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if text(t, path) != before {
			t.Fatalf("step %d: the file changed before it was saved", i)
		}
		if err := f.Save(t.Context()); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		says, err := f.Get("")
		if err != nil {
			t.Fatal(err)
		}
		holds, err := openFile(t, s, path).Get("")
		if err != nil {
			t.Fatal(err)
		}
		if says != step.want || holds != step.want {
			t.Errorf("step %d: says\n%sand holds\n%swant\n%s", i, says, holds, step.want)
		}
		// mac, lastmodified and seal are the integrity lines.
		if less, more := gone([]byte(before), []byte(text(t, path))); less > step.lines+3 || more > step.lines+3 {
			t.Errorf("step %d: %d lines went and %d came, where %d of the plaintext changed", i, less, more, step.lines)
		}
	}
}

// A File looks values up as kenv get does, and its changes are those of kenv set.
func TestFileIsTheCommand(t *testing.T) {
	s, recipient := newSetup(t)
	read, changed := 0, 0
	for _, f := range []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}, doc.INI{}} {
		filepath.WalkDir(filepath.Join("../../testdata/roundtrip", f.Name()), func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return nil
			}
			src := []byte(text(t, name))
			sealed, err := s.Encrypt(t.Context(), kenv.Source{Data: src, Format: f}, kenv.EncryptOptions{Keys: []string{recipient}})
			if err != nil {
				return nil
			}
			source := kenv.Source{Data: sealed.Data, Format: f}
			opened, err := s.Open(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			tree, err := doc.ReadText(f, src)
			if err != nil {
				return nil
			}
			for _, path := range spread(paths(tree.Roots[0], func(n *doc.Node) bool { return n.Kind == doc.Scalar }), 3) {
				file, err := s.OpenFile(t.Context(), source, kenv.ChangeOptions{})
				if err != nil {
					t.Fatal(err)
				}
				want, wantErr := kenv.GetRaw(opened, path)
				got, err := file.Get(path.String())
				if got != string(want) || (err == nil) != (wantErr == nil) {
					t.Errorf("%s: %s is %q (%v), and to the command %q (%v)", name, path, got, err, want, wantErr)
				}
				read++
				out, wantErr := s.Set(t.Context(), source, path, doc.StringValue("changed: # it"), kenv.ChangeOptions{})
				err = file.Set(path.String(), "changed: # it")
				if (err == nil) != (wantErr == nil) {
					t.Errorf("%s: setting %s: %v, and by the command %v", name, path, err, wantErr)
				}
				if err != nil || wantErr != nil {
					continue
				}
				changed++
				byCommand, err := s.Open(t.Context(), kenv.Source{Data: out.Data, Format: f})
				if err != nil {
					t.Fatal(err)
				}
				if now, err := file.Get(""); err != nil || now != string(byCommand.Plaintext()) {
					t.Errorf("%s: setting %s gives (%v)\n%q, and by the command\n%q", name, path, err, now, byCommand.Plaintext())
				}
			}
			return nil
		})
	}
	if read < 100 || changed < 80 {
		t.Errorf("only %d values were read and %d changed", read, changed)
	}
}

// A file that somebody else wrote is not overwritten, by the first save nor by a later
// one, and one that is as it was is not written at all.
func TestFileKeepsWhatOthersWrote(t *testing.T) {
	s, _ := newSetup(t)
	path := saved(t, s, "a.yaml", threeValues)
	first, second := openFile(t, s, path), openFile(t, s, path)
	stamp, err := kenv.StampOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(first.Set("a", "hunter2"), first.Save(t.Context())); err != nil {
		t.Fatal(err)
	}
	if now, err := kenv.StampOf(path); err != nil || !now.Same(stamp) {
		t.Errorf("it was written (%v), and nothing had changed", err)
	}
	change := func(f *kenv.File, value string) error {
		return errors.Join(f.Set("a", value), f.Save(t.Context()))
	}
	if err := errors.Join(change(first, "1"), change(first, "2")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := change(second, "lost"); !errors.Is(err, kenv.ErrChanged) {
			t.Errorf("a file that another wrote: %v", err)
		}
	}
	if err := change(openFile(t, s, path), "3"); err != nil {
		t.Fatal(err)
	}
	if err := change(first, "lost"); !errors.Is(err, kenv.ErrChanged) {
		t.Errorf("a file that another wrote after it was saved: %v", err)
	}
	if got, err := openFile(t, s, path).Get("a"); err != nil || got != "3" {
		t.Errorf("it holds %q, %v", got, err)
	}
}

// Errors say which file and what is wrong, so that a program can tell, and hold no value.
func TestFileErrors(t *testing.T) {
	s, _ := newSetup(t)
	good := saved(t, s, "good.yaml", threeValues)
	dir := filepath.Dir(good)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	as := func(target any) func(error) bool {
		return func(err error) bool { return errors.As(err, target) }
	}
	is := func(target error) func(error) bool {
		return func(err error) bool { return errors.Is(err, target) }
	}
	open := func(path string, table ...keys.Provider) error {
		f, err := kenv.Open(t.Context(), path, table...)
		if f != nil {
			t.Errorf("%s opened", path)
		}
		return err
	}
	f := openFile(t, s, good)
	var port struct{ A int }
	for name, c := range map[string]struct {
		err error
		is  func(error) bool
	}{
		"no file":       {open(filepath.Join(dir, "none.yaml"), s.Keys...), is(fs.ErrNotExist)},
		"not encrypted": {open(write("plain.yaml", "a: hunter2\n"), s.Keys...), is(kenv.ErrNotEncrypted)},
		"empty":         {open(write("empty.yaml", ""), s.Keys...), is(doc.ErrEmpty)},
		"no provider":   {open(good), as(new(*envelope.NoKeyError))},
		"changed": {open(write("changed.yaml", strings.Replace(text(t, good), "# last", "# other", 1)+"e: 1\n"), s.Keys...),
			as(new(*envelope.IntegrityError))},
		"conflict":        {open(write("merge.yaml", "<<<<<<< a\na: hunter2\n=======\na: c-value\n>>>>>>> b\n"), s.Keys...), is(kenv.ErrConflict)},
		"no such path":    {second(f.Get("b[7]")), as(new(*kenv.PathError))},
		"no such key":     {f.Unset("hosts"), as(new(*kenv.PathError))},
		"a path":          {f.Set("a[", 1), func(err error) bool { return strings.Contains(err.Error(), "bracket") }},
		"not single":      {second(f.Get("b")), func(err error) bool { return strings.Contains(err.Error(), `"b" is a list of 2`) }},
		"reserved":        {f.Set("sops", "x"), is(doc.ErrReserved)},
		"through a value": {f.Set("a.b", "x"), as(new(*kenv.PathError))},
		"not text":        {f.Set("a", "\xff"), func(err error) bool { return strings.Contains(err.Error(), "UTF-8") }},
		"no value":        {f.Set("a", make(chan int)), func(err error) bool { return strings.Contains(err.Error(), "chan int") }},
		"no int": {f.Decode("", &port), func(err error) bool {
			return strings.Contains(err.Error(), `"A" is a JSON string, which does not fit a Go int`)
		}},
		"no number": {f.Decode("b[1]", new(bool)), func(err error) bool { return strings.Contains(err.Error(), "number does not fit a Go bool") }},
		"too large": {f.Decode("b[1]", new(int8)), func(err error) bool { return strings.Contains(err.Error(), "number does not fit a Go int8") }},
		"no time":   {f.Decode("a", new(time.Time)), func(err error) bool { return strings.Contains(err.Error(), "does not fit") }},
	} {
		switch {
		case c.err == nil:
			t.Errorf("%s: no error", name)
		case !c.is(c.err):
			t.Errorf("%s: %v", name, c.err)
		case !strings.Contains(c.err.Error(), dir):
			t.Errorf("%s: %v, which names no file", name, c.err)
		case strings.Contains(c.err.Error(), "hunter2") || strings.Contains(c.err.Error(), "-value") || strings.Contains(c.err.Error(), "1000"):
			t.Errorf("%s: %v, which holds a value", name, c.err)
		}
	}
	if now, err := f.Get(""); err != nil || now != threeValues {
		t.Errorf("after changes that failed it is (%v)\n%s", err, now)
	}
}

func second[T any](_ T, err error) error { return err }

// A File in a log shows no secret, whatever verb prints it.
func TestFilePrintsNoSecret(t *testing.T) {
	s, _ := newSetup(t)
	f := openFile(t, s, saved(t, s, "a.yaml", threeValues))
	if printed := fmt.Sprint(f); !strings.HasSuffix(printed, `a.yaml")`) {
		t.Errorf("it is printed as %s", printed)
	}
	for _, changed := range []bool{false, true} {
		if changed {
			if err := f.Set("d", "hunter3"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.Get("a"); err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, secret := range []string{"hunter", "c-value"} {
				printed := fmt.Sprintf(verb, f)
				bytesOf := strings.Trim(fmt.Sprint([]byte(secret)), "[]")
				if strings.Contains(printed, secret) || strings.Contains(printed, bytesOf) || strings.Contains(printed, fmt.Sprintf("%x", secret)) {
					t.Errorf("%s shows a secret", verb)
				}
			}
		}
	}
}

// Recipients that the rule does not name are not written to, unless they are accepted.
func TestFileRecipients(t *testing.T) {
	s, _ := newSetup(t)
	path := saved(t, s, "a.yaml", threeValues)
	config := "creation_rules:\n  - age: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n"
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), ".kenv.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	before := text(t, path)
	for _, accept := range []bool{false, true} {
		f, err := s.OpenFile(t.Context(), kenv.Source{Name: path}, kenv.ChangeOptions{AcceptRecipients: accept})
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(f.Set("a", "new"), f.Save(t.Context()))
		if refused := (*kenv.RecipientsError)(nil); errors.As(err, &refused) == accept || accept && err != nil {
			t.Errorf("accepting them: %v: %v", accept, err)
		}
		if changed := text(t, path) != before; changed != accept {
			t.Errorf("accepting them: %v, written: %v", accept, changed)
		}
	}
}

// However often a File is read, changed and saved, its keys are asked once, and not at all
// when the context has ended.
func TestFileAsksOnce(t *testing.T) {
	asked, named := 0, 0
	s := kenv.Setup{Keys: keys.Table{{
		Kind: "kms", Remote: true,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			return serverKey{clearKey(s.Name), &asked, &named}, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			return serverKey{clearKey(e.Field("arn")), &asked, &named}, nil
		},
	}}}
	path := saved(t, s, "a.yaml", threeValues)
	asked = 0
	f := openFile(t, s, path)
	for i := range 3 {
		if err := errors.Join(f.Set("a", fmt.Sprint(i)), f.Save(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 1 {
		t.Errorf("the key was asked %d times", asked)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := text(t, path)
	if err := errors.Join(f.Set("a", "late"), f.Save(ended)); !errors.Is(err, context.Canceled) || text(t, path) != before {
		t.Errorf("after the context ended: %v", err)
	}
	if _, err := kenv.Open(ended, path, s.Keys...); !errors.Is(err, context.Canceled) {
		t.Errorf("opening after the context ended: %v", err)
	}
}

// A file that sops wrote last gets its seal with the first save, and goes on from there.
func TestFileOfSops(t *testing.T) {
	const vectors = "../../testdata/vectors/sops"
	provider, err := age.Identities([]byte(text(t, filepath.Join(vectors, "keys", "main.txt"))))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(path, []byte(text(t, filepath.Join(vectors, "yaml", "comments-1.enc.yaml"))), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := kenv.Open(t.Context(), path, provider)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Wipe()
	want, err := f.Get("")
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Encrypt()
	if err != nil || !out.FirstSeal {
		t.Fatalf("%v, %v", out, err)
	}
	if err := f.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Get(""); err != nil || got != want {
		t.Errorf("it says (%v)\n%s", err, got)
	}
	if out, err = f.Encrypt(); err != nil || out.FirstSeal {
		t.Errorf("the second time: %v, %v", out, err)
	}
	if err := errors.Join(f.Set("added", "x"), f.Save(t.Context())); err != nil {
		t.Fatal(err)
	}
	got, err := kenv.Open(t.Context(), path, provider)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := got.Get(""); err != nil || strings.Replace(text, "added: x\n", "", 1) != want {
		t.Errorf("it holds (%v)\n%s", err, text)
	}
}

// Goroutines may share a File; the race detector looks on.
func TestFileShared(t *testing.T) {
	s, _ := newSetup(t)
	path := saved(t, s, "a.yaml", threeValues)
	f := openFile(t, s, path)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var all map[string]any
			err := errors.Join(f.Set(fmt.Sprintf("k%d", i), i), f.Decode("", &all), f.Save(t.Context()), second(f.Get("a")), second(f.Encrypt()))
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var all map[string]any
	if err := openFile(t, s, path).Decode("", &all); err != nil || len(all) != 3+8 {
		t.Errorf("%d keys, %v", len(all), err)
	}
}

// Wiped, a File is of no use any more, and what it held of the plaintext is gone.
func TestFileWipe(t *testing.T) {
	s, _ := newSetup(t)
	f := openFile(t, s, saved(t, s, "a.yaml", threeValues))
	held := [][]byte{kenv.Held(f)}
	for _, value := range []string{"x", "y"} {
		if err := f.Set("a", value); err != nil {
			t.Fatal(err)
		}
		held = append(held, kenv.Held(f))
	}
	f.Wipe()
	f.Wipe()
	for i, text := range held {
		if len(text) == 0 || len(bytes.Trim(text, "\x00")) > 0 {
			t.Errorf("plaintext %d is still there", i)
		}
	}
	for name, err := range map[string]error{
		"Get": second(f.Get("a")), "Decode": f.Decode("a", new(string)), "Set": f.Set("a", 1), "Unset": f.Unset("a"),
		"Encrypt": second(f.Encrypt()), "Save": f.Save(t.Context()),
	} {
		if err == nil || !strings.Contains(err.Error(), "wiped") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A whole text of any kind can be read; what has no values says so.
func TestFileBinary(t *testing.T) {
	s, _ := newSetup(t)
	f := openFile(t, s, saved(t, s, "key.der", "\x00\xff hunter2"))
	if got, err := f.Get(""); err != nil || got != "\x00\xff hunter2" {
		t.Errorf("%q, %v", got, err)
	}
	if err := errors.Join(second(f.Get("a")), f.Set("a", "x")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a value of it: %v", err)
	}
	if err := f.Save(t.Context()); err != nil {
		t.Error(err)
	}
}
