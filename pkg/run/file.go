package run

import (
	"fmt"
	"os"
	"path/filepath"
)

// A File is a text that a program gets as a file, which is there as long as the program
// runs.
type File struct {
	Text []byte // wiped by Run
	Name string // its name, without a directory
	// Regular makes it a regular file, which takes up space, in memory if the system
	// has file systems there. Otherwise it is a FIFO: the text is handed to whoever
	// opens it, and is nowhere else.
	Regular bool
	User    *User // who may read it; nil: who runs this process
	// Warn tells the person something that is not an error. Nil: nobody is told.
	Warn func(format string, args ...any)
}

// Run calls program with the path of the file, runs what that returns, as Program.Run
// does, and removes the file. It does so however the program ends, whatever signals
// there are for this process, but for those that no process can catch, and also if
// program panics.
func (f File) Run(program func(path string) Program) error {
	defer clear(f.Text)
	if f.Name != filepath.Base(f.Name) || !filepath.IsLocal(f.Name) || f.Name == "." {
		return fmt.Errorf("%q is not the name of a file without a directory", f.Name)
	}
	signals := listen()
	defer signals.stop()
	dir, err := f.makeDir()
	if err != nil {
		return err
	}
	defer func() {
		if err := dir.Remove(); err != nil && f.Warn != nil {
			f.Warn("the file for the command may be left in %s: %v", dir.Path, err)
		}
	}()
	path := filepath.Join(dir.Path, f.Name)
	if f.Regular || !haveFIFOs {
		err = f.write(path)
		clear(f.Text) // it may be long before the program ends
	} else {
		var stop func()
		if stop, err = f.serve(path); err == nil {
			defer stop()
		}
	}
	if err != nil {
		return fmt.Errorf("making the file for the command: %w", err)
	}
	return program(path).run(signals)
}

// makeDir makes a directory that only the user can look into.
func (f File) makeDir() (*PrivateDir, error) {
	dir, err := NewPrivateDir(f.User != nil)
	if err != nil {
		return nil, err
	}
	if !dir.Memory && (f.Regular || !haveFIFOs) && f.Warn != nil {
		f.Warn("there is no file system in memory, so the plaintext is on disk while the command runs, in %s", dir.Path)
	}
	if err := f.User.own(dir.Path); err != nil {
		dir.Remove()
		return nil, err
	}
	return dir, nil
}

func (f File) write(path string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := f.User.own(path); err != nil {
		return err
	}
	if _, err := file.Write(f.Text); err != nil {
		return err
	}
	return file.Close()
}
