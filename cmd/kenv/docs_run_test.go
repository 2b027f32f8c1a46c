package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11/hsmtest"
)

// The documentation is README.md and docs/*.md. What a page has in blocks of sh and
// console is run from top to bottom in one bash, in an empty home, and must succeed.
// Of a console block everything that the commands print is compared with what the page
// shows: … stands for anything within a line, and a line that is only … for any lines.
//
// Comments, which readers do not see, say the rest. They stand before a block:
//
//	<!-- needs: WORD, … -->  what must be there: a name of stands, or a program
//	<!-- exit: N -->         the last command of the block ends with N
//	<!-- not run: REASON --> the block cannot be run; its commands and flags must exist
//	<!-- sh … -->            lines that are run as a block, to set up or to look

// A block is what stands between two fences, or in a comment of lines to run.
type block struct {
	page     string
	line     int    // of its fence
	language string // "sh" for a comment
	hidden   bool   // a comment
	text     string
	needs    []string
	exit     int
	notRun   string
}

func (b block) place() string { return fmt.Sprintf("%s:%d", b.page, b.line) }
func (b block) isShell() bool { return b.language == "sh" || b.language == "console" }

// languages are those that blocks may have. One without is not among them, as that
// could be for a shell.
var languages = []string{"sh", "console", "yaml", "json", "diff", "dockerfile", "groovy", "go", "text"}

// blocksOf returns the blocks of a page.
func blocksOf(name, text string) (blocks []block, err error) {
	var next block // what comments say of the block to come
	var at *block  // in it
	noted := 0     // the line of such a comment
	end := ""      // what ends the block
	number := 0
	fail := func(format string, args ...any) ([]block, error) {
		return nil, fmt.Errorf("%s:%d: %s", name, number, fmt.Sprintf(format, args...))
	}
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		directive, isComment := strings.CutPrefix(line, "<!-- ")
		language, isFence := strings.CutPrefix(line, "```")
		switch {
		case at != nil && line == end:
			if at.notRun != "" && (at.exit != 0 || len(at.needs) > 0) {
				return fail("the block is not run, and needs nothing")
			}
			blocks = append(blocks, *at)
			at, next, noted = nil, block{}, 0
		case at != nil:
			at.text += line + "\n"
		case line == "<!-- sh" || isFence:
			if isComment || !isFence {
				language = "sh"
			}
			if !slices.Contains(languages, language) {
				return fail("a block in %q, which is none of %q", language, languages)
			}
			end = "```"
			if !isFence {
				end = "-->"
			}
			next.page, next.line, next.language, next.hidden = name, number, language, !isFence
			if !next.isShell() && noted > 0 {
				return fail("a comment for a shell, and a block that is not")
			}
			at = &next
		case isComment:
			key, value, _ := strings.Cut(strings.TrimSuffix(directive, " -->"), ": ")
			switch {
			case !strings.HasSuffix(directive, " -->") || value == "":
				return fail("not a comment that is known here")
			case key == "needs":
				next.needs = strings.Split(value, ", ")
			case key == "exit":
				if next.exit, err = strconv.Atoi(value); err != nil {
					return fail("%v", err)
				}
			case key == "not run":
				next.notRun = value
			default:
				return fail("not a comment that is known here")
			}
			noted = number
		case strings.Contains(line, "<!--") || strings.HasPrefix(strings.TrimSpace(line), "```") || strings.HasPrefix(strings.TrimSpace(line), "~~~"):
			return fail("comments and fences begin in the first column, and fences are ```")
		case noted > 0 && line != "":
			return fail("line %d is a comment for a block, and none follows", noted)
		}
	}
	if at != nil || noted > 0 {
		return fail("the last block does not end, or is missing")
	}
	return blocks, nil
}

// A shown command is one of a console block, with what the page shows of its output.
type shown struct{ command, output string }

// console takes a console block apart.
func (b block) console() (list []shown, err error) {
	for line := range strings.Lines(b.text) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		more, isMore := strings.CutPrefix(line, "> ")
		switch {
		case isCommand:
			list = append(list, shown{command: command})
		case len(list) == 0:
			return nil, fmt.Errorf("%s: a console block begins with a command: $ …", b.place())
		case isMore && list[len(list)-1].output == "":
			list[len(list)-1].command += more
		default:
			list[len(list)-1].output += line
		}
	}
	return list, nil
}

// commands returns what a block types.
func (b block) commands() (string, error) {
	if b.language != "console" {
		return b.text, nil
	}
	list, err := b.console()
	var all strings.Builder
	for _, s := range list {
		all.WriteString(s.command)
	}
	return all.String(), err
}

// matches reports whether an output is the one that a page shows.
func matches(page, output string) bool {
	var expr strings.Builder
	for line := range strings.Lines(page) {
		if line == "…\n" {
			expr.WriteString(`(?:.*\n)*`)
			continue
		}
		parts := strings.Split(line, "…")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		expr.WriteString(strings.Join(parts, `.*`))
	}
	if output != "" && !strings.HasSuffix(output, "\n") {
		output += "\n"
	}
	return regexp.MustCompile(`\A` + expr.String() + `\z`).MatchString(output)
}

// A stand stands for something of the outside world.
type stand struct {
	missing func() error // why it cannot be had here
	setUp   func(t *testing.T) (script string, names map[string]string)
}

// stands returns what blocks may need. To set one up there is a script, and perhaps
// names that mean something else here than in the pages.
func stands() map[string]stand {
	server := kmstest.Once(false)
	return map[string]stand{
		// A repository of git's with a config, a key and encrypted files, and
		// something to start.
		"project": {setUp: func(*testing.T) (string, map[string]string) { return standProject, nil }},
		// A KMS, with the keys that the pages name.
		"kms": {
			missing: func() error {
				if !kmsAvailable() {
					return fmt.Errorf("there is no KMS server: testdata/tools/start-kms.sh check says why")
				}
				return nil
			},
			setUp: func(t *testing.T) (string, map[string]string) {
				env := server(t).Env
				var script strings.Builder
				for _, name := range slices.Sorted(maps.Keys(env)) {
					fmt.Fprintf(&script, "export %s='%s'\n", name, env[name])
				}
				return script.String(), map[string]string{
					"arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab": env["KENV_TEST_KMS_ARN"],
					"arn:aws:kms:eu-west-1:111122223333:key/8f3c2a10-0000-4000-8000-000000000000": env["KENV_TEST_KMS_RSA_ARN"],
					"arn:aws:kms:eu-west-1:111122223333:alias/prod":                               env["KENV_TEST_KMS_ALIAS_ARN"],
					"alias/prod": "alias/kenv-test",
				}
			},
		},
		// SoftHSM, where Debian puts it, and a kenv that can load it.
		"hsm": {
			missing: func() error {
				if !hsmtest.Available() {
					return hsmtest.ErrMissing
				}
				_, err := os.Stat("/usr/lib/softhsm/libsofthsm2.so")
				return err
			},
			setUp: func(t *testing.T) (string, map[string]string) {
				if err := pkcs11.Available(); err != nil {
					t.Skip(err) // the tests run with cgo, too
				}
				return "", nil
			},
		},
		// The programs age and age-keygen.
		"age": {setUp: func(*testing.T) (string, map[string]string) { return standAge, nil }},
	}
}

const standProject = `
git config --global user.name 'A. Reader'
git config --global user.email reader@example.com
git config --global init.defaultBranch main
git init -q
kenv init
cat >.kenv.yaml <<END
creation_rules:
  - path: [secrets.*, "*.env", prod/]
    keys:
      - $(sed -n 's/^# public key: //p' ~/.config/kenv/age/keys.txt)
END
mkdir prod
printf 'db:\n    host: db.example.com\n    user: app\n    password: hunter2\n' | tee secrets.yaml >prod/secrets.yaml
echo 'TOKEN=s3cr3t-token' >prod.env
kenv encrypt -i secrets.yaml prod.env prod/secrets.yaml
cat >deploy <<'END'
#!/bin/sh
echo "deploy $* with token ${TOKEN:-none}"
case $* in *--config*) grep -c hunter2 "$2" ;; esac
END
chmod 755 deploy
git add .
git commit -qm 'Secrets, encrypted'
`

const standAge = `
mkdir ~/stand
cat >~/stand/age <<'END'
#!/bin/sh
exec age-stand-in "$@"
END
cat >~/stand/age-keygen <<'END'
#!/bin/sh
case $1 in -o) kenv keys generate -o "$2" ;; -y) sed -n 's/^# public key: //p' "$2" ;; esac
END
chmod 755 ~/stand/*
PATH=~/stand:$PATH
`

// docsPages returns the names of the pages.
func docsPages(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	for i, name := range names {
		names[i] = "docs/" + filepath.Base(name)
	}
	return append([]string{"README.md"}, names...)
}

// What the pages show for a shell can be typed, and prints what they say it prints.
func TestDocsBlocks(t *testing.T) {
	needPrograms(t, "bash", "git")
	stands := stands()
	allRan, allLeft := 0, 0 // of the pages that people write
	for _, name := range docsPages(t) {
		blocks, err := blocksOf(name, page(t, name))
		if err != nil {
			t.Error(err)
			continue
		}
		ran, left := 0, 0
		for _, b := range blocks {
			switch {
			case b.hidden || !b.isShell():
			case b.notRun != "":
				left++
				t.Logf("%s is not run: %s", b.place(), b.notRun)
				checkUnrun(t, b)
			default:
				ran++
			}
		}
		if name != "docs/commands.md" {
			allRan, allLeft = allRan+ran, allLeft+left
		}
		if ran == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Logf("%d blocks run, %d not", ran, left)
			runBlocks(t, blocks, stands)
		})
	}
	if t.Logf("%d blocks run, %d not", allRan, allLeft); allRan < 5*allLeft {
		t.Errorf("%d blocks are run, and %d are not: that is too many", allRan, allLeft)
	}
}

// checkUnrun looks at a block that is not run. That kenv has its commands and flags is
// what TestDocsCommands says.
func checkUnrun(t *testing.T, b block) {
	t.Helper()
	text, err := b.commands()
	if err != nil {
		t.Error(err)
		return
	}
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", b.place(), err, out)
	}
}

func runBlocks(t *testing.T, blocks []block, stands map[string]stand) {
	dir := t.TempDir()
	for _, name := range []string{"home", "project", "tmp", "out"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	path := os.Getenv("PATH")
	if out, err := exec.Command("go", "env", "GOPATH").Output(); err == nil { // where sops may be
		path += string(filepath.ListSeparator) + filepath.Join(strings.TrimSpace(string(out)), "bin")
	}

	type compared struct {
		block
		shown
		file string
	}
	var (
		script strings.Builder
		expect []compared
		names  []string // for strings.NewReplacer
	)
	script.WriteString("set -euo pipefail\n")
	for _, b := range blocks {
		if !b.isShell() || b.notRun != "" {
			continue
		}
		for _, need := range b.needs {
			s, ok := stands[need]
			if !ok {
				needPrograms(t, need)
				continue
			}
			if s.missing != nil {
				if err := s.missing(); err != nil {
					lack(t, "%v", err)
				}
			}
			text, more := s.setUp(t)
			script.WriteString(text)
			for _, old := range slices.Sorted(maps.Keys(more)) {
				names = append(names, old, more[old])
			}
		}
		b.text = strings.NewReplacer(names...).Replace(b.text)
		fmt.Fprintf(&script, "echo '%s' >'%s/at'\n", b.place(), dir)
		list := []shown{{command: b.text}}
		if b.language == "console" {
			var err error
			if list, err = b.console(); err != nil {
				t.Fatal(err)
			}
		}
		for i, s := range list {
			to := ""
			if b.language == "console" {
				file := filepath.Join(dir, "out", strconv.Itoa(len(expect)))
				expect = append(expect, compared{b, s, file})
				to = ">'" + file + "' 2>&1"
			}
			if b.exit == 0 || i < len(list)-1 {
				fmt.Fprintf(&script, "{\n%s} %s\n", s.command, to)
				continue
			}
			fmt.Fprintf(&script, "set +e\n{\n%s} %s\ncode=$?\nset -e\n", s.command, to)
			fmt.Fprintf(&script, "[ $code = %d ] || { echo \"exit code $code, want %d\"; exit 1; }\n", b.exit, b.exit)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // in case that one asks for something
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script.String())
	cmd.WaitDelay = time.Second
	cmd.Dir = filepath.Join(dir, "project")
	cmd.Env = []string{
		"HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"), "PATH=" + path,
		"TERM=dumb", "GIT_CONFIG_NOSYSTEM=1", "GIT_PAGER=cat", "GORACE=atexit_sleep_ms=0",
	}
	out, failed := cmd.CombinedOutput()
	for _, e := range expect {
		got, err := os.ReadFile(e.file)
		if err != nil {
			break // it did not come to that
		}
		if !matches(e.output, string(got)) {
			t.Errorf("%s: $ %sprints\n%s\nand not\n%s", e.place(), e.command, got, e.output)
		}
	}
	if failed != nil {
		at, _ := os.ReadFile(filepath.Join(dir, "at"))
		t.Errorf("%s: %v; all that was printed:\n%s", strings.TrimSpace(string(at)), failed, out)
	}
}

// The rules for pages are kept.
func TestBlocksOf(t *testing.T) {
	for text, want := range map[string]string{
		"```\nkenv\n```\n":                                            `in ""`,
		"```bash\nkenv\n```\n":                                        `in "bash"`,
		"  ```sh\nkenv\n```\n":                                        "first column",
		"~~~sh\nkenv\n~~~\n":                                          "first column",
		"```sh\nkenv\n":                                               "does not end",
		"<!-- notrun: why -->\n```sh\nkenv\n```\n":                    "not a comment",
		"<!-- not run: -->\n```sh\nkenv\n```\n":                       "not a comment",
		"<!-- not run: why -->\n```yaml\na: b\n```":                   "block that is not",
		"<!-- exit: 5 -->\nText.\n":                                   "none follows",
		"<!-- exit: 5 -->\n":                                          "missing",
		"<!-- exit: 5 -->\n<!-- not run: why -->\n```sh\nkenv\n```\n": "needs nothing",
	} {
		if _, err := blocksOf("page.md", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want …%s…", text, err, want)
		}
	}
	blocks, err := blocksOf("page.md", "Text.\n<!-- needs: kms, gpg -->\n\n```console\n$ a \\\n> b\nc\n$ d\n```\n<!-- sh\ne\n-->\n")
	if err != nil || len(blocks) != 2 || !slices.Equal(blocks[0].needs, []string{"kms", "gpg"}) || !blocks[1].hidden || blocks[1].text != "e\n" {
		t.Fatalf("%+v, %v", blocks, err)
	}
	if list, err := blocks[0].console(); err != nil || !slices.Equal(list, []shown{{"a \\\nb\n", "c\n"}, {"d\n", ""}}) {
		t.Errorf("%q, %v", list, err)
	}
	for _, tt := range []struct {
		page, output string
		want         bool
	}{
		{"a…c\n", "abc\n", true}, {"a…c\n", "ac", true}, {"a…c\n", "a\nc\n", false}, {"…\nc\n", "a\nb\nc\n", true}, {"…\nc\n", "c\n", true},
		{"a\n", "a\nb\n", false}, {"", "", true}, {"", "a\n", false}, {"a.c\n", "abc\n", false},
	} {
		if got := matches(tt.page, tt.output); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.page, tt.output, got)
		}
	}
}
