//go:build unix

package run

import (
	"errors"
	"fmt"
	"syscall"
)

// Exec turns this process into the program argv[0], looked up in PATH, with the
// arguments argv and the environment env; no shell is involved. The program has this
// process's id, files, terminal and parent, so signals and its exit code need no
// passing on. Exec returns only if that fails; the error wraps ErrNotFound or
// ErrNotExecutable when it is the program's.
func Exec(argv, env []string) error {
	if len(argv) == 0 {
		return errors.New("no command to run")
	}
	path, err := look(argv[0])
	if err != nil {
		return err
	}
	switch err := syscall.Exec(path, argv, env); err {
	case syscall.E2BIG:
		return fmt.Errorf("%s: the environment and arguments are larger than the system takes: %w", argv[0], err)
	case syscall.ENOENT:
		return fmt.Errorf("%s: %w: the interpreter that its first line names is not there", argv[0], ErrNotFound)
	case syscall.ENOEXEC:
		return fmt.Errorf("%s: %w: %w; a script needs a first line such as #!/bin/sh", argv[0], ErrNotExecutable, err)
	default:
		return classify(argv[0], err)
	}
}
