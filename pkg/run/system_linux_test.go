package run_test

import "golang.org/x/sys/unix"

const (
	isLinux    = true
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)
