//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const haveFIFOs = true

// lateness is how long a process may take between looking a path up and opening it.
const lateness = 10 * time.Second

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
	served  int
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
		old := ""
		if err == nil {
			old, err = q.next(to)
		}
		if err != nil {
			q.fail(err)
			return
		}
		q.write(to)
		go end(old)
	}
}

// write hands over the text. A reader that does not want all of it is no failure, nor is
// stop.
func (q *fifo) write(to *os.File) {
	_, err := to.Write(q.Text)
	to.Close()
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, os.ErrClosed) && q.Warn != nil {
		q.Warn("the command does not get the file: %v", err)
	}
}

// fail tells the person that nobody gets the text any more, unless that is as it should
// be, and has those who open the FIFO from now on get an error rather than wait.
func (q *fifo) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	os.Remove(q.path)
	if q.Warn != nil {
		q.Warn("the command does not get the file: %v", err)
	}
}

var errStopped = errors.New("stopped")

// next puts a new FIFO in the place of the one that somebody has just opened, and
// returns where that one is now. If the two were one, that reader would never see the
// end once another comes.
func (q *fifo) next(to *os.File) (old string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.served++
	next, old := q.path+".next", fmt.Sprintf("%s.%d", q.path, q.served)
	if q.stopped {
		err = errStopped
	}
	if err == nil {
		err = q.make(next)
	}
	if err == nil {
		err = os.Link(q.path, old)
	}
	if err == nil {
		err = os.Rename(next, q.path)
	}
	if err != nil {
		to.Close()
		return "", err
	}
	q.to = to
	return old, nil
}

// end shows the end to those who looked the path up before next, and open what it was
// after its reader had the text: they would wait for ever. They cannot have the text,
// since who shares a FIFO with whom is not to be seen, and the first reader could get
// it twice.
func end(path string) {
	defer os.Remove(path)
	wait := time.Millisecond
	for last := time.Now().Add(lateness); time.Now().Before(last); wait = min(2*wait, 100*time.Millisecond) {
		fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		} else if !errors.Is(err, syscall.ENXIO) { // ENXIO: nobody has it open
			return
		}
		time.Sleep(wait)
	}
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
