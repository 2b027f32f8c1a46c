package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// What a collection costs is mostly that it and the growth of the heap hinder each other.
const (
	// Most files are done before there is anything to collect: Go collects first at this
	// many percent of 4 MB.
	firstPercent = 2000
	// A small heap grows freely.
	smallHeap, smallPercent = 32 << 20, 300
	// Files that take much memory take no more than they must.
	largePercent = 60
)

// tuneGC sets how much a heap may grow before it is collected, by its size, unless the
// user has set that.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(firstPercent)
	afterGC(firstPercent)
}

// afterGC looks at the heap when it has been collected, and comes back.
func afterGC(percent int) {
	runtime.AddCleanup(new([16]byte), func(percent int) {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		now := smallPercent
		if live[0].Value.Kind() == metrics.KindUint64 && live[0].Value.Uint64() > smallHeap {
			now = largePercent
		}
		if now != percent {
			debug.SetGCPercent(now)
		}
		afterGC(now)
	}, percent)
}
