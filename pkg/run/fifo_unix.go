//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const haveFIFOs = true

// serve makes a FIFO, and hands the text to all who open it until stop is called.
func (f File) serve(path string) (stop func(), err error) {
	q := &fifo{File: f, path: path}
	if err := q.make(path); err != nil {
		return nil, err
	}
	go q.serve()
	return q.stop, nil
}

type fifo struct {
	File
	path string

	mu      sync.Mutex
	stopped bool
	to      *os.File // whoever reads now
}

func (q *fifo) make(path string) error {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return err
	}
	return q.User.own(path)
}

func (q *fifo) serve() {
	for {
		to, err := os.OpenFile(q.path, os.O_WRONLY, 0) // waits for a reader
		if err != nil || !q.next(to) {
			return
		}
		to.Write(q.Text) // the reader may not want all of it
		to.Close()
	}
}

// next puts a new FIFO in the place of the one that somebody has just opened. If the two
// were one, that reader would never see the end once another comes.
func (q *fifo) next(to *os.File) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped || q.make(q.path+".next") != nil || os.Rename(q.path+".next", q.path) != nil {
		to.Close()
		return false
	}
	q.to = to
	return true
}

func (q *fifo) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	if q.to != nil {
		q.to.Close()
	}
	// A reader, so that serve waits for none any more.
	if fd, err := unix.Open(q.path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
		defer syscall.Close(fd)
	}
}
