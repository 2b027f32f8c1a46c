package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// A screen is standard error and, on a terminal, the progress bar on its last line.
// Words go above the bar, and the bar makes room for questions.
type screen struct {
	file *os.File

	mu     sync.Mutex
	bar    *progressbar.ProgressBar // nil while there is none
	done   int                      // what the bar is to show
	asking bool
}

// barAfter is how long work takes before a person wonders.
const barAfter = 500 * time.Millisecond

func (s *screen) Write(words []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
	n, err := s.file.Write(words)
	s.show()
	return n, err
}

// progress shows a bar for n pieces of work, if that takes long and a person looks.
// Step counts one of them, and stop leaves nothing of the bar.
func (s *screen) progress(n int) (step, stop func()) {
	if !isTerminal(s.file) || os.Getenv("TERM") == "dumb" {
		return func() {}, func() {}
	}
	timer := time.AfterFunc(barAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.done < n {
			s.bar = progressbar.NewOptions(n, progressbar.OptionSetWidth(30), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(),
				progressbar.OptionSetWriter(struct{ io.Writer }{s.file})) // it syncs what it knows as a file
			s.show()
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = 0
	step = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done++
		s.show()
	}
	stop = func() {
		timer.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done = n // for a timer that does not hear of it any more
		s.hide()
		s.bar = nil
	}
	return step, stop
}

// pause makes room for a question, until resume.
func (s *screen) pause() (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide()
	s.asking = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asking = false
		s.show()
	}
}

// end takes the bar away for good, unless something is being written that does not end.
func (s *screen) end() {
	for range 20 {
		if s.mu.TryLock() { // and never unlocked: nothing is drawn any more
			s.hide()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *screen) hide() {
	if s.bar != nil && !s.asking {
		s.bar.Clear()
	}
}

func (s *screen) show() {
	if s.bar != nil && !s.asking {
		s.bar.Set(s.done)
	}
}
