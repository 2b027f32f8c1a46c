package kenv

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// ErrChanged is wrapped by the error of Replace when the file is no longer the
// one that WriteOptions.Expect was taken from. Nothing was written.
var ErrChanged = errors.New("it changed since it was read; nothing was written, try again")

// ErrNoUnnamed is wrapped by the error of Replace when plaintext was to be
// written where the system cannot hold a file without a name. Nothing was
// written.
var ErrNoUnnamed = errors.New("this file system cannot hold an unnamed file, " +
	"so an interrupted write could leave plaintext behind; write to standard output instead, and redirect it")

// A Stamp tells one state of a file from the next: which file it is, its size and
// the times of its last change. The zero Stamp is that of a file which is not there.
type Stamp struct{ info fs.FileInfo }

// StampOf returns the stamp of the file at path, symbolic links followed.
func StampOf(path string) (Stamp, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Stamp{}, nil
	}
	if err != nil {
		return Stamp{}, fmt.Errorf("cannot read %s: %w", path, cause(err))
	}
	return Stamp{info}, nil
}

// Missing reports whether it is the stamp of a file that is not there.
func (s Stamp) Missing() bool { return s.info == nil }

// Same reports whether two stamps are those of one state of a file.
func (s Stamp) Same(other Stamp) bool { return s.is(other.info) }

func (s Stamp) is(info fs.FileInfo) bool {
	if s.info == nil || info == nil {
		return s.info == nil && info == nil
	}
	return os.SameFile(s.info, info) && s.info.Size() == info.Size() &&
		s.info.ModTime().Equal(info.ModTime()) && changeTime(s.info).Equal(changeTime(info))
}

// maxDevice bounds what is read of a device, in bytes: some, such as /dev/zero, have no
// end, and a link in a repository can lead there.
const maxDevice = 16 << 20

// ReadFile returns what the file at path holds, at most max bytes, and the stamp
// that it had when it was opened. Besides regular files it reads FIFOs and
// terminals to their end; a directory is an error. On an error nothing that was
// read stays in memory.
func ReadFile(path string, max int64) ([]byte, Stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("cannot read %s: %w", path, cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("cannot read %s: %w", path, cause(err))
	}
	if info.IsDir() {
		return nil, Stamp{}, fmt.Errorf("cannot read %s: it is a directory; name the files in it", path)
	}
	hint := int64(0)
	switch mode := info.Mode(); {
	case mode.IsRegular():
		hint = info.Size()
	case mode&fs.ModeDevice != 0:
		max = min(max, maxDevice)
	}
	data, err := readAll(f, hint, max)
	if err != nil {
		return nil, Stamp{}, fmt.Errorf("cannot read %s: %w", path, cause(err))
	}
	return data, Stamp{info}, nil
}

// Read is ReadFile for a stream, which errors call name.
func Read(r io.Reader, name string, max int64) ([]byte, error) {
	data, err := readAll(r, 0, max)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, cause(err))
	}
	return data, nil
}

// readAll differs from io.ReadAll in its limit, and in that it leaves no copies of
// what may be plaintext in buffers that it outgrew.
func readAll(r io.Reader, hint, max int64) ([]byte, error) {
	tooLarge := fmt.Errorf("it holds more than %d bytes, the most that is read", max)
	if hint > max {
		return nil, tooLarge
	}
	// One byte more than expected lets the end show without growing.
	buf := make([]byte, 0, min(hint, max)+512)
	for {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), max+512))
			copy(grown, buf)
			clear(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > max {
			err = tooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			clear(buf)
			return nil, err
		}
	}
}

// WriteOptions says how Replace writes. The zero value is the careful one: data is
// plaintext and a new file is for its owner alone.
type WriteOptions struct {
	// Ciphertext says that data holds nothing secret, so that it may stand under
	// a temporary name until it is complete.
	Ciphertext bool
	// Perm is the mode, before umask, of a file that did not exist; 0 is 0600. A
	// file that is replaced keeps its own.
	Perm fs.FileMode
	// Expect, unless nil, is the state that the file must still be in: nothing
	// that somebody else wrote meanwhile is overwritten.
	Expect *Stamp
	// Lock, unless nil, is held by the caller since before the file was read, and goes
	// on to the new file. Otherwise Replace waits until nobody holds one.
	Lock *Lock
	// BreakLinks lets a file with several hard links be replaced under this name
	// alone.
	BreakLinks bool
}

// Replace makes data the content of the file at path, whole or not at all: after
// a failure, a kill, a full disk or a power cut the file is the old one or the new
// one. When it returns nil the new one is on the disk.
//
// Symbolic links are followed and stay. Mode, owner, group, ACL and user attributes
// are kept; where the system does not let owner, group or ACL be kept, the mode is
// narrowed so that nobody gains access. Directories, FIFOs, devices, files that
// this process may not write and, unless BreakLinks is set, files with several
// hard links are refused. A path such as /dev/stdout or /dev/fd/3 is written to as
// the stream that it is.
//
// Ciphertext is first written to a file .NAME.kenv-RANDOM in the same directory. A
// kill can leave that file behind; the next Replace of the same path removes it.
//
// Plaintext has no name while it is incomplete: it is written to an unnamed file
// (O_TMPFILE on Linux), which a kill destroys, and where there is none Replace
// returns ErrNoUnnamed. A new file then gets its name in one step. But no system
// call puts an unnamed file in the place of another, so one that replaces a file
// has a temporary name from one system call to the next, the renaming. A kill
// just then leaves it behind until the next Replace: complete, and open to nobody
// but those whom the file it was to replace is open to.
func Replace(path string, data []byte, o WriteOptions) error {
	err := replace(path, data, o)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, cause(err))
	}
	return nil
}

func replace(path string, data []byte, o WriteOptions) error {
	if f, err := stream(path); err != nil {
		return err
	} else if f != nil {
		_, err = f.Write(data)
		return err
	}
	t, err := resolve(path)
	if err != nil {
		return err
	}
	if err := t.writable(o.BreakLinks); err != nil {
		return err
	}
	t.sweep()
	if o.Perm == 0 {
		o.Perm = 0o600
	}

	s, err := t.stage(o)
	if err != nil {
		return err
	}
	defer s.discard()
	if err := s.fill(data, t); err != nil {
		return err
	}
	lock := o.Lock
	if lock == nil {
		// Two that expect the same state must not both find it: the second waits
		// here, and then finds the file of the first.
		if lock, err = t.lock(context.Background()); err != nil {
			return err
		}
		defer lock.Unlock()
	}
	if o.Expect != nil {
		info, err := t.lstat()
		if err != nil {
			return err
		}
		if !o.Expect.is(info) {
			return ErrChanged
		}
	}
	if err := s.commit(t, o); err != nil {
		return err
	}
	lock.follow(s)
	if err := syncDir(t.dir); err != nil {
		return fmt.Errorf("the new file is in place, but a power cut may still undo that: %w", cause(err))
	}
	return nil
}

// A place is where a file is or will be: the path that symbolic links led to, in
// its two parts, and what is there, nil if nothing.
type place struct {
	dir, base string
	old       fs.FileInfo
}

func (t place) path() string { return t.dir + t.base }

// lstat says what is at the place now; nil if nothing.
func (t place) lstat() (fs.FileInfo, error) {
	info, err := os.Lstat(t.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return info, err
}

// maxLinks is how many symbolic links in a row Linux follows.
const maxLinks = 40

// resolve follows symbolic links, also to a file that is not there yet.
func resolve(path string) (place, error) {
	for range maxLinks {
		// Paths are not cleaned: what "link/.." is only the system knows.
		dir, base := filepath.Split(path)
		if base == "" || base == "." || base == ".." {
			return place{}, errors.New("it names a directory, not a file")
		}
		if dir == "" {
			dir = "." + string(filepath.Separator)
		}
		t := place{dir: dir, base: base}
		info, err := t.lstat()
		if err != nil {
			return place{}, err
		}
		if info == nil || info.Mode()&fs.ModeSymlink == 0 {
			t.old = info
			return t, nil
		}
		link, err := os.Readlink(t.path())
		if err != nil {
			return place{}, err
		}
		if !filepath.IsAbs(link) {
			link = dir + link
		}
		path = link
	}
	return place{}, errors.New("too many symbolic links in a row; see where they lead with: ls -l")
}

// writable says why what is at the place cannot or should not be replaced.
func (t place) writable(breakLinks bool) error {
	if t.old == nil {
		return nil
	}
	switch mode := t.old.Mode(); {
	case mode.IsDir():
		return errors.New("it is a directory, not a file")
	case !mode.IsRegular():
		return errors.New("it is not a regular file; write to standard output instead, and redirect it")
	}
	// A rename would succeed here, which is not what a user who made the file
	// read-only expects.
	if err := access(t.path(), t.old); errors.Is(err, fs.ErrPermission) {
		if t.old.Mode()&0o200 != 0 {
			return fmt.Errorf("it is not writable (mode %04o) for anybody but its owner", t.old.Mode().Perm())
		}
		return fmt.Errorf("it is not writable (mode %04o); allow it with: chmod u+w", t.old.Mode().Perm())
	} else if err != nil {
		return err
	}
	// The other names would keep the old content, which may be the plaintext
	// that is being encrypted.
	if n := links(t.old); n > 1 && !breakLinks {
		return fmt.Errorf("it has %d hard links, and the other names would keep the old content; find them with: find . -inum %d",
			n, inode(t.old))
	}
	return nil
}

const (
	// sweepAge is when a temporary file is given up whose writer cannot be asked.
	sweepAge = time.Minute

	randomLen = 16
	// maxBase keeps a temporary name within the 255 bytes that file systems take.
	maxBase = 255 - len("..kenv-") - randomLen
)

// prefix is what the temporary names of this place begin with.
func (t place) prefix() string {
	return "." + t.base[:min(len(t.base), maxBase)] + ".kenv-"
}

func (t place) temporary() string {
	return t.dir + t.prefix() + strings.ToLower(rand.Text()[:randomLen])
}

// isTemporary holds for the names that temporary returns and for no name that a
// person would choose, such as .NAME.kenv-old.
func (t place) isTemporary(name string) bool {
	random, ok := strings.CutPrefix(name, t.prefix())
	return ok && isRandom(random)
}

// isTemporary holds for the temporary names of any file.
func isTemporary(name string) bool {
	i := strings.LastIndex(name, ".kenv-")
	return i > 1 && name[0] == '.' && isRandom(name[i+len(".kenv-"):])
}

func isRandom(s string) bool {
	return len(s) == randomLen && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// sweep removes the temporary files that killed writers left. What it may not
// remove or cannot see it leaves: the write at hand does not depend on it.
func (t place) sweep() {
	d, err := os.Open(t.dir)
	if err != nil {
		return
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if t.isTemporary(name) {
				reap(t.dir + name)
			}
		}
		if err != nil || len(names) == 0 {
			return
		}
	}
}

// reapOld removes the file at path if it is a regular file that has not been
// written to for sweepAge.
func reapOld(path string) {
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > sweepAge {
		os.Remove(path)
	}
}

// A staged is the new content before it has its name. Its file is locked while
// the writer lives, which is how a sweep knows.
type staged struct {
	f    *os.File // nil once it is somebody's Lock
	name string   // its temporary name; empty while it has none
}

func (t place) stage(o WriteOptions) (*staged, error) {
	perm := o.Perm
	if t.old != nil {
		perm = 0o600 // until the access of the old file is set
	}
	if !o.Ciphertext {
		f, err := createUnnamed(t.dir, perm)
		if err != nil {
			return nil, t.explain(err)
		}
		hold(f)
		return &staged{f: f}, nil
	}
	for {
		name := t.temporary()
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
		if err != nil {
			return nil, t.explain(err)
		}
		hold(f)
		// A sweep may have taken it in the moment before it was locked.
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			f.Close()
			continue
		}
		return &staged{f: f, name: name}, nil
	}
}

// explain says what it is about the directory that keeps a file from being made
// there.
func (t place) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s", filepath.Clean(t.dir))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("directory %s is not writable, and a file is only replaced through a new one beside it: %w",
			filepath.Clean(t.dir), cause(err))
	}
	return err
}

// fill writes the content and everything else that must be there before the name.
func (s *staged) fill(data []byte, t place) error {
	if _, err := s.f.Write(data); err != nil {
		return err
	}
	if t.old != nil {
		if err := keepAccess(s.f, t.path(), t.old); err != nil {
			return err
		}
	}
	return s.f.Sync()
}

// commit gives the staged file its name.
func (s *staged) commit(t place, o WriteOptions) error {
	if runtime.GOOS == "windows" {
		s.f.Close() // which does not rename open files
	}
	mustBeNew := o.Expect != nil && o.Expect.info == nil
	if s.name != "" {
		move := os.Rename
		if mustBeNew {
			move = renameNew
		}
		err := move(s.name, t.path())
		if errors.Is(err, fs.ErrExist) {
			return ErrChanged
		}
		if err == nil {
			s.name = ""
		}
		return err
	}
	if t.old == nil {
		err := linkUnnamed(s.f, t.path())
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if mustBeNew {
			return ErrChanged
		}
	}
	return replaceByUnnamed(s.f, t.temporary(), t.path())
}

// discard closes the staged file and removes it if it has not got its name.
func (s *staged) discard() {
	if s.f != nil {
		s.f.Close()
	}
	if s.name != "" {
		os.Remove(s.name)
	}
}

// cause strips from an error of package os the path, which is often a temporary
// one and which the caller names anyway.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	case *os.SyscallError:
		return e.Err
	}
	return err
}
