package age

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"golang.org/x/crypto/ssh"
)

// maxIdentities bounds what is read from one identity file or command.
const maxIdentities = 1 << 20

var (
	errNotSet = errors.New("not set")
	errNoFile = errors.New("no such file")
)

// A place is where identities may be.
type place struct {
	name string
	rank rank   // what looking costs
	ssh  bool   // there may be nothing but an ssh key
	path string // of a file
	each bool   // the text depends on the recipient that is asked for

	named bool // a variable names the file, so that it should be there
	usual bool // of a file that is made for something else than age
	// read returns the text there; err says why there is none.
	read func(ctx context.Context, recipient string) (text []byte, err error)

	reading sync.Mutex
	found   sync.Map // of *contents, by recipient if each, else under ""
}

func (p *place) slot(recipient string) string {
	if p.each {
		return recipient
	}
	return ""
}

// places lists where identities are looked for, in the order in which they are
// tried.
func places(env keys.Env) []*place {
	const sshOnly = true
	l := &placeList{env: env}
	l.variable("KENV_AGE_KEY")
	l.files("KENV_AGE_KEY_FILE", filepath.SplitList(env.Var("KENV_AGE_KEY_FILE")), !sshOnly)
	if path := IdentityFile(env); path != "" {
		l.file(display(path, env), path, !sshOnly)
	}
	l.variable("SOPS_AGE_KEY")
	l.files("SOPS_AGE_KEY_FILE", []string{env.Var("SOPS_AGE_KEY_FILE")}, !sshOnly)
	l.command("SOPS_AGE_KEY_CMD", !sshOnly)
	for _, dir := range userConfigDirs(env) {
		path := filepath.Join(dir, "sops", "age", "keys.txt")
		l.file(display(path, env), path, !sshOnly)
	}
	l.files("SOPS_AGE_SSH_PRIVATE_KEY_FILE", []string{env.Var("SOPS_AGE_SSH_PRIVATE_KEY_FILE")}, sshOnly)
	l.command("SOPS_AGE_SSH_PRIVATE_KEY_CMD", sshOnly)
	if env.HomeDir != "" {
		for _, name := range []string{"id_ed25519", "id_rsa"} {
			path := filepath.Join(env.HomeDir, ".ssh", name)
			l.file(display(path, env), path, sshOnly).usual = true
		}
	}
	return l.list
}

type placeList struct {
	env  keys.Env
	list []*place
}

func (l *placeList) add(p *place) { l.list = append(l.list, p) }

func (l *placeList) unset(name string, ssh bool) {
	l.add(&place{name: name, ssh: ssh, read: func(context.Context, string) ([]byte, error) {
		return nil, errNotSet
	}})
}

func (l *placeList) variable(name string) {
	text := l.env.Var(name)
	if text == "" {
		l.unset(name, false)
		return
	}
	l.add(&place{name: name, read: func(context.Context, string) ([]byte, error) {
		return []byte(text), nil
	}})
}

func (l *placeList) file(name, path string, ssh bool) *place {
	cost := native
	if ssh {
		cost = viaSSH
	}
	p := &place{name: name, rank: cost, ssh: ssh, path: path, read: func(context.Context, string) ([]byte, error) {
		return readFile(path)
	}}
	l.add(p)
	return p
}

// files adds the files that a variable names.
func (l *placeList) files(name string, paths []string, ssh bool) {
	paths = slices.DeleteFunc(paths, func(path string) bool { return path == "" })
	if len(paths) == 0 {
		l.unset(name, ssh)
	}
	for _, path := range paths {
		l.file(name+" "+display(path, l.env), path, ssh).named = true
	}
}

// command adds what a variable's command prints.
func (l *placeList) command(name string, ssh bool) {
	line := l.env.Var(name)
	if line == "" {
		l.unset(name, ssh)
		return
	}
	l.add(&place{name: name, rank: asking, ssh: ssh, each: true, read: func(ctx context.Context, recipient string) ([]byte, error) {
		return output(ctx, line, recipient)
	}})
}

// userConfigDirs returns where sops may have its keys.txt. On macOS it has looked
// in two places over time.
func userConfigDirs(env keys.Env) []string {
	var dirs []string
	add := func(elem ...string) {
		if dir := filepath.Join(elem...); elem[0] != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	add(env.Var("XDG_CONFIG_HOME"))
	if len(dirs) == 0 {
		add(env.HomeDir, ".config")
	}
	switch runtime.GOOS {
	case "darwin":
		add(env.HomeDir, "Library", "Application Support")
	case "windows":
		add(env.Var("AppData"))
	}
	return dirs
}

// display shortens a path in the home directory.
func display(path string, env keys.Env) string {
	if rel, ok := strings.CutPrefix(path, env.HomeDir+string(filepath.Separator)); ok && env.HomeDir != "" {
		return filepath.Join("~", rel)
	}
	return path
}

// publicBeside reads the public key that ssh-keygen writes beside a private one.
func (p *place) publicBeside() (ssh.PublicKey, error) {
	unknown := errors.New("its public key is not known; put it beside the private key, with the ending .pub")
	if p.path == "" {
		return nil, unknown
	}
	line, err := readFile(p.path + ".pub")
	if err != nil {
		return nil, unknown
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, unknown
	}
	return pub, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(err)
	}
	defer f.Close()
	text, err := readSmall(f, maxIdentities)
	if err != nil {
		return nil, fileError(err)
	}
	return text, nil
}

// fileError says what is wrong with a file without repeating its path.
func fileError(err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNoFile
	case errors.Is(err, errTooLong):
		return fmt.Errorf("more than %d bytes", maxIdentities)
	case errors.As(err, &pe):
		return pe.Err
	}
	return err
}

// output runs a command for identities, as sops does: split into words, without a
// shell, and told the recipient. What it says on standard error is not shown, as
// that may hold a secret.
func output(ctx context.Context, line, recipient string) ([]byte, error) {
	args, err := words(line)
	if err != nil {
		return nil, err
	}
	var out capped
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "SOPS_AGE_RECIPIENT="+recipient)
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	switch err := cmd.Run(); {
	case out.full:
		return nil, fmt.Errorf("the command printed more than %d bytes", maxIdentities)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such command")
	case err != nil:
		clear(out.text)
		return nil, errors.New("the command failed; run it by hand to see why")
	case len(out.text) == 0:
		return nil, errors.New("the command printed nothing")
	}
	return out.text, nil
}

// capped keeps what is written to it, up to maxIdentities bytes.
type capped struct {
	text []byte
	full bool
}

func (c *capped) Write(p []byte) (int, error) {
	if c.full = c.full || len(c.text)+len(p) > maxIdentities; c.full {
		clear(c.text)
		return 0, errTooLong
	}
	c.text = grow(c.text, len(p))
	c.text = append(c.text, p...)
	return len(p), nil
}
