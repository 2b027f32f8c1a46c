package pgp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

// maxListing bounds gpg's listing of a key. One with thousands of signatures takes
// as much as one without.
const maxListing = 1 << 20

// A listed is a primary key or a subkey as gpg lists it.
type listed struct {
	primary     bool
	validity    string // "r" if revoked, "e" if expired, "d" if disabled
	id          string // long key id
	expires     time.Time
	encrypts    bool
	secret      string // "+" if the secret half is at hand, a card's number if there
	fingerprint string
}

func (k listed) usable() bool { return !strings.ContainsAny(k.validity, "redin") }

// list returns the primary key that fp belongs to and its subkeys, or none if gpg
// does not know it.
func (g *gnuPG) list(ctx context.Context, fp fingerprint) ([]listed, error) {
	return g.colons(ctx, "--with-secret", "--list-keys", "0x"+fp.hex())
}

// colons runs gpg for a machine-readable listing.
func (g *gnuPG) colons(ctx context.Context, args ...string) (block []listed, err error) {
	out := &output{buf: make([]byte, 0, maxListing)}
	said, err := g.run(keys.Quiet(ctx), g.patience, nil, out, options(append([]string{"--batch", "--no-tty", "--with-colons"}, args...)...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out.buf)) {
		const enough = 15 // fields of a key
		f := strings.Split(strings.TrimSpace(line), ":")
		switch {
		case len(f) >= enough && slices.Contains([]string{"pub", "sub", "sec", "ssb"}, f[0]):
			k := listed{primary: f[0] == "pub" || f[0] == "sec", validity: f[1], id: f[4], encrypts: strings.Contains(f[11], "e"), secret: f[14]}
			if s, err := strconv.ParseInt(f[6], 10, 64); err == nil {
				k.expires = time.Unix(s, 0).UTC()
			}
			block = append(block, k)
		case len(f) > 9 && f[0] == "fpr" && len(block) > 0 && block[len(block)-1].fingerprint == "":
			block[len(block)-1].fingerprint = f[9]
		}
	}
	if len(block) == 0 && said.failed && said.status["ERROR keylist.getkey"] == nil {
		return nil, fmt.Errorf("gpg lists no keys: %s", said)
	}
	return block, nil
}

// Probe asks gpg's keyring. With an entry it also says whether that is for an older
// subkey than gpg takes now.
func (k *key) Probe(ctx context.Context, e keys.Entry) keys.Finding {
	found := func(state, hint, format string, args ...any) keys.Finding {
		return keys.Finding{What: k.Name(), State: state, Detail: fmt.Sprintf(format, args...), Hint: hint}
	}
	block, err := k.gpg.list(ctx, k.fp)
	var missing *missingError
	switch {
	case errors.As(err, &missing):
		return found(keys.Missing, "", "%v", err)
	case err != nil:
		return found(keys.Warning, "", "%v", err)
	case len(block) == 0:
		return found(keys.Missing, "gpg --import FILE, or gpg --receive-keys "+k.fp.hex(), "%s does not know the key", k.gpg.place())
	}
	show := "gpg --list-keys " + k.fp.hex()
	current := k.encrypting(block)
	switch {
	case block[0].validity == "r":
		return found(keys.Warning, show, "revoked: its owner wants nothing encrypted to it any more")
	case current == nil && block[0].validity == "e":
		return found(keys.Warning, show, "expired on %s: decrypts, and no longer encrypts", block[0].expires.Format(time.DateOnly))
	case current == nil:
		return found(keys.Warning, show, "no subkey that encrypts: all are expired, revoked or for other use")
	}
	if ids, err := k.ids(e); err == nil && len(ids) > 0 && !slices.Contains(ids, current.id) && !slices.Contains(ids, strings.Repeat("0", longID)) {
		return found(keys.Warning, "kenv rotate", "wrapped for %s, and gpg now takes the newer subkey %s", keys.Short(strings.Join(ids, ", ")), current.id)
	}
	const soon = 30 * 24 * time.Hour
	expires := current.expires
	if p := block[0].expires; expires.IsZero() || !p.IsZero() && p.Before(expires) {
		expires = p
	}
	until := ""
	if !expires.IsZero() {
		until = ", expires on " + expires.Format(time.DateOnly)
	}
	has := "public key at hand: encrypts and does not decrypt here"
	state := keys.Note
	switch current.secret {
	case "+":
		has, state = "secret key at hand", keys.OK
	case "", "#":
	default:
		has, state = "secret key on a smart card", keys.OK
	}
	if until != "" && time.Until(expires) < soon {
		return found(keys.Warning, "gpg --quick-set-expire "+k.fp.hex()+" 1y", "%s%s", has, until)
	}
	return found(state, "", "%s%s", has, until)
}

// encrypting returns the key of a block that gpg encrypts to: the newest that may,
// or the one that the name insists on.
func (k *key) encrypting(block []listed) *listed {
	if !block[0].usable() {
		return nil
	}
	for i, s := range slices.Backward(block) {
		if s.encrypts && s.usable() && (!k.fp.exact() || k.fp.covers(s.fingerprint)) {
			return &block[i]
		}
	}
	return nil
}

// ids are those of the keys that an entry's message is for.
func (k *key) ids(e keys.Entry) ([]string, error) {
	message, err := entryMessage(e)
	if err != nil {
		return nil, err
	}
	return recipients(message)
}

// examine looks at gpg, its agent and the secret keys that there are.
func (g *gnuPG) examine(ctx context.Context) []keys.Finding {
	out := &output{buf: make([]byte, 0, maxEnc), cut: true}
	_, err := g.run(keys.Quiet(ctx), g.patience, nil, out, "--batch", "--no-tty", "--version")
	var missing *missingError
	if errors.As(err, &missing) {
		return []keys.Finding{{What: "gpg", State: keys.Note, Detail: fmt.Sprintf("%v; only PGP keys need it", missing.error)}}
	}
	if err != nil {
		return []keys.Finding{{What: "gpg", State: keys.Warning, Detail: err.Error()}}
	}
	version, _, _ := strings.Cut(string(out.buf), "\n")
	path, _ := g.path()
	findings := []keys.Finding{{What: "gpg", State: keys.OK, Detail: fmt.Sprintf("%s, %s", path, keys.Short(strings.TrimSpace(version)))}}

	// gpg asks its agent which secret keys there are.
	all, err := g.colons(ctx, "--list-secret-keys")
	if err != nil {
		return append(findings, keys.Finding{What: "gpg-agent", State: keys.Missing, Detail: err.Error(), Hint: "gpg --list-secret-keys"})
	}
	n := 0
	for _, k := range all {
		if k.primary {
			n++
		}
	}
	state, detail := keys.OK, fmt.Sprintf("%d secret keys", n)
	switch n {
	case 0:
		state, detail = keys.Note, "no secret key"
	case 1:
		detail = "1 secret key"
	}
	return append(findings, keys.Finding{What: "gpg-agent", State: state, Detail: detail})
}
