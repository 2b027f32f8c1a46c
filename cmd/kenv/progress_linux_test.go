package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A slowTree is a directory with encrypted files and an identity that takes a while.
type slowTree struct {
	dir, kenv string
	names     []string
}

func newSlowTree(t *testing.T, n int, key string) *slowTree {
	v := newVictim(t, 1)
	tree := &slowTree{dir: t.TempDir(), kenv: v.kenv}
	for i := range n {
		name := fmt.Sprintf("%02d.yaml", i)
		tree.names = append(tree.names, name)
		if err := os.WriteFile(filepath.Join(tree.dir, name), v.plaintext, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(tree.dir, "out"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree.dir, "slow.sh"), []byte("sleep $1; cat keys.txt\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	generate := exec.Command(v.kenv, "keys", "generate", "-o", filepath.Join(tree.dir, "keys.txt"))
	out, err := generate.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	recipient := strings.TrimSpace(strings.TrimPrefix(string(out), "Public key: "))
	if key != "" {
		recipient = key
	}
	encrypt := exec.Command(v.kenv, append([]string{"encrypt", "-i", "--key", recipient}, tree.names...)...)
	encrypt.Dir = tree.dir
	if out, err := encrypt.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return tree
}

// on runs kenv on a terminal and returns what it wrote there and its exit code. Seen is
// called with all of it each time that there is more.
func (tree *slowTree) on(t *testing.T, identity []string, seen func(shown string, control *os.File, p *os.Process), args ...string) (string, int) {
	control, terminal := openPTY(t)
	cmd := exec.Command(tree.kenv, args...)
	cmd.Dir = tree.dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + tree.dir, "TERM=xterm", "NO_COLOR=1"}, identity...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close() // the last one that is open is kenv's
	var shown bytes.Buffer
	for chunk := make([]byte, 4096); ; {
		n, err := control.Read(chunk)
		shown.Write(chunk[:n])
		if err != nil {
			break
		}
		if seen != nil {
			seen(shown.String(), control, cmd.Process)
		}
	}
	return shown.String(), exitCodeOf(t, cmd.Wait())
}

// A person sees how far work is, if it takes long, and nothing of that afterwards.
func TestProgress(t *testing.T) {
	tree := newSlowTree(t, 40, "")
	slow := []string{"SOPS_AGE_KEY_CMD=sh slow.sh 1"}
	decrypt := append([]string{"decrypt", "--output-dir", "out"}, append(tree.names, "none.yaml")...)
	shown, code := tree.on(t, slow, nil, decrypt...)
	if code != 1 || !strings.Contains(shown, "(0/41)") {
		t.Errorf("exit code %d, and no bar in %q", code, shown)
	}
	want := []string{"kenv: cannot read none.yaml: no such file or directory", "kenv: 1 of 41 files failed"}
	if got := screenOf(shown); !slices.Equal(got, want) {
		t.Errorf("what stays on the terminal is %q, want %q", got, want)
	}
	// Words go above the bar.
	shown, code = tree.on(t, slow, nil, append([]string{"rotate", "-i"}, tree.names...)...)
	got := screenOf(shown)
	if code != 0 || len(got) != len(tree.names) || !strings.Contains(shown, "(0/40)") {
		t.Fatalf("exit code %d, %d lines, %q", code, len(got), shown)
	}
	for i, line := range got {
		if !strings.HasPrefix(line, tree.names[i]+": new data key, encrypted for age1") {
			t.Errorf("line %d is %q", i, line)
		}
	}
	// What is quick has no bar.
	if shown, code := tree.on(t, []string{"KENV_AGE_KEY_FILE=keys.txt"}, nil, append([]string{"decrypt", "--output-dir", "out"}, tree.names[:3]...)...); code != 0 || shown != "" {
		t.Errorf("exit code %d, and %q", code, shown)
	}
}

// An interrupt takes the bar away.
func TestInterruptProgress(t *testing.T) {
	tree := newSlowTree(t, 40, "")
	sent := false
	shown, code := tree.on(t, []string{"SOPS_AGE_KEY_CMD=sh slow.sh 5"}, func(shown string, _ *os.File, p *os.Process) {
		if !sent && strings.Contains(shown, "(0/40)") {
			sent = true
			p.Signal(syscall.SIGTERM)
		}
	}, append([]string{"decrypt", "--output-dir", "out"}, tree.names...)...)
	if code != 128+int(syscall.SIGTERM) || !sent {
		t.Errorf("exit code %d, and %q", code, shown)
	}
	if got := screenOf(shown); len(got) > 0 {
		t.Errorf("what stays on the terminal is %q", got)
	}
}

// However many files wait for an answer, a question is asked once, and no bar is drawn
// over it.
func TestQuestionOfManyFiles(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "..", "testdata", "script", "passphrase.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	_, sealed, ok := strings.Cut(string(script), "-- sealed.txt --\n")
	if !ok {
		t.Fatal("passphrase.txtar has no sealed.txt")
	}
	sealed, _, _ = strings.Cut(sealed, "\n-- ")
	tree := newSlowTree(t, 40, "age1hnwl382xt9pl3ft8rdps5sxqqfytpmaety5yzg60t5qr9twgdppsdu0hn9")
	if err := os.WriteFile(filepath.Join(tree.dir, "sealed.txt"), []byte(sealed), 0o600); err != nil {
		t.Fatal(err)
	}
	answered := false
	shown, code := tree.on(t, []string{"KENV_AGE_KEY_FILE=sealed.txt"}, func(shown string, control *os.File, _ *os.Process) {
		if !answered && strings.Contains(shown, "sealed.txt: ") {
			answered = true
			go func() {
				time.Sleep(2 * barAfter)
				control.WriteString("correct horse\n")
			}()
		}
	}, append([]string{"decrypt", "--output-dir", "out"}, tree.names...)...)
	before, _, _ := strings.Cut(shown, "\r\n")
	if code != 0 || strings.Count(shown, "sealed.txt: ") != 1 || strings.Contains(before, "(") {
		t.Errorf("exit code %d, and %q", code, shown)
	}
	if got := screenOf(shown); len(got) != 1 {
		t.Errorf("what stays on the terminal is %q", got)
	}
}

// screenOf returns the lines that text leaves on a terminal, blank ones left out.
func screenOf(text string) (lines []string) {
	for line := range strings.SplitSeq(text, "\n") {
		var cells []rune
		col := 0
		for _, r := range line {
			if r == '\r' {
				col = 0
				continue
			}
			for len(cells) <= col {
				cells = append(cells, ' ')
			}
			cells[col] = r
			col++
		}
		if line := strings.TrimRight(string(cells), " "); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
