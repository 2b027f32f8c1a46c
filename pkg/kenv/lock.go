package kenv

import (
	"errors"
	"os"
)

// ErrLocked is wrapped by the errors of LockFile and Replace when another process has
// kept a file locked for as long as they wait.
var ErrLocked = errors.New("another program is writing to it and does not come to an end; find it with lsof, and try again")

// A Lock on a file has other writers wait: all that hold a Lock on it or replace it by
// Replace, in this process or another. Who reads a file under its Lock, changes that
// and writes it back by Replace with WriteOptions.Lock overwrites nobody's change.
//
// It is advice, which other programs do not follow: WriteOptions.Expect sees what they
// write. Nothing is left on the disk by it, and it ends with the process. The zero Lock
// locks nothing.
type Lock struct{ f *os.File }

// Unlock lets the others go on.
func (l *Lock) Unlock() {
	if l.f != nil {
		l.f.Close()
		l.f = nil
	}
}
