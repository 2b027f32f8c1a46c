package awskms

import (
	"bytes"
	"context"
	"sync"

	"github.com/kenvhq/kenv/pkg/secret"
)

// maxRemembered bounds how many data keys a long-lived process keeps.
const maxRemembered = 1024

// A memo makes sure that the same entry is not unwrapped twice: neither later nor by
// several callers at a time. Errors are not remembered.
type memo struct {
	mu      sync.Mutex
	known   map[string][]byte
	flights map[string]*flight
}

// A flight is one call that is under way and the callers that wait for it.
type flight struct {
	landed  chan struct{}
	waiting int
	cancel  context.CancelFunc
	dataKey []byte
	err     error
}

// get returns what f returned for the id, a copy of its own for each caller. f runs
// under a context that ends when the last of its callers has left.
func (m *memo) get(ctx context.Context, id string, f func(context.Context) ([]byte, error)) ([]byte, error) {
	m.mu.Lock()
	if dataKey, ok := m.known[id]; ok {
		defer m.mu.Unlock()
		return bytes.Clone(dataKey), nil
	}
	fl := m.flights[id]
	if fl == nil {
		shared, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{landed: make(chan struct{}), cancel: cancel}
		if m.flights == nil {
			m.flights = make(map[string]*flight)
		}
		m.flights[id] = fl
		go m.fly(shared, id, fl, f)
	}
	fl.waiting++
	m.mu.Unlock()

	select {
	case <-fl.landed:
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	fl.waiting--
	defer m.leave(id, fl)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return bytes.Clone(fl.dataKey), fl.err
}

func (m *memo) fly(ctx context.Context, id string, fl *flight, f func(context.Context) ([]byte, error)) {
	defer fl.cancel()
	var dataKey []byte
	var err error
	secret.Do(func() { dataKey, err = f(ctx) })
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.remember(id, dataKey)
	}
	if m.flights[id] == fl {
		delete(m.flights, id)
	}
	fl.dataKey, fl.err = dataKey, err
	close(fl.landed)
	m.leave(id, fl)
}

// leave tidies up after the last caller: it stops a flight that nobody waits for, and
// wipes what it brought.
func (m *memo) leave(id string, fl *flight) {
	if fl.waiting > 0 {
		return
	}
	if m.flights[id] == fl {
		delete(m.flights, id)
	}
	fl.cancel()
	clear(fl.dataKey)
}

// forget wipes what is remembered.
func (m *memo) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, dataKey := range m.known {
		secret.Wipe(dataKey)
	}
	m.known = nil
}

func (m *memo) remember(id string, dataKey []byte) {
	if m.known == nil {
		m.known = make(map[string][]byte)
	}
	for other, old := range m.known {
		if len(m.known) < maxRemembered {
			break
		}
		secret.Wipe(old)
		delete(m.known, other)
	}
	m.known[id] = secret.Copy(dataKey)
}
