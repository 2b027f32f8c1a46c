package age

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"github.com/kenvhq/kenv/pkg/keys"
	"golang.org/x/crypto/ssh"
)

// A rank is how much trying an identity costs. The cheaper are tried first.
type rank uint8

const (
	native    rank = iota // nothing to speak of
	viaSSH                // parsing an ssh key, useless but for entries of ssh keys
	prompting             // a passphrase, asked for only when it is sure to help
	asking                // a passphrase, or a program to start, that may not help
)

// An identity is a secret key, and a pointer, so that attempts can tell which they
// have tried. Its methods may be called at the same time, but unwrap only by one
// caller while rank is prompting or asking.
type identity interface {
	rank() rank
	public() string // the recipient, or "" when finding out takes asking
	// unwrap returns an error that wraps age.ErrIncorrectIdentity when no stanza is
	// for this identity, and one that wraps errMalformed when it could not even tell.
	unwrap(ctx context.Context, stanzas []*age.Stanza) (fileKey []byte, err error)
}

var errMalformed = errors.New("malformed stanza")

// A plain identity is at hand in full.
type plain struct {
	age.Identity
	cost rank
	name func() string
}

func (p *plain) rank() rank     { return p.cost }
func (p *plain) public() string { return p.name() }

func (p *plain) unwrap(_ context.Context, stanzas []*age.Stanza) ([]byte, error) {
	fileKey, err := p.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, errMalformed
	}
	return fileKey, err
}

// parseIdentities reads the text of an identity file or variable. What it can read
// it returns, also beside an error. Errors hold nothing of the text.
func parseIdentities(text []byte, env keys.Env) (ids []identity, err error) {
	var bad []error
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		// sops takes several in one line of SOPS_AGE_KEY, and no identity has a space.
		for _, word := range bytes.Fields(line) {
			id, err := parseIdentity(string(word), env)
			if err != nil {
				bad = append(bad, fmt.Errorf("line %d: %w", n, err))
				break
			}
			ids = append(ids, id)
		}
	}
	const shown = 3
	if more := len(bad) - shown; more > 0 {
		bad = append(bad[:shown], fmt.Errorf("and %d more such lines", more))
	}
	if len(ids) == 0 && len(bad) == 0 {
		return nil, errors.New("no identity in it")
	}
	return ids, join(bad)
}

func parseIdentity(s string, env keys.Env) (identity, error) {
	malformed := errors.New("a malformed age identity")
	switch {
	case strings.HasPrefix(s, "AGE-SECRET-KEY-PQ-1"):
		id, err := age.ParseHybridIdentity(s)
		if err != nil {
			return nil, malformed
		}
		return &plain{id, native, func() string { return id.Recipient().String() }}, nil
	case strings.HasPrefix(s, "AGE-SECRET-KEY-1"):
		id, err := age.ParseX25519Identity(s)
		if err != nil {
			return nil, malformed
		}
		return &plain{id, native, func() string { return id.Recipient().String() }}, nil
	case strings.HasPrefix(s, "AGE-PLUGIN-"):
		name, _, err := plugin.ParseIdentity(s)
		if err != nil {
			return nil, malformed
		}
		return &pluginIdentity{env: env, name: name, encoding: s}, nil
	case strings.HasPrefix(s, "age1"):
		return nil, errors.New("a recipient where an identity is expected")
	}
	return nil, errors.New("not an age identity")
}

// isSealed reports whether a text is itself an age file.
func isSealed(text []byte) bool {
	return bytes.HasPrefix(text, []byte("age-encryption.org/")) || isArmored(text)
}

func isArmored(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header))
}

func isPEM(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN "))
}

// openSealed decrypts an identity file. Its error wraps errPassphrase if that is
// what is wrong.
func openSealed(sealed, passphrase []byte, env keys.Env) ([]identity, error) {
	id, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	var file io.Reader = bytes.NewReader(sealed)
	if isArmored(sealed) {
		file = armor.NewReader(file)
	}
	r, err := age.Decrypt(file, id)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		if len(noMatch.StanzaTypes) == 1 && noMatch.StanzaTypes[0] == "scrypt" {
			return nil, errPassphrase
		}
		return nil, errors.New("encrypted with age, but not with a passphrase")
	case err != nil:
		return nil, errors.New("a damaged age file")
	}
	text, err := readSmall(r, maxIdentities)
	if err != nil {
		return nil, errors.New("a damaged age file")
	}
	defer clear(text)
	return parseIdentities(text, env)
}

// parseSSH reads an ssh private key. beside finds its public key where the file
// does not hold it in clear.
func parseSSH(pem []byte, r *ring, place string, beside func() (ssh.PublicKey, error)) (identity, error) {
	k, err := ssh.ParseRawPrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		pub := missing.PublicKey
		if pub == nil {
			if pub, err = beside(); err != nil {
				return nil, err
			}
		}
		return newLockedSSH(pub, bytes.Clone(pem), r, place)
	}
	unusable := errors.New("not an ed25519 or rsa private key that age can use")
	if err != nil {
		return nil, unusable
	}
	var id age.Identity
	var public any
	switch k := k.(type) {
	case *ed25519.PrivateKey:
		defer clear(*k)
		id, err = agessh.NewEd25519Identity(*k)
		public = k.Public()
	case ed25519.PrivateKey: // from PKCS #8
		defer clear(k)
		id, err = agessh.NewEd25519Identity(k)
		public = k.Public()
	case *rsa.PrivateKey:
		id, err = agessh.NewRSAIdentity(k)
		public = k.Public()
	default:
		return nil, unusable
	}
	if err != nil {
		return nil, unusable
	}
	pub, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, unusable
	}
	return &plain{id, viaSSH, func() string { return sshName(pub) }}, nil
}

// A lockedSSH is an ssh private key under a passphrase, which is asked for when an
// entry turns out to be for that key.
type lockedSSH struct {
	ring  *ring
	place string
	pub   ssh.PublicKey
	inner *agessh.EncryptedSSHIdentity

	// inner asks for the passphrase only for a stanza of its key. It sets wanted and
	// gets passphrase, which is nil before anybody was asked.
	wanted     bool
	passphrase []byte

	open   atomic.Bool
	gaveUp error
}

func newLockedSSH(pub ssh.PublicKey, pem []byte, r *ring, place string) (*lockedSSH, error) {
	l := &lockedSSH{ring: r, place: place, pub: pub}
	var err error
	l.inner, err = agessh.NewEncryptedSSHIdentity(pub, pem, func() ([]byte, error) {
		l.wanted = true
		if l.passphrase == nil {
			return nil, errPassphrase
		}
		return l.passphrase, nil
	})
	if err != nil {
		return nil, errors.New("not an ed25519 or rsa private key that age can use")
	}
	return l, nil
}

func (l *lockedSSH) public() string { return sshName(l.pub) }

func (l *lockedSSH) rank() rank {
	if l.open.Load() {
		return viaSSH
	}
	return prompting
}

func (l *lockedSSH) unwrap(ctx context.Context, stanzas []*age.Stanza) ([]byte, error) {
	if l.open.Load() {
		return (&plain{Identity: l.inner}).unwrap(ctx, stanzas)
	}
	// Without a passphrase this fails, and says whether one is worth asking for.
	l.wanted = false
	_, err := l.inner.Unwrap(stanzas)
	switch {
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, err
	case !l.wanted:
		return nil, errMalformed
	case l.gaveUp != nil:
		return nil, l.gaveUp
	}
	var fileKey []byte
	err = l.ring.withPassphrase(ctx, l.place, func(passphrase []byte) (err error) {
		l.passphrase = passphrase
		defer func() { l.passphrase = nil }()
		fileKey, err = l.inner.Unwrap(stanzas)
		switch {
		case err == nil:
			l.open.Store(true)
		case errors.Is(err, age.ErrIncorrectIdentity):
			l.open.Store(true) // opened, and the stanza's short fingerprint was another's
		case strings.Contains(err.Error(), x509.IncorrectPasswordError.Error()):
			return errPassphrase
		default:
			return errors.New("the private key does not open, or is not the one of its public key")
		}
		return err
	})
	if errors.Is(err, errPassphrase) {
		l.gaveUp = err
	}
	return fileKey, err
}

// join is errors.Join in one line.
func join(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
