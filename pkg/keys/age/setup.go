package age

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/kenvhq/kenv/pkg/keys"
)

// IdentityFile returns the path of kenv's own identity file, or "" when env has no
// configuration directory.
func IdentityFile(env keys.Env) string {
	if env.ConfigDir == "" {
		return ""
	}
	return filepath.Join(env.ConfigDir, "age", "keys.txt")
}

// Generate makes a new identity. It returns the text of an identity file as
// age-keygen writes it, which the caller wipes, and the recipient. A postQuantum
// identity is the hybrid of ML-KEM-768 and X25519; its recipient is 2,000 characters
// long.
func Generate(postQuantum bool) (file []byte, recipient string, err error) {
	var secret string
	if postQuantum {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, "", fmt.Errorf("making an age identity: %w", err)
		}
		secret, recipient = id.String(), id.Recipient().String()
	} else {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, "", fmt.Errorf("making an age identity: %w", err)
		}
		secret, recipient = id.String(), id.Recipient().String()
	}
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", time.Now().Format(time.RFC3339), recipient, secret), recipient, nil
}

// A Public is the public half of an identity at hand.
type Public struct {
	Recipient string // a key string: "age1…"
	Place     string // where the identity is, as messages name it
}

// Recipients returns the recipients of the identities at hand that are known
// without asking anybody, native ones before those of ssh keys, and the places that
// may hold more: locked ones, commands, plugins, files that cannot be read.
func Recipients(ctx context.Context, env keys.Env) (known []Public, unknown []string, err error) {
	r := newRing(env)
	var sshKnown []Public
	for _, p := range r.places() {
		c := r.look(ctx, p, viaSSH, "")
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if c == nil {
			unknown = append(unknown, p.name)
			continue
		}
		more := c.sealed != nil || c.err != nil && !errors.Is(c.err, errNotSet) && !errors.Is(c.err, errNoFile)
		for _, id := range c.ids {
			name := id.public()
			switch {
			case name == "":
				more = true
			case strings.HasPrefix(name, "ssh-"):
				sshKnown = append(sshKnown, Public{name, p.name})
			default:
				known = append(known, Public{name, p.name})
			}
		}
		if more {
			unknown = append(unknown, p.name)
		}
	}
	return append(known, sshKnown...), unknown, nil
}
