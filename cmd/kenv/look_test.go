package main

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// A look that hangs, panics or is late costs its own finding and no other, and nobody
// waits for it.
func TestLookAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		says := func(detail string, after time.Duration) func(context.Context) []keys.Finding {
			return func(ctx context.Context) []keys.Finding {
				time.Sleep(after)
				return []keys.Finding{{Detail: detail}}
			}
		}
		limit := 10 * time.Second
		start := time.Now()
		found := lookAll(t.Context(), []look{
			{"hangs", limit, says("never seen", time.Hour)},
			{"works", limit, says("a", 9*time.Second)},
			{"panics", limit, func(context.Context) []keys.Finding { panic("index out of range") }},
			{"says itself what was too slow", limit, func(ctx context.Context) []keys.Finding {
				<-ctx.Done()
				return []keys.Finding{{Detail: "the server is slow"}}
			}},
			{"finds nothing", limit, func(context.Context) []keys.Finding { return nil }},
		})()
		if took := time.Since(start); took != limit+grace {
			t.Errorf("it took %v", took)
		}
		want := []string{"no answer in time", "a", "a mistake in kenv, which you could report: index out of range", "the server is slow", ""}
		for i, w := range want {
			got := ""
			if len(found[i]) > 0 {
				got = found[i][0].Detail
			}
			if got != w {
				t.Errorf("%d: %q, want %q", i, got, w)
			}
		}
		time.Sleep(time.Hour) // the bubble has to be empty in the end
		if f := found[0][0]; f.What != "hangs" || f.State != keys.Missing {
			t.Errorf("%+v", f)
		}
	})
}

func TestLookAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		var looks []look
		for range 3 * maxLooks {
			looks = append(looks, look{"x", time.Minute, func(context.Context) []keys.Finding {
				n := now.Add(1)
				defer now.Add(-1)
				if n > most.Load() {
					most.Store(n)
				}
				time.Sleep(time.Second)
				return nil
			}})
		}
		start := time.Now()
		lookAll(t.Context(), looks)()
		if most.Load() != maxLooks || time.Since(start) != 3*time.Second {
			t.Errorf("%d at once, in %v", most.Load(), time.Since(start))
		}

		// When there is no time left, those that did not get their turn are not asked.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		asked := atomic.Int32{}
		for i := range looks {
			looks[i].ask = func(context.Context) []keys.Finding {
				asked.Add(1)
				time.Sleep(time.Hour)
				return nil
			}
		}
		start = time.Now()
		found := lookAll(ctx, looks)()
		if took := time.Since(start); took > 10*time.Second+grace {
			t.Errorf("it took %v", took)
		}
		if asked.Load() != maxLooks {
			t.Errorf("%d were asked", asked.Load())
		}
		time.Sleep(time.Hour)
		last := map[string]int{}
		for _, f := range found {
			last[f[0].Detail]++
		}
		if last["no answer in time"] != maxLooks || last["not asked, since others took too long"] != 2*maxLooks {
			t.Errorf("%v", last)
		}
	})
}
