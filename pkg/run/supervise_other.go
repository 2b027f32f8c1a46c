//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package run

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
)

// Run runs the program beside this process and returns when it has ended: nil if it
// ended well, else an *Exited. The error of a program that could not be started wraps
// ErrNotFound or ErrNotExecutable.
//
// With a Mask the program writes to this process, which writes the masked text to its
// standard output and standard error. When it has ended, what it left running has 2
// seconds to write more.
func (p Program) Run() error {
	signals := listen()
	defer signals.stop()
	return p.run(signals)
}

// caught are interrupts, which reach the program as well: that decides what to do.
type caught chan os.Signal

func listen() caught {
	c := make(caught, 1)
	signal.Notify(c, os.Interrupt)
	return c
}

func (c caught) stop() { signal.Stop(c) }

func (p Program) run(caught) error {
	cmd, err := p.command()
	if err != nil {
		return err
	}
	if p.User != nil {
		return errors.ErrUnsupported
	}
	if p.Mask != nil {
		out, errs := &lockedWriter{w: p.Mask.Writer(os.Stdout)}, &lockedWriter{w: p.Mask.Writer(os.Stderr)}
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, errs, grace
		defer out.release()
		defer errs.release()
	}
	if err := cmd.Start(); err != nil {
		return startError(p.Argv[0], err)
	}
	if p.Started != nil {
		p.Started()
	}
	err = cmd.Wait()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil
	}
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return &Exited{ended.ExitCode()}
	}
	return err
}

// Start starts the program and leaves it alone, without standard streams.
func (p Program) Start() error {
	cmd, err := p.command()
	if err != nil {
		return err
	}
	if p.User != nil {
		return errors.ErrUnsupported
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
	if err := cmd.Start(); err != nil {
		return startError(p.Argv[0], err)
	}
	return cmd.Process.Release()
}

// A lockedWriter can be released while somebody still writes, who is late then.
type lockedWriter struct {
	mu   sync.Mutex
	w    *MaskWriter
	over bool
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, io.ErrClosedPipe
	}
	return l.w.Write(p)
}

func (l *lockedWriter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.w.Release()
}
