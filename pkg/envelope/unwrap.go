package envelope

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
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
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "\n  %s: %v", keys.Short(f.Name), f.Err)
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

// errNoGroups is for a file that names no master key at all.
var errNoGroups = errors.New("no master keys in the metadata")

// maxCombinations bounds how many sets of shares are tried: a file could name
// thousands of keys.
const maxCombinations = 4096

// unwrapDataKey finds the data key: the first that a master key, or as many groups as
// the threshold asks for, gives and that right accepts. A wrong one counts as
// failed: somebody may have put in the entry of another file. If some were
// wrong and none right it returns one of the wrong ones and wrong is true.
func unwrapDataKey(ctx context.Context, m *Metadata, table keys.Table, right func(dataKey []byte) bool) (dataKey []byte, wrong bool, err error) {
	if len(m.Groups) == 0 {
		return nil, false, errNoGroups
	}
	need := 1
	if len(m.Groups) > 1 {
		if need = m.ShamirThreshold; need == 0 {
			need = len(m.Groups)
		}
		if need < 2 || need > len(m.Groups) {
			return nil, false, &IntegrityError{Msg: fmt.Sprintf("shamir_threshold is %d, for %d key groups", need, len(m.Groups))}
		}
	}
	fail := &NoKeyError{Groups: len(m.Groups), Need: need}
	var spoiled []byte
	tries := 0
	try := func(key []byte) bool {
		if len(key) == keySize && right(key) {
			clear(spoiled)
			dataKey = key
			return true
		}
		if spoiled == nil && len(key) == keySize {
			spoiled = key
		} else {
			clear(key)
		}
		return false
	}

	shares := make([][][]byte, len(m.Groups)) // what each group gave so far
	defer func() {
		for _, g := range shares {
			for _, s := range g {
				if len(m.Groups) > 1 {
					clear(s)
				}
			}
		}
	}()
	// combineWith tries every set of shares that has the newest one in it.
	combineWith := func(group int, share []byte) bool {
		if len(m.Groups) == 1 {
			return try(share)
		}
		set := [][]byte{share}
		var pick func(from int) bool
		pick = func(from int) bool {
			if len(set) == need {
				tries++
				key, err := combine(set)
				return err == nil && try(key)
			}
			left := 0 // groups that can still add a share
			for g := from; g < len(shares); g++ {
				if g != group && len(shares[g]) > 0 {
					left++
				}
			}
			if len(set)+left < need {
				return false
			}
			for g := from; g < len(shares) && tries < maxCombinations; g++ {
				if g == group {
					continue
				}
				for _, s := range shares[g] {
					set = append(set, s)
					if pick(g + 1) {
						return true
					}
					set = set[:len(set)-1]
				}
			}
			return false
		}
		return pick(0)
	}

	type attempt struct {
		group int
		key   keys.MasterKey
		entry keys.Entry
	}
	var local, remote, later []attempt
	for g, entries := range m.Groups {
		for _, e := range entries {
			k, err := table.FromEntry(e)
			if err != nil {
				name := e.Kind
				fail.Failures = append(fail.Failures, KeyFailure{name, err})
				continue
			}
			a := attempt{g, k, e}
			if p, ok := table.Provider(e.Kind); ok && p.Remote {
				remote = append(remote, a)
			} else {
				local = append(local, a)
			}
		}
	}
	run := func(ctx context.Context, list []attempt, last bool) (bool, error) {
		for _, a := range list {
			share, err := a.key.Unwrap(ctx, a.entry)
			if ctx.Err() != nil {
				clear(share)
				clear(spoiled)
				return false, ctx.Err()
			}
			if err != nil {
				if !last && errors.Is(err, keys.ErrQuiet) {
					later = append(later, a)
					continue
				}
				fail.Failures = append(fail.Failures, KeyFailure{a.key.Name(), err})
				continue
			}
			if combineWith(a.group, share) {
				return true, nil
			}
			if len(m.Groups) == 1 {
				fail.Failures = append(fail.Failures, KeyFailure{a.key.Name(), errors.New("gives a data key that is not this file's")})
			}
			shares[a.group] = append(shares[a.group], share)
		}
		return false, nil
	}
	for i, list := range [][]attempt{local, remote, nil} {
		c := ctx
		if i == 0 {
			c = keys.Quiet(ctx)
		}
		if i == 2 {
			list = later
		}
		done, err := run(c, list, i > 0)
		if err != nil {
			return nil, false, err
		}
		if done {
			return dataKey, false, nil
		}
	}
	if spoiled != nil {
		return spoiled, true, nil
	}
	for _, s := range shares {
		if len(s) > 0 {
			fail.Opened++
		}
	}
	return nil, false, fail
}
