//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ThalesGroup/crypto11"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/miekg/pkcs11"
)

// privateKey finds an RSA key. Of keys with one name the fingerprint decides.
func privateKey(c *crypto11.Context, u uri, fp string) (crypto11.RSAPrivateKey, *publicKey, error) {
	set, err := named(u, pkcs11.CKK_RSA)
	if err != nil {
		return nil, nil, err
	}
	found, err := c.FindRSAPrivateKeysWithAttributes(set)
	if err != nil {
		return nil, nil, err
	}
	var list []publicKey
	for _, k := range found {
		p, err := publicOf(c, k)
		if err != nil {
			return nil, nil, err
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		return nil, nil, noKey(u, "there is no such RSA key, or it is not visible to this user")
	}
	p, err := pick(u, list, fp)
	if err != nil {
		return nil, nil, err
	}
	i := slices.IndexFunc(list, func(other publicKey) bool { return other.fp == p.fp })
	return found[i], p, nil
}

// pick returns the one of several public halves that is meant.
func pick(u uri, list []publicKey, fp string) (*publicKey, error) {
	var prints []string
	for _, p := range list {
		if !slices.Contains(prints, p.fp) {
			prints = append(prints, p.fp)
		}
	}
	slices.Sort(prints)
	for i := range list {
		if list[i].fp == fp || fp == "" && len(prints) == 1 {
			return &list[i], nil
		}
	}
	if fp == "" {
		return nil, fmt.Errorf("%d keys on the token have this name, with the fingerprints %s; add id=… to the URI", len(prints), strings.Join(prints, ", "))
	}
	return nil, noKey(u, "the key of this name is another one, "+strings.Join(prints, ", "))
}

// secretKey finds an AES key.
func secretKey(c *crypto11.Context, u uri) (*crypto11.SecretKey, error) {
	set, err := named(u, pkcs11.CKK_AES)
	if err != nil {
		return nil, err
	}
	found, err := c.FindKeysWithAttributes(set)
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		return nil, noKey(u, "there is no such AES key, or it is not visible to this user")
	case len(found) > 1:
		return nil, fmt.Errorf("%d keys on the token have this name; add id=… to the URI", len(found))
	}
	return found[0], nil
}

func noKey(u uri, why string) error {
	t, given := u.get("token")
	if !given {
		t, _ = u.get("serial")
	}
	return &keys.NotHereError{Looked: []string{fmt.Sprintf("the token %q (%s)", t, why)}}
}

// named returns what an object has to have to be the one that a URI names.
func named(u uri, keyType uint) (crypto11.AttributeSet, error) {
	set := crypto11.NewAttributeSet()
	err := set.Set(crypto11.CkaKeyType, keyType)
	if label, given := u.get("object"); given {
		err = errors.Join(err, set.Set(crypto11.CkaLabel, []byte(label)))
	}
	if id, given := u.get("id"); given {
		err = errors.Join(err, set.Set(crypto11.CkaId, []byte(id)))
	}
	return set, err
}

// publicOf reads the public half of a private key from that key itself: labels and
// ids do not tell for sure which public key belongs to it.
func publicOf(c *crypto11.Context, k crypto11.RSAPrivateKey) (publicKey, error) {
	set, err := c.GetAttributes(k, []crypto11.AttributeType{crypto11.CkaModulus, crypto11.CkaPublicExponent})
	if err != nil { // not every module has the exponent there, and hardly a key has another
		if set, err = c.GetAttributes(k, []crypto11.AttributeType{crypto11.CkaModulus}); err != nil {
			return publicKey{}, err
		}
	}
	exponent := []byte{1, 0, 1}
	if a := set[crypto11.CkaPublicExponent]; a != nil && len(a.Value) > 0 {
		exponent = a.Value
	}
	modulus := set[crypto11.CkaModulus]
	if modulus == nil {
		return publicKey{}, errors.New("the HSM does not say which key it is")
	}
	return rsaKey(modulus.Value, exponent)
}

func rsaKey(modulus, exponent []byte) (publicKey, error) {
	e := new(big.Int).SetBytes(exponent)
	if e.BitLen() > 31 {
		return publicKey{}, errors.New("its exponent is too large for an RSA key")
	}
	return newPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(e.Int64())})
}

// publicKeys returns the public halves of those objects that are RSA keys.
func publicKeys(objects []object) (list []publicKey) {
	for _, o := range objects {
		if o.public != nil {
			list = append(list, *o.public)
		}
	}
	return list
}

// visible returns the objects of a class that a URI names, or all of that class if
// it names none, as far as they can be seen.
func visible(c *pkcs11.Ctx, slot uint, u uri, class uint) ([]object, error) {
	session, err := c.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, err
	}
	defer c.CloseSession(session)
	template := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class)}
	if label, given := u.get("object"); given {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	}
	if id, given := u.get("id"); given {
		template = append(template, pkcs11.NewAttribute(pkcs11.CKA_ID, []byte(id)))
	}
	if err := c.FindObjectsInit(session, template); err != nil {
		return nil, err
	}
	var handles []pkcs11.ObjectHandle
	for {
		more, _, err := c.FindObjects(session, 100)
		if err != nil {
			c.FindObjectsFinal(session)
			return nil, err
		}
		if len(more) == 0 {
			break
		}
		handles = append(handles, more...)
	}
	if err := c.FindObjectsFinal(session); err != nil {
		return nil, err
	}
	var list []object
	for _, h := range handles {
		list = append(list, readObject(func(attribute uint) ([]byte, bool) {
			got, err := c.GetAttributeValue(session, h, []*pkcs11.Attribute{pkcs11.NewAttribute(attribute, nil)})
			if err != nil || len(got) != 1 {
				return nil, false
			}
			return got[0].Value, true
		}, class))
	}
	return list, nil
}

// An object is a key in an HSM, as far as the HSM tells.
type object struct {
	class, keyType uint
	label          string
	id             []byte
	public         *publicKey // of RSA keys
	bits           int        // of RSA and AES keys
	flags          map[uint]bool
}

// readObject reads an object by its attributes, of which not every module has all.
func readObject(get func(attribute uint) ([]byte, bool), class uint) object {
	o := object{class: class, flags: make(map[uint]bool)}
	number := func(attribute uint) uint {
		switch b, _ := get(attribute); len(b) {
		case 8:
			return uint(binary.NativeEndian.Uint64(b))
		case 4:
			return uint(binary.NativeEndian.Uint32(b))
		}
		return pkcs11.CK_UNAVAILABLE_INFORMATION
	}
	o.keyType = number(pkcs11.CKA_KEY_TYPE)
	label, _ := get(pkcs11.CKA_LABEL)
	o.label = string(bytes.TrimRight(label, "\x00"))
	o.id, _ = get(pkcs11.CKA_ID)
	if modulus, ok := get(pkcs11.CKA_MODULUS); ok && o.keyType == pkcs11.CKK_RSA {
		exponent, ok := get(pkcs11.CKA_PUBLIC_EXPONENT)
		if !ok || len(exponent) == 0 {
			exponent = []byte{1, 0, 1}
		}
		o.bits = new(big.Int).SetBytes(modulus).BitLen()
		if p, err := rsaKey(modulus, exponent); err == nil {
			o.public = &p
		}
	}
	if o.keyType == pkcs11.CKK_AES && class == pkcs11.CKO_SECRET_KEY {
		if n := number(pkcs11.CKA_VALUE_LEN); n <= 32 {
			o.bits = 8 * int(n)
		}
	}
	for _, a := range []uint{pkcs11.CKA_PRIVATE, pkcs11.CKA_SENSITIVE, pkcs11.CKA_EXTRACTABLE, pkcs11.CKA_DECRYPT, pkcs11.CKA_ALWAYS_AUTHENTICATE} {
		if b, ok := get(a); ok && len(b) == 1 {
			o.flags[a] = b[0] != 0
		}
	}
	return o
}
