package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// An Editor is a program in which a person changes a file.
type Editor struct{ argv []string }

// ErrNoEditor is returned where no editor is set and none of the usual ones is there.
var ErrNoEditor = errors.New("no editor is set, and there is none of vim, nano, vi")

// FindEditor returns the editor that the first of some commands that is not empty
// names, split into words as a shell does; without any, vim, nano or vi.
func FindEditor(commands ...string) (*Editor, error) {
	for _, c := range commands {
		if strings.TrimSpace(c) == "" {
			continue
		}
		argv, err := Words(c)
		if err != nil {
			return nil, fmt.Errorf("the editor's command %q: %w", c, err)
		}
		if _, err := look(argv[0]); err != nil {
			return nil, fmt.Errorf("the editor: %w", err)
		}
		return &Editor{argv}, nil
	}
	for _, name := range []string{"vim", "nano", "vi"} {
		if _, err := look(name); err == nil {
			return &Editor{[]string{name}}, nil
		}
	}
	return nil, ErrNoEditor
}

// Name returns the editor's name.
func (e *Editor) Name() string { return filepath.Base(e.argv[0]) }

// Command returns the command that opens a file at a line, 0 for none. Editors that
// are known are told to keep no copies of the file elsewhere: no swap, backup,
// undo or history files. private is a directory for what one cannot do without.
func (e *Editor) Command(ctx context.Context, path string, line int, private string) (*exec.Cmd, error) {
	program, err := look(e.argv[0])
	if err != nil {
		return nil, err
	}
	argv := append([]string{program}, e.argv[1:]...)
	plus := func() {
		if line > 0 {
			argv = append(argv, "+"+strconv.Itoa(line))
		}
	}
	switch name := strings.TrimSuffix(e.Name(), ".exe"); name {
	case "vim", "nvim", "gvim", "vimx", "view":
		argv = append(argv, "-n", "-i", "NONE", "-c", "set noswapfile nobackup nowritebackup noundofile")
		plus()
	case "vi":
		plus() // many programs go by that name
	case "nano", "rnano":
		// Its settings may ask for backups; it has no flag against that alone.
		argv = append(argv, "--ignorercfiles")
		plus()
	case "emacs", "emacs-nox", "emacs-gtk":
		argv = append(argv, "--eval", "(setq make-backup-files nil auto-save-default nil auto-save-list-file-prefix nil create-lockfiles nil)")
		plus()
	case "emacsclient":
		plus()
	case "code", "code-insiders", "codium", "cursor":
		// It keeps a history and backups of files in its data directory.
		argv = append(argv, "--wait", "--new-window", "--user-data-dir", filepath.Join(private, "editor"))
		if line > 0 {
			argv = append(argv, "--goto")
			path += ":" + strconv.Itoa(line)
		}
	case "subl", "zed":
		argv = append(argv, "--wait")
		if line > 0 {
			path += ":" + strconv.Itoa(line)
		}
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Path, cmd.Args = program, append(argv, path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd, nil
}

// Words splits a command into words as a shell does: at blanks, outside single and
// double quotes, and with a backslash before a character that stands for itself.
// Nothing is expanded. There is at least one word.
func Words(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, inWord := rune(0), false
	runes := []rune(command)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		switch {
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			word.WriteRune(r)
		case r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case r == '\\':
			if i++; i == len(runes) {
				return nil, errors.New("it ends in a backslash")
			}
			if quote == '"' && !strings.ContainsRune("\\\"$`", runes[i]) {
				word.WriteByte('\\')
			}
			word.WriteRune(runes[i])
			inWord = true
		case r == ' ' || r == '\t' || r == '\n':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("it is empty")
	}
	return words, nil
}
