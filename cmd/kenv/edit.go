package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/run"
	"github.com/spf13/cobra"
)

type editOptions struct {
	keyOptions
	attrOptions
	kenv.EncryptOptions // of a new file
	inputType           string
}

func newEdit(p *process) *cobra.Command {
	o := &editOptions{}
	cmd := &cobra.Command{
		Use:   "edit [flags] FILE",
		Short: "Edit an encrypted file",
		Long: `Decrypt a file, open it in an editor, and encrypt what changed. Also: kenv FILE. A
file that is not there is made, for the keys that its rule or the flags name.

The editor is that of KENV_EDITOR, SOPS_EDITOR, VISUAL or EDITOR, else vim, nano or
vi. It works on a file in memory (in $XDG_RUNTIME_DIR or /dev/shm), which is gone
when it ends, and vim, nano, emacs and VS Code are told to keep no copies.

A file in which git left a merge conflict opens with both sides between the marks
<<<<<<< and >>>>>>>. It counts as resolved when it is saved without them.

A text that cannot be saved is not lost: the editor opens again, or the text is kept,
encrypted, beside the file. An editor that fails, as vim does with :cq, changes nothing.

Exit codes: 0 done or nothing changed, 1 failed, 2 wrong usage, 3 no usable master
key, 4 integrity failure, 5 the file has recipients that its rule does not name.`,
		Example: `  kenv edit secrets.yaml
  kenv secrets.yaml
  EDITOR='code --wait' kenv edit secrets.yaml`,
	}
	f := cmd.Flags()
	f.StringVar(&o.inputType, "input-type", "", "the `format` of the file: "+formatWords())
	o.keyOptions.addFlags(f, p.table, "", "encrypt a new file for")
	o.attrOptions.addFlags(f, p.table)
	addSelectorFlags(f, &o.Selector)
	f.IntVar(&o.Threshold, "shamir-secret-sharing-threshold", 0, "how many key groups are `needed` to decrypt a new file; 0 is all of them")
	f.BoolVar(&o.AcceptRecipients, "accept-recipients", false, "allow keys that the file's rule does not name")
	f.BoolVar(&o.AllowUnencrypted, "allow-unencrypted", false, "allow that the rules select nothing for encryption")
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		switch {
		case len(files) == 0:
			return misused(cmd, "name a file")
		case len(files) > 1:
			return misused(cmd, "%q is one file too many: they are edited one by one", files[1])
		case files[0] == "-":
			return misused(cmd, "standard input cannot be edited")
		}
		if err := checkSelectorFlags(cmd); err != nil {
			return err
		}
		return runEdit(cmd, p, o, files[0])
	}
	return cmd
}

// An editing is a file that somebody edits.
type editing struct {
	p       *process
	setup   kenv.Setup
	options *editOptions
	editor  *run.Editor
	dir     *run.PrivateDir
	path    string // of the plaintext

	job
	old    *envelope.File // nil for a new file
	before []byte         // the plaintext when it was opened

	refused bool // a text was not to be saved

	// What the signal handler looks at too.
	mu      sync.Mutex
	text    []byte             // what the editor left and is not saved yet
	stop    context.CancelFunc // ends the editor; nil when there is none
	stopped bool
}

func runEdit(cmd *cobra.Command, p *process, o *editOptions, name string) (err error) {
	e := &editing{p: p, options: o}
	e.name, e.to, e.source.Name = name, name, name
	if e.source.Format, err = formatFlag(cmd, "--input-type", o.inputType); err != nil {
		return err
	}
	if o.Keys, err = o.keyOptions.all(cmd, p.table); err != nil {
		return err
	}
	if e.setup, err = o.setup(cmd, p); err != nil {
		return err
	}
	if e.editor, err = run.FindEditor(os.Getenv("KENV_EDITOR"), os.Getenv("SOPS_EDITOR"), os.Getenv("VISUAL"), os.Getenv("EDITOR")); err != nil {
		return hinted{err, "set one: EDITOR=nano kenv edit " + quote(name)}
	}
	unlock, err := kenv.LockForEdit(name)
	if err != nil {
		return e.about(hinted{err, "wait until that is done; what two save at once would be merged by nobody"})
	}
	defer unlock()
	release := p.intercept(e.signal)
	defer release()
	defer e.wipe()
	if err := e.open(cmd.Context()); err != nil {
		return err
	}
	return e.loop(cmd.Context())
}

// open decrypts the file, or begins a new one, and puts its plaintext where the editor
// will find it.
func (e *editing) open(ctx context.Context) (err error) {
	_, err = os.Stat(e.name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(e.name)); err != nil {
			return e.about(errors.New("it is not there, and neither is its directory"))
		}
		err = e.setup.CheckEncrypt(e.name, e.options.EncryptOptions)
	} else if err = e.read(e.p.ui); err == nil {
		if e.old, err = e.setup.OpenForEdit(ctx, e.source); err == nil {
			// What the rule has to say against it is said before the work.
			if _, err = e.setup.CheckRecipients(e.old, e.name, e.options.AcceptRecipients); err == nil {
				e.before, err = e.present()
			}
		}
	} else {
		return err
	}
	if err != nil {
		return e.about(err)
	}
	// A signal comes before there is plaintext, or finds it.
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return errStopped
	}
	if e.dir, err = run.NewPrivateDir(false); err != nil {
		return err
	}
	if !e.dir.Memory {
		e.p.ui.warnf("the plaintext is in a file on disk while it is edited, as there is no place in memory for it: %s", e.dir.Path)
	}
	e.path = filepath.Join(e.dir.Path, filepath.Base(e.name))
	if err := os.WriteFile(e.path, e.before, 0o600); err != nil {
		return fmt.Errorf("cannot write the plaintext for the editor: %w", err)
	}
	return nil
}

// present returns the text to edit, and says what there is to know about a merge in it.
func (e *editing) present() ([]byte, error) {
	text, why, err := kenv.EditText(e.old)
	for _, w := range why {
		e.p.ui.warnf("%s: %s", e.name, w)
	}
	if len(why) > 0 {
		e.p.ui.sayf("%s: what you save is for the recipients and by the rules of our side", e.name)
	}
	return text, err
}

// wipe leaves nothing of the plaintext.
func (e *editing) wipe() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dir != nil {
		if err := e.dir.Remove(); err != nil {
			e.p.ui.warnf("plaintext may be left in %s: %v", e.dir.Path, err)
		}
		e.dir = nil
	}
	if e.old != nil {
		e.old.Wipe()
	}
	clear(e.before)
	clear(e.text)
}

// loop has the file edited until it is saved or given up.
func (e *editing) loop(ctx context.Context) error {
	line := 0
	for {
		text, err := e.visit(ctx, line)
		if err != nil {
			return e.about(err)
		}
		if bytes.Equal(text, e.before) && !e.merging() {
			e.p.ui.notef("%s: nothing changed", e.name)
			if isSops(os.Args[0]) {
				return silent{errUnchanged}
			}
			return nil
		}
		out, err := e.encrypt(ctx, text)
		since := ""
		if err == nil {
			if out.Rung == doc.AsText && !e.isWhole() {
				since = sinceOneText(out.Format, text)
			}
			err = e.save(ctx, out)
		}
		switch {
		case err == nil:
			if since != "" {
				e.p.ui.warnf("%s: to git, sops and kenv get it is one text now, %s", e.name, since)
			}
			return nil
		case errors.Is(err, errStopped):
			return e.about(err)
		case errors.Is(err, kenv.ErrChanged):
			e.keepText()
			return hinted{e.about(errors.New("it was changed by somebody else while you edited it, and that is not overwritten")),
				"put your change into the new state: kenv edit " + quote(e.name)}
		}
		err = e.about(err)
		e.refused = true
		e.p.ui.fail(err)
		if yes, asked := e.p.ui.confirm("Open the editor again?", true); asked != nil || !yes {
			e.keepText()
			return silent{err}
		}
		line = lineOf(err)
	}
}

// isWhole reports whether the file was held as one text before.
func (e *editing) isWhole() bool {
	if e.old == nil {
		return false
	}
	_, whole := e.old.Roots()
	return whole != nil
}

// merging reports whether a merge is being resolved.
func (e *editing) merging() bool { return e.old != nil && e.old.Unresolved() }

func lineOf(err error) int {
	if conflict := (*kenv.ConflictError)(nil); errors.As(err, &conflict) {
		return conflict.Line
	}
	if syntax := (*doc.SyntaxError)(nil); errors.As(err, &syntax) {
		return syntax.Line
	}
	return 0
}

// visit runs the editor and returns what it left.
func (e *editing) visit(ctx context.Context, line int) ([]byte, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd, err := e.editor.Command(ctx, e.path, line, e.dir.Path)
	if err != nil {
		return nil, err
	}
	// One that is told to end may save first, and gets little time for that.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	e.mu.Lock()
	if e.stopped {
		e.mu.Unlock()
		return nil, errStopped
	}
	e.stop = stop
	e.mu.Unlock()
	e.p.forget()
	ended := cmd.Run()
	text, _, err := kenv.ReadFile(e.path, kenv.MaxSize)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop = nil
	if err == nil {
		clear(e.text)
		e.text = text
	}
	var exit *exec.ExitError
	switch {
	case e.stopped:
		e.keep()
		clear(text)
		return nil, errStopped
	case errors.As(ended, &exit) && exit.ExitCode() > 0:
		if e.refused {
			e.keep() // what was to be saved before
		}
		clear(e.text)
		e.text = nil
		return nil, fmt.Errorf("%w: %s ended with exit code %d; nothing was changed", errEditor, e.editor.Name(), exit.ExitCode())
	case ended != nil:
		e.keep()
		clear(text)
		return nil, fmt.Errorf("%w: %s: %w", errEditor, e.editor.Name(), ended)
	case errors.Is(err, fs.ErrNotExist) && e.old == nil:
		return nil, nil // a new file that was not saved
	case err != nil:
		return nil, err
	}
	return text, nil
}

// The errors for which sops has exit codes of their own.
var (
	errUnchanged = errors.New("nothing changed")
	errEditor    = errors.New("the editor failed")
)

var errStopped = errors.New("stopped by a signal; nothing was changed")

func (e *editing) encrypt(ctx context.Context, text []byte) (*kenv.Encrypted, error) {
	if e.old != nil {
		out, err := e.setup.Resealed(e.old, e.name, text, e.options.AcceptRecipients)
		if errors.Is(err, kenv.ErrConflict) {
			err = hinted{err, "decide what stays, and take out the lines that begin with <<<<<<<, |||||||, ======= and >>>>>>>"}
		}
		return out, err
	}
	return e.setup.Encrypt(ctx, kenv.Source{Name: e.name, Data: text, Format: e.source.Format}, e.options.EncryptOptions)
}

func (e *editing) save(ctx context.Context, out *kenv.Encrypted) error {
	if err := e.replace(ctx, out.Data); err != nil {
		return err
	}
	if len(out.Lost) > 0 {
		e.p.ui.warnf("%s: it lacks keys that its rule names: %s; to add them: kenv updatekeys %s", e.name, shortNames(out.Lost), quote(e.name))
	}
	sayResealed(e.p.ui.speaker, e.name, out)
	if e.old == nil {
		e.p.ui.notef("%s: encrypted for %s", e.name, audience(out))
	}
	return nil
}

// replace puts what was edited into the file. A signal comes before that, and the text is
// kept, or after, and it is saved.
func (e *editing) replace(ctx context.Context, data []byte) error {
	if err := e.takeLock(ctx, e.p.ui); err != nil { // which a signal does not wait for
		return err
	}
	defer e.dropLock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return errStopped
	}
	if err := e.write(ctx, e.p, data, kenv.WriteOptions{Ciphertext: true, Perm: 0o666}); err != nil {
		return err
	}
	clear(e.text)
	e.text = nil
	return nil
}

// keep puts a text that cannot be saved beside the file, encrypted for its readers,
// and says where. The caller holds mu.
func (e *editing) keep() {
	text := e.text // not to be wiped here: a signal comes while it is being encrypted
	e.text = nil
	if text == nil || bytes.Equal(text, e.before) {
		return
	}
	data, err := []byte(nil), errors.New("there is no data key yet to encrypt it with")
	if e.old != nil {
		data, err = e.setup.Rescue(e.old, text)
	}
	// Beside the file, unless that is where it cannot be written.
	for _, place := range []string{e.name, filepath.Join(os.TempDir(), filepath.Base(e.name))} {
		for n := 1; data != nil && n < 100; n++ {
			path := place + ".unsaved"
			if n > 1 {
				path += strconv.Itoa(n)
			}
			if err = kenv.Create(path, data); err == nil {
				e.p.ui.sayf("what you wrote is kept, encrypted, in %s; to see it: kenv decrypt %s", path, quote(path))
				return
			}
			if !errors.Is(err, kenv.ErrExists) {
				break
			}
		}
	}
	e.p.ui.warnf("what you wrote is lost: %v", err)
}

func (e *editing) keepText() {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := e.text
	e.keep()
	clear(text)
}

// signal ends the editing. While the editor has the terminal an interrupt is the
// editor's business.
func (e *editing) signal(s syscall.Signal) (goOn bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stop != nil {
		if s != syscall.SIGINT {
			e.stopped = true
			e.stop()
		}
		return true
	}
	e.stopped = true
	e.keep()
	if e.dir != nil {
		e.dir.Remove()
	}
	return false
}

// isMistyped reports whether the argument of kenv FILE is more likely the name of a
// command.
func isMistyped(name string) bool {
	if _, err := os.Lstat(name); err == nil {
		return false
	}
	f, err := kenv.FormatOf(name, nil)
	return err != nil || f.Name() == doc.Binary{}.Name()
}
