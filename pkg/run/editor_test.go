//go:build unix

package run

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for command, want := range map[string][]string{
		"vim":                           {"vim"},
		"  code  --wait ":               {"code", "--wait"},
		`"/opt/my editor/ed" -x`:        {"/opt/my editor/ed", "-x"},
		`'a b'"c d"e\ f`:                {"a bc de f"},
		`x "" ''`:                       {"x", "", ""},
		`emacs --eval "(f \"a\" \n)"`:   {"emacs", "--eval", `(f "a" \n)`},
		`x '\' "\$HOME" $HOME *`:        {"x", `\`, "$HOME", "$HOME", "*"},
		"sh -c 'exec vi \"$@\"' -- \\é": {"sh", "-c", `exec vi "$@"`, "--", "é"},
	} {
		if got, err := Words(command); err != nil || !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %q, %v; want %q", command, got, err, want)
		}
	}
	for _, command := range []string{"", " \t", `"a`, `'a`, `a\`} {
		if got, err := Words(command); err == nil {
			t.Errorf("Words(%q) = %q", command, got)
		}
	}
}

// TestEditorCommands: known editors are told to leave no copies, and where to go.
func TestEditorCommands(t *testing.T) {
	for program, want := range map[string]string{
		"vim":  "-n -i NONE -c set noswapfile nobackup nowritebackup noundofile +7 /dir/f.yaml",
		"nano": "--ignorercfiles +7 /dir/f.yaml",
		"code": "--wait --new-window --user-data-dir /dir/editor --goto /dir/f.yaml:7",
		"mine": "/dir/f.yaml",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		e, err := FindEditor("", program)
		if err != nil {
			t.Fatal(err)
		}
		cmd, err := e.Command(t.Context(), "/dir/f.yaml", 7, "/dir")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cmd.Args[1:], " "); got != want || !strings.HasSuffix(cmd.Path, "/"+program) {
			t.Errorf("%s: %s %q, want %q", program, cmd.Path, got, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := FindEditor("", "  "); err != ErrNoEditor {
		t.Errorf("no editor at all: %v", err)
	}
	if _, err := FindEditor("nonesuch --wait"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("an editor that is not there: %v", err)
	}
}

// FuzzWords: words that are quoted for a shell come back, and a command's words are those
// that the shell makes of it, where it has nothing to expand.
func FuzzWords(f *testing.F) {
	sh, noShell := exec.LookPath("sh")
	for _, s := range []string{`vim -u "a b"`, `a\ b 'c\d' "e\"\$\x"`, `"" ''x`, "a\tb", `'`, `\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, command string) {
		words, err := Words(command)
		if err != nil {
			return
		}
		var quoted []string
		for _, w := range words {
			quoted = append(quoted, "'"+strings.ReplaceAll(w, "'", `'\''`)+"'")
		}
		if again, err := Words(strings.Join(quoted, " \t")); err != nil || !slices.Equal(again, words) {
			t.Fatalf("%q and quoted again %q, %v", words, again, err)
		}
		if noShell != nil || strings.Trim(command, `abcxyz018 .,:/_-'"\`) != "" {
			return
		}
		out, err := exec.Command(sh, "-c", `printf '%s\000' `+command).Output()
		if want := strings.Join(words, "\x00") + "\x00"; err != nil || string(out) != want {
			t.Fatalf("%q, and in a shell %q, %v", words, out, err)
		}
	})
}
