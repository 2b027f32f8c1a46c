package age

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"github.com/kenvhq/kenv/pkg/keys"
	"golang.org/x/crypto/ssh"
)

// maxRecipient bounds a recipient string, as sshd does its keys' lines.
const maxRecipient = 8 << 10

// A recipient is a parsed public key and its canonical spelling.
type recipient struct {
	name   string
	native age.Recipient // nil when it takes a plugin
	plugin string        // that plugin's name, "yubikey" for age-plugin-yubikey
}

// ours reports whether a string is meant as an age key, well formed or not.
func ours(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	for _, p := range []string{"age1", "age-secret-key-", "age-plugin-", "ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

func parseRecipient(s string) (recipient, error) {
	s = strings.TrimSpace(s)
	lower := strings.ToLower(s)
	if strings.HasPrefix(lower, "age-secret-key-") || strings.HasPrefix(lower, "age-plugin-") {
		return recipient{}, errors.New("an age key is named by its public half (age1…), and this is an identity; keep it out of commands and configuration")
	}
	bad := func(why string) (recipient, error) {
		return recipient{}, fmt.Errorf("age recipient %q: %s", keys.Short(s), why)
	}
	if len(s) > maxRecipient {
		return bad("it is too long to be a key")
	}
	if strings.ContainsAny(s, "\r\n") {
		return bad("it has more than one line; name one key at a time")
	}
	const mistyped = "it is mistyped or cut short"
	switch {
	case strings.HasPrefix(s, "age1pq1"):
		r, err := age.ParseHybridRecipient(s)
		if err != nil {
			return bad(mistyped)
		}
		return recipient{name: r.String(), native: r}, nil
	case strings.HasPrefix(s, "age1") && strings.Count(s, "1") > 1:
		name, data, err := plugin.ParseRecipient(s)
		if err != nil {
			return bad(mistyped)
		}
		return recipient{name: plugin.EncodeRecipient(name, data), plugin: name}, nil
	case strings.HasPrefix(s, "age1"):
		r, err := age.ParseX25519Recipient(s)
		if err != nil {
			return bad(mistyped)
		}
		return recipient{name: r.String(), native: r}, nil
	case strings.HasPrefix(lower, "age1"):
		return bad("an age recipient is written in lower case")
	case strings.HasPrefix(s, "ssh-ed25519 "), strings.HasPrefix(s, "ssh-rsa "):
		pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s))
		if err != nil {
			return bad(mistyped)
		}
		r, err := sshRecipient(pub)
		if err != nil {
			return bad(err.Error())
		}
		return recipient{name: sshName(pub), native: r}, nil
	}
	return bad("of ssh keys, age takes ssh-ed25519 and ssh-rsa ones: the type, a space and the key, as in id_ed25519.pub")
}

func sshRecipient(pub ssh.PublicKey) (age.Recipient, error) {
	switch pub.Type() {
	case ssh.KeyAlgoED25519:
		return agessh.NewEd25519Recipient(pub)
	case ssh.KeyAlgoRSA:
		return agessh.NewRSARecipient(pub)
	}
	return nil, fmt.Errorf("age takes no ssh keys of type %s", pub.Type())
}

// sshName spells an ssh public key as sops's recipient field does: without the
// comment that a key file's line ends in.
func sshName(pub ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(pub)), "\n")
}

// to returns what age encrypts to.
func (r recipient) to(ctx context.Context, env keys.Env) (age.Recipient, error) {
	if r.native != nil {
		return r.native, nil
	}
	if !env.AllowPlugins {
		return nil, notStarted(r.plugin)
	}
	p, err := plugin.NewRecipient(r.name, clientUI(ctx, env))
	if err != nil {
		return nil, err
	}
	return pluginRecipient{ctx, p}, nil
}
