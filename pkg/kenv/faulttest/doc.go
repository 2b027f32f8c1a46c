// Package faulttest runs a program again and again and disturbs it, by strace, at
// another of its system calls each time: with a kill, or with an error such as
// ENOSPC. A check then looks at what is on the disk. It is for tests.
//
//	c := faulttest.Command{Args: …, Setup: …, Check: …}
//	c.Kill(t)
//	c.Fail(t, "ENOSPC", "EIO")
//
// A test that wants less than all, or more, takes the points of one run, and disturbs
// others at those.
package faulttest
