//go:build !unix

package run

import "errors"

// Exec runs the program in the place of this process, which only waits for it: the
// system knows no other way. It returns as Run does.
func (p Program) Exec() error {
	p.Mask, p.Started = nil, nil
	return p.Run()
}

func startError(command string, err error) error { return classify(command, err) }

// A User is whom a program runs as. Here it can only be the user who runs this process.
type User struct{}

// LookupUser returns an error.
func LookupUser(string) (*User, error) {
	return nil, errors.New("a command cannot be run as another user on this system")
}

// Vars returns nothing.
func (*User) Vars() []Var { return nil }

func (*User) own(string) error { return nil }
