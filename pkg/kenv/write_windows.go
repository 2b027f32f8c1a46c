package kenv

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// stream: the standard streams have no paths here.
func stream(string) (*os.File, error) { return nil, nil }

// changeTime: the time of the last write, which a Stamp holds, is all there is.
func changeTime(fs.FileInfo) time.Time { return time.Time{} }

// access returns an error if the file's read-only attribute is set.
func access(_ string, info fs.FileInfo) error {
	if info.Mode()&0o200 == 0 {
		return fs.ErrPermission
	}
	return nil
}

// links and inode: not told without opening the file, and hard links are rare here.
func links(fs.FileInfo) uint64 { return 1 }

func inode(fs.FileInfo) uint64 { return 0 }

// keepAccess gives f the access list of the file at path.
func keepAccess(f *os.File, path string, _ fs.FileInfo) error {
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return err
	}
	list, _, err := sd.DACL()
	if err != nil {
		return err
	}
	control, _, err := sd.Control()
	if err != nil {
		return err
	}
	what := windows.SECURITY_INFORMATION(windows.DACL_SECURITY_INFORMATION)
	if control&windows.SE_DACL_PROTECTED != 0 {
		what |= windows.PROTECTED_DACL_SECURITY_INFORMATION
	}
	return windows.SetNamedSecurityInfo(f.Name(), windows.SE_FILE_OBJECT, what, nil, nil, list, nil)
}

// hold: an open file cannot be removed here, which is mark enough.
func hold(*os.File) {}

// reap removes a temporary file that is open no more. One that is being renamed is
// not open either, hence the age.
func reap(path string) { reapOld(path) }

// LockFile locks nothing here: a file that is open, as one with a lock is, cannot be
// replaced.
func LockFile(context.Context, string) (*Lock, error) { return &Lock{}, nil }

func (t place) lock(context.Context) (*Lock, error) { return &Lock{}, nil }

func (l *Lock) follow(*staged) {}

// syncDir: directories cannot be synced here.
func syncDir(string) error { return nil }
