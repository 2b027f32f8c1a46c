package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"go.yaml.in/yaml/v3"
)

// UserName is the name of the file with a user's own settings, in kenv's
// configuration directory.
const UserName = "config.yaml"

// userSettings are what a user can set for one machine. A repository's config never has
// them: some say which code is loaded.
var userSettings = [...]string{
	"pkcs11_module",   // path of the PKCS#11 module, the library of the HSM's maker
	"pkcs11_pin_file", // files that hold the HSM's PIN
	"aws_roles",       // roles that files may ask to be taken on
	"aws_profile",     // AWS profile for keys that name none
	"gpg_exec",        // gpg program
	"decryption_order",
}

// User reads a user's settings: a map of names to strings, or to lists of them,
// which come out separated by commas. A file that is not there has none. What is
// wrong in it is an *Error.
func User(path string) (map[string]string, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	if len(src) > maxSize {
		return nil, &Error{Path: path, Msg: fmt.Sprintf("larger than %d bytes, which no settings need", maxSize)}
	}
	p := &parser{path: path, strict: true, nodes: maxNodes}
	root := p.document(src)
	settings := map[string]string{}
	if root != nil && p.err == nil {
		known := fields{}
		for _, name := range userSettings {
			known[name] = func(n *yaml.Node) {
				list := ""
				p.texts(n, name, func(_ *yaml.Node, s string) {
					if list != "" {
						list += ","
					}
					list += s
				})
				settings[name] = list
			}
		}
		p.mapping(root, "", known)
	}
	if p.err != nil {
		return nil, p.err
	}
	return settings, nil
}
