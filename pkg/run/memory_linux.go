package run

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// inMemory returns directories of file systems that are in memory only. Nobody else can
// reach the first, so a file for another user must not go there.
func inMemory(otherUser bool) []string {
	candidates := []string{"/dev/shm"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && !otherUser {
		candidates = []string{dir, "/dev/shm"}
	}
	var dirs []string
	for _, dir := range candidates {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil && (int64(fs.Type) == unix.TMPFS_MAGIC || int64(fs.Type) == unix.RAMFS_MAGIC) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
