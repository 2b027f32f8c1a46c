package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
)

// each runs work for every job, side by side. One that fails does not keep the others
// from it.
func (p *process) each(jobs []*job, work func(*job) error) error {
	room := newBudget(memory)
	return summary(p.sideBySide(len(jobs), func(i int, s speaker) error {
		j := jobs[i]
		j.speaker = s
		info, err := os.Stat(j.name)
		if err == nil {
			defer room.take(info.Size())()
		}
		defer func() { j.source.Data = nil }()
		failed := work(j)
		if failed != nil && err == nil && info.IsDir() {
			return hinted{failed, "to take the files below it: -r"}
		}
		return failed
	}))
}

// memory is how many bytes the files that are worked on at a time may have together;
// one that is larger is worked on alone.
const memory = 64 << 20

// A budget is an amount that several share.
type budget struct {
	mu    sync.Mutex
	given *sync.Cond // back
	total int64
	left  int64
}

func newBudget(total int64) *budget {
	b := &budget{total: total, left: total}
	b.given = sync.NewCond(&b.mu)
	return b
}

// take waits until n is left, or all if that is less, and takes it.
func (b *budget) take(n int64) (giveBack func()) {
	n = min(n, b.total)
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.left < n {
		b.given.Wait()
	}
	b.left -= n
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.left += n
		b.given.Broadcast()
	}
}

// workers is how many pieces of work are under way at a time. Most of the time they
// wait, for a service or a disk; what must not be asked so much at a time, such as an
// HSM, has a queue of its own.
const workers = 32

// sideBySide runs work for each number below n, several at a time, and returns its
// errors. What work says comes in the order of the numbers.
func (p *process) sideBySide(n int, work func(i int, s speaker) error) []error {
	errs := make([]error, n)
	if n == 1 {
		errs[0] = work(0, p.ui.speaker)
		return errs
	}
	step, stop := p.ui.screen.progress(n)
	defer stop()
	var (
		mu    sync.Mutex
		ended = make([]bool, n)
		said  = make([]bytes.Buffer, n)
		turn  int // the first that has not ended
	)
	end := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		for ended[i] = true; turn < n && ended[turn]; turn++ {
			if said[turn].Len() > 0 {
				p.ui.to.Write(said[turn].Bytes())
				said[turn] = bytes.Buffer{}
			}
		}
		step()
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = work(i, speaker{p.ui.screen, &said[i]})
				end(i)
			}
		})
	}
	wg.Wait()
	return errs
}

// summary makes one error of those of several files, and of what else is wrong.
func summary(errs []error, more ...error) error {
	var failed failures
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) > 0 && len(errs) > 1 {
		failed = append(failed, fmt.Errorf("%d of %s failed", len(failed), count(len(errs), "file")))
	}
	for _, err := range more {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed.err()
}
