package pgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"golang.org/x/term"
)

// A gnuPG is the user's gpg program. Its methods may be called at the same time.
type gnuPG struct {
	env  keys.Env
	path func() (string, error) // of the program, looked for once
	turn chan struct{}          // holds one token: one question at a time
	runs chan struct{}          // holds a token for each gpg: they wait for one agent, perhaps for one card

	patience time.Duration // how long gpg may take when nobody is asked
}

func newGnuPG(env keys.Env) *gnuPG {
	return &gnuPG{
		env:  env,
		path: sync.OnceValues(func() (string, error) { return program(env) }),
		turn: make(chan struct{}, 1),
		runs: make(chan struct{}, 4),

		patience: deadline,
	}
}

// program returns the absolute path of gpg. Its error says what was looked for.
func program(env keys.Env) (string, error) {
	name, from := "gpg", ""
	if set := env.Set("gpg_exec"); set != "" {
		name, from = set, " (from gpg_exec)"
	} else if set := env.Var("SOPS_GPG_EXEC"); set != "" {
		name, from = set, " (from SOPS_GPG_EXEC)"
	}
	// A relative path would be one in the current directory, which may be a
	// repository of somebody else's. LookPath refuses to find a bare name there.
	if !filepath.IsAbs(name) && filepath.Base(name) != name {
		return "", fmt.Errorf("%q%s is neither a name nor an absolute path", name, from)
	}
	path, err := exec.LookPath(name)
	if err != nil || !filepath.IsAbs(path) {
		return "", fmt.Errorf("no program %q%s on the PATH", name, from)
	}
	return path, nil
}

// homeless is a user that gpg has no place for keys for.
func (g *gnuPG) homeless() bool { return g.env.HomeDir == "" && g.env.Var("GNUPGHOME") == "" }

// place names gpg and its keyring in messages.
func (g *gnuPG) place() string {
	path, err := g.path()
	switch home := g.env.Var("GNUPGHOME"); {
	case err != nil:
		return "GnuPG"
	case home != "":
		return fmt.Sprintf("%s with GNUPGHOME %s", path, home)
	default:
		return path
	}
}

// notHere is the error of an Unwrap that another key may be tried after.
func (g *gnuPG) notHere(asks bool, format string, args ...any) error {
	looked := fmt.Sprintf("%s (%s)", g.place(), fmt.Sprintf(format, args...))
	return &keys.NotHereError{Looked: []string{looked}, Asks: asks}
}

// options are those of every run. What the user's gpg.conf says still counts, but
// for what would send the output or the data key somewhere else, write down whom
// the user trusts, or ask the network.
func options(args ...string) []string {
	return append([]string{
		"--status-fd=2", "--no-verbose", "--no-groups", "--no-default-recipient", "--no-encrypt-to",
		"--trust-model=always", "--no-auto-check-trustdb", "--no-auto-key-retrieve",
		"--no-use-embedded-filename", "--output=-", "--no-random-seed-file",
	}, args...)
}

// encrypt returns the armored message that holds the data key for fp.
func (g *gnuPG) encrypt(ctx context.Context, fp fingerprint, dataKey []byte) (string, error) {
	out := &output{buf: make([]byte, 0, maxEnc)}
	said, err := g.run(ctx, g.patience, dataKey, out, options("--batch", "--no-tty", "--yes",
		"--armor", "--no-comments", "--no-emit-version", "--no-throw-keyids", "--encrypt", "--recipient=0x"+string(fp))...)
	const notFound = "1"
	switch refused := said.status["INV_RECP"]; {
	case err != nil:
		return "", err
	case len(refused) > 0 && refused[0] == notFound:
		return "", fmt.Errorf("%s does not know the key; import its public half: gpg --import FILE, or gpg --receive-keys %s", g.place(), fp.hex())
	case len(refused) > 0:
		return "", fmt.Errorf("gpg does not encrypt to it, as a key that has expired or cannot encrypt; gpg --list-keys %s shows why", fp.hex())
	}
	enc := strings.TrimSpace(strings.ReplaceAll(string(out.buf), "\r\n", "\n"))
	if message, ok := dearmor(enc); ok && !said.failed {
		if ids, err := recipients(message); err == nil && len(ids) == 1 {
			return enc, nil
		}
	}
	return "", fmt.Errorf("gpg made no message for it: %s", said)
}

// decrypt returns what a message holds, if it was the key fp that opened it: gpg
// takes whichever key fits.
func (g *gnuPG) decrypt(ctx context.Context, fp fingerprint, message []byte) (dataKey []byte, err error) {
	recipients, err := recipients(message)
	if err != nil {
		return nil, err
	}
	args, limit := options("--skip-verify", "--decrypt"), time.Duration(0)
	mayAsk := g.env.Prompt != nil
	asks := mayAsk && keys.IsQuiet(ctx) // aloud it might open
	if !mayAsk {
		ctx = keys.Quiet(ctx)
	}
	if keys.IsQuiet(ctx) {
		args, limit = append([]string{"--batch", "--no-tty", "--pinentry-mode=error"}, args...), g.patience
	} else {
		select {
		case g.turn <- struct{}{}:
			defer func() { <-g.turn }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	out := &output{buf: make([]byte, 0, keys.MaxDataKey)}
	defer func() {
		if err != nil {
			clear(out.buf[:cap(out.buf)])
		}
	}()
	said, err := g.run(ctx, limit, message, out, args...)
	var missing *missingError
	switch {
	case errors.As(err, &missing):
		return nil, g.notHere(false, "%v", err)
	case errors.Is(err, errLate): // a smart card waits to be touched, or the agent for something
		return nil, g.notHere(asks, "%v", err)
	case errors.Is(err, errTooLong):
		return nil, damaged("it holds more than %d bytes", keys.MaxDataKey)
	case err != nil:
		return nil, err
	}
	opened := said.status["DECRYPTION_KEY"] // the fingerprints of the subkey and of its primary key
	opened = opened[:min(2, len(opened))]
	switch {
	case len(opened) == 0 && said.status[decryptError] != nil:
		return nil, g.refusal(said, keys.IsQuiet(ctx), asks)
	case len(opened) == 0 && said.status["NO_SECKEY"] != nil:
		return nil, g.notHere(false, "its agent has no secret key for this entry, or does not run")
	case len(opened) == 0 && !said.failed:
		return nil, errors.New("gpg does not say which key it used; GnuPG 2.2 or later does")
	case len(opened) == 0:
		return nil, fmt.Errorf("gpg does not decrypt it: %s", said)
	case said.failed || said.status["DECRYPTION_OKAY"] == nil || said.status["GOODMDC"] == nil || len(out.buf) == 0:
		return nil, damaged("its message does not decrypt")
	}
	if err := g.belongs(ctx, fp, opened, recipients); err != nil {
		return nil, err
	}
	return out.buf, nil
}

// refusal is the error of a secret key that is there and did not decrypt. If it asks, it
// might do so aloud.
func (g *gnuPG) refusal(said report, quiet, asks bool) error {
	// libgpg-error's numbers: 16 bits of what went wrong, and from bit 24 who says so.
	const (
		badPassphrase, noSecretKey, timeout, noPinentry, badPIN, canceled, allCanceled = 11, 17, 62, 85, 87, 99, 198
		cardError, cardNotPresent, noScdaemon, pinBlocked                              = 108, 112, 119, 130
		pinentry, scdaemon                                                             = 5, 6
	)
	var n int
	if f := said.status[decryptError]; len(f) > 0 {
		n, _ = strconv.Atoi(f[0])
	}
	what, who := n&0xffff, n>>24&0x7f
	asked := who == pinentry || slices.Contains([]int{badPassphrase, timeout, noPinentry, badPIN, canceled, allCanceled}, what)
	card := who == scdaemon || what >= cardError && what <= cardNotPresent || what == noScdaemon || what == pinBlocked
	switch {
	case asked && quiet:
		return g.notHere(asks, "its agent does not have the passphrase of the secret key")
	case asked:
		return g.notHere(false, "the passphrase of the secret key was not given: %s", said)
	case card:
		return g.notHere(asks, "the smart card with the secret key cannot be used: %s", said)
	case what == noSecretKey:
		return g.notHere(false, "its agent has no secret key for this entry")
	}
	return fmt.Errorf("gpg does not decrypt it: %s", said)
}

// belongs checks that the secret key which opened a message is that of fp: the key
// itself, its primary key or another subkey of that. Of several recipients, gpg may
// have taken another one.
func (g *gnuPG) belongs(ctx context.Context, fp fingerprint, opened, recipients []string) error {
	if slices.ContainsFunc(opened, fp.covers) {
		return nil
	}
	block, err := g.list(ctx, fp)
	if err != nil {
		return err
	}
	for _, k := range block {
		if k.fingerprint == opened[0] || len(recipients) > 1 && slices.Contains(recipients, k.id) {
			return nil
		}
	}
	return damaged("its message is for another key, %s", keys.Short(opened[len(opened)-1]))
}

var (
	errTooLong = errors.New("gpg wrote too much")
	errLate    = fmt.Errorf("gpg did not answer within %v", deadline)
)

// A missingError says that there is no gpg, or no keyring for it.
type missingError struct{ error }

// run starts gpg. It returns an error if gpg could not be run to its end; what gpg
// made of its task is in the report. A limit of 0 is none but that of ctx.
func (g *gnuPG) run(ctx context.Context, limit time.Duration, in []byte, out *output, args ...string) (report, error) {
	path, err := g.path()
	if err != nil {
		return report{}, &missingError{fmt.Errorf("%w; install GnuPG, or name its program in KENV_GPG_EXEC", err)}
	}
	if g.homeless() {
		return report{}, &missingError{errors.New("neither HOME nor GNUPGHOME is set")}
	}
	select {
	case g.runs <- struct{}{}:
		defer func() { <-g.runs }()
	case <-ctx.Done():
		return report{}, ctx.Err()
	}
	outer := ctx
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	stderr := &output{buf: make([]byte, 0, maxEnc), cut: true}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = g.environ(ctx)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stdout, cmd.Stderr = out, stderr
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case outer.Err() != nil:
		return report{}, outer.Err()
	case ctx.Err() != nil:
		return report{}, errLate
	case out.full:
		return report{}, errTooLong
	case err != nil && !errors.As(err, &exit):
		return report{}, fmt.Errorf("running %s: %w", path, err)
	}
	r := parseReport(stderr.buf)
	r.failed = err != nil
	return r, nil
}

// environ is kenv's own environment, with the home that Env says, and for a person
// to be asked the name of the terminal: gpg looks for that on its standard input,
// which is taken.
func (g *gnuPG) environ(ctx context.Context) []string {
	list := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GNUPGHOME=") })
	set := func(name, value string) {
		if value != "" {
			list = append(list, name+"="+value)
		}
	}
	set("GNUPGHOME", g.env.Var("GNUPGHOME"))
	set("HOME", g.env.HomeDir)
	if tty := g.env.Var("GPG_TTY"); tty != "" || keys.IsQuiet(ctx) {
		set("GPG_TTY", tty)
	} else {
		set("GPG_TTY", terminal(ctx, os.Stdin, os.Stderr, os.Stdout))
	}
	return list
}

// terminal returns the name of the terminal that one of the files is, "" if none is.
func terminal(ctx context.Context, files ...*os.File) string {
	for _, f := range files {
		if runtime.GOOS == "windows" || !term.IsTerminal(int(f.Fd())) {
			continue
		}
		cmd := exec.CommandContext(ctx, "tty")
		cmd.Stdin = f
		if name, err := cmd.Output(); err == nil && bytes.HasPrefix(name, []byte("/")) {
			return string(bytes.TrimSpace(name))
		}
	}
	return ""
}

// An output takes what a program writes, as far as there is room in its buffer: the
// rest makes it full, and ends the program unless it is to be cut. There is no
// other copy of what it takes.
type output struct {
	buf  []byte
	cut  bool
	full bool
}

// ReadFrom keeps io.Copy from using a buffer of its own.
func (o *output) ReadFrom(r io.Reader) (n int64, err error) {
	var more [1]byte
	for {
		room := o.buf[len(o.buf):cap(o.buf)]
		if len(room) == 0 {
			room = more[:]
		}
		n, err := r.Read(room)
		switch {
		case n > 0 && &room[0] == &more[0]:
			more[0], o.full = 0, true
			if !o.cut {
				return 0, errTooLong
			}
		default:
			o.buf = o.buf[:len(o.buf)+n]
		}
		if err == io.EOF {
			return int64(len(o.buf)), nil
		}
		if err != nil {
			return int64(len(o.buf)), err
		}
	}
}

func (o *output) Write(p []byte) (int, error) {
	_, err := o.ReadFrom(bytes.NewReader(p))
	return len(p), err
}

// decryptError is the status of a secret key that failed.
const decryptError = "ERROR pkdecrypt_failed"

// A report is what gpg said: its machine-readable status lines, of each kind the
// first, and its words to people.
type report struct {
	status map[string][]string // what comes after the keyword, or after that and the place of an ERROR
	words  []string
	failed bool
}

func parseReport(text []byte) report {
	r := report{status: make(map[string][]string)}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		if fields, ok := strings.CutPrefix(line, "[GNUPG:] "); ok {
			keyword, rest, _ := strings.Cut(fields, " ")
			if keyword == "ERROR" {
				var where string
				where, rest, _ = strings.Cut(rest, " ")
				keyword += " " + where
			}
			if r.status[keyword] == nil {
				r.status[keyword] = append([]string{}, strings.Fields(rest)...)
			}
		} else if words, ok := strings.CutPrefix(line, "gpg: "); ok {
			r.words = append(r.words, words)
		}
	}
	return r
}

// String is the end of what gpg said, short and in one line. gpg repeats what stands
// in messages and keyrings, so it is escaped.
func (r report) String() string {
	const lines, longest = 2, 200
	if len(r.words) == 0 {
		return "it does not say why"
	}
	text := []rune(strings.Join(r.words[max(0, len(r.words)-lines):], "; "))
	if len(text) > longest {
		text = append(text[:longest], '…')
	}
	return strconv.Quote(string(text))
}
