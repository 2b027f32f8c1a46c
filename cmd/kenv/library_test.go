package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The program in docs/library.md is that of a stranger: a module of its own, which has
// kenv as a dependency. It builds with what kenv's own go.mod names, changes the line that
// it says it changes, and kenv and sops read the result.
func TestLibraryFromOutside(t *testing.T) {
	needPrograms(t, "bash", "sops")
	program := fences(page(t, "docs/library.md"), "go")[0]
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	_, version, _ := strings.Cut(page(t, "go.mod"), "\ngo ")
	version, _, _ = strings.Cut(version, "\n")
	app := t.TempDir()
	for name, text := range map[string]string{
		"main.go": program,
		"go.mod": "module example.com/app\n\ngo " + version + "\n\nrequire github.com/kenvhq/kenv v0.0.0\n\n" +
			"replace github.com/kenvhq/kenv => " + repository + "\n",
		"go.sum": page(t, "go.sum"),
	} {
		if err := os.WriteFile(filepath.Join(app, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// A stranger's go reads all of the modules' go.mod files, some of which kenv's own needs
	// no more: they may not be here yet.
	graph := exec.Command("go", "list", "-m", "all")
	graph.Dir = repository
	if out, err := graph.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	build := exec.Command("go", "build", "-mod=mod", "-o", "app", ".")
	build.Dir = app
	build.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	modules, err := exec.Command("go", "version", "-m", filepath.Join(app, "app")).Output()
	if err != nil || !strings.Contains(string(modules), "\tfilippo.io/age\t") {
		t.Fatalf("%v:\n%s", err, modules)
	}
	for _, dep := range []string{"spf13/cobra", "spf13/pflag", "aws/", "ThalesGroup/crypto11", "miekg/pkcs11", "creack/pty", "fatih/color"} {
		if strings.Contains(string(modules), "\tgithub.com/"+dep) {
			t.Errorf("the program has %s in it", dep)
		}
	}

	home := t.TempDir()
	project := filepath.Join(home, "project")
	if err := os.Mkdir(project, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", `
		kenv init >/dev/null 2>&1
		printf 'db:\n    host: db.example.com # the new one\n    port: 5432\n    password: "hunter2"\n' >secrets.yaml
		kenv encrypt -i secrets.yaml
		cp secrets.yaml before.yaml
		"$APP"
		{ diff before.yaml secrets.yaml || true; } | sed -n 's/^> *\([a-z]*\):.*/\1/p' | grep -v lastmodified | tr '\n' ' '
		kenv get secrets.yaml db.password | tr 'A-Z2-7' x; echo
		SOPS_AGE_KEY_FILE=~/.config/kenv/age/keys.txt sops decrypt --extract '["db"]["password"]' secrets.yaml | tr 'A-Z2-7' x; echo
		kenv decrypt secrets.yaml | sed 's/password: .*/password/'
		! KENV_AGE_KEY= HOME=/none "$APP" 2>&1 | grep -o 'secrets.yaml: no usable master key'
	`)
	cmd.Dir = project
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "APP=" + filepath.Join(app, "app")}
	out, err := cmd.CombinedOutput()
	text := strings.Repeat("x", 26) // rand.Text
	want := "new password for db.example.com:5432\npassword seal mac " + text + "\n" + text + "\n" +
		"db:\n    host: db.example.com # the new one\n    port: 5432\n    password\nsecrets.yaml: no usable master key\n"
	if err != nil || string(out) != want {
		t.Errorf("%v:\n%s\nwant\n%s", err, out, want)
	}
}

// What docs/library.md shows besides is in the examples, which run.
func TestLibraryPageIsTheExamples(t *testing.T) {
	parts := fences(page(t, "docs/library.md"), "go")
	if len(parts) < 5 {
		t.Fatalf("the page has %d pieces of Go", len(parts))
	}
	examples := page(t, "pkg/kenv/example_test.go")
	for _, part := range parts[1:] {
		if !strings.Contains(examples, part) {
			t.Errorf("no example has\n%s", part)
		}
	}
}
