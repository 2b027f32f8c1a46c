//go:build darwin || freebsd

package kenv

import (
	"io/fs"
	"os"
	"syscall"
	"time"
)

func changeTime(info fs.FileInfo) time.Time {
	return time.Unix(info.Sys().(*syscall.Stat_t).Ctimespec.Unix())
}

// keepAttributes keeps nothing: the ACLs of these systems are read through a C
// library. A file has none unless somebody gave it one.
func keepAttributes(*os.File, string) bool { return true }
