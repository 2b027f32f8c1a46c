package envelope

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// A sopsPipe is sops's library in a process beside the test, see testdata/tools/sops-pipe.
// It has one age identity, and so has the table.
type sopsPipe struct {
	in        io.WriteCloser
	out       *json.Decoder
	recipient string
	table     keys.Table
	policy    Policy
}

func startSops(t testing.TB) *sopsPipe {
	bin, err := exec.LookPath("sops-pipe")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("sops-pipe is not built")
		}
		t.Skip("sops-pipe is not built; scripts/test builds it")
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	p := &sopsPipe{recipient: recipient, table: keys.Table{age.Provider(keys.Env{Getenv: func(name string) string {
		if name == "KENV_AGE_KEY" {
			return string(identity)
		}
		return ""
	}})}}
	k, err := p.table.Parse(recipient)
	if err != nil {
		t.Fatal(err)
	}
	p.policy = Policy{Groups: [][]keys.MasterKey{{k}}, Now: time.Unix(1700000000, 0)}
	cmd := exec.Command(bin)
	cmd.Env = []string{"HOME=" + t.TempDir(), "SOPS_AGE_KEY=" + string(identity)}
	cmd.Stderr = os.Stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close()
		cmd.Wait()
	})
	return p
}

type sopsRequest struct {
	Encrypt   bool
	Format    string
	Text      []byte
	Recipient string
}

type sopsAnswer struct {
	Text  []byte
	Tree  string
	Error string
}

func (p *sopsPipe) ask(t testing.TB, r sopsRequest) (a sopsAnswer) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := p.out.Decode(&a); err != nil {
		t.Fatalf("sops-pipe ended: %v", err)
	}
	return a
}

func (p *sopsPipe) decrypt(t testing.TB, f doc.Format, text []byte) sopsAnswer {
	t.Helper()
	return p.ask(t, sopsRequest{Format: f.Name(), Text: text})
}

func (p *sopsPipe) encrypt(t testing.TB, f doc.Format, text []byte) sopsAnswer {
	t.Helper()
	return p.ask(t, sopsRequest{Encrypt: true, Format: f.Name(), Text: text, Recipient: p.recipient})
}

// treeOf shows the roots of a document as sops-pipe shows what it decrypts.
func treeOf(roots []*doc.Node) string {
	var b strings.Builder
	for _, r := range roots {
		plainTree(&b, r)
		b.WriteByte('\n')
	}
	return b.String()
}

// addSeeds gives a fuzz target the small files of testdata/roundtrip.
func addSeeds(f *testing.F, add func(which uint8, src []byte)) {
	for i, format := range formats {
		for _, path := range seeds(f, format) {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			if len(src) <= 4096 {
				add(uint8(i), src)
			}
		}
	}
}

// FuzzSopsDecrypts: what Seal makes of any text, sops decrypts, to the same data.
func FuzzSopsDecrypts(f *testing.F) {
	sops := startSops(f)
	addSeeds(f, func(which uint8, src []byte) { f.Add(which, src) })
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		format := formats[int(which)%len(formats)]
		sealed, err := Seal(t.Context(), src, format, sops.policy)
		if err != nil {
			return // FuzzSplice… says what may be
		}
		d, _, err := format.Prepare(src, sealed.Rung)
		if err != nil {
			t.Fatal(err)
		}
		got := sops.decrypt(t, format, sealed.Data)
		if want := treeOf(d.Roots); got.Error != "" || got.Tree != want {
			t.Fatalf("%v: sops has %s\n%s\nwant\n%s\nof\n%s", sealed.Rung, got.Error, got.Tree, want, sealed.Data)
		}
	})
}

// emptyComment matches a comment without text. In a list sops writes one in clear and
// reads it as an element, an empty string; kenv reads a comment.
var emptyComment = regexp.MustCompile(`(?m)(^|[ \t])#[ \t]*\r?$`)

// FuzzSopsEncrypts: what sops makes of any text and decrypts itself, Open decrypts, to the
// same data, and the plaintext holds that data too.
func FuzzSopsEncrypts(f *testing.F) {
	sops := startSops(f)
	addSeeds(f, func(which uint8, src []byte) { f.Add(which, src) })
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		format := formats[int(which)%len(formats)]
		encrypted := sops.encrypt(t, format, src)
		if encrypted.Error != "" {
			return
		}
		want := sops.decrypt(t, format, encrypted.Text)
		if want.Error != "" {
			return // there are such files
		}
		if emptyComment.Match(encrypted.Text) {
			return
		}
		file, err := Open(t.Context(), encrypted.Text, format, sops.table, OpenOptions{})
		if err != nil {
			t.Fatalf("does not open: %v\n%s", err, encrypted.Text)
		}
		if got := treeOf(file.doc.Roots); got != want.Tree {
			t.Fatalf("opens to\n%s\nwant\n%s\nof\n%s", got, want.Tree, encrypted.Text)
		}
	})
}

// FuzzSopsTampered: whatever is done to a file that sops wrote, Open accepts it only if sops
// does, with the same data.
func FuzzSopsTampered(f *testing.F) {
	sops := startSops(f)
	addSeeds(f, func(which uint8, src []byte) {
		for op := range byte(8) {
			f.Add(which, src, []byte{op, byte(len(src)), 5, op + which, 200})
		}
	})
	f.Fuzz(func(t *testing.T, which uint8, src, script []byte) {
		format := formats[int(which)%len(formats)]
		encrypted := sops.encrypt(t, format, src)
		if encrypted.Error != "" {
			return
		}
		tampered := edit(encrypted.Text, script)
		file, err := Open(t.Context(), tampered, format, sops.table, OpenOptions{})
		var integrity *IntegrityError
		if err != nil {
			if file != nil || errors.As(err, &integrity) && integrity.SealGone {
				t.Fatal("a file beside an error, or a seal that was never there")
			}
			return
		}
		got := treeOf(file.doc.Roots)
		want := sops.decrypt(t, format, tampered)
		switch {
		case strings.HasPrefix(want.Error, "panic:"):
			return // of some files sops has no opinion
		case strings.Contains(want.Error, "map merge requires map"):
			// It writes such files itself, with an encrypted comment among what is merged.
			// To Open a merge key is a key.
			return
		case strings.Contains(want.Error, "metadata not found") && strings.Contains(string(tampered), " sops:"):
			return // a tag such as !!binary before the metadata's key, which kenv reads past
		}
		if want.Error != "" || got != want.Tree {
			t.Fatalf("opens to\n%s\nsops has %s\n%s\nof\n%s", got, want.Error, want.Tree, tampered)
		}
	})
}

// TestUnlikeSops: a key that is there twice or is no string, which the mac does not cover
// and sops refuses, is refused in a file without a seal.
func TestUnlikeSops(t *testing.T) {
	sops := startSops(t)
	encrypted := sops.encrypt(t, doc.YAML{}, []byte("a: x\nb:\n    \"1\": y\n"))
	if encrypted.Error != "" {
		t.Fatal(encrypted.Error)
	}
	if _, err := Open(t.Context(), encrypted.Text, doc.YAML{}, sops.table, OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"null behind":  sub(`^(a: .*\n)`, "${1}a: null\n"),
		"empty before": sub(`^a: `, "a: \"\"\na: "),
		"below":        sub(`^(    "1": .*\n)`, "${1}    \"1\":\n"),
		"number":       sub(`^    "1": `, "    1: "),
	} {
		tampered := change(string(encrypted.Text))
		if tampered == string(encrypted.Text) {
			t.Fatal("nothing changed")
		}
		refused(t, name, tampered, doc.YAML{}, sops.table)
		if sops.decrypt(t, doc.YAML{}, []byte(tampered)).Error == "" {
			t.Errorf("%s: sops takes it", name)
		}
	}
}
