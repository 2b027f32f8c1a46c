package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// tree makes files and directories (with a final slash) below a new directory
// and returns it, free of links.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("creation_rules: [{age: age1a}]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	tests := []struct {
		name string
		tree []string
		home string // below the tree
		file string
		want string // below the tree; "" for none
	}{
		{"own directory", []string{"a/.kenv.yaml", "a/f"}, "", "a/f", "a/.kenv.yaml"},
		{"a file that does not exist", []string{"a/.kenv.yaml"}, "", "a/new", "a/.kenv.yaml"},
		{"directories that do not exist", []string{"a/.kenv.yaml"}, "", "a/b/c/new", "a/.kenv.yaml"},
		{"further up", []string{".sops.yaml", "a/b/c/f"}, "", "a/b/c/f", ".sops.yaml"},
		{"kenv before sops", []string{"a/.kenv.yaml", "a/.sops.yaml"}, "", "a/f", "a/.kenv.yaml"},
		{"near before kenv", []string{".kenv.yaml", "a/.sops.yaml"}, "", "a/f", "a/.sops.yaml"},
		{"sideways is not up", []string{"b/.kenv.yaml", ".git/", "a/f"}, "", "a/f", ""},
		{"in the git root", []string{".kenv.yaml", ".git/"}, "", "a/f", ".kenv.yaml"},
		{"not above the git root", []string{".kenv.yaml", "a/.git/"}, "", "a/b/f", ""},
		{"not above a work tree, whose .git is a file", []string{".kenv.yaml", "a/.git"}, "", "a/b/f", ""},
		{"in the home directory", []string{"home/.kenv.yaml"}, "home", "home/a/f", "home/.kenv.yaml"},
		{"not above the home directory", []string{".kenv.yaml", "home/a/"}, "home", "home/a/f", ""},
		{"elsewhere the home directory is no end", []string{".kenv.yaml", "home/", "a/"}, "home", "a/f", ".kenv.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := tree(t, tt.tree...)
			home := filepath.Join(dir, "nowhere")
			if tt.home != "" {
				home = filepath.Join(dir, tt.home)
			}
			t.Setenv("HOME", home)
			t.Setenv("USERPROFILE", home)
			got, err := Find(filepath.Join(dir, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want != "" {
				want = filepath.Join(dir, want)
			} else if !strings.HasPrefix(got, dir) && got != "" {
				t.Skipf("there is a config above the temporary directory: %s", got)
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestFindIsRelativeToTheFileNotToUs(t *testing.T) {
	dir := tree(t, "a/.kenv.yaml", "a/f", "b/.kenv.yaml", "b/")
	t.Chdir(filepath.Join(dir, "b"))
	got, err := Find("../a/f")
	if want := filepath.Join(dir, "a", Name); err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestFindRefuses(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, "a", Name), 0o700) },
		"dangling":  func(dir string) error { return os.Symlink("nothing", filepath.Join(dir, "a", SopsName)) },
		"spelling":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "a", ".kenv.yml"), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, ".kenv.yaml", "a/")
			if err := prepare(dir); err != nil {
				t.Skip(err)
			}
			if got, err := Find(filepath.Join(dir, "a", "f")); err == nil {
				t.Errorf("found %q", got)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	dir := tree(t, "real/.kenv.yaml", "real/secrets/f", "other/.kenv.yaml", "shared.yaml", "third/")
	for link, to := range map[string]string{
		"link":              "real/secrets",
		"other/f":           "../real/secrets/f",
		"third/" + SopsName: "../shared.yaml",
	} {
		if err := os.Symlink(filepath.FromSlash(to), filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	for file, want := range map[string]string{
		"link/f":   "real/.kenv.yaml",
		"link/new": "real/.kenv.yaml",
		"other/f":  "real/.kenv.yaml",
		"third/f":  "third/" + SopsName,
	} {
		got, err := Find(filepath.Join(dir, file))
		if err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}

	src := "creation_rules: [{age: age1a, path: /secrets/*}]\n"
	if err := os.WriteFile(filepath.Join(dir, "real", Name), []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	// Reached by a link, the config is about the same files, whatever their names.
	if err := os.Symlink("real", filepath.Join(dir, "alias")); err != nil {
		t.Fatal(err)
	}
	c, err := Load(filepath.Join(dir, "alias", Name))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"real/secrets/f", "alias/secrets/f", "link/f", "link/new", "other/f"} {
		if _, err := c.Match(filepath.Join(dir, file)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}

	// A config that is a link itself is about the tree that the link stands in.
	c, err = Load(filepath.Join(dir, "third", SopsName))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "third"); c.Dir != want {
		t.Errorf("Dir is %q, want %q", c.Dir, want)
	}
}

func TestFindWithoutPermission(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("permissions do not bind this user")
	}
	dir := tree(t, ".kenv.yaml", "a/b/f")
	if err := os.Chmod(filepath.Join(dir, "a"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(dir, "a"), 0o700)
	if got, err := Find(filepath.Join(dir, "a", "b", "f")); err == nil {
		t.Errorf("found %q", got)
	}
}
