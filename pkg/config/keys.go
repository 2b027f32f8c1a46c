package config

import (
	"fmt"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// A keyList is one of the lists of keys that a rule or a group can have.
type keyList struct {
	inRule, inGroup string   // its name there
	prefix          string   // what makes its strings key strings
	form            []string // fields of a key that is a map; the first must be given
}

// keyLists returns them in the order in which sops puts their keys into a group.
func keyLists() []keyList {
	return []keyList{
		{"keys", "keys", "", []string{"uri", "mech", "public_key", "role", "context", "aws_profile"}},
		{"age", "age", "", nil},
		{"pgp", "pgp", "pgp:", nil},
		{"kms", "kms", "", []string{"arn", "role", "context", "aws_profile"}},
		{"gcp_kms", "gcp_kms", "gcp-kms:", []string{"resource_id"}},
		{"hckms", "hckms", "hckms:", []string{"key_id"}},
		{"azure_keyvault", "azure_keyvault", "azure-kv:", []string{"vaultUrl", "key", "version"}},
		{"hc_vault_transit_uri", "hc_vault", "hc-vault:", nil},
	}
}

// group reads a key group: a list of keys, or a map of lists. What it merges in
// may hold the same keys again.
func (p *parser) group(n *yaml.Node, field string) []Key {
	v := p.follow(n, field)
	if v == nil {
		return nil
	}
	lists := keyLists()
	if v.Kind == yaml.SequenceNode {
		return p.keys(v, field, lists[0])
	}
	var merged []Key
	own := make(map[string][]Key)
	known := fields{
		"merge": func(n *yaml.Node) {
			p.list(n, "merge", func(item *yaml.Node) { merged = append(merged, p.group(item, "merge")...) })
		},
	}
	for _, k := range lists {
		known[k.inGroup] = func(n *yaml.Node) { own[k.inGroup] = p.keys(n, k.inGroup, k) }
	}
	p.mapping(v, field, known)
	for _, k := range lists {
		merged = append(merged, own[k.inGroup]...)
	}
	return merged
}

// keys reads a list of keys: strings or maps. A single string has them separated
// by commas; so may the strings of a list, but for those of a "keys" list, as a
// comma is legal in a PKCS #11 URI and in the comment of an SSH key.
func (p *parser) keys(n *yaml.Node, field string, k keyList) []Key {
	v := p.follow(n, field)
	if v == nil {
		return nil
	}
	var all []Key
	add := func(n *yaml.Node, s string) {
		if s = strings.TrimSpace(s); s != "" && p.err == nil {
			if p.nodes--; p.nodes < 0 {
				p.fail(n, field, "too many keys")
				return
			}
			key := Key{Name: k.prefix + s, Line: n.Line}
			p.settle(n, field, k, &key)
			all = append(all, key)
		}
	}
	split := func(n *yaml.Node, s string) {
		for one := range strings.SplitSeq(s, ",") {
			add(n, one)
		}
	}
	switch v.Kind {
	case yaml.ScalarNode:
		split(v, p.text(v, field))
	case yaml.MappingNode:
		p.fail(v, field, "must be a list of keys")
	default:
		p.list(v, field, func(item *yaml.Node) {
			switch one := p.follow(item, field); {
			case one == nil && p.err == nil:
				p.fail(item, field, "an item of the list has no value")
			case one == nil:
			case one.Kind == yaml.MappingNode:
				if key := p.keyMap(one, field, k); p.err == nil {
					all = append(all, key)
				}
			case k.inRule == "keys":
				s := p.text(one, field)
				if strings.TrimSpace(s) == "" {
					p.fail(one, field, "an item of the list is an empty string")
				}
				add(one, s)
			default:
				split(one, p.text(one, field))
			}
		})
	}
	return all
}

// keyMap reads a key that is written as a map.
func (p *parser) keyMap(n *yaml.Node, field string, k keyList) Key {
	if len(k.form) == 0 {
		p.fail(n, field, "a key of this kind must be a string")
		return Key{}
	}
	key := Key{Line: n.Line}
	known := make(fields)
	got := make(map[string]string)
	for _, name := range k.form {
		known[name] = func(n *yaml.Node) {
			if name == "context" {
				if c := p.context(n); len(c) > 0 {
					key.set("context", c)
				}
			} else {
				got[name] = strings.TrimSpace(p.text(n, name))
			}
		}
	}
	if k.inRule == "keys" {
		// Whoever can open a pull request can write a config. A module would be
		// their code in our process, and a PIN would be in the history of git.
		for _, name := range []string{"module", "module_path", "pin", "pin_source"} {
			known[name] = nil
		}
	}
	p.mapping(n, field, known)
	if p.err != nil {
		return key
	}
	if got[k.form[0]] == "" {
		p.fail(n, field, "this key has no %s", k.form[0])
		return key
	}
	key.Name = k.prefix + got[k.form[0]]
	if k.inRule == "azure_keyvault" {
		if got["key"] == "" {
			p.fail(n, field, "this key has no key, which is its name in the vault")
		}
		key.Name = strings.TrimSuffix(key.Name, "/") + "/keys/" + got["key"] + "/" + got["version"]
	} else {
		for _, name := range k.form[1:] {
			if got[name] != "" {
				key.set(name, got[name])
			}
		}
	}
	p.settle(n, field, k, &key)
	return key
}

// context reads an AWS encryption context.
func (p *parser) context(n *yaml.Node) map[string]string {
	m := make(map[string]string)
	p.each(n, "context", func(k, v *yaml.Node) {
		if p.follow(v, "context") == nil {
			p.fail(v, "context", "%q has no value", k.Value)
		}
		m[k.Value] = p.text(v, "context")
	})
	return m
}

// settle brings the name of a key into its canonical form and refuses what does
// not belong in a config. The messages do not repeat the name: it may be a secret
// that was pasted into the wrong place.
func (p *parser) settle(n *yaml.Node, field string, k keyList, key *Key) {
	if strings.Contains(strings.ToUpper(key.Name), "AGE-SECRET-KEY-") || strings.Contains(strings.ToUpper(key.Name), "AGE-PLUGIN-") {
		p.fail(n, field, "this is a secret age identity; write its recipient (age1…), and replace the identity if this file was ever shared")
		return
	}
	if strings.Contains(key.Name, "PRIVATE KEY-----") {
		p.fail(n, field, "this is a private key; write its public half, and replace the key if this file was ever shared")
		return
	}
	for name, value := range key.Attrs {
		if s, ok := value.(string); ok && strings.Contains(s, "PRIVATE KEY-----") {
			p.fail(n, name, "this is a private key; write its public half, and replace the key if this file was ever shared")
			return
		}
	}
	if strings.ContainsFunc(key.Name, unicode.IsControl) {
		p.fail(n, field, "a key must be one line without control characters")
		return
	}
	kms := strings.HasPrefix(key.Name, "arn:")
	switch {
	case k.inRule == "age" && !strings.HasPrefix(key.Name, "age1") && !strings.HasPrefix(key.Name, "ssh-"):
		p.fault(n, field, "not an age recipient; they begin with age1 or ssh-")
	case k.inRule == "kms" && !kms:
		p.fault(n, field, "not the ARN of a KMS key; it begins with arn:")
	case kms, strings.HasPrefix(key.Name, "pgp:"):
		key.Name = strings.ReplaceAll(key.Name, " ", "")
	case strings.HasPrefix(key.Name, "azure-kv:"):
		key.Name = strings.TrimRight(key.Name, "/")
	case strings.HasPrefix(key.Name, "pkcs11:") && hasPIN(key.Name):
		p.fail(n, field, "a PIN or a module does not belong into a config; set it in your own environment or user configuration")
	}
	if !kms {
		return
	}
	// A colon cannot be in the path of an ARN, so this begins the ARN of a role. What
	// else belongs to a key's name comes behind both.
	arn, rest := key.Name, ""
	if i := strings.IndexAny(arn, "?#"); i >= 0 {
		arn, rest = arn[:i], arn[i:]
	}
	_, inName, both := strings.Cut(arn, "+arn:")
	role, given := key.Attrs["role"]
	switch {
	case both && given:
		p.fail(n, field, "two roles, one in the ARN and one in role")
	case both:
		key.set("role", "arn:"+inName)
	case given:
		key.Name = fmt.Sprintf("%s+%s%s", arn, role, rest)
	}
}

// hasPIN reports whether a PKCS #11 URI has one of the attributes that are for the
// machine at hand alone.
func hasPIN(uri string) bool {
	_, query, _ := strings.Cut(uri, "?")
	for attr := range strings.SplitSeq(query, "&") {
		switch name, _, _ := strings.Cut(attr, "="); name {
		case "pin-value", "pin-source", "module-path", "module-name":
			return true
		}
	}
	return false
}

func (k *Key) set(attr string, value any) {
	if k.Attrs == nil {
		k.Attrs = make(map[string]any)
	}
	k.Attrs[attr] = value
}

// take gives a KMS key without an AWS profile that of its rule, if that has one.
func (k *Key) take(profile string) {
	if _, has := k.Attrs["aws_profile"]; profile != "" && !has && strings.HasPrefix(k.Name, "arn:") {
		k.set("aws_profile", profile)
	}
}

// distinct drops the keys that are the same as an earlier one.
func distinct(all []Key) []Key {
	seen := make(map[string]bool)
	var kept []Key
	for _, k := range all {
		// fmt prints maps in the order of their keys, and %q keeps parts apart.
		id := fmt.Sprintf("%q", []any{k.Name, k.Attrs})
		if !seen[id] {
			seen[id] = true
			kept = append(kept, k)
		}
	}
	return kept
}
