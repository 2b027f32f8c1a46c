package envelope

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/secret"
)

// A KeyFailure is one master key that did not give the data key.
type KeyFailure struct {
	Name string // of the key, or its kind where the entry is unreadable
	Err  error
}

// A NoKeyError says that none of a file's master keys could be used.
type NoKeyError struct {
	Failures []KeyFailure
	Groups   int // how many groups of keys the file has
	Need     int // how many of them have to be opened
	Opened   int
}

func (e *NoKeyError) Error() string {
	var b strings.Builder
	b.WriteString("no usable master key")
	if e.Groups > 1 {
		fmt.Fprintf(&b, ": %d of the %d key groups that are needed opened", e.Opened, e.Need)
	}
	failures, more := e.Said()
	for _, f := range failures {
		fmt.Fprintf(&b, "\n  %s: %v", keys.Short(f.Name), f.Err)
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Unwrap returns what each key failed with.
func (e *NoKeyError) Unwrap() []error {
	var list []error
	for _, f := range e.Failures {
		list = append(list, f.Err)
	}
	return list
}

// maxSaid bounds the keys of which an error says why they did not work.
const maxSaid = 20

// Said returns the failures that are worth telling, and how many there are besides.
func (e *NoKeyError) Said() (failures []KeyFailure, more int) {
	n := min(len(e.Failures), maxSaid)
	return e.Failures[:n], len(e.Failures) - n
}

// errManyKeys is for a file that names more master keys than anybody tries.
var errManyKeys = fmt.Errorf("more than %d master keys", maxEntries)

// errNoGroups is for a file that names no master key at all.
var errNoGroups = errors.New("no master keys in the metadata")

// maxCombinations bounds how many sets of shares are tried: a file could name
// thousands of keys.
const maxCombinations = 4096

// maxAtOnce bounds how many remote keys of a file are asked at the same time.
const maxAtOnce = 8

// unwrapDataKey finds the data key: the first that a master key, or as many groups as
// the threshold asks for, gives and that right accepts. Local keys come before
// remote ones, which are asked side by side, and whoever has to be asked a question
// comes last; but kinds that order names are tried before all others, in that
// order.
//
// A wrong data key counts as a failure of its master key: somebody may have put in
// the entry of another file. If some were wrong and none right, wrong is true.
func unwrapDataKey(ctx context.Context, m *Metadata, table keys.Table, order []string, right func(dataKey []byte) bool) (dataKey []byte, wrong bool, err error) {
	need := 1
	switch {
	case len(m.Groups) == 0:
		return nil, false, errNoGroups
	case len(m.Groups) > 1:
		if need = m.ShamirThreshold; need == 0 {
			need = len(m.Groups)
		}
		if need < 2 || need > len(m.Groups) {
			return nil, false, &IntegrityError{Msg: fmt.Sprintf("shamir_threshold is %d, for %d key groups", need, len(m.Groups))}
		}
	}
	u := &unwrapping{right: right, need: need, shares: make([][][]byte, len(m.Groups))}
	defer u.wipe()
	for g, entries := range m.Groups {
		for _, e := range entries {
			k, err := table.FromEntry(e)
			if err != nil {
				u.attempts = append(u.attempts, &attempt{failure: &KeyFailure{e.Kind, err}})
				continue
			}
			p, _ := table.Provider(e.Kind)
			u.attempts = append(u.attempts, &attempt{group: g, key: k, entry: e, remote: p.Remote})
		}
	}
	if err := u.run(ctx, table, order); err != nil {
		secret.Wipe(u.dataKey) // found just as the context ended
		return nil, false, err
	}
	if u.dataKey != nil || u.wrong {
		return u.dataKey, u.dataKey == nil, nil
	}
	fail := &NoKeyError{Groups: len(m.Groups), Need: need, Opened: u.opened()}
	for _, a := range u.attempts {
		if a.failure != nil {
			fail.Failures = append(fail.Failures, *a.failure)
		}
	}
	return nil, false, fail
}

// An attempt is one entry of a file and what came of it.
type attempt struct {
	group   int
	key     keys.MasterKey
	entry   keys.Entry
	remote  bool
	tried   bool
	asks    bool // somebody has to be asked a question
	failure *KeyFailure
}

func (a *attempt) unwrap(ctx context.Context) (share []byte, err error) {
	secret.Do(func() { share, err = a.key.Unwrap(ctx, a.entry) })
	return share, err
}

// An unwrapping is a file whose data key is being looked for.
type unwrapping struct {
	right    func(dataKey []byte) bool
	need     int
	attempts []*attempt // in the order of the file
	shares   [][][]byte // what each group gave so far; unused for a single group
	tries    int

	dataKey []byte
	wrong   bool
}

// run asks keys until one opens the file. The error is the context's.
func (u *unwrapping) run(ctx context.Context, table keys.Table, order []string) (err error) {
	quiet := keys.Quiet(ctx)
	step := func(ctx context.Context, fits func(*attempt) bool) {
		var list []*attempt
		for _, a := range u.attempts {
			if !a.tried && a.key != nil && fits(a) {
				list = append(list, a)
			}
		}
		if u.dataKey == nil && err == nil {
			err = u.ask(ctx, list)
		}
	}
	for _, kind := range order {
		step(quiet, func(a *attempt) bool { return a.entry.Kind == kind })
		step(ctx, func(a *attempt) bool { return a.entry.Kind == kind && a.asks })
	}
	for _, p := range table { // which has the quick ones first
		step(quiet, func(a *attempt) bool { return a.entry.Kind == p.Kind && !a.remote && !a.asks })
	}
	step(quiet, func(a *attempt) bool { return a.remote && !a.asks })
	step(ctx, func(a *attempt) bool { return a.asks })
	if u.opened() >= u.need {
		// One of the shares is bad, and its group may have another.
		step(ctx, func(*attempt) bool { return true })
	}
	return err
}

// ask asks some keys, remote ones side by side, but none whose group has given its
// share already while others lack theirs. The error is the context's.
func (u *unwrapping) ask(ctx context.Context, list []*attempt) error {
	var remote []*attempt
	for _, a := range list {
		switch {
		case u.dataKey != nil:
		case len(u.shares) > 1 && len(u.shares[a.group]) > 0 && u.opened() < u.need:
		case a.remote:
			remote = append(remote, a)
		default:
			share, err := a.unwrap(ctx)
			u.take(ctx, a, share, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if u.dataKey != nil {
		return nil
	}
	type answer struct {
		a     *attempt
		share []byte
		err   error
	}
	answers := make(chan answer, len(remote))
	others, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, maxAtOnce)
	for _, a := range remote {
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			share, err := []byte(nil), others.Err()
			if err == nil {
				share, err = a.unwrap(others)
			}
			answers <- answer{a, share, err}
		}()
	}
	left := len(remote)
	for left > 0 && u.dataKey == nil && ctx.Err() == nil {
		select {
		case got := <-answers:
			left--
			u.take(ctx, got.a, got.share, got.err)
		case <-ctx.Done():
		}
	}
	go func() { // the rest end when they notice
		for range left {
			clear((<-answers).share)
		}
	}()
	return ctx.Err()
}

// take notes what an Unwrap came to.
func (u *unwrapping) take(ctx context.Context, a *attempt, share []byte, err error) {
	a.tried, a.asks = true, false
	switch {
	case ctx.Err() != nil:
		clear(share)
	case err != nil && keys.IsQuiet(ctx) && errors.Is(err, keys.ErrQuiet):
		a.tried, a.asks = false, true
	case err != nil:
		a.failure = &KeyFailure{a.key.Name(), err}
	case len(u.shares) == 1:
		if !u.try(share) {
			a.failure = &KeyFailure{a.key.Name(), errors.New("gives a data key that is not this file's")}
		}
	default:
		u.combine(a.group, share)
		u.shares[a.group] = append(u.shares[a.group], share)
	}
}

// try takes a data key if it is right, and wipes it if not.
func (u *unwrapping) try(key []byte) bool {
	if len(key) == keySize && u.right(key) {
		u.dataKey = secret.Keep(key)
		return true
	}
	u.wrong = u.wrong || len(key) == keySize
	clear(key)
	return false
}

// combine tries every set of shares that has the newest one in it.
func (u *unwrapping) combine(group int, share []byte) {
	set := [][]byte{share}
	var pick func(from int) bool
	pick = func(from int) bool {
		if len(set) == u.need {
			u.tries++
			key, err := combine(set)
			return err == nil && u.try(key)
		}
		left := 0 // groups that can still add a share
		for g := from; g < len(u.shares); g++ {
			if g != group && len(u.shares[g]) > 0 {
				left++
			}
		}
		if len(set)+left < u.need {
			return false
		}
		for g := from; g < len(u.shares) && u.tries < maxCombinations; g++ {
			if g == group {
				continue
			}
			for _, s := range u.shares[g] {
				set = append(set, s)
				if pick(g + 1) {
					return true
				}
				set = set[:len(set)-1]
			}
		}
		return false
	}
	pick(0)
}

// opened returns how many groups have given a share.
func (u *unwrapping) opened() (n int) {
	for _, g := range u.shares {
		if len(g) > 0 {
			n++
		}
	}
	return n
}

func (u *unwrapping) wipe() {
	for _, g := range u.shares {
		for _, s := range g {
			clear(s)
		}
	}
}
