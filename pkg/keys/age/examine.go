package age

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

// examine says which places hold identities and what is wrong with those that
// should. Places that are not set, or are not there and need not be, are left out.
func (r *ring) examine(ctx context.Context) []keys.Finding {
	var found []keys.Finding
	var nothing []string
	for _, p := range r.places() {
		c := r.look(ctx, p, viaSSH, "")
		switch {
		case ctx.Err() != nil:
			return append(found, keys.Finding{What: "age identities", State: keys.Warning, Detail: "not all places were looked at: " + ctx.Err().Error()})
		case p.absent(c):
			nothing = append(nothing, p.name)
		default:
			found = append(found, p.finding(c))
		}
	}
	if len(found) == 0 {
		found = append(found, keys.Finding{What: "age identities", State: keys.Missing,
			Detail: "none; looked in " + strings.Join(nothing, ", "), Hint: "kenv init"})
	}
	return found
}

// absent reports whether nobody can expect anything in a place.
func (p *place) absent(c *contents) bool {
	return c != nil && (errors.Is(c.err, errNotSet) || errors.Is(c.err, errNoFile) && !p.named)
}

// finding says what is in a place. The contents are nil where looking takes asking.
func (p *place) finding(c *contents) keys.Finding {
	f := keys.Finding{What: "age identities in " + p.name, State: keys.OK}
	if c == nil {
		f.Detail = "a command, which is run when no other identity opens a file"
		return f
	}
	var has []string
	warn := func(what, hint string) {
		has = append(has, what)
		f.State = keys.Warning
		if f.Hint == "" {
			f.Hint = hint
		}
	}
	const shown = 3
	for i, id := range c.ids {
		if i == shown {
			has = append(has, fmt.Sprintf("and %d more", len(c.ids)-shown))
			break
		}
		switch id := id.(type) {
		case *pluginIdentity:
			if one := "one for " + program(id.name); onPath(id.name) {
				has = append(has, one)
			} else {
				warn(one+", which is not on the PATH", "install "+program(id.name))
			}
		case *lockedSSH:
			has = append(has, keys.Short(id.public())+" under a passphrase")
		default:
			has = append(has, keys.Short(id.public()))
		}
	}
	if c.sealed != nil {
		has = append(has, "under a passphrase, which is asked for when it is needed")
	}
	if p.usual && f.State == keys.OK {
		f.State = keys.Note // it was made for something else
	}
	if c.err != nil {
		warn(c.err.Error(), "")
	}
	if mode, open := p.openToOthers(); open && len(c.ids) > 0 {
		warn(fmt.Sprintf("others on this machine can get at it (mode %04o)", mode), "chmod go= "+p.path)
	}
	f.Detail = strings.Join(has, "; ")
	return f
}

func program(plugin string) string { return "age-plugin-" + plugin }

func onPath(plugin string) bool {
	_, err := exec.LookPath(program(plugin))
	return err == nil
}

// openToOthers reports whether somebody but the owner of a file may read or write it.
func (p *place) openToOthers() (mode fs.FileMode, open bool) {
	if p.path == "" || runtime.GOOS == "windows" { // where the mode says nothing
		return 0, false
	}
	info, err := os.Stat(p.path)
	if err != nil {
		return 0, false
	}
	mode = info.Mode().Perm()
	return mode, mode&0o066 != 0
}

// Probe says whether the identity of the key is at hand, as far as can be told
// without asking anybody.
func (k *key) Probe(ctx context.Context, _ keys.Entry) keys.Finding {
	f := keys.Finding{What: k.name}
	if k.plugin != "" && !onPath(k.plugin) {
		f.State, f.Detail, f.Hint = keys.Missing, program(k.plugin)+" is needed and not on the PATH", "install "+program(k.plugin)
		return f
	}
	var maybe []string
	ssh := strings.HasPrefix(k.name, "ssh-")
	for _, p := range k.ring.places() {
		if p.ssh && !ssh {
			continue
		}
		c := k.ring.look(ctx, p, viaSSH, k.name)
		switch {
		case ctx.Err() != nil:
			f.State, f.Detail = keys.Note, "not all places were looked at: "+ctx.Err().Error()
			return f
		case c == nil:
			maybe = append(maybe, p.name)
			continue
		case c.sealed != nil && !ssh: // no ssh key is looked for in there
			maybe = append(maybe, p.name)
		}
		for _, id := range c.ids {
			_, plugin := id.(*pluginIdentity)
			switch {
			case id.public() == k.name:
				f.State, f.Detail = keys.OK, "its identity is in "+p.name
				return f
			case plugin && !ssh:
				maybe = append(maybe, p.name)
			}
		}
	}
	if len(maybe) > 0 {
		f.State, f.Detail = keys.Note, "its identity may be in "+strings.Join(slices.Compact(maybe), ", ")+", which takes asking"
		return f
	}
	f.State, f.Detail = keys.Missing, "its identity is not on this machine"
	return f
}
