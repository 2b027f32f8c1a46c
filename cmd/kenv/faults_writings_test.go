//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
	"github.com/spf13/cobra"
)

// A writing is a way of running kenv that writes files.
type writing struct {
	command string // what the tree of commands calls it
	args    []string
	setup   func(t testing.TB, w *writing, dir string) // what it takes besides the files that all have
	// changes are the files that it writes, by their path in the directory, and what tells
	// a new one.
	changes map[string]func(w *writing, data []byte) error
	// between tells states of a file that is changed in steps.
	between func(data []byte) error
	// expects are those of the changes that it has read before: nobody else's work on
	// them is lost.
	expects []string
	// lock is a file that another program leaves when it is killed.
	lock string
	// plaintext says that it puts plaintext into files on purpose.
	plaintext bool
	again     []string // the command that completes what was half done, if it is another
	every     bool     // all faults come at all calls that matter

	*faulty
	template string
	before   map[string][]byte
	points   []faulttest.Point
}

func (w *writing) name() string { return strings.Join(w.args, " ") }

// A faulty is what all writings of a test share.
type faulty struct {
	*victim
	second *victim // another person
	canary string  // which is in each secret
	text   string  // the plaintext
	base   string

	mu   sync.Mutex
	runs map[string]int // by fault
}

const memoryDir = "/dev/shm"

func newFaulty(t *testing.T) *faulty {
	f := &faulty{victim: newVictim(t, 0), second: newVictim(t, 0), runs: map[string]int{}}
	f.canary = "canary-" + strings.ToLower(f.recipient[len(f.recipient)-16:])
	f.text = "# " + f.canary + "\npassword: " + f.canary + "\nlast: 1\n"
	// Directories in memory are quick, and a place where plaintext may be for an editor.
	base, err := os.MkdirTemp(memoryDir, "kenv-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(base) })
	f.base = base
	return f
}

func (f *faulty) env() []string {
	return []string{
		"HOME=$DIR/home", "XDG_CONFIG_HOME=$DIR/home/.config", "TMPDIR=$DIR/tmp", "XDG_RUNTIME_DIR=$DIR/run",
		"EDITOR=$DIR/home/editor", "SHELL=/bin/sh", "GIT_CONFIG_NOSYSTEM=1", oneThread + "=1",
		"KENV_AGE_KEY=", "SOPS_AGE_KEY=", "KENV_EDITOR=", "SOPS_EDITOR=", "VISUAL=",
	}
}

// place puts into a directory what all commands find.
func (f *faulty) place(t testing.TB, dir string) {
	for _, sub := range []string{"work", "tmp", "run", "home/.config/kenv/age"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.put(t, dir, "home/.config/kenv/age/keys.txt", f.identity+"\n")
	f.put(t, dir, "home/editor", "#!/bin/sh\necho 'edited: 1' >>\"$1\"\n")
	f.put(t, dir, "work/.kenv.yaml", "creation_rules:\n  - age:\n      - "+f.recipient+"\n")
	f.put(t, dir, "work/secrets.yaml", f.text)
	f.do(t, dir, "kenv", "encrypt", "-i", "secrets.yaml")
}

func (f *faulty) put(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// prepare prepares what is run undisturbed.
func (f *faulty) prepare(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = filepath.Join(dir, "work"), os.Environ()
	for _, v := range f.env() {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(v, "$DIR", dir))
	}
	return cmd
}

func (f *faulty) do(t testing.TB, dir, name string, args ...string) {
	t.Helper()
	if out, err := f.prepare(dir, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// What tells a new file.

func opensAs(edit func(text string) string) func(*writing, []byte) error {
	return func(w *writing, data []byte) error {
		f, err := w.victim.setup.Open(context.Background(), kenv.Source{Name: "secrets.yaml", Data: data})
		if err != nil {
			return err
		}
		defer f.Wipe()
		if want := edit(w.text); string(f.Plaintext()) != want {
			return fmt.Errorf("it opens as %q, not %q", f.Plaintext(), want)
		}
		if bytes.Contains(data, []byte(w.canary)) {
			return errors.New("it holds plaintext")
		}
		return nil
	}
}

func same(text string) string { return text }

func isText(w *writing, data []byte) error {
	if string(data) != w.text {
		return fmt.Errorf("it is %d bytes and not the plaintext", len(data))
	}
	return nil
}

func isIdentity(_ *writing, data []byte) error {
	if !regexp.MustCompile(`^# created: \S+\n# public key: age1[a-z0-9]+\nAGE-SECRET-KEY-1[A-Z0-9]{58}\n$`).Match(data) {
		return fmt.Errorf("it is no identity: %d bytes", len(data))
	}
	return nil
}

func says(parts ...string) func(*writing, []byte) error {
	return func(w *writing, data []byte) error {
		for _, part := range parts {
			part = strings.NewReplacer("$FIRST", w.recipient, "$SECOND", w.second.recipient).Replace(part)
			if want, no := strings.CutPrefix(part, "!"); bytes.Contains(data, []byte(want)) == no {
				return fmt.Errorf("it should say %q:\n%s", part, data)
			}
		}
		return nil
	}
}

func both(one, two func(*writing, []byte) error) func(*writing, []byte) error {
	return func(w *writing, data []byte) error {
		if err := one(w, data); err != nil {
			return err
		}
		return two(w, data)
	}
}

func isGone(_ *writing, data []byte) error {
	if data != nil {
		return errors.New("it is still there")
	}
	return nil
}

func isGitConfig(data []byte) error {
	cmd := exec.Command("git", "config", "--list", "--file", "-")
	cmd.Stdin = bytes.NewReader(data)
	if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("core.")) {
		return fmt.Errorf("git does not read it: %v: %s", err, out)
	}
	return nil
}

type changed = map[string]func(*writing, []byte) error

func withPlain(t testing.TB, w *writing, dir string) { w.put(t, dir, "work/plain.yaml", w.text) }

// twoInConfig has the config name a second person, whom the file lacks.
func twoInConfig(t testing.TB, w *writing, dir string) {
	w.put(t, dir, "work/.kenv.yaml", "creation_rules:\n  - age:\n      - "+w.recipient+"\n      - "+w.second.recipient+"\n")
}

func twoPersons(t testing.TB, w *writing, dir string) {
	twoInConfig(t, w, dir)
	w.do(t, dir, "kenv", "updatekeys", "--yes", "secrets.yaml")
}

func withGit(t testing.TB, w *writing, dir string) {
	w.do(t, dir, "git", "init", "-q", "--template=")
}

const mergedText = "a: 2\nb: 1\nc: 1\nd: 1\ne: 2\n"

// writings are all ways of running kenv that write files.
func writings(f *faulty) []*writing {
	line := func(old, new string) func(string) string {
		return func(text string) string { return strings.Replace(text, old, new, 1) }
	}
	appended := func(s string) func(string) string { return func(text string) string { return text + s } }
	is := func(s string) func(string) string { return func(string) string { return s } }
	list := []*writing{
		{command: "encrypt", args: []string{"encrypt", "-i", "plain.yaml"}, setup: withPlain, every: true,
			changes: changed{"work/plain.yaml": opensAs(same)}, expects: []string{"work/plain.yaml"}},
		{command: "encrypt", args: []string{"encrypt", "-o", "out.yaml", "plain.yaml"}, setup: withPlain,
			changes: changed{"work/out.yaml": opensAs(same)}},
		{command: "encrypt", args: []string{"encrypt", "-r", "--output-dir", "out", "."}, setup: withPlain,
			changes: changed{"work/out/plain.yaml": opensAs(same)}},
		{command: "encrypt", args: []string{"-e", "-i", "plain.yaml"}, setup: withPlain,
			changes: changed{"work/plain.yaml": opensAs(same)}, expects: []string{"work/plain.yaml"}},
		{command: "decrypt", args: []string{"decrypt", "-i", "secrets.yaml"}, plaintext: true,
			changes: changed{"work/secrets.yaml": isText}, expects: []string{"work/secrets.yaml"}},
		{command: "decrypt", args: []string{"decrypt", "-o", "out.yaml", "secrets.yaml"}, plaintext: true,
			changes: changed{"work/out.yaml": isText}},
		{command: "decrypt", args: []string{"decrypt", "-r", "--output-dir", "out", "."}, plaintext: true,
			changes: changed{"work/out/secrets.yaml": isText}},
		{command: "edit", args: []string{"edit", "secrets.yaml"},
			changes: changed{"work/secrets.yaml": opensAs(appended("edited: 1\n"))}, expects: []string{"work/secrets.yaml"}},
		{command: "edit", args: []string{"edit", "new.yaml"},
			changes: changed{"work/new.yaml": opensAs(is("edited: 1\n"))}, expects: []string{"work/new.yaml"}},
		{command: "", args: []string{"secrets.yaml"},
			changes: changed{"work/secrets.yaml": opensAs(appended("edited: 1\n"))}, expects: []string{"work/secrets.yaml"}},
		{command: "set", args: []string{"set", "secrets.yaml", "last", "2"}, every: true,
			changes: changed{"work/secrets.yaml": opensAs(line("last: 1", "last: 2"))}, expects: []string{"work/secrets.yaml"}},
		{command: "set", args: []string{"--set", `["last"] 2`, "secrets.yaml"},
			changes: changed{"work/secrets.yaml": opensAs(line("last: 1", "last: 2"))}, expects: []string{"work/secrets.yaml"}},
		{command: "unset", args: []string{"unset", "secrets.yaml", "last"},
			changes: changed{"work/secrets.yaml": opensAs(line("last: 1\n", ""))}, expects: []string{"work/secrets.yaml"}},
		{command: "rotate", args: []string{"rotate", "-i", "secrets.yaml"},
			changes: changed{"work/secrets.yaml": opensAs(same)}, expects: []string{"work/secrets.yaml"}},
		{command: "rotate", args: []string{"rotate", "-o", "out.yaml", "secrets.yaml"},
			changes: changed{"work/out.yaml": opensAs(same)}},
		{command: "updatekeys", args: []string{"updatekeys", "--yes", "secrets.yaml"}, setup: twoInConfig,
			changes: changed{"work/secrets.yaml": both(opensAs(same), says("$SECOND"))}, expects: []string{"work/secrets.yaml"}},
		{command: "keys add", args: []string{"keys", "add", f.second.recipient}, again: []string{"updatekeys", "--yes", "."},
			changes: changed{"work/.kenv.yaml": says("$FIRST", "$SECOND"), "work/secrets.yaml": both(opensAs(same), says("$SECOND"))},
			expects: []string{"work/.kenv.yaml"}},
		{command: "keys remove", args: []string{"keys", "remove", f.second.recipient}, again: []string{"updatekeys", "--yes", "."}, setup: twoPersons,
			changes: changed{"work/.kenv.yaml": says("$FIRST", "!$SECOND"), "work/secrets.yaml": both(opensAs(same), says("!$SECOND"))},
			expects: []string{"work/.kenv.yaml"}},
		{command: "keys generate", args: []string{"keys", "generate", "-o", "new.txt"},
			changes: changed{"work/new.txt": isIdentity}, expects: []string{"work/new.txt"}},
		{command: "init", args: []string{"init"},
			setup: func(t testing.TB, w *writing, dir string) {
				for _, name := range []string{"home/.config", "work/.kenv.yaml"} {
					if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			},
			changes: changed{"home/.config/kenv/age/keys.txt": isIdentity, "work/.kenv.yaml": says("age1")}, expects: []string{"home/.config/kenv/age/keys.txt"}},
		{command: "groups add", args: []string{"groups", "add", "-i", "-f", "secrets.yaml", "--key", f.recipient},
			changes: changed{"work/secrets.yaml": both(opensAs(same), says("shamir_threshold: 2"))}, expects: []string{"work/secrets.yaml"}},
		{command: "groups delete", args: []string{"groups", "delete", "-i", "-f", "secrets.yaml", "1"},
			setup: func(t testing.TB, w *writing, dir string) {
				w.do(t, dir, "kenv", "groups", "add", "-i", "-f", "secrets.yaml", "--key", w.recipient)
			},
			changes: changed{"work/secrets.yaml": both(opensAs(same), says("!shamir_threshold: 2"))}, expects: []string{"work/secrets.yaml"}},
		{command: "git install", args: []string{"git", "install"}, setup: withGit, lock: "work/.git/config.lock", between: isGitConfig,
			changes: changed{
				"work/.git/config":           says("kenv git textconv", "kenv git merge"),
				"work/.gitattributes":        says("diff=kenv", "merge=kenv"),
				"work/.git/hooks/pre-commit": says("#!/bin/sh\n", "kenv check --staged"),
			}, expects: []string{"work/.gitattributes"}},
		{command: "git uninstall", args: []string{"git", "uninstall"}, lock: "work/.git/config.lock", between: isGitConfig,
			setup: func(t testing.TB, w *writing, dir string) {
				withGit(t, w, dir)
				w.put(t, dir, "work/.gitattributes", "*.txt text\n")
				w.do(t, dir, "kenv", "git", "install")
			},
			changes: changed{
				"work/.git/config":           says("!kenv git"),
				"work/.gitattributes":        says("*.txt text\n", "!kenv"),
				"work/.git/hooks/pre-commit": isGone,
			}, expects: []string{"work/.gitattributes"}},
		{command: "git merge", args: []string{"git", "merge", "base", "ours", "theirs", "secrets.yaml"},
			setup: func(t testing.TB, w *writing, dir string) {
				w.put(t, dir, "work/base", "a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n")
				w.do(t, dir, "kenv", "encrypt", "-i", "--filename-override", "secrets.yaml", "base")
				for side, key := range map[string]string{"ours": "a", "theirs": "e"} {
					w.do(t, dir, "cp", "base", side)
					w.do(t, dir, "kenv", "set", "--input-type", "yaml", side, key, "2")
				}
			},
			changes: changed{"work/ours": opensAs(is(mergedText))}, expects: []string{"work/ours"}},
		{command: "git merge", args: []string{"git", "merge", "base", "ours", "theirs", "notes.yaml"},
			setup: func(t testing.TB, w *writing, dir string) {
				for side, text := range map[string]string{"base": "a: 1\nb: 1\nc: 1\nd: 1\ne: 1\n", "ours": "a: 2\nb: 1\nc: 1\nd: 1\ne: 1\n", "theirs": "a: 1\nb: 1\nc: 1\nd: 1\ne: 2\n"} {
					w.put(t, dir, "work/"+side, text)
				}
			},
			changes: changed{"work/ours": says(mergedText)}, expects: []string{"work/ours"}},
		{command: "exec-file", args: []string{"exec-file", "--no-fifo", "secrets.yaml", "read x <{}"}},
		{command: "exec-file", args: []string{"exec-file", "secrets.yaml", "read x <{}"}},
	}
	for _, w := range list {
		w.faulty = f
	}
	return list
}

// writesNothing are the commands that write no file, by their names in the tree, with
// arguments to see that by.
var writesNothing = map[string][]string{
	"check": {"."}, "completion": {"bash"}, "diff": {"secrets.yaml"}, "doctor": {}, "exec": {"secrets.yaml", "--", "true"},
	"exec-env": {"secrets.yaml", "true"}, "filestatus": {"secrets.yaml"}, "get": {"secrets.yaml", "last"}, "git": {},
	"git textconv": {"secrets.yaml"}, "groups": {}, "hsm": {}, "hsm list": {}, "hsm enroll": {"pkcs11:token=x;object=y"}, "hsm check": {},
	"keys": {"secrets.yaml"}, "version": {}, "help": {}, "git pre-commit": {},
}

// Every command is under test here: a new one has to be put into one of the tables.
func TestFaultsCoverEveryCommand(t *testing.T) {
	f := newFaulty(t)
	covered := map[string]bool{}
	for _, w := range writings(f) {
		covered[w.command] = true
	}
	var walk func(c *cobra.Command)
	root := newRoot(newProcess())
	walk = func(c *cobra.Command) {
		name := strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), root.Name()), " ")
		args, nothing := writesNothing[name]
		switch {
		case covered[name] == nothing:
			t.Errorf("%q is in none of the tables of commands that write and do not, or in both", name)
		case nothing:
			dir := filepath.Join(f.base, strings.ReplaceAll(name, " ", "-"))
			f.place(t, dir)
			withGit(t, &writing{faulty: f}, dir)
			before := faulttest.Files(t, dir)
			f.prepare(dir, "kenv", append(strings.Fields(name), args...)...).Run() // some fail here, for want of an HSM
			after := faulttest.Files(t, dir)
			delete(after, "home/.gnupg") // gpg makes that wherever it is asked something
			delete(after, "home/.gnupg/pubring.kbx")
			for file := range after {
				if old, was := before[file]; !was || !bytes.Equal(old, after[file]) {
					t.Errorf("%q changes %s", name, file)
				}
			}
			if len(after) < len(before) {
				t.Errorf("%q removes files", name)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
}
