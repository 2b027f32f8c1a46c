//go:build unix

package run

import (
	"errors"
	"fmt"
	"syscall"
)

// Exec turns this process into the program, which has this process's id, files,
// terminal and parent then, so that signals and its exit code need no passing on. Exec
// returns only if that fails; the error wraps ErrNotFound or ErrNotExecutable when it is
// the program's.
func (p Program) Exec() error {
	cmd, err := p.command()
	if err != nil {
		return err
	}
	if p.User != nil {
		if err := p.User.become(); err != nil {
			return err
		}
	}
	return startError(p.Argv[0], syscall.Exec(cmd.Path, cmd.Args, cmd.Env))
}

// startError says why a program that was found could not be started.
func startError(command string, err error) error {
	switch {
	case errors.Is(err, syscall.E2BIG):
		return fmt.Errorf("%s: the environment and arguments are larger than the system takes: %w", command, syscall.E2BIG)
	case errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%s: %w: the interpreter that its first line names is not there", command, ErrNotFound)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s: %w: %w; a script needs a first line such as #!/bin/sh", command, ErrNotExecutable, syscall.ENOEXEC)
	}
	return classify(command, err)
}
