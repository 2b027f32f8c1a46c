//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package run

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	getTermios = unix.TIOCGETA
	setTermios = unix.TIOCSETA
)

// killWithParent does nothing: only Linux has it done by the system.
func killWithParent(*syscall.SysProcAttr) {}
