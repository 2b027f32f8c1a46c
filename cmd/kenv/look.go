package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// A look is a question to what may take long to answer, or for ever: a service, a
// device, a file on another machine.
type look struct {
	what  string
	limit time.Duration
	ask   func(context.Context) []keys.Finding
}

// maxLooks bounds how many looks are taken at the same time.
const maxLooks = 8

// grace is how much longer than its time a look may take to say itself what kept it.
const grace = 500 * time.Millisecond

// lookAll starts looks, side by side. The function that it returns waits for them
// and returns what they found, in their order.
func lookAll(ctx context.Context, looks []look) (wait func() [][]keys.Finding) {
	found := make([][]keys.Finding, len(looks))
	next := make(chan int, len(looks))
	for i := range looks {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range min(maxLooks, len(looks)) {
		wg.Go(func() {
			for i := range next {
				l := looks[i]
				var err error
				if found[i], err = within(ctx, l.limit, l.ask); err != nil {
					found[i] = []keys.Finding{{What: l.what, State: keys.Missing, Detail: err.Error(), Hint: "see whether what it needs can be reached from here, and try again"}}
				}
			}
		})
	}
	return func() [][]keys.Finding {
		wg.Wait()
		return found
	}
}

// within returns what f returns. If that takes longer than the limit, or ctx ends, f is
// left to itself and the error says so. A panic in f is an error, too: who looks at
// what is broken must not break.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) T) (v T, err error) {
	if ctx.Err() != nil {
		return v, errors.New("not asked, since others took too long")
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r.err = fmt.Errorf("a mistake in kenv, which you could report: %v", p)
			}
			done <- r
		}()
		r.v = f(ctx)
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-done:
		return r.v, r.err
	case <-time.After(grace):
		return v, errors.New("no answer in time")
	}
}
