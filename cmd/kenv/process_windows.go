package main

import "os"

// forbidCoreDumps does nothing: no program of Windows writes its memory to disk
// without being asked.
func forbidCoreDumps() (undo func()) { return func() {} }

// openTerminal opens the console that the process was started from, whatever its
// standard streams are.
func openTerminal() (in, out *os.File, err error) {
	if in, err = os.OpenFile("CONIN$", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if out, err = os.OpenFile("CONOUT$", os.O_RDWR, 0); err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, out, nil
}
