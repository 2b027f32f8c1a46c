package secret

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"
)

func TestKeep(t *testing.T) {
	for _, size := range []int{0, 1, 32, os.Getpagesize(), os.Getpagesize() + 1} {
		given := bytes.Repeat([]byte{7}, size)
		kept := Keep(given)
		if want := bytes.Repeat([]byte{7}, size); !bytes.Equal(kept, want) || cap(kept) != size {
			t.Errorf("of %d bytes it keeps %d, capacity %d", size, len(kept), cap(kept))
		}
		if !bytes.Equal(given, make([]byte, size)) {
			t.Errorf("%d bytes are left where they were", size)
		}
		if uintptr(unsafe.Pointer(unsafe.SliceData(kept)))%uintptr(os.Getpagesize()) != 0 {
			t.Errorf("%d bytes share their page", size)
		}
		Wipe(kept)
		Wipe(kept)
		if !bytes.Equal(kept, make([]byte, size)) {
			t.Errorf("%d bytes are not wiped", size)
		}
	}
	key := []byte("key")
	kept := Copy(key)
	defer Wipe(kept)
	if string(key) != "key" || string(kept) != "key" || &key[0] == &kept[0] {
		t.Errorf("Copy of key gives %q and leaves %q", kept, key)
	}
}

// TestLocked asks Linux how much memory is locked.
func TestLocked(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells")
	}
	locked := func() string {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(status), "VmLck:")
		line, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(line)
	}
	before := locked()
	key := Keep(make([]byte, 32))
	if during := locked(); during == before {
		if os.Getenv("CI") == "true" {
			t.Fatalf("memory locked: %s, as before", during)
		}
		t.Skip("memory cannot be locked here")
	}
	Wipe(key)
	if after := locked(); after != before {
		t.Errorf("memory locked: %s before and %s after", before, after)
	}
}

// TestDo: what a function panics with comes out of Do.
func TestDo(t *testing.T) {
	ran := false
	Do(func() { ran = true })
	defer func() {
		if got := recover(); !ran || got != "no" {
			t.Errorf("ran %v, panicked with %v", ran, got)
		}
	}()
	Do(func() { panic("no") })
}

// A pattern is bytes that can be recognized without having them in memory.
const patternSize = 64

func pattern(i int) byte { return byte(i*i*5 + i*3 + 7) }

// TestErased looks through this process's memory for what a function wrote to heap and
// stack.
func TestErased(t *testing.T) {
	if _, err := os.Stat("/proc/self/mem"); err != nil {
		t.Skip("only Linux shows a process its memory as a file")
	}
	sum := 0
	use := func() {
		onHeap := make([]byte, patternSize, 1000)
		var onStack [patternSize]byte
		for i := range patternSize {
			onHeap[i], onStack[i] = pattern(i), pattern(i)
		}
		escape(onHeap)
		for i, b := range onStack {
			sum += i * int(b)
		}
	}
	use()
	if n := findPattern(t); n == 0 {
		t.Fatal("the test does not find what nobody erased")
	}
	overwritePattern(t)
	if n := findPattern(t); n > 0 {
		t.Fatalf("%d patterns cannot be overwritten", n)
	}
	Do(use)
	Collect()
	if n := findPattern(t); Erases && n > 0 {
		t.Errorf("what Do called leaves %d copies", n)
	}
	_ = sum
}

var escaped []byte

//go:noinline
func escape(b []byte) { escaped = b; escaped = nil }

func findPattern(t *testing.T) (n int) {
	eachPattern(t, func(*os.File, int64) { n++ })
	return n
}

func overwritePattern(t *testing.T) {
	eachPattern(t, func(memory *os.File, at int64) {
		if _, err := memory.WriteAt(make([]byte, patternSize), at); err != nil {
			t.Fatal(err)
		}
	})
}

// eachPattern calls f for each pattern in memory that can be written to. It copies memory
// to a buffer of its own, in which patterns would count, so it wipes that.
func eachPattern(t *testing.T, f func(memory *os.File, at int64)) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	buf := make([]byte, 1<<20)
	own := int64(uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - patternSize {
			n, _ := memory.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			for i := 0; i+patternSize <= n; i++ {
				next := bytes.IndexByte(buf[i:n-patternSize+1], pattern(0))
				if next < 0 {
					break
				}
				i += next
				k := 0
				for k < patternSize && buf[i+k] == pattern(k) {
					k++
				}
				if here := at + int64(i); k == patternSize && (here < own || here >= own+int64(len(buf))) {
					f(memory, here)
				}
			}
			clear(buf)
		}
	}
}
