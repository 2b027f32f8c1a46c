//go:build unix

package run

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
)

// A User is whom a program runs as.
type User struct {
	name, home string
	uid, gid   uint32
	groups     []uint32
}

// LookupUser finds a user by name.
func LookupUser(name string) (*User, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("there is no user %q", name)
	}
	groups, err := found.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("the groups of user %q: %w", name, err)
	}
	u := &User{name: found.Username, home: found.HomeDir}
	for i, id := range append([]string{found.Uid, found.Gid}, groups...) {
		n, err := strconv.ParseUint(id, 10, 32)
		switch {
		case err != nil:
			return nil, fmt.Errorf("user %q has the id %q, which is no number", name, id)
		case i == 0:
			u.uid = uint32(n)
		case i == 1:
			u.gid = uint32(n)
		default:
			u.groups = append(u.groups, uint32(n))
		}
	}
	if u.uid != uint32(os.Getuid()) && os.Geteuid() != 0 {
		return nil, fmt.Errorf("only root can run a command as %q", name)
	}
	return u, nil
}

// Vars are the variables that say who the user is.
func (u *User) Vars() []Var {
	return []Var{{Name: "USER", Value: u.name}, {Name: "LOGNAME", Value: u.name}, {Name: "HOME", Value: u.home}}
}

// credential is nil where nothing needs changing, which only root could.
func (u *User) credential() *syscall.Credential {
	if u == nil || os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: u.uid, Gid: u.gid, Groups: slices.Clone(u.groups)}
}

// become makes this process the user's.
func (u *User) become() error {
	c := u.credential()
	if c == nil {
		return nil
	}
	groups := make([]int, len(c.Groups))
	for i, g := range c.Groups {
		groups[i] = int(g)
	}
	for _, err := range []error{syscall.Setgroups(groups), syscall.Setgid(int(c.Gid)), syscall.Setuid(int(c.Uid))} {
		if err != nil {
			return fmt.Errorf("becoming user %q: %w", u.name, err)
		}
	}
	return nil
}

// own gives a file to the user.
func (u *User) own(path string) error {
	if u == nil || u.credential() == nil {
		return nil
	}
	return os.Lchown(path, int(u.uid), int(u.gid))
}
