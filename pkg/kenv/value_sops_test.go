package kenv_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
)

// sopsPath spells a path as sops reads it.
func sopsPath(path kenv.Path) string {
	var b strings.Builder
	for _, s := range path {
		if s.List {
			fmt.Fprintf(&b, "[%d]", s.Index)
		} else {
			fmt.Fprintf(&b, `["%s"]`, s.Key)
		}
	}
	return b.String()
}

// randomTree makes a map of what a secrets file may hold.
func randomTree(r *rand.Rand, depth int, flat bool) *doc.Node {
	texts := []string{"plain", "two words", "yes", "5", "a: b #c", "it's", `"q"`, "é", " x", "-", "two\nlines\n", "{}", "null"}
	scalar := func() *doc.Node {
		switch n := r.IntN(10); {
		case flat || n < 5:
			return &doc.Node{Kind: doc.Scalar, Text: texts[r.IntN(len(texts))]}
		case n < 7:
			return &doc.Node{Kind: doc.Scalar, Type: doc.Int, Text: fmt.Sprint(r.IntN(100000) - 50000)}
		case n < 8:
			return &doc.Node{Kind: doc.Scalar, Type: doc.Bool, Text: "True"}
		case n < 9:
			return &doc.Node{Kind: doc.Scalar, Type: doc.Float, Text: "1.25"}
		}
		return &doc.Node{Kind: doc.Scalar, Type: doc.Null}
	}
	m := &doc.Node{Kind: doc.Map}
	for i := range 2 + r.IntN(4) {
		n := scalar()
		if !flat && depth > 0 && r.IntN(2) == 0 {
			if n = randomTree(r, depth-1, flat); r.IntN(3) == 0 {
				n = &doc.Node{Kind: doc.List, Items: []*doc.Node{scalar(), n, scalar()}}
				n.Items[1].Key = ""
			}
		}
		n.Key = fmt.Sprintf("k%d", i)
		if !flat && r.IntN(6) == 0 {
			n.Key += "_unencrypted"
		}
		m.Items = append(m.Items, n)
	}
	return m
}

// sections makes sections of a flat map and others like it.
func sections(r *rand.Rand, first *doc.Node) *doc.Node {
	root := &doc.Node{Kind: doc.Map}
	for i, key := range []string{"DEFAULT", "s", "t.u"} {
		if i > 0 {
			first = randomTree(r, 0, true)
		}
		first.Key = key
		root.Items = append(root.Items, first)
	}
	return root
}

// fitsINI reports whether a value has a place so many steps down in INI.
func fitsINI(v *doc.Node, depth int) bool {
	if depth == 2 {
		return v.Kind == doc.Scalar
	}
	return v.Kind == doc.Map && !slices.ContainsFunc(v.Items, func(n *doc.Node) bool { return !fitsINI(n, depth+1) })
}

// shown writes data in one way: numbers by their value, as sops takes every number that
// is set for a float, and drops the fraction of a whole one when it writes.
func shown(b *strings.Builder, n *doc.Node, flat bool) {
	switch n.Kind {
	case doc.Scalar:
		if _, err := strconv.ParseFloat(n.Text, 64); err == nil && (flat || n.Type != doc.String) {
			fmt.Fprintf(b, "number %s,", strings.TrimSuffix(n.Text, ".0"))
		} else if flat && n.Type == doc.Bool {
			fmt.Fprintf(b, "0 %q,", strings.ToLower(n.Text))
		} else {
			fmt.Fprintf(b, "%d %q,", n.Type, n.Text)
		}
	case doc.Map, doc.List:
		fmt.Fprintf(b, "%d(", n.Kind)
		for _, c := range n.Items {
			if c.Kind != doc.Comment {
				fmt.Fprintf(b, "%q:", c.Key)
				shown(b, c, flat)
			}
		}
		b.WriteString(")")
	}
}

// TestSetAsSops: after set and unset a file holds the data that it would hold after those
// of sops, and both show the same values. Where they differ, sops is listed here.
func TestSetAsSops(t *testing.T) {
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
	s := kenv.Setup{Keys: keys.Table{age.Provider(keys.Env{Getenv: func(name string) string {
		if name == "KENV_AGE_KEY" {
			return string(identity)
		}
		return ""
	}})}}
	home := t.TempDir()
	sops := func(args ...string) (out []byte, said string, err error) {
		cmd := exec.Command(bin, args...)
		cmd.Dir = home
		cmd.Env = []string{"HOME=" + home, "SOPS_AGE_KEY=" + string(identity), "SOPS_DISABLE_VERSION_CHECK=1"}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err = cmd.Output()
		return out, stderr.String(), err
	}
	tree := func(f doc.Format, data []byte) string {
		t.Helper()
		// Where data and second are the same, sops uses the mac's nonce again, with its mark.
		file, err := envelope.Open(t.Context(), data, f, s.Keys, envelope.OpenOptions{SealGone: true})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Wipe()
		roots, _ := file.Roots()
		var b strings.Builder
		for _, r := range roots {
			shown(&b, r, f.Name() == "dotenv" || f.Name() == "ini")
		}
		return b.String()
	}
	values := []string{`"text"`, `"a: b # c"`, `"two\nlines"`, `""`, `true`, `7`, `-1.5`, `{"x": 1, "y": {"z": "w"}}`, `{}`, `[1, "two"]`, `null`}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	compared := map[string]int{}
	for round := range rounds {
		for _, f := range []doc.Format{doc.YAML{}, doc.JSON{}, doc.Dotenv{}, doc.INI{}} {
			r := rand.New(rand.NewPCG(uint64(round), 11))
			_, flat := f.(doc.Dotenv)
			_, ini := f.(doc.INI)
			root := randomTree(r, 3, flat || ini)
			if ini {
				root = sections(r, root)
			}
			src, err := f.Emit([]*doc.Node{root})
			if err != nil {
				t.Fatal(err)
			}
			sealed, err := s.Encrypt(t.Context(), kenv.Source{Data: src, Format: f}, kenv.EncryptOptions{Keys: []string{recipient}})
			if err != nil {
				t.Fatal(err)
			}
			source := kenv.Source{Data: sealed.Data, Format: f}
			name := filepath.Join(home, fmt.Sprintf("f%d.%s", round, map[string]string{"yaml": "yaml", "json": "json", "dotenv": "env", "ini": "ini"}[f.Name()]))
			if err := os.WriteFile(name, sealed.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			all := paths(root, everything)
			path := all[r.IntN(len(all))]

			// What is there is shown alike.
			file, err := s.Open(t.Context(), source)
			if err != nil {
				t.Fatal(err)
			}
			leaf := spread(paths(root, func(n *doc.Node) bool { return n.Kind == doc.Scalar && n.Type == doc.String }), 1)
			for _, path := range leaf {
				mine, err := kenv.Get(file, path, nil)
				theirs, said, err2 := sops("decrypt", "--extract", sopsPath(path), name)
				// In dotenv programs see no quotes, comments and blanks around a value.
				if plain := !flat || !strings.ContainsAny(string(theirs), "'\"# \n"); plain && (err != nil || err2 != nil || !bytes.Equal(mine, theirs)) {
					t.Errorf("%s: %s is %q (%v), to sops %q (%v %s)", src, path, mine, err, theirs, err2, said)
				}
				compared["extract"]++
			}

			if r.IntN(3) == 0 {
				parents := append(paths(root, func(n *doc.Node) bool { return n.Kind == doc.Map }), nil)
				path = append(parents[r.IntN(len(parents))], kenv.Step{Key: "new"})
				if !flat && r.IntN(2) == 0 && !(ini && len(path) > 1) {
					path = append(path, kenv.Step{Key: "deep"})
				}
			}
			value := values[r.IntN(len(values))]
			v, err := doc.ParseValue([]byte(value))
			if err != nil {
				t.Fatal(err)
			}
			out, mine := s.Set(t.Context(), source, path, v, kenv.ChangeOptions{})
			_, said, theirs := sops("set", name, sopsPath(path), value)
			row := "set"
			switch {
			case ini && !fitsINI(v.Roots[0], len(path)):
				row = "INI does not hold that" // sops may write what it cannot read
				if mine == nil {
					t.Errorf("set %s %s in INI", path, value)
				}
			case ini && v.Roots[0].Type == doc.Null:
				row = "sops writes <nil> in INI"
				if mine != nil {
					t.Errorf("%s: set %s %s: %v", src, path, value, mine)
				}
			case v.Roots[0].Kind == doc.List && theirs != nil && !flat:
				row = "sops takes no list"
				if mine != nil {
					t.Errorf("%s: set %s %s: %v", src, path, value, mine)
				}
			case flat && v.Roots[0].Kind != doc.Scalar:
				row = "neither holds that in dotenv"
				if mine == nil || theirs == nil {
					t.Errorf("set %s %s in dotenv: %v; sops: %v", path, value, mine, theirs)
				}
			case flat && v.Roots[0].Text != "text" && v.Roots[0].Type == doc.String || flat && v.Roots[0].Type == doc.Null:
				row = "kenv quotes in dotenv"
				if mine != nil {
					t.Errorf("%s: set %s %s: %v", src, path, value, mine)
				}
			case mine != nil || theirs != nil:
				t.Errorf("%s: set %s %s: %v; sops: %v: %s", src, path, value, mine, theirs, said)
			default:
				now, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := tree(f, out.Data), tree(f, now); a != b {
					t.Errorf("%s: set %s %s:\n%s\nsops:\n%s", src, path, value, a, b)
				}
			}
			compared[row]++

			if err := os.WriteFile(name, sealed.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			path = all[r.IntN(len(all))]
			out, mine = s.Unset(t.Context(), source, path, kenv.ChangeOptions{})
			_, said, theirs = sops("unset", name, sopsPath(path))
			if mine != nil || theirs != nil {
				if !flat || len(root.Items) > 1 {
					t.Errorf("%s: unset %s: %v; sops: %v: %s", src, path, mine, theirs, said)
				}
				continue
			}
			now, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if a, b := tree(f, out.Data), tree(f, now); a != b {
				t.Errorf("%s: unset %s:\n%s\nsops:\n%s", src, path, a, b)
			}
			compared["unset"]++
			file.Wipe()
		}
	}
	t.Log(compared)
}
