package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Large files are worked on one after the other, and small ones beside them wait for
// no longer than they must.
func TestBudget(t *testing.T) {
	b := newBudget(10)
	var used, most atomic.Int64
	p := &process{ui: newUI(os.Stdin, os.Stdout, os.Stderr)}
	sizes := []int64{4, 1000, 3, 3, 1000, 10, 0, 7, 4, 6, 5, 5, 5}
	p.sideBySide(len(sizes), func(i int, _ speaker) error {
		defer b.take(sizes[i])()
		n := used.Add(min(sizes[i], 10))
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(time.Millisecond)
		used.Add(-min(sizes[i], 10))
		return nil
	})
	if most.Load() > 10 || used.Load() != 0 || b.left != 10 {
		t.Errorf("%d of 10 were in use at a time, and %d are left", most.Load(), b.left)
	}
}

// Words come in the order of the work, whatever ends first, and a failure keeps nothing
// else from being done.
func TestSideBySide(t *testing.T) {
	out, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := &process{ui: newUI(os.Stdin, os.Stdout, out)}
	odd := errors.New("odd")
	var running, most atomic.Int64
	errs := p.sideBySide(100, func(i int, s speaker) error {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		time.Sleep(time.Duration(100-i) * 100 * time.Microsecond)
		s.sayf("%d", i)
		if i%2 == 1 {
			return odd
		}
		return nil
	})
	want := ""
	for i := range 100 {
		want += strconv.Itoa(i) + "\n"
		if (errs[i] == odd) != (i%2 == 1) {
			t.Errorf("the error of %d is %v", i, errs[i])
		}
	}
	if got, err := os.ReadFile(out.Name()); err != nil || string(got) != want {
		t.Errorf("said %q (%v)", got, err)
	}
	if n := most.Load(); n < 2 || n > workers {
		t.Errorf("%d at a time", n)
	}
	if got := summary(errs).Error(); !strings.HasSuffix(got, "\n50 of 100 files failed") {
		t.Errorf("the summary is %q", got)
	}
}
