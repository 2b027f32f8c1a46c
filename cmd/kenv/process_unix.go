//go:build unix

package main

import (
	"os"
	"syscall"
)

// forbidCoreDumps keeps secrets in memory from being written to disk in a crash.
// What it returns undoes that, for a program that kenv becomes.
func forbidCoreDumps() (undo func()) {
	var old syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_CORE, &old) != nil {
		return func() {}
	}
	none := old
	none.Cur = 0
	if syscall.Setrlimit(syscall.RLIMIT_CORE, &none) != nil {
		return func() {}
	}
	return func() { syscall.Setrlimit(syscall.RLIMIT_CORE, &old) }
}

// openTerminal opens the terminal that the process was started from, whatever
// its standard streams are.
func openTerminal() (in, out *os.File, err error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	return tty, tty, err
}
