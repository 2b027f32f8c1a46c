package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/fatih/color"
	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/git"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// This file and progress.go are the only ones that print, ask, colour and choose exit
// codes. Data goes to standard output. Words go to standard error and begin with
// "kenv:" if something is wrong, without a capital and without a full stop; what to
// do about it follows on a line that begins with "hint:". Text from files is shown
// with its control characters escaped. Questions are asked on the terminal itself,
// so that standard input and output stay free for data.

// The exit codes.
const (
	exitOK        = 0
	exitFailed    = 1
	exitUsage     = 2
	exitNoKey     = 3
	exitIntegrity = 4
	exitPolicy    = 5

	exitExecFailed    = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// A speaker says words to those who read standard error, in lines.
type speaker struct {
	screen *screen
	to     io.Writer // the screen, or what keeps the words until their turn comes
}

type ui struct {
	speaker
	stdin, stdout *os.File

	question sync.Mutex // held while one is being asked
	asking   sync.Mutex
	restore  func() // turns the terminal's echo on again; nil when it is on
}

func newUI(stdin, stdout, stderr *os.File) *ui {
	s := &screen{file: stderr}
	return &ui{speaker: speaker{s, s}, stdin: stdin, stdout: stdout}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// paint colours a word of a message, on a terminal whose user wants that.
func (s speaker) paint(word string, attributes ...color.Attribute) string {
	return paintOn(s.screen.file, word, attributes...)
}

func paintOn(f *os.File, word string, attributes ...color.Attribute) string {
	c := color.New(attributes...)
	if os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(f) {
		c.EnableColor()
	} else {
		c.DisableColor()
	}
	return c.Sprint(word)
}

// print writes data.
func (u *ui) print(data []byte) error {
	if _, err := u.stdout.Write(data); err != nil {
		return fmt.Errorf("cannot write to standard output: %w", err)
	}
	return nil
}

// printf writes a line of words that are a command's result.
func (u *ui) printf(format string, args ...any) error {
	return u.print([]byte(escape(fmt.Sprintf(format, args...)) + "\n"))
}

// json writes a value as JSON, in which nothing can move a terminal's cursor.
func (u *ui) json(v any) error {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("cannot write JSON: %w", err)
	}
	var safe []byte
	for _, r := range b.String() {
		if !dangerous(r) {
			safe = utf8.AppendRune(safe, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) { // within a string, as JSON has no such characters elsewhere
			safe = fmt.Appendf(safe, `\u%04x`, unit)
		}
	}
	return u.print(safe)
}

// table writes rows below a header, in columns. A column without any text is left out.
func (u *ui) table(header []string, rows [][]string) error {
	var widths []int
	cells := make([][]string, len(rows)+1)
	for i, row := range append([][]string{header}, rows...) {
		for col, text := range row {
			cells[i] = append(cells[i], oneLine(text))
			if i == 0 {
				widths = append(widths, 0)
			} else if text != "" {
				widths[col] = max(widths[col], utf8.RuneCountInString(header[col]), utf8.RuneCountInString(cells[i][col]))
			}
		}
	}
	var b strings.Builder
	for _, row := range cells {
		line := ""
		for col, cell := range row {
			if widths[col] > 0 {
				line += fmt.Sprintf("%-*s  ", widths[col], cell)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return u.print([]byte(b.String()))
}

// findings writes what a look at the set-up brought up, each in a line.
func (u *ui) findings(list []keys.Finding) error {
	var b strings.Builder
	for _, f := range list {
		word, colour := "missing", color.FgRed
		switch f.State {
		case keys.OK:
			word, colour = "ok", color.FgGreen
		case keys.Note:
			word, colour = "note", color.FgCyan
		case keys.Warning:
			word, colour = "warn", color.FgYellow
		}
		word = paintOn(u.stdout, fmt.Sprintf("%-8s", word), colour)
		fmt.Fprintf(&b, "%s %s: %s\n", word, oneLine(keys.Short(f.What)), oneLine(f.Detail))
		if f.Hint != "" {
			fmt.Fprintf(&b, "%9s%s %s\n", "", paintOn(u.stdout, "hint:", color.FgCyan), oneLine(f.Hint))
		}
	}
	return u.print([]byte(b.String()))
}

// sayf writes a line of words, whoever reads them.
func (s speaker) sayf(format string, args ...any) {
	fmt.Fprintln(s.to, escape(fmt.Sprintf(format, args...)))
}

// notef writes a line of words for a person only.
func (s speaker) notef(format string, args ...any) {
	if isTerminal(s.screen.file) {
		s.sayf(format, args...)
	}
}

// warnf writes a line about something that may be wrong.
func (s speaker) warnf(format string, args ...any) {
	fmt.Fprintln(s.to, s.paint("kenv:", color.FgYellow), escape(fmt.Sprintf(format, args...)))
}

// fail reports an error. Errors of several files are reported one by one.
func (u *ui) fail(err error) {
	list := failures{err}
	errors.As(err, &list)
	last := ""
	if about, ok := err.(hinted); ok {
		last = about.hint // about all of them
	}
	for i, err := range list {
		fmt.Fprintln(u.to, u.paint("kenv:", color.FgRed), escape(cut(describe(err))))
		// What helps against several in a row is said once.
		h := hint(err)
		switch {
		case i+1 == len(list) && last != "":
			h = last
		case i+1 < len(list) && hint(list[i+1]) == h:
			h = ""
		}
		if h != "" {
			fmt.Fprintln(u.to, u.paint("hint:", color.FgCyan), escape(h))
		}
	}
}

// exit reports an error, if it is one, and returns the exit code for it.
func (u *ui) exit(err error) int {
	if err == nil {
		return exitOK
	}
	if ended := (*run.Exited)(nil); errors.As(err, &ended) {
		return ended.Code // a program that kenv started has said what there is to say
	}
	if !as[silent](err) {
		u.fail(err)
	}
	if isSops(os.Args[0]) {
		return sopsCode(err)
	}
	return exitCode(err)
}

// prompt asks on the terminal, without echo.
func (u *ui) prompt(_ context.Context, text string) ([]byte, error) {
	u.question.Lock()
	defer u.question.Unlock()
	in, out, err := openTerminal()
	if err != nil {
		return nil, keys.ErrNoTerminal
	}
	defer u.screen.pause()()
	defer in.Close()
	defer out.Close()
	fd := int(in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, keys.ErrNoTerminal
	}
	u.onInterrupt(func() { term.Restore(fd, state); fmt.Fprintln(out) })
	defer u.onInterrupt(nil)
	fmt.Fprint(out, escape(text))
	answer, err := term.ReadPassword(fd)
	fmt.Fprintln(out)
	if err != nil {
		return nil, fmt.Errorf("reading from the terminal: %w", err)
	}
	return answer, nil
}

// confirm asks a question on the terminal, to which an empty answer is the one that is
// preset. The error is keys.ErrNoTerminal if there is none.
func (u *ui) confirm(text string, preset bool) (bool, error) {
	u.question.Lock()
	defer u.question.Unlock()
	in, out, err := openTerminal()
	if err != nil {
		return false, keys.ErrNoTerminal
	}
	defer u.screen.pause()()
	defer in.Close()
	defer out.Close()
	choice := map[bool]string{false: " [y/N] ", true: " [Y/n] "}[preset]
	fmt.Fprint(out, escape(text)+choice)
	answer, err := bufio.NewReader(io.LimitReader(in, 1000)).ReadString('\n')
	if err != nil {
		fmt.Fprintln(out)
		return false, keys.ErrNoTerminal // it is gone
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "":
		return preset, nil
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

func (u *ui) onInterrupt(restore func()) {
	u.asking.Lock()
	defer u.asking.Unlock()
	u.restore = restore
}

// restoreTerminal leaves the terminal as it was.
func (u *ui) restoreTerminal() {
	u.asking.Lock()
	defer u.asking.Unlock()
	if u.restore != nil {
		u.restore()
	}
	u.screen.end()
}

// maxWords bounds what is said of one error, in bytes, as a file can make it long.
const maxWords = 8 << 10

// cut leaves out the end of what is too long to be read.
func cut(s string) string {
	if len(s) <= maxWords {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes more)", strings.ToValidUTF8(s[:maxWords], ""), len(s)-maxWords)
}

// escape makes text from elsewhere safe to show: control characters, the marks
// that reorder text, and bytes that are no text are shown as \x1b or \u202e. Line
// feeds and tabs stay.
func escape(s string) string {
	if !strings.ContainsFunc(s, dangerous) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case !dangerous(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

func dangerous(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) || r == utf8.RuneError
}

// oneLine is escape for text that has its place in a line.
func oneLine(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(escape(s))
}

// quote spells a file's name for a shell.
func quote(name string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-./:@%+=,~", r)
	}
	if name != "" && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
}

// A usageError is a command line that makes no sense.
type usageError struct {
	command string // "kenv encrypt"
	err     error
	hint    string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// misused returns a usageError.
func misused(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{command: cmd.CommandPath(), err: fmt.Errorf(format, args...)}
}

// A hinted is an error and what to do about it.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

// A fileError is an error about a file.
type fileError struct {
	name string
	err  error
}

func (e *fileError) Error() string { return e.name + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// failures are the errors of several files, in their order.
type failures []error

func (f failures) Error() string   { return errors.Join(f...).Error() }
func (f failures) Unwrap() []error { return f }

// err returns nil for none, and a single error as itself.
func (f failures) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return f[0]
	}
	return f
}

// errObjection is wrapped by the errors of checks that found something.
var errObjection = errors.New("the check objects")

// A silent is an error that has been reported.
type silent struct{ error }

func (s silent) Unwrap() error { return s.error }

// An execError is an error that kept a program from being started.
type execError struct{ error }

func (e execError) Unwrap() error { return e.error }

// exitCode maps an error to an exit code; of several errors the first counts.
func exitCode(err error) int {
	if list := (failures)(nil); errors.As(err, &list) {
		return exitCode(list[0])
	}
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	switch {
	case as[execError](err):
		switch {
		case is(run.ErrNotFound):
			return exitNotFound
		case is(run.ErrNotExecutable):
			return exitNotExecutable
		}
		return exitExecFailed
	case as[*usageError](err):
		return exitUsage
	case as[unmerged](err):
		return exitFailed
	case as[*envelope.IntegrityError](err), is(envelope.ErrUnsealed, kenv.ErrUnresolved):
		return exitIntegrity
	case as[*envelope.NoKeyError](err), is(kenv.ErrNoKeys):
		return exitNoKey
	case as[*kenv.RecipientsError](err), is(envelope.ErrNothingEncrypted, errObjection, errTracked), as[*git.CacheError](err):
		return exitPolicy
	}
	return exitFailed
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// noRuleAdvice is the last line of what a config.NoRuleError says.
const noRuleAdvice = "add the file to a rule, or give the keys with --key"

// describe returns what an error says, for a person.
func describe(err error) string {
	if as[*config.NoRuleError](err) {
		return strings.TrimSuffix(err.Error(), "\n"+noRuleAdvice)
	}
	noKey := (*envelope.NoKeyError)(nil)
	if !errors.As(err, &noKey) {
		return err.Error()
	}
	head, _, _ := strings.Cut(err.Error(), "\n")
	var b strings.Builder
	b.WriteString(head)
	// Keys of one kind are looked for in the same places, so these come once.
	var looked []string
	failures, more := noKey.Said()
	for _, f := range failures {
		why := f.Err
		if notHere := (*keys.NotHereError)(nil); errors.As(f.Err, &notHere) {
			why = keys.ErrNotHere
			for _, place := range notHere.Looked {
				if !slices.Contains(looked, place) {
					looked = append(looked, place)
				}
			}
		}
		fmt.Fprintf(&b, "\n  %s: %v", keys.Short(f.Name), why)
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	if len(looked) > 0 {
		b.WriteString("\n  looked in:")
		for _, place := range looked {
			b.WriteString("\n    " + place)
		}
	}
	return b.String()
}

// hint returns what to type next after an error, or "".
func hint(err error) string {
	name := "FILE"
	if f := (*fileError)(nil); errors.As(err, &f) && f.name != stdinName {
		name = quote(f.name)
	}
	usage := (*usageError)(nil)
	given := hinted{}
	integrity := (*envelope.IntegrityError)(nil)
	switch {
	case errors.As(err, &given):
		return given.hint
	case errors.As(err, &usage):
		if usage.hint != "" {
			return usage.hint
		}
		return usage.command + " --help"
	case errors.Is(err, kenv.ErrAlreadyEncrypted):
		return "to encrypt it anew: kenv decrypt -i " + name + ", then kenv encrypt -i " + name
	case errors.Is(err, kenv.ErrUnresolved):
		return "kenv edit " + name
	case errors.Is(err, kenv.ErrConflict):
		return "resolve it; of an encrypted file take one side whole: git checkout --ours " + name + " (or --theirs)"
	case errors.Is(err, kenv.ErrNotEncrypted):
		return "to encrypt it: kenv encrypt -i " + name
	case as[*envelope.NoKeyError](err) && !errors.Is(err, keys.ErrNotHere):
		return "ask somebody who can decrypt the file to encrypt it again"
	case as[*envelope.NoKeyError](err):
		return "put your identity into one of these places, or ask somebody who can decrypt the file to encrypt it for your key as well"
	case errors.As(err, &integrity) && integrity.SealGone:
		return "sops updatekeys does this innocently; if that was it: kenv updatekeys " + name + ", else restore it from version control"
	case integrity != nil:
		return "if it was edited by hand, undo that; else restore it from version control, since somebody without its key changed it"
	case errors.Is(err, envelope.ErrUnsealed):
		return "sops wrote it last; decrypt it with sops and encrypt it with kenv if you trust what it says"
	case errors.Is(err, kenv.ErrNoKeys):
		return "kenv init sets up a key; or name one: --key age1…"
	case as[*kenv.RecipientsError](err):
		return "add it to the rule, name it with --key, or accept it with --accept-recipients"
	case errors.Is(err, doc.ErrChange), errors.Is(err, kenv.ErrTwice):
		return "kenv edit " + name
	case as[*doc.AliasError](err):
		return aliasHint(err, name)
	case errors.Is(err, envelope.ErrNothingEncrypted):
		return "change the rule, or keep the file as it is with --allow-unencrypted"
	case as[*config.NoRuleError](err):
		return noRuleAdvice
	case errors.Is(err, kenv.ErrNoConfig):
		return "kenv init writes one"
	}
	return gitHint(err)
}

func aliasHint(err error, name string) string {
	alias := (*doc.AliasError)(nil)
	errors.As(err, &alias)
	if alias.Gone || alias.Copy {
		return "kenv edit " + name
	}
	return "if it is meant to change there too: --follow-aliases"
}
