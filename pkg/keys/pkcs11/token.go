//go:build cgo && !nopkcs11

package pkcs11

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/pkcs11"
)

// errNoToken is the error of choose for a token that is not there.
var errNoToken = errors.New("no such token")

// A token is what a module says of one. Its slot is good for this process only.
type token struct {
	slot                               uint
	label, serial, manufacturer, model string
	flags                              uint
}

// tokensOf returns the tokens of a module that are set up.
func tokensOf(c *pkcs11.Ctx) ([]token, error) {
	slots, err := c.GetSlotList(true)
	if err != nil {
		return nil, err
	}
	var list []token
	for _, slot := range slots {
		info, err := c.GetTokenInfo(slot)
		if err != nil {
			continue // a reader whose card was taken out; the others still count
		}
		if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		trim := func(s string) string { return strings.TrimRight(s, " \x00") }
		list = append(list, token{slot, trim(info.Label), trim(info.SerialNumber), trim(info.ManufacturerID), trim(info.Model), info.Flags})
	}
	slices.SortFunc(list, func(a, b token) int {
		return cmp.Or(strings.Compare(a.label, b.label), strings.Compare(a.serial, b.serial))
	})
	return list, nil
}

// choose returns the token that a URI names. The serial number only decides between
// tokens with one label, so that a copy of the key in another HSM will do.
func choose(list []token, u uri) (token, error) {
	label, byLabel := u.get("token")
	fits := func(value, attribute string) bool {
		want, given := u.get(attribute)
		return !given || want == value
	}
	var found, exact []token
	for _, t := range list {
		if byLabel && t.label != label || !fits(t.manufacturer, "manufacturer") || !fits(t.model, "model") {
			continue
		}
		found = append(found, t)
		if fits(t.serial, "serial") {
			exact = append(exact, t)
		}
	}
	if len(found) > 1 || !byLabel {
		found = exact
	}
	switch len(found) {
	case 0:
		return token{}, errNoToken
	case 1:
		return found[0], nil
	}
	return token{}, fmt.Errorf("%d tokens answer to this name: %s; add serial=… to the URI", len(found), describe(found))
}

// describe names tokens, at most so many as fit a message.
func describe(list []token) string {
	const most = 8
	var names []string
	for _, t := range list[:min(most, len(list))] {
		names = append(names, fmt.Sprintf("%q (serial %s)", t.label, t.serial))
	}
	if len(list) > most {
		names = append(names, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(names, ", ")
}

// refusal returns why no login is tried.
func (t token) refusal() error {
	switch {
	case t.flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fmt.Errorf("the PIN of token %q is locked, after too many wrong ones; its security officer can set a new one", t.label)
	case t.flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return fmt.Errorf("one more wrong PIN would lock token %q, so kenv tries none; log in once with the HSM's own tools, with care, and this is over", t.label)
	case t.flags&pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH != 0:
		return fmt.Errorf("token %q wants its PIN on its own keypad, which kenv cannot use", t.label)
	}
	return nil
}

// pinState says in a few words how the token stands to logins, and whether that
// wants looking after.
func (t token) pinState() (words string, bad bool) {
	has := func(flag uint) bool { return t.flags&flag != 0 }
	switch {
	case has(pkcs11.CKF_USER_PIN_LOCKED):
		return "locked", true
	case has(pkcs11.CKF_USER_PIN_FINAL_TRY):
		return "one wrong try left", true
	case has(pkcs11.CKF_USER_PIN_COUNT_LOW):
		return "a wrong one was tried", true
	case has(pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH):
		return "on the token's own keypad", true
	case !has(pkcs11.CKF_LOGIN_REQUIRED):
		return "not needed", false
	case !has(pkcs11.CKF_USER_PIN_INITIALIZED):
		return "not set", true
	}
	return "set", false
}
