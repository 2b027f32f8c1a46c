//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package run_test

import "golang.org/x/sys/unix"

const (
	isLinux    = false
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)
