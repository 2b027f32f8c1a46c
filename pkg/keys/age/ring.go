package age

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"filippo.io/age"
	"github.com/kenvhq/kenv/pkg/keys"
)

var errPassphrase = errors.New("wrong passphrase")

// A ring is every identity at hand, found as far as it was needed.
type ring struct {
	env    keys.Env
	places func() []*place
	turn   chan struct{} // holds one token: one question at a time
}

func newRing(env keys.Env) *ring {
	r := &ring{env: env, turn: make(chan struct{}, 1)}
	r.places = sync.OnceValue(func() []*place { return places(env) })
	return r
}

// forget drops all identities.
func (r *ring) forget() {
	for _, p := range r.places() {
		p.found.Clear()
	}
}

// contents is what was found in a place. It does not change.
type contents struct {
	ids    []identity
	sealed []byte // an identity file under a passphrase, still to be opened
	err    error  // why there is nothing, or what is wrong with the rest
}

// look returns what is in a place, reading it if it was not read and that costs no
// more than cost; else nil. When ctx ended meanwhile nothing is remembered. To look
// at the cost of asking the caller has the turn.
func (r *ring) look(ctx context.Context, p *place, cost rank, recipient string) *contents {
	if p.rank < asking {
		p.reading.Lock() // else the turn keeps others from reading
		defer p.reading.Unlock()
	}
	if c, ok := p.found.Load(p.slot(recipient)); ok {
		return c.(*contents)
	}
	if p.rank > cost {
		return nil
	}
	c := r.load(ctx, p, recipient)
	if ctx.Err() == nil {
		p.found.Store(p.slot(recipient), c)
	}
	return c
}

func (r *ring) load(ctx context.Context, p *place, recipient string) *contents {
	text, err := p.read(ctx, recipient)
	if err != nil {
		return &contents{err: err}
	}
	switch {
	case isSealed(text):
		return &contents{sealed: text}
	case isPEM(text):
		defer clear(text)
		id, err := parseSSH(text, r, p.name, p.publicBeside)
		if err != nil {
			return &contents{err: err}
		}
		return &contents{ids: []identity{id}}
	}
	defer clear(text)
	ids, err := parseIdentities(text, r.env)
	return &contents{ids: ids, err: err}
}

// unseal asks for the passphrase of a sealed identity file and returns what is in
// it. The caller has the turn.
func (r *ring) unseal(ctx context.Context, p *place, recipient string, c *contents) *contents {
	var ids []identity
	err := r.withPassphrase(ctx, p.name, func(passphrase []byte) (err error) {
		ids, err = openSealed(c.sealed, passphrase, r.env)
		return err
	})
	opened := &contents{ids: ids, err: err}
	if ctx.Err() == nil && !errors.Is(err, errNotAsked) {
		p.found.Store(p.slot(recipient), opened)
	}
	return opened
}

// errNotAsked is a passphrase that nobody gave, right or wrong.
var errNotAsked = errors.New("protected by a passphrase")

// withPassphrase asks for a passphrase and calls open with it, up to three times as
// long as that returns errPassphrase. The caller has the turn.
func (r *ring) withPassphrase(ctx context.Context, what string, open func(passphrase []byte) error) error {
	text := fmt.Sprintf("passphrase for %s: ", what)
	var err error
	for range 3 {
		passphrase, askErr := r.env.Ask(ctx, text)
		if askErr != nil {
			return fmt.Errorf("%w: %w", errNotAsked, askErr)
		}
		err = errPassphrase // an empty one is never right
		if len(passphrase) > 0 {
			err = open(passphrase)
			clear(passphrase)
		}
		if !errors.Is(err, errPassphrase) {
			return err
		}
		text = fmt.Sprintf("wrong passphrase; passphrase for %s: ", what)
	}
	return err
}

// An attempt is one Unwrap: the identity that age is given, which is all of them.
type attempt struct {
	ctx       context.Context
	ring      *ring
	recipient string

	opened    bool  // an identity matched
	malformed bool  // the stanzas cannot be read
	left      bool  // asking might have helped, and was not allowed
	err       error // the context ended

	seen     map[*place]*contents
	problems map[*place][]error
}

// Unwrap implements age.Identity.
func (a *attempt) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	a.seen = make(map[*place]*contents)
	a.problems = make(map[*place][]error)
	tried := make(map[identity]bool)
	for cost := native; cost <= asking; cost++ {
		if cost == viaSSH && !forSSH(stanzas) {
			continue
		}
		if cost == prompting {
			would := a.wouldAsk(stanzas, tried)
			a.left = would && keys.IsQuiet(a.ctx)
			if !would || a.left {
				break
			}
			select {
			case a.ring.turn <- struct{}{}:
				defer func() { <-a.ring.turn }()
			case <-a.ctx.Done():
			}
		}
		for _, p := range a.ring.places() {
			if p.ssh && !forSSH(stanzas) {
				continue
			}
			if fileKey, err := a.try(p, cost, stanzas, tried); !errors.Is(err, age.ErrIncorrectIdentity) {
				return fileKey, err
			}
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// try tries the identities of one place that cost no more than cost.
func (a *attempt) try(p *place, cost rank, stanzas []*age.Stanza, tried map[identity]bool) ([]byte, error) {
	if a.err = a.ctx.Err(); a.err != nil {
		return nil, a.err
	}
	c := a.ring.look(a.ctx, p, cost, a.recipient)
	if c == nil {
		return nil, age.ErrIncorrectIdentity
	}
	if cost == asking && c.sealed != nil {
		c = a.ring.unseal(a.ctx, p, a.recipient, c)
	}
	a.seen[p] = c
	for _, id := range c.ids {
		if id.rank() > cost || tried[id] {
			continue
		}
		tried[id] = true
		fileKey, err := id.unwrap(a.ctx, stanzas)
		switch {
		case err == nil:
			a.opened = true
			return fileKey, nil
		case errors.Is(err, errMalformed):
			a.malformed = true
			return nil, err
		case errors.Is(err, age.ErrIncorrectIdentity):
		default:
			a.problems[p] = append(a.problems[p], err)
		}
	}
	if a.err = a.ctx.Err(); a.err != nil {
		return nil, a.err
	}
	return nil, age.ErrIncorrectIdentity
}

// wouldAsk reports whether there is somebody left to ask or a program to start.
func (a *attempt) wouldAsk(stanzas []*age.Stanza, tried map[identity]bool) bool {
	for _, p := range a.ring.places() {
		if p.ssh && !forSSH(stanzas) {
			continue
		}
		c := a.ring.look(a.ctx, p, viaSSH, a.recipient)
		if c == nil || c.sealed != nil {
			return true
		}
		for _, id := range c.ids {
			if !tried[id] {
				return true
			}
		}
	}
	return false
}

// looked says where identities were looked for and what was there. Places that
// could not have helped with this entry are left out.
func (a *attempt) looked() []string {
	var list []string
	for _, p := range a.ring.places() {
		c := a.seen[p]
		if c == nil {
			continue
		}
		var notes []error
		switch n := len(c.ids) - len(a.problems[p]); {
		case n == 1:
			notes = append(notes, errors.New("1 identity, does not match"))
		case n > 1:
			notes = append(notes, fmt.Errorf("%d identities, none matches", n))
		case c.sealed != nil: // of which quiet attempts make no more
			notes = append(notes, fmt.Errorf("%w, not opened", errNotAsked))
		}
		if c.err != nil {
			notes = append(notes, c.err)
		}
		notes = append(notes, a.problems[p]...)
		list = append(list, fmt.Sprintf("%s (%v)", p.name, join(notes)))
	}
	return list
}

// forSSH reports whether an entry is for an ssh key.
func forSSH(stanzas []*age.Stanza) bool {
	for _, s := range stanzas {
		if strings.HasPrefix(s.Type, "ssh-") {
			return true
		}
	}
	return false
}
