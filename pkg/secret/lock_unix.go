//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package secret

import "golang.org/x/sys/unix"

func lock(key []byte) { unix.Mlock(key) }

// unlock does nothing to memory that is not locked.
func unlock(key []byte) { unix.Munlock(key) }
