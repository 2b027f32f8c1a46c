package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// sops returns a way to run the real sops with an age identity of its own, and a
// policy for that identity.
func sops(t testing.TB) (run func(args ...string) ([]byte, error), p Policy, table keys.Table) {
	bin, err := exec.LookPath("sops")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("sops is not installed")
		}
		t.Skip("sops is not installed; scripts/test installs it")
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	env := keys.Env{Getenv: func(name string) string {
		if name == "KENV_AGE_KEY" {
			return string(identity)
		}
		return ""
	}}
	table = keys.Table{age.Provider(env)}
	k, err := table.Parse(recipient)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	run = func(args ...string) ([]byte, error) {
		cmd := exec.Command(bin, args...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "SOPS_AGE_KEY=" + string(identity), "SOPS_DISABLE_VERSION_CHECK=1"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, stderr.String())
		}
		return out, err
	}
	return run, Policy{Groups: [][]keys.MasterKey{{k}}, Now: time.Unix(1700000000, 0)}, table
}

// plainTree shows data in one spelling: of whole floats sops keeps no more than
// the number.
func plainTree(b *strings.Builder, n *doc.Node) {
	switch n.Kind {
	case doc.Scalar:
		b.WriteString(plainScalar(n.Type, n.Text))
	case doc.Map, doc.List:
		b.WriteString("([{"[n.Kind:][:1])
		for _, c := range n.Items {
			if c.Kind == doc.Comment || c.Hidden {
				continue
			}
			if n.Kind == doc.Map {
				b.WriteString(strconv.Quote(c.Key) + ":")
			}
			plainTree(b, c)
			b.WriteByte(',')
		}
		b.WriteByte(')')
	}
}

func plainScalar(t doc.Type, text string) string {
	switch t {
	case doc.Null:
		return "null"
	case doc.String:
		return strconv.Quote(text)
	case doc.Int, doc.Float:
		f, _ := strconv.ParseFloat(text, 64)
		return number(f)
	case doc.Bool:
		return "bool " + strings.ToLower(text)
	}
	when, _ := time.Parse(time.RFC3339Nano, text)
	return "time " + when.Format(time.RFC3339Nano)
}

// number shows a number; sops writes -0 as an int, which has no sign.
func number(f float64) string {
	if f == 0 {
		f = 0
	}
	return "number " + strconv.FormatFloat(f, 'g', -1, 64)
}

var errComplexKey = errors.New("a key is a map or list")

// yamlTree shows what a YAML text holds, read by the YAML library alone. Aliases
// are what they stand for; merge keys are keys.
func yamlTree(src []byte) (string, error) {
	var b strings.Builder
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var walk func(n *yaml.Node) error
	walk = func(n *yaml.Node) error {
		switch n.Kind {
		case yaml.MappingNode:
			b.WriteByte('[')
			for i := 0; i < len(n.Content); i += 2 {
				key := n.Content[i]
				if key.Kind == yaml.AliasNode {
					key = key.Alias
				}
				if key.Kind != yaml.ScalarNode {
					return errComplexKey
				}
				b.WriteString(strconv.Quote(key.Value) + ":")
				if err := walk(n.Content[i+1]); err != nil {
					return err
				}
				b.WriteByte(',')
			}
			b.WriteByte(')')
		case yaml.SequenceNode:
			b.WriteByte('{')
			for _, c := range n.Content {
				if err := walk(c); err != nil {
					return err
				}
				b.WriteByte(',')
			}
			b.WriteByte(')')
		case yaml.ScalarNode:
			var v any
			if err := n.Decode(&v); err != nil {
				return err
			}
			switch v := v.(type) {
			case nil:
				b.WriteString("null")
			case string:
				b.WriteString(strconv.Quote(v))
			case bool:
				fmt.Fprintf(&b, "bool %v", v)
			case time.Time:
				b.WriteString("time " + v.Format(time.RFC3339Nano))
			default:
				f, _ := strconv.ParseFloat(strings.TrimPrefix(fmt.Sprint(v), "+"), 64)
				b.WriteString(number(f))
			}
		case yaml.AliasNode:
			if b.Len() > 1<<20 {
				return errors.New("aliases for too much")
			}
			return walk(n.Alias)
		default:
			return fmt.Errorf("node of kind %d", n.Kind)
		}
		return nil
	}
	for {
		var n yaml.Node
		err := dec.Decode(&n)
		if errors.Is(err, io.EOF) {
			return b.String(), nil
		}
		if err != nil {
			return "", err
		}
		if err := walk(n.Content[0]); err != nil {
			return "", err
		}
		b.WriteByte('\n')
	}
}

// jsonTree shows what a JSON text holds, read by encoding/json alone.
func jsonTree(src []byte) (string, error) {
	var b strings.Builder
	dec := json.NewDecoder(bytes.NewReader(src))
	dec.UseNumber()
	var walk func() error
	walk = func() error {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		switch v := tok.(type) {
		case json.Delim:
			b.WriteString(map[json.Delim]string{'{': "[", '[': "{"}[v])
			for dec.More() {
				if v == '{' {
					key, err := dec.Token()
					if err != nil {
						return err
					}
					b.WriteString(strconv.Quote(key.(string)) + ":")
				}
				if err := walk(); err != nil {
					return err
				}
				b.WriteByte(',')
			}
			b.WriteByte(')')
			_, err = dec.Token()
			return err
		case nil:
			b.WriteString("null")
		case string:
			b.WriteString(strconv.Quote(v))
		case bool:
			fmt.Fprintf(&b, "bool %v", v)
		case json.Number:
			f, _ := v.Float64()
			b.WriteString(number(f))
		}
		return nil
	}
	err := walk()
	b.WriteByte('\n')
	return b.String(), err
}

// envTree shows what a dotenv text holds by sops's rules.
func envTree(src []byte) string {
	var b strings.Builder
	b.WriteByte('[')
	for line := range strings.SplitSeq(string(src), "\n") {
		if k, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			b.WriteString(strconv.Quote(k) + ":" + strconv.Quote(strings.ReplaceAll(v, `\n`, "\n")) + ",")
		}
	}
	b.WriteString(")\n")
	return b.String()
}

// sopsReads returns what an encrypted text holds for sops, which reads it from a
// file of that name.
func sopsReads(run func(...string) ([]byte, error), f doc.Format, name string, sealed []byte) (tree string, err error) {
	if err := os.WriteFile(name, sealed, 0o600); err != nil {
		return "", err
	}
	if f.Name() == "ini" {
		// Its own output has to be possible; what that holds is clearer as JSON.
		if _, err := run("decrypt", "--input-type", "ini", "--output-type", "ini", name); err != nil {
			return "", err
		}
		return sopsReadsAs(run, f, doc.JSON{}, name)
	}
	if tree, err = sopsReadsAs(run, f, f, name); err != nil && f.Name() == "yaml" {
		// sops writes a few block scalars that no parser reads; as JSON it can say
		// the same.
		return sopsReadsAs(run, f, doc.JSON{}, name)
	}
	return tree, err
}

func sopsReadsAs(run func(...string) ([]byte, error), f, as doc.Format, name string) (tree string, err error) {
	out, err := run("decrypt", "--input-type", f.Name(), "--output-type", as.Name(), name)
	if err != nil {
		return "", err
	}
	switch as.Name() {
	case "yaml":
		tree, err = yamlTree(out)
	case "json":
		tree, err = jsonTree(out)
	default:
		tree = envTree(out)
	}
	if err != nil {
		err = fmt.Errorf("sops's output: %w", err)
	}
	return tree, err
}

func toUTF8(n *doc.Node) {
	n.Key, n.Text = string([]rune(n.Key)), string([]rune(n.Text))
	for _, c := range n.Items {
		toUTF8(c)
	}
}

// TestSopsReadsCorpus: the real sops decrypts everything that Seal made, to the
// data that the original holds.
func TestSopsReadsCorpus(t *testing.T) {
	run, policy, _ := sops(t)
	dir := t.TempDir()
	for _, f := range formats {
		for _, v := range variants {
			t.Run(f.Name()+"/"+v.name, func(t *testing.T) {
				var wg sync.WaitGroup
				var mu sync.Mutex
				slots := make(chan struct{}, 4)
				done := 0
				for i, path := range corpus(t, f.Name()) {
					src, err := os.ReadFile(path)
					if err != nil {
						t.Fatal(err)
					}
					src = v.make(src)
					sealed, err := Seal(t.Context(), src, f, policy)
					if err != nil {
						continue // TestCorpusRoundTrip says why
					}
					d, _, err := f.Prepare(src, sealed.Rung)
					if err != nil {
						t.Fatal(err)
					}
					var want strings.Builder
					for _, r := range d.Roots {
						if f.Name() == "ini" {
							toUTF8(r) // it is compared as JSON
						}
						plainTree(&want, r)
						want.WriteByte('\n')
					}
					slots <- struct{}{}
					wg.Go(func() {
						defer func() { <-slots }()
						name := filepath.Join(dir, fmt.Sprintf("%s-%d-%d", f.Name(), i, len(v.name)))
						got, err := sopsReads(run, f, name, sealed.Data)
						if err != nil {
							t.Errorf("%s: %v", path, err)
							return
						}
						if got != want.String() {
							t.Errorf("%s: %v:\nwant %.600s\ngot  %.600s", path, sealed.Rung, want.String(), got)
						}
						mu.Lock()
						done++
						mu.Unlock()
					})
				}
				wg.Wait()
				t.Logf("%d files", done)
			})
		}
	}
}

// TestSopsReadsSameINI: of an INI file that sops can encrypt and decrypt itself, it
// has the same data as of the file that Seal made. It is let off where it takes half
// of a value for a comment.
func TestSopsReadsSameINI(t *testing.T) {
	run, policy, _ := sops(t)
	dir := t.TempDir()
	recipient := policy.Groups[0][0].Name()
	half := regexp.MustCompile(`:"(?:\\"|')?([^"#;]*?) *(?:[#;][^"]*)?",`)
	same, other := 0, 0
	for i, path := range corpus(t, "ini") {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprintf("%d.ini", i))
		read := func(encrypted []byte) (string, error) {
			if err := os.WriteFile(name, encrypted, 0o600); err != nil {
				t.Fatal(err)
			}
			return sopsReadsAs(run, doc.INI{}, doc.JSON{}, name)
		}
		if bytes.HasPrefix(src, []byte("\xFF\xFE")) || bytes.HasPrefix(src, []byte(doc.TextKey)) {
			continue // sops takes UTF-16 for Latin-1; kenv wraps its own key once more
		}
		if err := os.WriteFile(name, src, 0o600); err != nil {
			t.Fatal(err)
		}
		theirs, err := run("encrypt", "--age", recipient, name)
		if err != nil {
			continue
		}
		want, err := read(theirs)
		if err != nil {
			continue
		}
		sealed, err := Seal(t.Context(), src, doc.INI{}, policy)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got, err := read(sealed.Data)
		switch {
		case err != nil || sealed.Rung == doc.AsText:
			t.Errorf("%s: %v, %v", path, sealed.Rung, err)
		case got == want:
			same++
		case half.ReplaceAllString(got, `:"$1",`) == half.ReplaceAllString(want, `:"$1",`):
			other++
		default:
			t.Errorf("%s:\nsops %.600s\nkenv %.600s", path, want, got)
		}
	}
	t.Logf("%d files are the same, %d but for marks in values", same, other)
	if same < 15 {
		t.Error("too few")
	}
}
