//go:build linux || darwin || freebsd

package kenv

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stream returns the open file that a path such as /dev/stdout names, nil for any
// other path. The descriptor is used as it is, not opened again: that keeps the
// position in a file that the shell appends to, and works for sockets.
func stream(path string) (*os.File, error) {
	switch path = filepath.Clean(path); path {
	case "/dev/stdout":
		return os.Stdout, nil
	case "/dev/stderr":
		return os.Stderr, nil
	}
	if !isStream(path) {
		return nil, nil
	}
	n, err := strconv.Atoi(filepath.Base(path))
	if err != nil {
		return nil, err
	}
	fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no open file %d: %w", n, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// isStream reports whether stream gives a file for a path.
func isStream(path string) bool {
	path = filepath.Clean(path)
	return path == "/dev/stdout" || path == "/dev/stderr" || regexp.MustCompile(`^(?:/dev/fd|/proc/self/fd)/[0-9]{1,9}$`).MatchString(path)
}

// access returns an error if this process may not write to the file.
func access(path string, _ fs.FileInfo) error {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
}

func links(info fs.FileInfo) uint64 { return uint64(info.Sys().(*syscall.Stat_t).Nlink) }

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }

// keepAccess gives f the owner, group, ACL and mode of old, the file at path, or,
// where the system does not allow that, less: never more than old gave anybody.
func keepAccess(f *os.File, path string, old fs.FileInfo) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	was, is := old.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	mode := uint32(was.Mode) & 0o7777
	if was.Uid != is.Uid || was.Gid != is.Gid {
		if f.Chown(int(was.Uid), int(was.Gid)) != nil {
			mode &= 0o777
			if was.Gid != is.Gid && f.Chown(-1, int(was.Gid)) != nil {
				// Who was in the group is now one of the others, and the group of the
				// new file had no rights as such.
				mode = mode&0o700 | mode&(mode>>3)&0o007
			}
		}
	}
	if !keepAttributes(f, path) {
		// An ACL may have denied what the mode alone would allow.
		mode &= 0o700
	}
	// After the owner: changing that clears bits.
	if now, err = f.Stat(); err != nil {
		return err
	}
	if uint32(now.Sys().(*syscall.Stat_t).Mode)&0o7777 == mode {
		return nil // also on file systems where all files have the one mode
	}
	return os.NewSyscallError("fchmod", unix.Fchmod(int(f.Fd()), mode))
}

// hold marks f, a temporary file, as being in use. Where files cannot be locked
// its age tells instead.
func hold(f *os.File) { flock(f, unix.LOCK_EX) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

// reap removes the temporary file at path unless its writer is alive.
func reap(path string) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		reapOld(path)
		return
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return
	}
	switch flock(f, unix.LOCK_EX|unix.LOCK_NB) {
	case nil:
		os.Remove(path)
	case unix.EWOULDBLOCK:
	default:
		reapOld(path)
	}
}

// lockWait is how long LockFile waits. Those that hold a lock are quick, unless
// they ask a slow service or a person.
const lockWait = 30 * time.Second

// LockFile locks the file at path, symbolic links followed. It waits for those that
// have it locked, half a minute or until ctx ends. Where there is no file, or the file
// system has no locks, it locks nothing; and nothing where Replace will say what is wrong
// with the path.
func LockFile(ctx context.Context, path string) (*Lock, error) {
	if isStream(path) {
		return &Lock{}, nil // it is written to and not replaced
	}
	t, err := resolve(path)
	if err != nil {
		return &Lock{}, nil
	}
	l, err := t.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot lock %s: %w", path, cause(err))
	}
	return l, nil
}

// lock locks the file that is at the place when it has been waited for.
func (t place) lock(ctx context.Context) (*Lock, error) {
	if t.old != nil && !t.old.Mode().IsRegular() {
		return &Lock{}, nil
	}
	for start := time.Now(); ; {
		f, err := os.OpenFile(t.path(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return &Lock{}, nil
		}
		if err != nil {
			return nil, err
		}
		l := &Lock{f}
		switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err {
		case nil:
			// It may have been replaced since it was opened: then the lock that counts is
			// that of the new file.
			locked, err := f.Stat()
			if err != nil {
				l.Unlock()
				return nil, err
			}
			now, err := t.lstat()
			if err == nil && (now == nil || os.SameFile(now, locked)) {
				return l, nil
			}
			l.Unlock()
			if err != nil {
				return nil, err
			}
			continue
		case unix.EWOULDBLOCK:
		case unix.ENOLCK, unix.ENOSYS, unix.ENOTSUP, unix.EINVAL, unix.EBADF:
			return l, nil // there are no locks, or not for those who only read
		default:
			l.Unlock()
			return nil, err
		}
		l.Unlock()
		if time.Since(start) > lockWait {
			return nil, ErrLocked
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond + rand.N(8*time.Millisecond)):
		}
	}
}

// follow moves the lock to the file that replaces the locked one, which its writer holds
// since before it had its name: nobody comes in between.
func (l *Lock) follow(s *staged) {
	l.Unlock()
	l.f, s.f = s.f, nil
}

// syncDir makes the names in a directory durable, where directories can be synced.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrPermission) {
		return nil // a directory may be written to and yet not be opened
	}
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}
