// Package secret leaves little of a secret in this process's memory, and nothing of a key
// in swap. docs/memory.md says how far that goes.
//
// Go does not tell where copies of a value are. What a library makes of a key on its way,
// such as round keys, states of hashes, buffers and what a stack left behind when it grew,
// is out of its caller's reach. So wiping what is in reach is a part of the work, and [Do]
// is the rest.
package secret

import (
	"bytes"
	"os"
	"unsafe"
)

// Erases reports whether Do does more than call a function.
const Erases = erases

// Do calls f. In a program that was built with GOEXPERIMENT=runtimesecret and without cgo,
// for Linux on amd64 or arm64, it leaves nothing of that behind: registers and stack are
// erased when Do returns, and what f allocated when the garbage collector finds that nobody
// needs it any more. What other goroutines do for f is not erased.
//
// Allocating is slow in f, so f is what handles a key and no more.
func Do(f func()) { do(f) }

// Collect has the garbage collector look now. If Do erases nothing, neither does Collect.
func Collect() { collect() }

// Keep moves a key into memory that it shares with nothing, and wipes it where it was. The
// system is asked to keep that out of swap; what it cannot lock, after a few thousand keys
// for example, is kept all the same. Whoever has the key calls [Wipe] in the end.
func Keep(key []byte) []byte {
	page := os.Getpagesize()
	buf := make([]byte, page+(len(key)+page-1)/page*page)
	// What is locked is pages, and a page has only one lock.
	start := int(-uintptr(unsafe.Pointer(unsafe.SliceData(buf))) & uintptr(page-1))
	kept := buf[start : start+len(key) : start+len(key)]
	lock(kept)
	copy(kept, key)
	clear(key)
	return kept
}

// Copy keeps a copy of a key.
func Copy(key []byte) []byte { return Keep(bytes.Clone(key)) }

// Wipe wipes a key, whether it comes from Keep or not. It may be called again.
func Wipe(key []byte) {
	clear(key)
	unlock(key)
}
