//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/kenvhq/kenv/pkg/keys"
)

// pins are the PINs of tokens. Each token gets one: what it refused, or what nobody
// would tell, is not asked for again.
type pins struct {
	env    keys.Env
	asking chan struct{} // has an element while somebody is being asked

	lock *sync.Mutex
	of   map[tokenID]*pin
}

type tokenID struct {
	slot          uint
	label, serial string
}

func (t token) id() tokenID { return tokenID{t.slot, t.label, t.serial} }

type pin struct {
	text  []byte
	place string
	err   error // why there is none to try
}

// A needPIN is the error of a login for which somebody has to be asked.
type needPIN struct{ token token }

func (*needPIN) Error() string { return "the PIN is not known" }

func newPINs(env keys.Env) pins {
	return pins{env: env, asking: make(chan struct{}, 1), lock: new(sync.Mutex), of: make(map[tokenID]*pin)}
}

// get returns a token's PIN; the error is a *needPIN if it is to be asked for.
// crypto11 wants a string, which cannot be wiped.
func (p *pins) get(t token) (string, error) {
	p.lock.Lock()
	defer p.lock.Unlock()
	known := p.of[t.id()]
	if known == nil {
		text, place, err := p.given(t.label)
		if text == nil && err == nil {
			return "", &needPIN{t}
		}
		known = &pin{text, place, err}
		p.of[t.id()] = known
	}
	return string(known.text), known.err
}

func (p *pins) set(t token, n *pin) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if old := p.of[t.id()]; old != nil {
		clear(old.text)
	}
	p.of[t.id()] = n
}

// forget wipes the PINs that are known. One that was refused, or that nobody would tell,
// stays that.
func (p *pins) forget() {
	p.lock.Lock()
	defer p.lock.Unlock()
	for id, known := range p.of {
		if known.err == nil {
			clear(known.text)
			delete(p.of, id)
		}
	}
}

// refused notes that a token did not take its PIN, and returns the error that all who
// want it get from now on.
func (p *pins) refused(t token, code string) error {
	p.lock.Lock()
	place := "an earlier use" // if it was forgotten meanwhile
	if known := p.of[t.id()]; known != nil {
		place = known.place
	}
	p.lock.Unlock()
	err := fmt.Errorf("%w for token %q (%s), which came from %s; it is not tried again, since a few wrong ones lock the token", ErrPIN, t.label, code, place)
	p.set(t, &pin{err: err})
	return err
}

// given returns the PIN of a token that is at hand without asking, nil if there is none.
func (p *pins) given(label string) (text []byte, place string, err error) {
	switch path, bound := pinFile(p.env.Set("pkcs11_pin_file"), label); {
	case path != "":
		if text, err = p.file(path); err == nil && len(text) == 0 {
			err = fmt.Errorf("the PIN file %s is empty", path)
		}
		return text, path, err
	case bound:
		return nil, "", nil // the user has said which tokens have one
	}
	if text := p.env.Var("KENV_PKCS11_PIN"); text != "" {
		return []byte(text), "KENV_PKCS11_PIN", nil
	}
	return nil, "", nil
}

// pinFile returns the path of the PIN file for a token: of a list of LABEL=/PATH, with
// commas, the one with its label, else one without a label, else "". bound says that
// the list has labels. Files may name any token, and with labels no token gets to see
// the PIN of another.
func pinFile(list, label string) (path string, bound bool) {
	items := strings.Split(list, ",")
	for _, item := range items {
		if name, file, ok := strings.Cut(item, "="); ok && filepath.IsAbs(file) {
			bound = true
			if name == label {
				return file, true
			}
		}
	}
	if !bound {
		return list, false // a single path, whatever is in it
	}
	for _, item := range items {
		if _, file, ok := strings.Cut(item, "="); !ok || !filepath.IsAbs(file) {
			return item, true
		}
	}
	return "", true
}

// file reads a PIN. One line break at the end does not belong to it.
func (p *pins) file(path string) ([]byte, error) {
	const longest = 1 << 10
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o044 != 0 {
		p.env.Warnf("the PIN file %s can be read by other users; chmod 600 %s", path, path)
	}
	buf := make([]byte, longest+1)
	defer clear(buf)
	n, err := io.ReadFull(f, buf)
	switch {
	case err == nil:
		return nil, fmt.Errorf("the PIN file %s has more than %d bytes, which no PIN has", path, longest)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("reading the PIN: %w", err)
	}
	text := buf[:n]
	if cut, ok := bytes.CutSuffix(text, []byte("\n")); ok {
		text = bytes.TrimSuffix(cut, []byte("\r"))
	}
	return bytes.Clone(text), nil
}

// ask asks the person for a token's PIN, once in the life of p. It returns an error
// if that leads to none.
func (p *pins) ask(ctx context.Context, t token) error {
	nowhere := func(terminal string) *keys.NotHereError {
		return &keys.NotHereError{Looked: []string{
			"--pin-file, KENV_PKCS11_PIN_FILE (not set)", "KENV_PKCS11_PIN (not set)", fmt.Sprintf("the terminal, for the PIN of token %q (%s)", t.label, terminal),
		}}
	}
	if keys.IsQuiet(ctx) {
		err := nowhere("not asked")
		err.Asks = true
		return err
	}
	select {
	case p.asking <- struct{}{}:
		defer func() { <-p.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := p.get(t); !errors.As(err, new(*needPIN)) {
		return nil // somebody else has asked meanwhile; the login has its answer
	}
	question := fmt.Sprintf("PIN for token %q: ", t.label)
	if words, bad := t.pinState(); bad {
		question = fmt.Sprintf("PIN for token %q (%s): ", t.label, words)
	}
	text, err := p.env.Ask(ctx, question)
	switch {
	case ctx.Err() != nil:
		clear(text)
		return ctx.Err()
	case errors.Is(err, keys.ErrNoTerminal):
		return nowhere(keys.ErrNoTerminal.Error())
	case err != nil:
		return fmt.Errorf("asking for the PIN of token %q: %w", t.label, err)
	case len(text) == 0:
		none := nowhere("none was given")
		p.set(t, &pin{err: none})
		return none
	}
	p.set(t, &pin{text: text, place: "the terminal"})
	return nil
}
