package kenv

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func changeTime(info fs.FileInfo) time.Time {
	return time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
}

// createUnnamed makes a file that is in the directory's file system but under no
// name: it is gone when its last descriptor is closed, however that happens.
func createUnnamed(dir string, perm fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, perm)
	// EISDIR is the answer of kernels that do not know the flag.
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("%w (%w)", ErrNoUnnamed, cause(err))
	}
	return f, err
}

// linkUnnamed gives an unnamed file a name that must be free.
func linkUnnamed(f *os.File, name string) error {
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	err := unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if err == unix.ENOENT {
		return fmt.Errorf("%w (is /proc mounted?)", ErrNoUnnamed)
	}
	return err
}

// replaceByUnnamed puts an unnamed file in the place of the one at path, by way of
// the name tmp. Nothing may come between its two system calls.
func replaceByUnnamed(f *os.File, tmp, path string) error {
	if err := linkUnnamed(f, tmp); err != nil {
		return err
	}
	if err := unix.Rename(tmp, path); err != nil {
		unix.Unlink(tmp)
		return err
	}
	return nil
}

// renameNew renames a file to a name that must be free.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	// A file system that cannot promise it: look, then rename.
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

const aclAttribute = "system.posix_acl_access"

// keepAttributes copies the ACL and, where it can, the user attributes of the file
// at path to f. It reports whether the ACL, or having none, was kept. Security
// labels are the system's to give.
func keepAttributes(f *os.File, path string) bool {
	names, err := attributes(path)
	if err != nil {
		return false
	}
	hasACL := false
	for _, name := range names {
		hasACL = hasACL || name == aclAttribute
		if name != aclAttribute && !strings.HasPrefix(name, "user.") {
			continue
		}
		value, err := attribute(path, name)
		if err == nil {
			err = unix.Fsetxattr(int(f.Fd()), name, value, 0)
		}
		if err != nil && name == aclAttribute {
			return false
		}
	}
	if !hasACL {
		// The directory's default ACL may have given the new file one.
		err := unix.Fremovexattr(int(f.Fd()), aclAttribute)
		return err == nil || err == unix.ENODATA || err == unix.EOPNOTSUPP
	}
	return true
}

// attributes returns the names of the extended attributes of the file at path.
func attributes(path string) ([]string, error) {
	buf, err := grow(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(buf), "\x00"), "\x00"), err
}

func attribute(path, name string) ([]byte, error) {
	return grow(func(b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
}

// grow calls get with a buffer that is large enough. No attribute is larger than
// 64 KiB, nor is the list of their names.
func grow(get func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size = 1 << 16 {
		buf := make([]byte, size)
		n, err := get(buf)
		if err == nil {
			return buf[:n], nil
		}
		if err != unix.ERANGE || size == 1<<16 {
			return nil, err
		}
	}
}
