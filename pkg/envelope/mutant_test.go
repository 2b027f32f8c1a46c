package envelope

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/kenvhq/kenv/pkg/doc"
)

// twists are what mutants of YAML texts get in odd places.
var twists = []string{
	"'", "\"", "\\", "''", "!", "!x ", "!!str ", "!!int ", "!!binary ", "!!map ", "! ", "&a ", "*a ", "*a", "&b\n", "<<: *a\n", "<<: ",
	"[", "]", "{", "}", ",", ", ", ": ", ":", "? ", "- ", "-", "|", ">", "|\n", "|-\n  ", ">+\n", "|2\n", "\t", " \t", "\r\n", "\r", "\n", "\n\n", " ", "  ",
	"---\n", "--- ", "...\n", "%YAML 1.1\n", "#", " #", " # c\n", "# c\n", "#\n", "~", "null", "1", "1.5e3", "true", "2001-12-14", "0o7", ".inf", "\"\"",
	"kenv_root: ", "sops", "ENC[", "é", "😀", "\u00a0", "\u2028", "\ufeff", "a: b\n", "\n- x\n", "{a: b}", "[a, b]", "\"q\"", "'s'",
}

// mutate makes one to three random edits.
func mutate(r *rand.Rand, src []byte) []byte {
	out := bytes.Clone(src)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(out) + 1)
		if r.IntN(2) == 0 { // where syntax is
			if i := bytes.IndexAny(out[at:], "\n:#-\"'&*!|>{}[],"); i >= 0 {
				at += i + r.IntN(3)
			}
			at = min(at, len(out))
		}
		switch r.IntN(8) {
		case 0:
			out = append(out[:at:at], out[min(len(out), at+1+r.IntN(6)):]...)
		case 1: // a line again, elsewhere
			lines := bytes.SplitAfter(out, []byte("\n"))
			line := bytes.Clone(lines[r.IntN(len(lines))])
			i := r.IntN(len(lines) + 1)
			out = bytes.Join(append(lines[:i:i], append([][]byte{line}, lines[i:]...)...), nil)
		case 2: // another indent
			lines := bytes.SplitAfter(out, []byte("\n"))
			i := r.IntN(len(lines))
			if trimmed := bytes.TrimPrefix(lines[i], []byte(" ")); r.IntN(2) == 0 {
				lines[i] = trimmed
			} else {
				lines[i] = append([]byte(" "), lines[i]...)
			}
			out = bytes.Join(lines, nil)
		default:
			out = append(out[:at:at], append([]byte(twists[r.IntN(len(twists))]), out[at:]...)...)
		}
	}
	return out
}

// want is what sops should see of a YAML text that is held on a rung, by the YAML
// library's reading.
func want(src []byte, rung doc.Rung) (string, error) {
	if rung == doc.AsText {
		return "[" + strconv.Quote(doc.TextKey) + ":" + strconv.Quote(string(src)) + ",)\n", nil
	}
	tree, err := yamlTree(src)
	if tree == "" && err == nil { // nothing but comments
		tree = "null\n"
	}
	var b strings.Builder
	for line := range strings.Lines(tree) {
		switch root := strings.TrimSuffix(line, "\n"); {
		case root == "null":
			b.WriteString("[)")
		case !strings.HasPrefix(root, "["):
			b.WriteString("[" + strconv.Quote(doc.RootKey) + ":" + root + ",)")
		default:
			b.WriteString(root)
		}
		b.WriteByte('\n')
	}
	return b.String(), err
}

// emptyRoots takes null at the top for the empty map that it may be to sops.
func emptyRoots(tree string) string {
	return strings.ReplaceAll(tree, "["+strconv.Quote(doc.RootKey)+":null,)", "[)")
}

// TestMutantsInSops: texts that nobody would write decrypt to their own bytes, and
// in sops to the data that the YAML library sees in them.
func TestMutantsInSops(t *testing.T) {
	run, policy, table := sops(t)
	dir := t.TempDir()
	seed := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("KENV_SEED"), 10, 64); err == nil {
		seed = n
	}
	r := rand.New(rand.NewPCG(seed, 0))
	var files [][]byte
	for _, path := range corpus(t, "yaml") {
		if src, err := os.ReadFile(path); err == nil && len(src) < 3000 && len(src) > 0 {
			files = append(files, src)
		}
	}
	rungs := map[string]int{}
	var wg sync.WaitGroup
	slots := make(chan int, 4)
	for i := range cap(slots) {
		slots <- i
	}
	for range mutants(1) * 300 {
		src := mutate(r, files[r.IntN(len(files))])
		sealed, err := Seal(t.Context(), src, doc.YAML{}, policy)
		var syntax *doc.SyntaxError
		switch {
		case errors.As(err, &syntax), errors.Is(err, doc.ErrReserved), errors.Is(err, doc.ErrEmpty), errors.Is(err, ErrNothingEncrypted):
			rungs["refused"]++
			continue
		case err != nil:
			t.Errorf("%q: %s", src, allOf(err))
			continue
		}
		rungs[sealed.Rung.String()]++
		if sealed.Rung != doc.Splice && os.Getenv("KENV_RUNGS") != "" {
			var m map[string]any
			if err := yaml.Unmarshal(src, &m); err == nil || !strings.Contains(err.Error(), "already defined") {
				t.Logf("%v: %q", sealed.Rung, src)
			}
		}
		file, err := Open(t.Context(), sealed.Data, doc.YAML{}, table, OpenOptions{RequireSeal: true})
		if err != nil || !bytes.Equal(file.Plaintext(), src) {
			t.Errorf("%q: other bytes, %v", src, err)
			continue
		}
		tree, err := want(src, sealed.Rung)
		complexKey := errors.Is(err, errComplexKey) // kenv takes its text for a name
		if err != nil && !complexKey {
			t.Errorf("%q: %v", src, err)
			continue
		}
		slot := <-slots
		wg.Go(func() {
			defer func() { slots <- slot }()
			name := filepath.Join(dir, fmt.Sprint(slot))
			got, err := sopsReads(run, doc.YAML{}, name, sealed.Data)
			if err != nil {
				t.Errorf("%v of %q: %v", sealed.Rung, src, err)
			} else if tree = emptyRoots(tree); complexKey || emptyRoots(got) == tree {
				return
			} else if got, err := sopsReadsAs(run, doc.YAML{}, doc.JSON{}, name); err != nil || got != tree {
				t.Errorf("%v of %q:\nwant %s\ngot  %s", sealed.Rung, src, tree, got)
			}
		})
	}
	wg.Wait()
	t.Log(rungs)
}
