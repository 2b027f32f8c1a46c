//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ThalesGroup/crypto11"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/miekg/pkcs11"
)

// patience is how long the module may take to answer.
const patience = 30 * time.Second

// maxMisses bounds how often the module is searched for tokens that are not there:
// entries can name any number of them.
const maxMisses = 6

// A device is the module of this machine and what was learnt from it. It is used by
// one caller at a time: opening and closing a module is not safe beside its use, and
// an HSM is one device.
type device struct {
	env      keys.Env
	patience time.Duration
	turn     chan struct{} // has an element while somebody uses the module
	stuck    atomic.Bool   // that somebody has waited too long
	ended    atomic.Int64  // uses so far
	pins     pins

	// What follows is only for whoever has the turn.
	tokens []token // as last seen
	misses int
	open   map[uint]*crypto11.Context // logged in, by slot
}

func newDevice(env keys.Env) *device {
	return &device{
		env: env, patience: patience, turn: make(chan struct{}, 1),
		pins: newPINs(env), open: make(map[uint]*crypto11.Context),
	}
}

func (d *device) forget() { d.pins.forget() }

// path returns the module's path.
func (d *device) path() (string, error) {
	if path := d.env.Set("pkcs11_module"); path != "" {
		return path, nil
	}
	return "", &keys.NotHereError{Looked: []string{"the PKCS#11 module (none is set: --pkcs11-module, KENV_PKCS11_MODULE, pkcs11_module in config.yaml)"}}
}

// do has f use the module. PKCS#11 has no way to cancel a call: when ctx ends, or
// the module takes too long, f is left behind, and the module with it until f ends.
func do[T any](ctx context.Context, d *device, f func() (T, error)) (T, error) {
	var none T
	late := func() (T, error) {
		return none, fmt.Errorf("the HSM did not answer within %v; look after its connection, then try again", d.patience)
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	if d.stuck.Load() {
		return late()
	}
	timer := time.NewTimer(d.patience)
	defer timer.Stop()
	ended := d.ended.Load()
	for waiting := true; waiting; {
		select {
		case d.turn <- struct{}{}:
			waiting = false
		case <-ctx.Done():
			return none, ctx.Err()
		case <-timer.C:
			// A long queue is no fault of the module's, as long as it moves.
			last := ended
			if ended = d.ended.Load(); ended == last {
				return late()
			}
			timer.Reset(d.patience)
		}
	}
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		defer func() { <-d.turn }()
		defer d.ended.Add(1)
		value, err := f()
		done <- answer{value, err}
	}()
	timer.Reset(d.patience)
	abandon := func(after func()) {
		go func() {
			if secret, ok := any((<-done).value).([]byte); ok {
				clear(secret)
			}
			after()
		}()
	}
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
		abandon(func() {})
		return none, ctx.Err()
	case <-timer.C:
		d.stuck.Store(true)
		abandon(func() { d.stuck.Store(false) })
		return late()
	}
}

// withToken has f use a token after a login. Whatever goes wrong in the module, the
// connection is not used again: an operation may still be active in its sessions.
func withToken[T any](ctx context.Context, d *device, u uri, f func(token, *crypto11.Context) (T, error)) (T, error) {
	for {
		value, err := do(ctx, d, func() (T, error) {
			var none T
			t, c, err := d.login(u)
			if err != nil {
				return none, explain(err)
			}
			value, err := f(t, c)
			if err != nil && !errors.Is(err, keys.ErrNotHere) {
				delete(d.open, t.slot)
				c.Close()
			}
			return value, explain(err)
		})
		need := (*needPIN)(nil)
		if !errors.As(err, &need) {
			return value, err
		}
		if err := d.pins.ask(ctx, need.token); err != nil {
			return value, err
		}
	}
}

// login returns the token that a URI names, and a connection to it.
func (d *device) login(u uri) (t token, c *crypto11.Context, err error) {
	err = d.again(func() error {
		if t, err = d.find(u); err != nil {
			return err
		}
		if c = d.open[t.slot]; c == nil {
			c, err = d.connect(t)
		}
		return err
	})
	return t, c, err
}

// again repeats what failed because SoftHSM rewrites a token's file at each login,
// and another process saw it half written. Nothing that has to do with a wrong PIN
// is repeated.
func (d *device) again(f func() error) error {
	for _, pause := range []time.Duration{10, 20, 40, 80, 160} {
		err := f()
		if err == nil || !racy(err) {
			return err
		}
		time.Sleep(pause*time.Millisecond + mathrand.N(10*time.Millisecond))
	}
	return f()
}

func racy(err error) bool {
	missing := (*noTokenError)(nil)
	if errors.As(err, &missing) {
		return missing.soft
	}
	switch code, _ := codeOf(err); code {
	case pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return true
	}
	return strings.HasPrefix(err.Error(), "could not find PKCS#11 token") // crypto11's, which has no type
}

// find returns the token that a URI names.
func (d *device) find(u uri) (token, error) {
	t, err := choose(d.tokens, u)
	if err == nil && d.open[t.slot] != nil || d.misses >= maxMisses {
		return t, d.missing(err)
	}
	if err := d.scan(); err != nil {
		return token{}, err
	}
	if t, err = choose(d.tokens, u); errors.Is(err, errNoToken) {
		d.misses++
	}
	return t, d.missing(err)
}

// scan sees which tokens there are.
func (d *device) scan() error {
	return d.look(func(c *pkcs11.Ctx) (err error) {
		d.tokens, err = tokensOf(c)
		return err
	})
}

// missing makes an error of errNoToken.
func (d *device) missing(err error) error {
	if !errors.Is(err, errNoToken) {
		return err
	}
	path, _ := d.path()
	seen := "it shows no token"
	soft := len(d.tokens) == 0
	if len(d.tokens) > 0 {
		seen = "its tokens are " + describe(d.tokens)
	}
	for _, t := range d.tokens {
		soft = soft || strings.HasPrefix(t.manufacturer, "SoftHSM")
	}
	looked := fmt.Sprintf("the PKCS#11 module %s (%s)", path, seen)
	return &noTokenError{keys.NotHereError{Looked: []string{looked}}, soft && d.misses < maxMisses}
}

// A noTokenError says that a token is not there.
type noTokenError struct {
	keys.NotHereError
	soft bool // it may be there a moment later
}

func (e *noTokenError) Unwrap() error { return &e.NotHereError }

// look has f use the module without a login.
func (d *device) look(f func(*pkcs11.Ctx) error) error {
	path, err := d.path()
	if err != nil {
		return err
	}
	c := pkcs11.New(path)
	if c == nil {
		return unloadable(path)
	}
	defer c.Destroy()
	switch err := c.Initialize(); {
	case err == nil:
		defer c.Finalize()
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED)): // by a connection that is open
	default:
		code, name := codeOf(err)
		return &failure{fmt.Sprintf("the PKCS#11 module %s does not start; look after its own configuration, for SoftHSM SOFTHSM2_CONF", path), code, name}
	}
	return f(c)
}

// connect logs in.
func (d *device) connect(t token) (*crypto11.Context, error) {
	if err := t.refusal(); err != nil {
		return nil, err
	}
	path, err := d.path()
	if err != nil {
		return nil, err
	}
	slot := int(t.slot)
	cfg := &crypto11.Config{Path: path, SlotNumber: &slot, MaxSessions: 4, GCMIVLength: nonceSize}
	if cfg.LoginNotSupported = t.flags&pkcs11.CKF_LOGIN_REQUIRED == 0; !cfg.LoginNotSupported {
		if cfg.Pin, err = d.pins.get(t); err != nil {
			return nil, err
		}
	}
	c, err := crypto11.Configure(cfg)
	cfg.Pin = "" // which the connection would keep
	if err == nil {
		d.open[t.slot] = c
		return c, nil
	}
	switch code, name := codeOf(err); code {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED:
		return nil, d.pins.refused(t, name)
	}
	return nil, err
}

// decrypt returns the seed that was wrapped. fp is the fingerprint of an RSA key.
func (d *device) decrypt(ctx context.Context, u uri, m mech, fp string, ek []byte) ([]byte, error) {
	return withToken(ctx, d, u, func(_ token, c *crypto11.Context) ([]byte, error) {
		seed, err := decryptSeed(c, u, m, fp, ek)
		if err == nil && len(seed) != seedSize {
			clear(seed)
			return nil, fmt.Errorf("what the HSM gives has %d bytes, not %d: the entry is damaged", len(seed), seedSize)
		}
		return seed, err
	})
}

func decryptSeed(c *crypto11.Context, u uri, m mech, fp string, ek []byte) ([]byte, error) {
	if m == aesGCM {
		k, err := secretKey(c, u)
		if err != nil {
			return nil, err
		}
		aead, err := k.NewGCM()
		if err != nil {
			return nil, err
		}
		return aead.Open(nil, ek[:nonceSize], ek[nonceSize:], nil)
	}
	k, p, err := privateKey(c, u, fp)
	if err != nil {
		return nil, err
	}
	if len(ek) != p.Size() {
		return nil, fmt.Errorf("the entry is damaged: its ek stands for %d bytes, not the key's %d", len(ek), p.Size())
	}
	return k.Decrypt(nil, ek, &rsa.OAEPOptions{Hash: m.hash()})
}

// encrypt wraps a seed for a secret key, and wipes it.
func (d *device) encrypt(ctx context.Context, u uri, seed []byte) ([]byte, error) {
	return withToken(ctx, d, u, func(_ token, c *crypto11.Context) ([]byte, error) { return encryptSeed(c, u, seed) })
}

func encryptSeed(c *crypto11.Context, u uri, seed []byte) (ek []byte, err error) {
	defer clear(seed)
	defer func() {
		if r := recover(); r != nil { // Seal has no other way to tell
			err = fmt.Errorf("%v", r)
		}
	}()
	k, err := secretKey(c, u)
	if err != nil {
		return nil, err
	}
	aead, err := k.NewGCM()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	ek = aead.Seal(nonce, nonce, seed, nil)
	if len(ek) != nonceSize+seedSize+tagSize {
		return nil, fmt.Errorf("what the HSM makes of a key has %d bytes, not %d", len(ek), nonceSize+seedSize+tagSize)
	}
	return ek, nil
}

// publicHalf returns the public half of an RSA key, for which it logs in only if it
// has to. fp is the fingerprint it must have, or "".
func (d *device) publicHalf(ctx context.Context, u uri, fp string) (*publicKey, error) {
	p, err := do(ctx, d, func() (p *publicKey, err error) {
		err = d.again(func() error {
			t, err := d.find(u)
			if err != nil {
				return err
			}
			return d.look(func(c *pkcs11.Ctx) error {
				objects, err := visible(c, t.slot, u, pkcs11.CKO_PUBLIC_KEY)
				if list := publicKeys(objects); err == nil && len(list) > 0 {
					p, err = pick(u, list, fp)
				}
				return err
			})
		})
		return p, explain(err)
	})
	if p != nil || err != nil {
		return p, err
	}
	return withToken(ctx, d, u, func(_ token, c *crypto11.Context) (*publicKey, error) {
		_, p, err := privateKey(c, u, fp)
		return p, err
	})
}
