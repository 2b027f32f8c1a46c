package kenv

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// LockForEdit tells other edits of a file that there is one, until unlock is called
// or the process ends. It keeps nobody from writing: WriteOptions.Expect does. Where
// there is no file, or no such lock, it does nothing.
func LockForEdit(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return func() {}, nil
	}
	// One of the open file, and of another kind than that of Replace, so that the
	// two do not meet.
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	switch err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err {
	case unix.EAGAIN, unix.EACCES:
		f.Close()
		return nil, ErrBeingEdited
	}
	return func() { f.Close() }, nil
}
