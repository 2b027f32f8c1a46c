package git

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func commit(t *testing.T, r *WorkTree, message string) {
	t.Helper()
	for _, args := range [][]string{
		{"add", "-A"},
		{"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", message},
	} {
		if _, err := r.run(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestShow(t *testing.T) {
	r := newWorkTree(t)
	odd := filepath.Join(r.Root, "a dir", "-x:[*]?\té.yaml")
	put(t, odd, "one\r\n")
	put(t, filepath.Join(r.Root, "a dir", "-x:A.yaml"), "another")
	commit(t, r, "one")
	put(t, odd, "two")
	commit(t, r, "two")
	for _, c := range []struct {
		revision, want string
		ok             bool
	}{{"HEAD", "two", true}, {"HEAD~1", "one\r\n", true}, {"HEAD^{/one}", "one\r\n", true}} {
		if data, ok, err := r.Show(t.Context(), c.revision, odd); string(data) != c.want || ok != c.ok || err != nil {
			t.Errorf("%s: %q, %v, %v", c.revision, data, ok, err)
		}
	}
	// A file whose directory is gone, too.
	if err := os.RemoveAll(filepath.Join(r.Root, "a dir")); err != nil {
		t.Fatal(err)
	}
	commit(t, r, "three")
	if _, ok, err := r.Show(t.Context(), "HEAD", odd); ok || err != nil {
		t.Errorf("a file that is gone: %v, %v", ok, err)
	}
	if data, _, err := r.Show(t.Context(), "HEAD~1", odd); string(data) != "two" || err != nil {
		t.Errorf("a file in a directory that is gone: %q, %v", data, err)
	}
	for _, revision := range []string{"", "nope", "--output=x", "-h", "HEAD:a dir", "HEAD..HEAD", "HEAD\x00"} {
		if _, ok, err := r.Show(t.Context(), revision, odd); ok || err == nil {
			t.Errorf("%q is taken for a revision", revision)
		}
	}
	if _, _, err := r.Show(t.Context(), "nope", odd); !errors.Is(err, ErrNoRevision) {
		t.Errorf("nope: %v", err)
	}
	if _, _, err := r.Show(t.Context(), "HEAD", filepath.Join(r.Root, "..", "x")); err == nil {
		t.Error("a file outside of the work tree is shown")
	}
	if _, _, err := r.Show(t.Context(), "HEAD~1", filepath.Join(r.Root, "a dir")); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory: %v", err)
	}
}

func TestConfigs(t *testing.T) {
	r := newWorkTree(t)
	for _, name := range []string{".kenv.yaml", ".sops.yaml", "a b/.sops.yaml", "c/.kenv.yaml", "x.kenv.yaml", "ignored/.kenv.yaml"} {
		put(t, filepath.Join(r.Root, name), "")
	}
	put(t, filepath.Join(r.Root, ".gitignore"), "ignored/\n")
	got, err := r.Configs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var short []string
	for _, path := range got {
		short = append(short, r.short(path))
	}
	if s := strings.Join(short, ", "); s != ".kenv.yaml, a b/.sops.yaml, c/.kenv.yaml" {
		t.Error(s)
	}
}
