package doc

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMergeText(t *testing.T) {
	for _, c := range []struct {
		name, base, ours, theirs, want string
		conflicts                      int
	}{
		{"nothing", "a\nb\n", "a\nb\n", "a\nb\n", "a\nb\n", 0},
		{"apart", "a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n", 0},
		{"alike", "a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\n", "a\nX\nc\n", 0},
		{"same line", "a\nb\nc\n", "a\nX\nc\n", "a\nY\nc\n", "a\n<<<<<<< ours\nX\n||||||| base\nb\n=======\nY\n>>>>>>> theirs\nc\n", 1},
		{"touching", "a\nb\n", "A\nb\n", "a\nB\n", "<<<<<<< ours\nA\nb\n||||||| base\na\nb\n=======\na\nB\n>>>>>>> theirs\n", 1},
		{"added at one place", "a\n", "a\nx\n", "a\ny\n", "a\n<<<<<<< ours\nx\n||||||| base\n=======\ny\n>>>>>>> theirs\n", 1},
		{"added at both ends", "a\n", "x\na\n", "a\ny\n", "x\na\ny\n", 0},
		{"taken away and changed", "a\nb\nc\n", "a\nc\n", "a\nB\nc\n", "a\n<<<<<<< ours\n||||||| base\nb\n=======\nB\n>>>>>>> theirs\nc\n", 1},
		{"all taken away", "a\n", "", "", "", 0},
		{"both new", "", "x\n", "y\n", "<<<<<<< ours\nx\n||||||| base\n=======\ny\n>>>>>>> theirs\n", 1},
		{"no end of line", "a\nb", "a\nX", "a\nY", "a\n<<<<<<< ours\nX\n||||||| base\nb\n=======\nY\n>>>>>>> theirs\n", 1},
		{"end of line added", "a\nb\nc", "A\nb\nc", "a\nb\nc\n", "A\nb\nc\n", 0},
		{"CRLF", "a\r\nb\r\nc\r\n", "a\r\nX\r\nc\r\n", "a\r\nY\r\nc\r\n", "a\r\n<<<<<<< ours\r\nX\r\n||||||| base\r\nb\r\n=======\r\nY\r\n>>>>>>> theirs\r\nc\r\n", 1},
		{"moved", "a\nb\nc\nd\ne\n", "b\nc\nd\na\ne\n", "a\nb\nC\nd\ne\n", "b\nC\nd\na\ne\n", 0},
	} {
		m := MergeText([]byte(c.base), []byte(c.ours), []byte(c.theirs))
		if got := string(m.Text(false)); got != c.want || m.Conflicts() != c.conflicts {
			t.Errorf("%s: %d conflicts:\n%s\nwant %d:\n%s", c.name, m.Conflicts(), got, c.conflicts, c.want)
		}
	}
}

// With all set, nothing that one side alone did goes in unseen.
func TestMergeTextAll(t *testing.T) {
	m := MergeText([]byte("a\nb\nc\nd\ne\n"), []byte("A\nb\nc\nd\nX\n"), []byte("a\nb\nC\nd\nX\n"))
	want := "<<<<<<< ours\nA\n||||||| base\na\n=======\na\n>>>>>>> theirs\nb\n<<<<<<< ours\nc\n||||||| base\nc\n=======\nC\n>>>>>>> theirs\nd\nX\n"
	if got := string(m.Text(true)); got != want || m.Conflicts() != 0 {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// randomText has lines of which some are there often, as braces are in JSON.
func randomText(r *rand.Rand, lines, words int) []string {
	text := make([]string, r.IntN(lines+1))
	for i := range text {
		text[i] = fmt.Sprint("line ", r.IntN(words))
	}
	return text
}

func randomEdits(r *rand.Rand, text []string, edits, words int) []string {
	text = append([]string(nil), text...)
	for range r.IntN(edits + 1) {
		at := r.IntN(len(text) + 1)
		line := fmt.Sprint("line ", r.IntN(words))
		switch k := r.IntN(3); {
		case k == 0 || at == len(text):
			text = append(text[:at], append([]string{line}, text[at:]...)...)
		case k == 1:
			text[at] = line
		default:
			text = append(text[:at], text[at+1:]...)
		}
	}
	return text
}

func joinLines(lines []string) []byte {
	if len(lines) == 0 {
		return nil
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// Laws of any three-way merge, on texts in which lines come again and again.
func TestMergeTextLaws(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		words := 1 + r.IntN(30)
		b := randomText(r, 20, words)
		base := joinLines(b)
		ours, theirs := joinLines(randomEdits(r, b, 8, words)), joinLines(randomEdits(r, b, 8, words))
		for _, c := range []struct{ base, ours, theirs, want []byte }{
			{base, ours, base, ours}, {base, base, theirs, theirs}, {base, ours, ours, ours},
		} {
			m := MergeText(c.base, c.ours, c.theirs)
			if got := m.Text(false); m.Conflicts() > 0 || !bytes.Equal(got, c.want) {
				t.Fatalf("of\n%s---\n%s---\n%scomes (%d conflicts)\n%s", c.base, c.ours, c.theirs, m.Conflicts(), got)
			}
		}
		m, swapped := MergeText(base, ours, theirs), MergeText(base, theirs, ours)
		if m.Conflicts() != swapped.Conflicts() || m.Conflicts() == 0 && !bytes.Equal(m.Text(false), swapped.Text(false)) {
			t.Fatalf("it matters who is who:\n%s---\n%s---\n%s", base, ours, theirs)
		}
		var back [3][]byte
		for _, c := range m.chunks {
			back[0], back[1], back[2] = append(back[0], c.base...), append(back[1], c.ours...), append(back[2], c.theirs...)
		}
		if !bytes.Equal(back[0], base) || !bytes.Equal(back[1], ours) || !bytes.Equal(back[2], theirs) {
			t.Fatal("the chunks are not the texts")
		}
	}
}

// What git says of texts without lines that come again is what we say.
func TestMergeTextAsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("git is not installed")
		}
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(3, 4))
	clean := 0
	for range 300 {
		const words = 1 << 30
		b := append(randomText(r, 40, words), "last")
		texts := [3][]byte{joinLines(randomEdits(r, b, 4, words)), joinLines(b), joinLines(randomEdits(r, b, 4, words))}
		var paths []string
		for i, text := range texts {
			paths = append(paths, filepath.Join(dir, fmt.Sprint(i)))
			if err := os.WriteFile(paths[i], text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("git", append([]string{"merge-file", "-p", "-q", "--diff3", "-L", "ours", "-L", "base", "-L", "theirs"}, paths...)...)
		want, err := cmd.Output()
		conflicts := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			conflicts = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		m := MergeText(texts[1], texts[0], texts[2])
		if got := m.Text(false); !bytes.Equal(got, want) || m.Conflicts() != conflicts {
			t.Fatalf("%d conflicts, to git %d:\n%s\nand\n%s", m.Conflicts(), conflicts, got, want)
		}
		if conflicts == 0 {
			clean++
		}
	}
	if clean < 100 {
		t.Errorf("only %d of the merges were clean", clean)
	}
}

// No text makes it slow: neither large ones with little in common nor such with the
// same few lines over and over.
func TestMergeTextTime(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const lines = 100_000
	for _, words := range []int{1, 2, 300, lines, 1 << 30} {
		text := func() []byte {
			var b bytes.Buffer
			for range lines {
				fmt.Fprintln(&b, r.IntN(words))
			}
			return b.Bytes()
		}
		base, ours, theirs := text(), text(), text()
		start := time.Now()
		MergeText(base, ours, theirs).Text(false)
		MergeText(nil, ours, theirs).Text(false)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%d different lines: %v", words, took)
		} else {
			t.Logf("%d different lines: %v", words, took)
		}
	}
}

// FuzzMergeText: no line of the three texts is lost or moved in a merge; what one side
// leaves as it was, the other decides; and the sides are alike but for their names.
func FuzzMergeText(f *testing.F) {
	f.Add([]byte("a\nb\nc\n"), []byte("A\nb\nc\n"), []byte("a\nb\nC"))
	f.Add([]byte("a\r\nb"), []byte("a\nX"), []byte("a\nY\n"))
	f.Add([]byte("a\na\n{\n}\na\n"), []byte("a\n{\n}\n"), []byte("{\na\n}\na\n"))
	f.Add([]byte(""), []byte("x\n"), []byte("y\n"))
	f.Fuzz(func(t *testing.T, base, ours, theirs []byte) {
		m := MergeText(base, ours, theirs)
		var b, o, h []byte
		for _, c := range m.chunks {
			b, o, h = append(b, c.base...), append(o, c.ours...), append(h, c.theirs...)
			if same := bytes.Equal(c.ours, c.theirs); same != (c.who == nobody || c.who == alike) {
				t.Fatalf("%+v: are both sides the same?", c)
			}
			if c.who == onlyOurs && !bytes.Equal(c.theirs, c.base) || c.who == onlyTheirs && !bytes.Equal(c.ours, c.base) {
				t.Fatalf("%+v: the other side changed it as well", c)
			}
		}
		if !bytes.Equal(b, base) || !bytes.Equal(o, ours) || !bytes.Equal(h, theirs) {
			t.Fatalf("the parts make\n%q\n%q\n%q", b, o, h)
		}
		back := MergeText(base, theirs, ours)
		if back.Conflicts() != m.Conflicts() || m.Conflicts() == 0 && !bytes.Equal(back.Text(false), m.Text(false)) {
			t.Fatalf("the other way round it is\n%q\nand not\n%q", back.Text(false), m.Text(false))
		}
		for _, alone := range []*TextMerge{MergeText(base, ours, base), MergeText(base, base, ours), MergeText(base, ours, ours)} {
			if alone.Conflicts() != 0 || !bytes.Equal(alone.Text(false), ours) {
				t.Fatalf("one change alone makes %q", alone.Text(false))
			}
		}
	})
}
