package run

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
)

// Exec runs the program argv[0], looked up in PATH, with the arguments argv, the
// environment env and this process's standard streams, and waits for it; no shell is
// involved. The error is an *exec.ExitError if the program ended with a code other
// than 0, and wraps ErrNotFound or ErrNotExecutable if it could not be started.
func Exec(argv, env []string) error {
	if len(argv) == 0 {
		return errors.New("no command to run")
	}
	path, err := look(argv[0])
	if err != nil {
		return err
	}
	cmd := exec.Command(path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// An interrupt reaches the program as well, which decides what to do.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return classify(argv[0], err)
	}
	return cmd.Wait()
}
