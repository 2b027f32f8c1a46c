package main

import "golang.org/x/sys/unix"

// hideMemory keeps other programs of the same user from reading this process's memory,
// environment and files by /proc or as debuggers do, and the system from dumping it, also
// to a program, for which the limit on core dumps does not count. It ends when the process
// becomes another program, and those that it starts are not touched by it.
func hideMemory() { unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
