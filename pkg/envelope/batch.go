package envelope

import (
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// window is how many tokens are worked on at a time: enough to go round, and no
	// memory to speak of.
	window = 2048
	// share is how many of them one goroutine takes at a time. For fewer, another
	// goroutine is not worth its while.
	share = 128
)

// A batch makes or opens tokens, a window at a time: while those of one are worked on,
// side by side, those of the next are found.
type batch[T any] struct {
	box  *valueCipher
	work func(c *valueCipher, item *T) // runs beside others
	take func(item *T) error           // is called for one item after the other, in order

	next, busy []T
	wait       func() // for the busy ones
}

// newBatch makes a batch for at most n items.
func newBatch[T any](box *valueCipher, n int, work func(*valueCipher, *T), take func(*T) error) *batch[T] {
	return &batch[T]{box: box, work: work, take: take, next: make([]T, 0, min(n, window)), wait: func() {}}
}

// add takes an item in. The error is one of take's, about an item before it.
func (b *batch[T]) add(item T) error {
	if b.next = append(b.next, item); len(b.next) < window {
		return nil
	}
	return b.turn()
}

// turn takes what is done, and starts on what has come in.
func (b *batch[T]) turn() error {
	if err := b.finish(); err != nil {
		return err
	}
	if b.busy == nil && len(b.next) == window {
		b.busy = make([]T, 0, window)
	}
	b.busy, b.next = b.next, b.busy[:0]
	b.wait = b.box.start(len(b.busy), func(c *valueCipher, i int) { b.work(c, &b.busy[i]) })
	return nil
}

// finish takes what is being worked on.
func (b *batch[T]) finish() error {
	b.wait()
	for i := range b.busy {
		if err := b.take(&b.busy[i]); err != nil {
			return err
		}
	}
	clear(b.busy)
	b.busy = b.busy[:0]
	return nil
}

// end takes all that is left.
func (b *batch[T]) end() error {
	if err := b.turn(); err != nil {
		return err
	}
	return b.finish()
}

// start calls do for every i from 0 to n, side by side where that pays, each time with a
// cipher that nobody else has at that time. What it returns waits until all is done.
func (c *valueCipher) start(n int, do func(c *valueCipher, i int)) (wait func()) {
	workers := min(runtime.GOMAXPROCS(0), n/share)
	if workers < 2 {
		for i := range n {
			do(c, i)
		}
		return func() {}
	}
	for len(c.team) < workers {
		c.team = append(c.team, c.clone())
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, mine := range c.team[:workers] {
		wg.Go(func() {
			for {
				end := int(next.Add(share))
				for i := end - share; i < min(end, n); i++ {
					do(mine, i)
				}
				if end >= n {
					return
				}
			}
		})
	}
	return wg.Wait
}
