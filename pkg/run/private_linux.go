package run

import "golang.org/x/sys/unix"

// inMemory reports whether a directory's files are in memory alone. (The system may
// swap them out, as it may any memory.)
func inMemory(dir string) bool {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return false
	}
	return s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC
}
