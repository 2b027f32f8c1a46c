package pkcs11

import (
	"reflect"
	"strings"
	"testing"
)

func TestURI(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"pkcs11:", "pkcs11:"},
		{"pkcs11:object=k;token=t", "pkcs11:token=t;object=k"},
		{"PKCS11:token=t", "pkcs11:token=t"},
		{"pkcs11:type=private;id=%02%aB;object=k;model=m;serial=1;manufacturer=a;token=t", "pkcs11:token=t;manufacturer=a;serial=1;model=m;object=k;id=%02%AB;type=private"},
		{"pkcs11:id=AB", "pkcs11:id=%41%42"},
		{"pkcs11:token=My Token", "pkcs11:token=My%20Token"},
		{"pkcs11:token=a+b,c&d;object=x:y[z]@!$'()*=", "pkcs11:token=a+b,c%26d;object=x:y[z]@!$'()*="},
		{"pkcs11:token=a/b%2fc%3b%3F%23", "pkcs11:token=a%2Fb%2Fc%3B%3F%23"},
		{"pkcs11:token=Schlüssel", "pkcs11:token=Schl%C3%BCssel"},
		{"pkcs11:token=%ff%00", "pkcs11:token=%FF%00"},
		{"pkcs11:x-b=2;x-a=1;type=secret-key;library-version=3.0", "pkcs11:type=secret-key;library-version=3.0;x-a=1;x-b=2"},
		{"pkcs11:token=t?pin-value=1&module-path=/x", "pkcs11:token=t?module-path=%2Fx&pin-value=1"},
		{"pkcs11:token=t?mech=a", "pkcs11:token=t?mech=a"},
		{"pkcs11:token=", "pkcs11:token="},
	} {
		u, err := parseURI(tt.text)
		if err != nil || u.String() != tt.want {
			t.Errorf("parseURI(%q) = %q, %v; want %q", tt.text, u, err, tt.want)
		}
	}
	for _, text := range []string{
		"", "token=t", "pkcs11", "pkcs12:token=t", "pkcs11:token", "pkcs11:=t", "pkcs11:token=t;", "pkcs11:;token=t", "pkcs11:to ken=t",
		"pkcs11:token=t;token=t", "pkcs11:token=%", "pkcs11:token=%1", "pkcs11:token=%1g", "pkcs11:token=%\x11\x12", "pkcs11:token=a\nb", "pkcs11:token=a\x7f",
		"pkcs11:tökén=t", "pkcs11:token=t?a=1&a=2", "pkcs11:token=t?a", "pkcs11:token=" + strings.Repeat("x", 33),
		"pkcs11:object=" + strings.Repeat("x", maxURI),
	} {
		if u, err := parseURI(text); err == nil {
			t.Errorf("parseURI(%.40q) = %q; want an error", text, u)
		} else if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\n\x11") {
			t.Errorf("parseURI(%.40q) repeats it: %q", text, err)
		}
	}
	u, _ := parseURI("pkcs11:token=t;type=private")
	with := uri{append(u.path[:1:1], attribute{"object", "o"}, u.path[1]), nil}
	if value, given := with.get("object"); !given || value != "o" {
		t.Errorf("get of an attribute = %q, %v", value, given)
	}
	if _, given := u.get("object"); given {
		t.Error("get finds what is not there")
	}
}

// What is printed reads as the same, and is printed the same.
func FuzzURI(f *testing.F) {
	for _, s := range []string{
		"pkcs11:token=prod-hsm;serial=51f6edad22502467;object=kenv-rsa;id=%02;type=private",
		"PKCS11:id=%00%ff;x-y=%;?pin-value=1&mech=aes-256-gcm", "pkcs11:token=a b?", "pkcs11:?a=/", "pkcs11:a=%3B%3d",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseURI(s)
		if err != nil {
			return
		}
		printed := u.String()
		if len(printed) > maxURI {
			return // escapes made it longer
		}
		again, err := parseURI(printed)
		if err != nil {
			t.Fatalf("%q is printed as %q, which does not parse: %v", s, printed, err)
		}
		if !reflect.DeepEqual(u, again) {
			t.Fatalf("%q is printed as %q, which reads differently: %v, %v", s, printed, u, again)
		}
		if again.String() != printed {
			t.Fatalf("%q is printed as %q, then as %q", s, printed, again)
		}
		for _, c := range []byte(printed) {
			if c <= ' ' || c > '~' || c == '#' {
				t.Fatalf("%q is printed as %q", s, printed)
			}
		}
	})
}
