package envelope

import (
	"crypto/subtle"
	"errors"
)

// A Conflict is what an unresolved merge leaves in a file whose text is that of our
// side. It is sealed: who cannot decrypt the file learns only that it is there.
type Conflict struct {
	Base, Theirs []byte   // the other two texts; the base is empty where there was none
	Why          []string // what keeps the two apart beside their texts
	Unfit        []string // what is wrong with the text that their lines make together
}

// The kinds of entries under kenv.conflicts, and so their first bytes.
const (
	conflictBase   = 'b'
	conflictTheirs = 't'
	conflictWhy    = 'w'
	conflictUnfit  = 'u'
)

// Unresolved reports whether the file holds a merge that is not resolved.
func (f *File) Unresolved() bool { return len(f.Meta.Kenv.Conflicts) > 0 }

// Conflict returns what a merge left in the file, nil if that is nothing. The caller
// wipes it.
func (f *File) Conflict() (*Conflict, error) {
	if !f.Unresolved() {
		return nil, nil
	}
	box, err := newEntryCipher(f.dataKey, purposeConflict)
	if err != nil {
		return nil, err
	}
	c := &Conflict{}
	for _, entry := range f.Meta.Kenv.Conflicts {
		plain, ok := box.open(entry)
		if !ok {
			c.Wipe()
			return nil, &IntegrityError{Msg: "an entry of kenv.conflicts does not decrypt"}
		}
		switch text := plain[1:]; plain[0] {
		case conflictBase:
			c.Base = text
		case conflictTheirs:
			c.Theirs = text
		case conflictWhy:
			c.Why = append(c.Why, string(text))
		case conflictUnfit:
			c.Unfit = append(c.Unfit, string(text))
		default:
			c.Wipe()
			return nil, errors.New("a newer kenv left a merge in this file")
		}
	}
	return c, nil
}

// Wipe clears the texts.
func (c *Conflict) Wipe() {
	if c != nil {
		clear(c.Base)
		clear(c.Theirs)
	}
}

// seal returns the entries under kenv.conflicts; nil has none.
func (c *Conflict) seal(dataKey []byte) (entries []string, err error) {
	if c == nil {
		return nil, nil
	}
	box, err := newEntryCipher(dataKey, purposeConflict)
	if err != nil {
		return nil, err
	}
	add := func(kind byte, text []byte) {
		plain := append(append(make([]byte, 0, 1+len(text)), kind), text...)
		entries = append(entries, box.seal(plain))
		clear(plain)
	}
	add(conflictBase, c.Base)
	add(conflictTheirs, c.Theirs)
	for _, why := range c.Why {
		add(conflictWhy, []byte(why))
	}
	for _, unfit := range c.Unfit {
		add(conflictUnfit, []byte(unfit))
	}
	return entries, nil
}

// SharesKey reports whether two files have one data key. A nil file shares none.
func (f *File) SharesKey(with *File) bool {
	return f != nil && with != nil && subtle.ConstantTimeCompare(f.dataKey, with.dataKey) == 1
}
