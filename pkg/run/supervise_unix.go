//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package run

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Run runs the program beside this process and returns when it has ended: nil if it
// ended well, else an *Exited. The error of a program that could not be started is as
// from Exec.
//
// With a Mask the program writes to this process, which writes the masked text to its
// standard output and standard error. A program that would write to a terminal gets
// another in its place. When it has ended, what it left running has 2 seconds to write
// more, and 2 more after each time it does.
//
// Signals for this process are passed on to the program. It gets those that the keys of
// a terminal send from the terminal itself.
func (p Program) Run() error {
	signals := listen()
	defer signals.stop()
	return p.run(signals)
}

// run is Run, with the signals that have been caught since listen.
func (p Program) run(signals caught) error {
	cmd, err := p.command()
	if err != nil {
		return err
	}
	// Linux kills the program when this thread ends, with this process or without.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	s := &supervision{cmd: cmd, done: make(chan struct{})}
	defer s.close()
	if err := s.connect(p.Mask, p.User); err != nil {
		return err
	}
	if err := s.start(signals); err != nil {
		return startError(p.Argv[0], err)
	}
	if p.Started != nil {
		p.Started()
	}
	err = s.wait()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		status := ended.Sys().(syscall.WaitStatus)
		if status.Signaled() {
			return &Exited{128 + int(status.Signal())}
		}
		return &Exited{status.ExitStatus()}
	}
	return err
}

// Start starts the program and leaves it alone, without standard streams.
func (p Program) Start() error {
	cmd, err := p.command()
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.User.credential()}
	if err := cmd.Start(); err != nil {
		return startError(p.Argv[0], err)
	}
	return cmd.Process.Release()
}

// A supervision is a program that runs beside this process.
type supervision struct {
	cmd  *exec.Cmd
	done chan struct{} // closed at the end
	// group says that the program has a process group of its own.
	group bool
	// terminal is this process's controlling terminal, nil for none. Unless group is
	// set the program shares it, and gets the signals of its keys.
	terminal *os.File

	streams []*stream
	theirs  []*os.File // ends of pipes and terminals that only the program needs
	copying sync.WaitGroup
	heeding sync.WaitGroup // to signals
	ended   atomic.Bool

	// inner is our end of a terminal that is the program's own, nil for none. What is
	// typed goes there as it is, so our terminal must leave it alone; state is how that
	// was before.
	inner *os.File
	state *term.State
	wake  *os.File // closed to end the passing on
}

// caught are the signals for this process, which do nothing else then.
type caught chan os.Signal

// listen catches all signals that a program may have to know of, but those that this
// process was started to ignore, as the program is then, too.
func listen() caught {
	c := make(caught, 32)
	for _, sig := range []os.Signal{
		syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
		syscall.SIGWINCH, syscall.SIGCONT,
		syscall.SIGPIPE, // so that writing returns an error
	} {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
	return c
}

func (c caught) stop() { signal.Stop(c) }

// connect decides what the program's standard streams are, and its process group.
func (s *supervision) connect(mask *Mask, user *User) error {
	attr := &syscall.SysProcAttr{Credential: user.credential()}
	killWithParent(attr)
	s.cmd.SysProcAttr = attr
	s.terminal, _ = os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if s.terminal == nil {
		attr.Setpgid, s.group = true, true
	}
	if mask == nil {
		return nil
	}
	one := sameFile(os.Stdout, os.Stderr) // and the order of what is written to it counts
	switch {
	case isTerminal(os.Stdin) && isTerminal(os.Stdout) && !inBackground(os.Stdin):
		inner, theirs, err := s.open(os.Stdout, mask, user)
		if err != nil {
			return err
		}
		copyTermios(os.Stdin, theirs)
		s.inner, s.group = inner, true
		s.cmd.Stdin, s.cmd.Stdout = theirs, theirs
		attr.Setpgid, attr.Setsid, attr.Setctty, attr.Ctty = false, true, true, 0
	default:
		theirs, err := s.reroute(os.Stdout, mask, user)
		if err != nil {
			return err
		}
		s.cmd.Stdout = theirs
	}
	if one {
		s.cmd.Stderr = s.cmd.Stdout
		return nil
	}
	theirs, err := s.reroute(os.Stderr, mask, user)
	s.cmd.Stderr = theirs
	return err
}

// reroute returns what the program writes to in place of one of our files: a terminal
// that changes nothing, if that is one, else a pipe.
func (s *supervision) reroute(to *os.File, mask *Mask, user *User) (*os.File, error) {
	if isTerminal(to) {
		_, theirs, err := s.open(to, mask, user)
		if err == nil {
			_, err = term.MakeRaw(int(theirs.Fd()))
		}
		return theirs, err
	}
	from, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.streams = append(s.streams, &stream{from: from, w: mask.Writer(to)})
	s.theirs = append(s.theirs, theirs)
	return theirs, nil
}

// open opens a terminal, what is written to which goes masked to another.
func (s *supervision) open(to *os.File, mask *Mask, user *User) (ours, theirs *os.File, err error) {
	control, theirs, err := pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal for the command: %w", err)
	}
	s.theirs = append(s.theirs, theirs)
	defer control.Close()
	// Deadlines for reading need a file that does not block.
	fd, err := unix.FcntlInt(control.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal for the command: %w", err)
	}
	ours = os.NewFile(uintptr(fd), control.Name())
	s.streams = append(s.streams, &stream{from: ours, w: mask.Writer(to), impatient: true, sized: to})
	if user != nil {
		user.own(theirs.Name()) // else the program cannot open /dev/tty, which few do
	}
	return ours, theirs, nil
}

func (s *supervision) start(signals caught) error {
	s.resize()
	if s.inner != nil {
		if err := s.passKeys(); err != nil {
			return err
		}
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.closeTheirs()
	for _, st := range s.streams {
		s.copying.Go(func() { st.copy(&s.ended) })
	}
	s.heeding.Go(func() {
		for {
			select {
			case sig := <-signals:
				s.signal(sig.(syscall.Signal))
			case <-s.done:
				return
			}
		}
	})
	return nil
}

func (s *supervision) wait() error {
	err := s.cmd.Wait()
	s.ended.Store(true)
	for _, st := range s.streams {
		st.from.SetReadDeadline(time.Now().Add(grace))
	}
	s.copying.Wait()
	return err
}

func (s *supervision) close() {
	close(s.done)
	s.heeding.Wait() // a signal can change what is undone here
	s.closeTheirs()
	if s.wake != nil {
		s.wake.Close()
	}
	if s.state != nil {
		term.Restore(int(os.Stdin.Fd()), s.state)
	}
	for _, st := range s.streams {
		st.from.Close()
	}
	if s.terminal != nil {
		s.terminal.Close()
	}
}

func (s *supervision) closeTheirs() {
	for _, f := range s.theirs {
		f.Close()
	}
	s.theirs = nil
}

// signal does what a signal for this process calls for.
func (s *supervision) signal(sig syscall.Signal) {
	switch sig {
	case syscall.SIGPIPE:
	case syscall.SIGWINCH:
		// The program may have been told already, and have found the old size.
		if s.resize() && s.inner == nil {
			s.cmd.Process.Signal(sig)
		}
	case syscall.SIGCONT:
		// Whoever stopped this process has set the terminal to what they need.
		if s.inner != nil {
			term.MakeRaw(int(os.Stdin.Fd()))
			s.resize()
		}
	case syscall.SIGINT, syscall.SIGQUIT:
		if !s.group && !inBackground(s.terminal) {
			return // it came of a key, and the terminal sent it to the program as well
		}
		fallthrough
	case syscall.SIGTERM:
		if s.group {
			syscall.Kill(-s.cmd.Process.Pid, sig)
			return
		}
		fallthrough
	default:
		s.cmd.Process.Signal(sig)
	}
}

// resize makes the program's terminals as large as those behind them.
func (s *supervision) resize() (any bool) {
	for _, st := range s.streams {
		if st.sized != nil {
			any = pty.InheritSize(st.sized, st.from) == nil || any
		}
	}
	return any
}

// passKeys passes on what is typed, until wake is closed.
func (s *supervision) passKeys() (err error) {
	if s.state, err = term.MakeRaw(int(os.Stdin.Fd())); err != nil {
		return err
	}
	asleep, wake, err := os.Pipe()
	if err != nil {
		return err
	}
	s.wake = wake
	go func() {
		defer asleep.Close()
		keys := make([]byte, 4096)
		defer clear(keys)
		for {
			ready := []unix.PollFd{{Fd: int32(os.Stdin.Fd()), Events: unix.POLLIN}, {Fd: int32(asleep.Fd()), Events: unix.POLLIN}}
			if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
				continue
			}
			if ready[1].Revents != 0 {
				return
			}
			n, err := os.Stdin.Read(keys)
			if n > 0 {
				_, err = s.inner.Write(keys[:n])
			}
			if err != nil {
				return
			}
		}
	}()
	return nil
}

// patience is how long the beginning of a secret is held back from a terminal.
const patience = 200 * time.Millisecond

// A stream is where the program writes to, on its way to where we write.
type stream struct {
	from      *os.File
	sized     *os.File // the terminal whose size is that of from, nil for none
	impatient bool     // nothing is held back for long

	writing sync.Mutex
	w       *MaskWriter
	timer   *time.Timer
}

// copy passes on what comes until nothing does any more.
func (st *stream) copy(ended *atomic.Bool) {
	buf := make([]byte, 64<<10)
	defer clear(buf)
	for {
		n, err := st.from.Read(buf)
		if n > 0 && !st.write(buf[:n]) {
			// Nobody reads us any more, so nobody reads the program.
			st.from.Close()
			return
		}
		if err != nil {
			break // the end, which for a terminal is an error
		}
		if ended.Load() {
			st.from.SetReadDeadline(time.Now().Add(grace))
		}
	}
	st.release()
}

func (st *stream) write(p []byte) bool {
	st.writing.Lock()
	defer st.writing.Unlock()
	if st.timer != nil {
		st.timer.Stop()
		st.timer = nil
	}
	if _, err := st.w.Write(p); err != nil {
		return false
	}
	if st.impatient && st.w.Holding() {
		st.timer = time.AfterFunc(patience, st.release)
	}
	return true
}

func (st *stream) release() {
	st.writing.Lock()
	defer st.writing.Unlock()
	st.w.Release()
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// inBackground reports whether a terminal is this process's and its keys are for
// somebody else.
func inBackground(terminal *os.File) bool {
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group != unix.Getpgrp()
}

func copyTermios(from, to *os.File) {
	if state, err := unix.IoctlGetTermios(int(from.Fd()), getTermios); err == nil {
		unix.IoctlSetTermios(int(to.Fd()), setTermios, state)
	}
}

func sameFile(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
