// Package run gives secrets to a program: in its environment or as a file that is
// gone when the program is. It replaces this process with the program or stands beside
// it, and then it can keep the secrets out of what the program prints.
package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The errors of starting a program that shells have exit codes for, 127 and 126.
var (
	ErrNotFound      = errors.New("command not found")
	ErrNotExecutable = errors.New("cannot be executed")
)

// A Program is what is to be run.
type Program struct {
	Argv []string // what to run, looked up in PATH, and its arguments; there is no shell
	Env  []string // its whole environment
	User *User    // nil: this process's

	// Only Run looks at these.
	Mask    *Mask  // what to keep out of the program's output; nil: nothing
	Started func() // called when the program runs
}

// grace is how long Run waits for more output of what a program has left running.
const grace = 2 * time.Second

// An Exited says how a program ended that was waited for, unless it ended well.
type Exited struct {
	Code int // its exit code; 128+n if signal n ended it
}

func (e *Exited) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// look finds the program as a shell does, in this process's PATH. A program in the
// working directory is run only when its path says so.
func look(command string) (string, error) {
	path, err := exec.LookPath(command)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", fmt.Errorf("%s: %w: it is in the working directory only; to run that, write .%c%s",
			command, ErrNotFound, filepath.Separator, command)
	case command == filepath.Base(command):
		// Not found may mean found, and passed over for want of permission.
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if info, err := os.Stat(filepath.Join(dir, command)); err == nil && info.Mode().IsRegular() && dir != "" {
				return "", fmt.Errorf("%s: %w: no permission to run %s", command, ErrNotExecutable, filepath.Join(dir, command))
			}
		}
		return "", fmt.Errorf("%s: %w; is it in PATH?", command, ErrNotFound)
	}
	return "", classify(command, err)
}

// command makes the program ready to be started with this process's standard streams.
func (p Program) command() (*exec.Cmd, error) {
	if len(p.Argv) == 0 {
		return nil, errors.New("no command to run")
	}
	path, err := look(p.Argv[0])
	if err != nil {
		return nil, err
	}
	env := p.Env
	if env == nil {
		env = []string{} // nil would be this process's
	}
	return &exec.Cmd{Path: path, Args: p.Argv, Env: env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, nil
}

// classify says in a shell's terms why a program could not be started.
func classify(command string, err error) error {
	class := ErrNotExecutable
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		class = ErrNotFound
	}
	var e *exec.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("%s: %w: %w", command, class, err)
}
