package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A Tree finds for every file what Find, Load and Match find.
func TestTreeLook(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	rule := func(path string) string {
		return "creation_rules:\n  - " + path + "\n    age: age1x\n"
	}
	for name, text := range map[string]string{
		"a/.kenv.yaml":         rule(`path: ["secrets/**", "*.yaml", "!*.example.yaml"]`),
		"a/b/c/.sops.yaml":     rule(`path_regex: \.json$`),
		"all/.kenv.yaml":       "creation_rules:\n  - age: age1x\n",
		"dots/.sops.yaml":      rule(`path_regex: .*`),
		"bad/.kenv.yaml":       "creation_rules: 1\n",
		"repo/.git/HEAD":       "",
		"repo/sub/.kenv.yaml/": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "a"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var tree Tree
	for _, tt := range []struct {
		file string
		want string // rule, and what else is true
	}{
		{"a/x.yaml", "rule named"},
		{"a/secrets/x.bin", "rule named usual"},
		{"a/b/secrets.yaml", "rule named usual"},
		{"link/x.yaml", "rule named"},
		{"a/x.example.yaml", "excluded"},
		{"a/main.go", ""},
		{"a/b/c/x.json", "rule named"},
		{"a/b/c/x.yaml", ""},
		{"a/b/c/d/e/x.json", "rule named"},
		{"all/x.yaml", "rule"},
		{"all/secrets.yaml", "rule usual"},
		{"all/.env", "rule usual"},
		{"all/.env.example", "rule"},
		{"dots/sub/x", "rule"},
		{"dots/secrets/x", "rule usual"},
		{"bad/x", "error"},
		{"repo/sub/x", "error"},
		{"repo/x", "none"},
		{"x.yaml", "none"},
	} {
		file := filepath.Join(dir, tt.file)
		v, err := tree.Look(file)
		var got []string
		add := func(is bool, word string) {
			if is {
				got = append(got, word)
			}
		}
		add(err != nil, "error")
		add(err == nil && v.Config == nil, "none")
		add(v.Rule != nil, "rule")
		add(v.Named, "named")
		add(v.Usual, "usual")
		add(v.Excluded, "excluded")
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %q (%v), want %q", tt.file, got, err, tt.want)
		}
		path, err2 := Find(file)
		if (err2 != nil) && err == nil || err == nil && (v.Config == nil) != (path == "") || v.Config != nil && v.Config.Path != path {
			t.Errorf("%s: Find says %q, %v", tt.file, path, err2)
		}
		if v.Config != nil {
			if r, err := v.Config.Match(file); (err == nil) != (v.Rule != nil) || r != v.Rule {
				t.Errorf("%s: Match says %v, %v", tt.file, r, err)
			}
		}
	}

	// What is read instead of the disk.
	text := []byte(rule("path: only"))
	given := Tree{Texts: map[string][]byte{filepath.Join(dir, "a", Name): text, filepath.Join(dir, "repo", SopsName): text}}
	for file, covered := range map[string]bool{"a/only": true, "link/only": true, "a/x.yaml": false, "repo/only": true} {
		if v, err := given.Look(filepath.Join(dir, file)); err != nil || v.Config == nil || (v.Rule != nil) != covered {
			t.Errorf("%s: %+v, %v", file, v, err)
		}
	}
	forced := Tree{Path: filepath.Join(dir, "link", Name), Texts: given.Texts}
	if v, err := forced.Look(filepath.Join(dir, "a", "b", "c", "only")); err != nil || v.Rule == nil {
		t.Errorf("%+v, %v", v, err)
	}
}

// A directory is looked at once, whatever happens to it meanwhile; and many may ask.
func TestTreeOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, Name)
	if err := os.WriteFile(path, []byte("creation_rules:\n  - age: age1x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var tree Tree
	first, err := tree.Look(filepath.Join(dir, "a"))
	if err != nil || first.Rule == nil {
		t.Fatal(first, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if v, err := tree.Look(filepath.Join(dir, fmt.Sprint(i))); err != nil || v.Config != first.Config {
				t.Errorf("%d: %+v, %v", i, v, err)
			}
		})
	}
	wg.Wait()
}
