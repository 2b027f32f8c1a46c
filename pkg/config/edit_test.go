package config

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const (
	pem  = "-----BEGIN PUBLIC KEY-----\nAAAA+/==\n-----END PUBLIC KEY-----"
	fpr  = "85D77543B3D624B63CEA9E6DBC17301B491B3F21"
	kms  = "arn:aws:kms:eu-west-1:111122223333:alias/prod"
	role = "arn:aws:iam::111122223333:role/kenv"
)

func named(name string) func(Key) bool { return func(k Key) bool { return k.Name == name } }

// ruleText indents the fields of a rule, the first behind its dash.
func ruleText(fields string) string {
	return "creation_rules:\n  - " + strings.ReplaceAll(strings.TrimSuffix(fields, "\n"), "\n", "\n    ") + "\n"
}

func TestAddKey(t *testing.T) {
	for _, tt := range []struct {
		name   string
		file   string // Name if not given
		before string // the fields of the one rule
		key    NewKey
		after  string
		oneWay bool // removing the key again gives another text
	}{
		{"a block list", "", "keys:\n  - age1a\n  - age1b  # bob\n\n# the end", NewKey{Name: "age1c"},
			"keys:\n  - age1a\n  - age1b  # bob\n  - age1c\n\n# the end", false},
		{"with a comment", "", "keys:\n  - age1a  # alice", NewKey{Name: "age1c", Comment: "carol: on call"},
			"keys:\n  - age1a  # alice\n  - age1c  # carol: on call", false},
		{"with as little indentation as the field", "", "keys:\n- age1a\npath: x", NewKey{Name: "age1c"},
			"keys:\n- age1a\n- age1c\npath: x", false},
		{"with wide dashes", "", "keys:\n    -   age1a", NewKey{Name: "age1c"},
			"keys:\n    -   age1a\n    -   age1c", false},
		{"before comments that follow", "", "keys:\n  - age1a\n  # - age1old\npath: x", NewKey{Name: "age1c"},
			"keys:\n  - age1a\n  - age1c\n  # - age1old\npath: x", false},
		{"in double quotes like its neighbour", "", "keys:\n  - \"age1a\"", NewKey{Name: "age1c"},
			"keys:\n  - \"age1a\"\n  - \"age1c\"", false},
		{"in single quotes like its neighbour", "", "keys:\n  - 'age1a'", NewKey{Name: kms},
			"keys:\n  - 'age1a'\n  - '" + kms + "'", false},
		{"an ssh key", "", "keys:\n  - age1a", NewKey{Name: "ssh-ed25519 AAAAC3Nz/+ me@here"},
			"keys:\n  - age1a\n  - ssh-ed25519 AAAAC3Nz/+ me@here", false},
		{"a name that needs quotes", "", "keys:\n  - age1a", NewKey{Name: "pkcs11:token=a,b;object=c"},
			"keys:\n  - age1a\n  - \"pkcs11:token=a,b;object=c\"", false},
		{"a context in the name", "", "keys:\n  - age1a", NewKey{Name: kms + "?App=web%20x&Env=prod"},
			"keys:\n  - age1a\n  - " + kms + "?App=web%20x&Env=prod", false},
		{"a map", "", "keys:\n  - age1a", NewKey{Name: "pkcs11:object=o", Attrs: map[string]any{"mech": "rsa-oaep-sha1", "public_key": pem + "\n"}, Comment: "the HSM"},
			"keys:\n  - age1a\n  - uri: pkcs11:object=o  # the HSM\n    mech: rsa-oaep-sha1\n    public_key: |\n      " + strings.ReplaceAll(pem, "\n", "\n      "), false},
		{"a map after a map", "", "keys:\n  - uri: pkcs11:object=o  # the HSM\n    public_key: |\n      " + strings.ReplaceAll(pem, "\n", "\n      ") + "\n\n    # its comment\npath: x", NewKey{Name: kms, Attrs: map[string]any{"context": map[string]string{"b": "2", "a": "x y"}, "aws_profile": "p"}},
			"keys:\n  - uri: pkcs11:object=o  # the HSM\n    public_key: |\n      " + strings.ReplaceAll(pem, "\n", "\n      ") + "\n  - uri: " + kms + "\n    context:\n      a: x y\n      b: \"2\"\n    aws_profile: p\n\n    # its comment\npath: x", false},
		{"a role", "", "keys:\n  - age1a", NewKey{Name: kms, Attrs: map[string]any{"role": role}},
			"keys:\n  - age1a\n  - " + kms + "+" + role, false},

		{"a list in brackets", "", "keys: [age1a, age1b]  # all", NewKey{Name: "age1c", Comment: "not here"},
			"keys: [age1a, age1b, age1c]  # all", false},
		{"with blanks", "", "keys: [ age1a ]", NewKey{Name: "age1c"}, "keys: [ age1a, age1c ]", false},
		{"with a comma at the end", "", "keys: [age1a, age1b,]", NewKey{Name: "age1c"}, "keys: [age1a, age1b, age1c,]", false},
		{"over lines", "", "keys: [\n  age1a,\n  'age1b'\n]", NewKey{Name: "age1c"}, "keys: [\n  age1a,\n  'age1b',\n  'age1c'\n]", false},
		{"over lines, with comments", "", "keys: [\n  age1a, # a]\n  age1b # b,\n]", NewKey{Name: "age1c"}, "keys: [\n  age1a, # a]\n  age1b, # b,\n  age1c\n]", false},
		{"over lines, with a comma at the end", "", "keys: [\n  age1a,\n  age1b, # b\n  # end\n]", NewKey{Name: "age1c"}, "keys: [\n  age1a,\n  age1b, # b\n  age1c,\n  # end\n]", false},
		{"over lines, the bracket not on its own", "", "keys: [age1a,\n  age1b]", NewKey{Name: "age1c"}, "keys: [age1a,\n  age1b,\n  age1c]", false},
		{"a map in brackets", "", "keys: [age1a]", NewKey{Name: "pkcs11:object=o", Attrs: map[string]any{"public_key": pem}},
			`keys: [age1a, {uri: pkcs11:object=o, public_key: "-----BEGIN PUBLIC KEY-----\nAAAA+/==\n-----END PUBLIC KEY-----"}]`, false},
		{"a map in brackets with a context", "", "keys: [{uri: age1a}]", NewKey{Name: kms, Attrs: map[string]any{"context": map[string]string{"a": "b, c"}}},
			`keys: [{uri: age1a}, {uri: ` + kms + `, context: {a: "b, c"}}]`, false},

		{"one string", "", "keys: age1a", NewKey{Name: "age1c"}, "keys: age1a,age1c", false},
		{"one string with blanks", "", "keys: age1a, age1b  # all", NewKey{Name: "age1c"}, "keys: age1a, age1b, age1c  # all", false},
		{"one string in quotes", "", "keys: 'age1a, age1b'", NewKey{Name: "ssh-rsa AAAA"}, "keys: 'age1a, age1b, ssh-rsa AAAA'", false},
		{"one string with a comma at the end", "", "keys: \"age1a, age1b,\"", NewKey{Name: "age1c"}, "keys: \"age1a, age1b, age1c,\"", false},
		{"a folded string", SopsName, "age: >-\n  age1a,\n  age1b\npath_regex: x", NewKey{Name: "age1c"}, "age: >-\n  age1a,\n  age1b,\n  age1c\npath_regex: x", false},
		{"a folded string of one", SopsName, "age: >-  # team\n    age1a\n\npath_regex: x", NewKey{Name: "age1c"}, "age: >-  # team\n    age1a,\n    age1c\n\npath_regex: x", false},
		{"a folded string with a comma at the end", SopsName, "age: |\n  age1a,\n  age1b,\n", NewKey{Name: "age1c"}, "age: |\n  age1a,\n  age1b,\n  age1c,\n", false},

		{"a rule of kenv's that was made for sops", "", "age: age1a", NewKey{Name: "age1c"}, "age: age1a,age1c", false},
		{"and a kind that it lacks", "", "age: age1a", NewKey{Name: "pgp:" + fpr, Comment: "eve"}, "age: age1a\npgp: \"" + fpr + "\"  # eve", false},
		{"and a kind that sops lacks", "", "age: age1a\npath: x", NewKey{Name: "pkcs11:object=o", Comment: "HSM"}, "age: age1a\nkeys:\n  - pkcs11:object=o  # HSM\npath: x", false},
		{"keys beside a list that has its like", "", "keys: [pkcs11:object=o]\nage: [age1a]", NewKey{Name: "age1c"}, "keys: [pkcs11:object=o]\nage: [age1a, age1c]", false},
		{"keys that has its like itself", "", "keys: [age1b]\nage: [age1a]", NewKey{Name: "age1c"}, "keys: [age1b, age1c]\nage: [age1a]", false},

		{"sops's list", SopsName, "keys: [age1b]\nage: [age1a]", NewKey{Name: "age1c"}, "keys: [age1b]\nage: [age1a, age1c]", false},
		{"sops's list, new", SopsName, "path_regex: x\nage: age1a\nencrypted_regex: y", NewKey{Name: kms + "+" + role}, "path_regex: x\nage: age1a\nkms: " + kms + "+" + role + "\nencrypted_regex: y", false},
		{"sops's list, where there is none of its own", SopsName, "keys: [pkcs11:object=o]", NewKey{Name: "age1c"}, "keys: [pkcs11:object=o]\nage: age1c", false},
		{"a context, which sops's list has not", SopsName, "kms: " + kms, NewKey{Name: kms, Attrs: map[string]any{"context": map[string]string{"a": "b"}}}, "kms: " + kms + "\nkeys:\n  - uri: " + kms + "\n    context:\n      a: b", false},
		{"a public key, which sops's list has not", SopsName, "kms: " + kms, NewKey{Name: kms + "#sha256:0123"}, "kms: " + kms + "\nkeys:\n  - \"" + kms + "#sha256:0123\"", false},
		{"GCP", SopsName, "age: age1a", NewKey{Name: "gcp-kms:projects/p/k"}, "age: age1a\ngcp_kms: projects/p/k", false},
		{"Vault", SopsName, "hc_vault_transit_uri: [https://v/v1/t/keys/a]", NewKey{Name: "hc-vault:https://v/v1/t/keys/b"}, "hc_vault_transit_uri: [https://v/v1/t/keys/a, https://v/v1/t/keys/b]", false},
		{"Azure", SopsName, "azure_keyvault: https://v/keys/a/1", NewKey{Name: "azure-kv:https://v/keys/b"}, "azure_keyvault: https://v/keys/a/1,https://v/keys/b", false},
		{"Huawei", SopsName, "age: age1a", NewKey{Name: "hckms:r:k"}, "age: age1a\nhckms:\n  - r:k", false},
		{"a profile of the rule's", SopsName, "aws_profile: p\nkms: " + kms + "1", NewKey{Name: kms + "2"}, "aws_profile: p\nkms: " + kms + "1," + kms + "2", false},
		{"a list of strings with commas", SopsName, "age: [\"age1a,age1b\"]", NewKey{Name: "age1c"}, "age: [\"age1a,age1b\", \"age1c\"]", false},

		{"a rule in braces", SopsName, "{path_regex: x, age: age1a}", NewKey{Name: "age1c"}, "{path_regex: x, age: \"age1a,age1c\"}", true},
		{"a rule in braces, another list", SopsName, "{age: age1a, path_regex: x}", NewKey{Name: "pgp:" + fpr}, "{age: age1a, pgp: \"" + fpr + "\", path_regex: x}", false},
		{"a rule in braces, keys", "", "{age: age1a}", NewKey{Name: "pkcs11:object=o"}, "{age: age1a, keys: [pkcs11:object=o]}", false},

		{"the one group", "", "groups:\n  - - age1a", NewKey{Name: "age1c"}, "groups:\n  - - age1a\n    - age1c", false},
		{"a group by number", "", "groups:\n  - [age1a]\n  - [age1b]", NewKey{Name: "age1c", Group: 2}, "groups:\n  - [age1a]\n  - [age1b, age1c]", false},
		{"a group that is a map", "", "groups:\n  - keys: [age1a]\n  - age:\n      - age1b\n", NewKey{Name: "age1c", Group: 2}, "groups:\n  - keys: [age1a]\n  - age:\n      - age1b\n      - age1c\n", false},
		{"a group of sops's", SopsName, "key_groups:\n  - kms:\n      - arn: " + kms + "\n    age:\n      - age1a\n  - age: [age1b]", NewKey{Name: kms, Attrs: map[string]any{"role": role, "context": map[string]string{"a": "b"}}, Group: 1},
			"key_groups:\n  - kms:\n      - arn: " + kms + "\n      - arn: " + kms + "\n        role: " + role + "\n        context:\n          a: b\n    age:\n      - age1a\n  - age: [age1b]", false},
		{"a new list in a group", SopsName, "key_groups:\n  - age:\n      - age1a\n  - age: [age1b]", NewKey{Name: "pgp:" + fpr, Group: 1, Comment: "eve"},
			"key_groups:\n  - age:\n      - age1a\n    pgp:\n      - \"" + fpr + "\"  # eve\n  - age: [age1b]", false},
		{"a new list of maps in a group", SopsName, "key_groups:\n  - age: [age1a]\n  - age: [age1b]", NewKey{Name: "gcp-kms:projects/p", Group: 2},
			"key_groups:\n  - age: [age1a]\n  - age: [age1b]\n    gcp_kms:\n      - resource_id: projects/p", false},
		{"a new list in a group in braces", SopsName, "key_groups: [{age: [age1a]}, {age: [age1b]}]", NewKey{Name: "pgp:" + fpr, Group: 2},
			"key_groups: [{age: [age1a]}, {age: [age1b], pgp: [\"" + fpr + "\"]}]", false},

		{"characters of several bytes", "", "path: é  # ö\nkeys: ['ssh-rsa AAAA ü', age1a]  # ä", NewKey{Name: "age1c"}, "path: é  # ö\nkeys: ['ssh-rsa AAAA ü', age1a, age1c]  # ä", false},
		{"a list behind a merge of other fields", "", "<<: {path: x}\nkeys: [age1a]", NewKey{Name: "age1c"}, "<<: {path: x}\nkeys: [age1a, age1c]", false},
		{"a key with an anchor and a tag before it", "", "keys:\n  - &a !!str age1a", NewKey{Name: "age1c"}, "keys:\n  - &a !!str age1a\n  - age1c", false},
	} {
		for variant, change := range map[string]func(string) string{
			"":                  func(s string) string { return s },
			" CRLF":             func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") },
			" BOM":              func(s string) string { return "\ufeff" + s },
			" no final newline": func(s string) string { return strings.TrimRight(s, "\n") },
			" more rules":       func(s string) string { return s + "  - {path: y, age: age1z}\n# end\n" },
			" at the margin": func(s string) string {
				return strings.ReplaceAll(strings.ReplaceAll(s, "\n    ", "\n  "), "\n  - ", "\n- ")
			},
		} {
			if variant == " at the margin" && (strings.Contains(tt.before, "\n  - ") || strings.Contains(tt.before, "\n- ")) {
				continue
			}
			t.Run(tt.name+variant, func(t *testing.T) {
				file := tt.file
				if file == "" {
					file = Name
				}
				before, after := change(ruleText(tt.before)), change(ruleText(tt.after))
				c := mustParse(t, file, before)
				got, err := c.AddKey([]byte(before), &c.Rules[0], tt.key)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != after {
					t.Fatalf("got\n%s\nwant\n%s", got, after)
				}
				d := mustParse(t, file, after)
				want := tt.key.Name
				if role := tt.key.Attrs["role"]; role != nil {
					want += "+" + role.(string)
				}
				match := func(k Key) bool {
					same := Key{Name: want, Attrs: tt.key.Attrs}
					if pub := k.Attrs["public_key"]; pub != nil {
						return k.Name == want
					}
					return k.is(same)
				}
				back, removed, err := d.RemoveKey(got, &d.Rules[0], match)
				if err != nil || len(removed) != 1 {
					t.Fatalf("removing it again: %v, %v", removed, err)
				}
				if (string(back) == before) == tt.oneWay {
					t.Errorf("after removing it again\n%q\nwant\n%q", back, before)
				}
				if _, err := d.AddKey(got, &d.Rules[0], tt.key); !errors.Is(err, ErrKeyExists) {
					t.Errorf("adding it again: %v", err)
				}
			})
		}
	}
}

func TestRemoveKey(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, match string
		after         string
	}{
		{"the first of a block list", "keys:\n  - age1a  # alice\n  # next\n  - age1b", "age1a", "keys:\n  # next\n  - age1b"},
		{"the middle", "keys:\n  - age1a\n\n  - age1b # bob\n\n  - age1c", "age1b", "keys:\n  - age1a\n\n\n  - age1c"},
		{"a map", "keys:\n  - age1a\n  - uri: age1b\n    mech: x  # why\n    public_key: |\n      # not a comment\n\n      -----\n    # a comment\n  - age1c", "age1b", "keys:\n  - age1a\n    # a comment\n  - age1c"},
		{"the first of nested lists", "groups:\n  - - age1a\n    - age1b\n  - - age1c", "age1a", "groups:\n  - - age1b\n  - - age1c"},
		{"of brackets, the first", "keys: [age1a, age1b]", "age1a", "keys: [age1b]"},
		{"of brackets, the middle", "keys: [age1a, age1b,age1c]", "age1b", "keys: [age1a, age1c]"},
		{"of brackets, over lines", "keys: [\n  age1a, # a\n  age1b, # b\n  age1c\n]", "age1a", "keys: [\n  age1b, # b\n  age1c\n]"},
		{"of a string, the first", "keys: age1a, age1b,age1c", "age1a", "keys: age1b,age1c"},
		{"of a string, the middle", "age: 'age1a ,age1b , age1c'", "age1b", "age: 'age1a ,age1c'"},
		{"of a string, the last", "age: age1a ,age1b,", "age1b", "age: age1a ,"},
		{"of a folded string", "age: >-\n  age1a,\n  age1b,\n  age1c", "age1b", "age: >-\n  age1a,\n  age1c"},
		{"of a list of strings", "age: [age1a, \"age1b,age1c\"]", "age1b", "age: [age1a, \"age1c\"]"},
		{"a whole list", "age: age1a  # alice\n# about keys\nkeys:\n  - age1b", "age1b", "age: age1a  # alice\n# about keys"},
		{"a whole list of several lines", "keys: [age1a]\nage: >-\n  age1b\n\npath: x", "age1b", "keys: [age1a]\n\npath: x"},
		{"a whole list at the dash", "age: age1a  # alice\npgp: " + fpr, "age1a", "pgp: " + fpr},
		{"a whole list in braces", "{age: age1a, pgp: " + fpr + "}", "pgp:" + fpr, "{age: age1a}"},
		{"with a profile of the rule's", "aws_profile: p\nkms: arn:a,arn:b", "arn:b", "aws_profile: p\nkms: arn:a"},
		{"a key that stands twice", "keys: [age1a, age1b]\nage: age1b,age1c,age1b", "age1b", "keys: [age1a]\nage: age1c"},
		{"a key in two groups", "groups: [[age1a, age1b], [age1b, age1c]]", "age1b", "groups: [[age1a], [age1c]]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := ruleText(tt.before)
			c := mustParse(t, Name, before)
			got, removed, err := c.RemoveKey([]byte(before), &c.Rules[0], named(tt.match))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != ruleText(tt.after) {
				t.Errorf("got\n%s\nwant\n%s", got, ruleText(tt.after))
			}
			if len(removed) == 0 || removed[0].Name != tt.match {
				t.Errorf("removed %v", removed)
			}
		})
	}
}

func TestEditRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		file   string
		before string
		add    NewKey
		remove string
		want   string
	}{
		{"a key that is there", "", "keys: [age1a]", NewKey{Name: " age1a "}, "", ErrKeyExists.Error()},
		{"in another list", "", "keys: [age1a]\npgp: " + fpr, NewKey{Name: "pgp:" + fpr}, "", ErrKeyExists.Error()},
		{"with a profile", "", "kms: " + kms + "\naws_profile: p", NewKey{Name: kms}, "", ErrKeyExists.Error()},
		{"with a role", "", "keys: [{uri: '" + kms + "', role: '" + role + "'}]", NewKey{Name: kms + "+" + role}, "", ErrKeyExists.Error()},
		{"no such key", "", "keys: [age1a]", NewKey{}, "age1b", ErrNoKey.Error()},
		{"the last key", "", "keys: [age1a]", NewKey{}, "age1a", ErrLastKey.Error()},
		{"the last key of a group", "", "groups: [[age1a], [age1b]]", NewKey{}, "age1b", ErrLastKey.Error()},
		{"no name", "", "keys: [age1a]", NewKey{Name: " "}, "", "empty"},
		{"a secret", "", "keys: [age1a]", NewKey{Name: "AGE-SECRET-KEY-1X"}, "", "secret age identity"},
		{"a PIN", "", "keys: [age1a]", NewKey{Name: "pkcs11:object=o?pin-value=1"}, "", "PIN"},
		{"two lines", "", "keys: [age1a]", NewKey{Name: "age1c\n  - age1d"}, "", "one line"},
		{"a comment of two lines", "", "keys: [age1a]", NewKey{Name: "age1c", Comment: "x\n- age1d"}, "", "one line"},
		{"an attribute of no kind", "", "keys: [age1a]", NewKey{Name: "age1c", Attrs: map[string]any{"pin": "1"}}, "", `no "pin"`},
		{"which group", "", "groups: [[age1a], [age1b]]", NewKey{Name: "age1c"}, "", "2 groups of keys; say which the key is for"},
		{"no such group", "", "groups: [[age1a], [age1b]]", NewKey{Name: "age1c", Group: 3}, "", "no group 3"},
		{"an alias", "", "age: *team", NewKey{Name: "age1c"}, "", ":3: age is shared with other places in the file; edit it by hand"},
		{"a key of an alias", "", "keys: *team", NewKey{}, "age1x", ":1: this key is shared"},
		{"an alias beside keys", "", "keys: [*one, age1b]", NewKey{}, "age1z", ":3: this key is shared"},
		{"an anchor", "", "age: &mine [age1a]", NewKey{Name: "age1c"}, "", ":3: age is shared"},
		{"a key with an anchor", "", "keys: [&mine age1a, age1b]", NewKey{}, "age1a", ":3: this key is shared"},
		{"a merge", "", "<<: *rule", NewKey{}, "age1m", ":1: this key is shared"},
		{"a list that a merge brings and a new one would hide", "", "path: x\n<<: *rule", NewKey{Name: "age1c"}, "", "edit it by hand"},
		{"a rule that is an alias", "", "*rule", NewKey{Name: "age1c"}, "", "the rule stands elsewhere"},
		{"a group that merges", "", "groups: [{merge: [{age: [age1a]}], keys: [age1b]}]", NewKey{}, "age1a", "this key is shared"},
		{"a string over lines", "", "age: age1a,\n  age1b", NewKey{Name: "age1c"}, "", ":3: age is written in a way that is seldom used; edit it by hand"},
		{"a string with escapes", "", `age: "age1a,\u0061ge1b"`, NewKey{Name: "age1c"}, "", "seldom used"},
		{"a comma in a string", "", "keys: age1a", NewKey{Name: "pkcs11:object=a,b"}, "", "does not fit into a string with commas; make a list of keys"},
		{"attributes in a string", "", "keys: age1a", NewKey{Name: "pkcs11:object=a", Attrs: map[string]any{"mech": "x"}}, "", "does not fit"},
		{"a dash on a line of its own", "", "age:\n  -\n    age1a\n  -\n    age1b", NewKey{Name: "age1c"}, "", "not on the line of its dash"},
		{"Azure in a group", SopsName, "key_groups: [{age: [age1a]}]", NewKey{Name: "azure-kv:https://v/keys/k"}, "", "in three fields"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := tt.file
			if file == "" {
				file = SopsName // where the anchors may stand
			}
			src := []byte("x: {t: &team [age1x, age1y], o: &one age1z, r: &rule {age: [age1m, age1n], path_regex: q}}\n" + ruleText(tt.before))
			c := mustParse(t, file, string(src))
			var out []byte
			var err error
			if tt.remove != "" {
				out, _, err = c.RemoveKey(src, &c.Rules[0], named(tt.remove))
			} else if tt.add.Name != "" {
				out, err = c.AddKey(src, &c.Rules[0], tt.add)
			} else {
				out, _, err = c.RemoveKey(src, &c.Rules[0], func(Key) bool { return false })
			}
			if err == nil || out != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q, %v; want %q", out, err, tt.want)
			}
		})
	}

	src := []byte("creation_rules:\n  - age: age1a\n")
	c := mustParse(t, Name, string(src))
	if _, err := c.AddKey(src, &Rule{}, NewKey{Name: "age1b"}); err == nil {
		t.Error("a rule of another config is taken")
	}
	if _, err := c.AddKey([]byte("creation_rules:\n  - age: age1x\n"), &c.Rules[0], NewKey{Name: "age1b"}); err == nil || !strings.Contains(err.Error(), "was changed meanwhile") {
		t.Errorf("another text: %v", err)
	}
	for _, odd := range []string{"# \u2028\n", "# \r# x\n", "# \u0085\n"} {
		src := append([]byte(odd+"\n"), src...)
		c := mustParse(t, Name, string(src))
		if _, err := c.AddKey(src, &c.Rules[0], NewKey{Name: "age1b"}); err == nil || !strings.Contains(err.Error(), "line breaks of an unusual kind") {
			t.Errorf("%q: %v", odd, err)
		}
	}
}

// randomConfig writes a config in one of very many ways.
func randomConfig(r *rand.Rand, sops bool) string {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	id := 0
	age := func() string { id++; return fmt.Sprintf("age1k%d", id) }
	quote := func(s string) string { return pick(s, s, "'"+s+"'", `"`+s+`"`) }
	comment := func() string { return pick("", "", "", "  # c", " # é, [x]: - 'y\"") }
	gap := func(margin string) string { return pick("", "", "", "\n", margin+"# line\n") }
	list := func(margin string) string {
		n := 1 + r.IntN(3)
		var b strings.Builder
		switch r.IntN(5) {
		case 0:
			inner := margin + pick("", "  ", "    ")
			b.WriteString(comment() + "\n")
			for range n {
				b.WriteString(inner + "-" + pick(" ", " ", "   ") + quote(age()) + comment() + "\n" + gap(inner))
			}
		case 1:
			b.WriteString(" [" + pick("", " "))
			for i := range n {
				b.WriteString(quote(age()))
				if i < n-1 {
					b.WriteString(pick(", ", ",", " , "))
				}
			}
			b.WriteString(pick("", " ", ",") + "]" + comment() + "\n")
		case 2:
			trailing := pick("", ",")
			b.WriteString(" [" + pick("", "  # first") + "\n")
			for i := range n {
				b.WriteString(margin + "  " + quote(age()))
				if i < n-1 {
					b.WriteString(",")
				} else {
					b.WriteString(trailing)
				}
				b.WriteString(comment() + "\n" + gap(margin+"  "))
			}
			b.WriteString(margin + "]" + comment() + "\n")
		case 3:
			var all []string
			for range n {
				all = append(all, age())
			}
			b.WriteString(" " + quote(strings.Join(all, pick(",", ", ", " , "))) + comment() + "\n")
		default:
			b.WriteString(" " + pick(">-", ">", "|", "|-") + comment() + "\n")
			trailing := pick("", ",")
			for i := range n {
				b.WriteString(margin + "  " + age())
				if i < n-1 {
					b.WriteString(",")
				} else {
					b.WriteString(trailing)
				}
				b.WriteString("\n")
			}
			b.WriteString(pick("", "\n"))
		}
		return b.String()
	}
	var b strings.Builder
	b.WriteString(pick("", "# é head\n", "---\n"))
	b.WriteString("creation_rules:" + comment() + "\n")
	outer := pick("", "  ")
	for range 1 + r.IntN(3) {
		margin := outer + "  "
		fields := []string{"path: x\n", "path_regex: y" + comment() + "\n"}[:1+r.IntN(2)]
		switch {
		case r.IntN(4) == 0:
			groups := pick("groups", "key_groups") + ":\n"
			for range 2 {
				if r.IntN(2) == 0 {
					groups += margin + "  - keys:" + list(margin+"    ")
				} else {
					groups += margin + "  - age: [" + quote(age()) + ", " + age() + "]\n"
				}
			}
			fields = append(fields, groups)
		default:
			names := []string{"keys", "age"}
			if r.IntN(2) == 0 {
				names = names[1:]
			}
			for _, name := range names {
				fields = append(fields, name+":"+list(margin))
			}
		}
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		for i, f := range fields {
			if i == 0 {
				b.WriteString(outer + "- " + f)
			} else {
				b.WriteString(gap(margin) + margin + f)
			}
		}
	}
	b.WriteString(pick("", "stores: {yaml: {indent: 2}}\n", "# end\n", "\n\n"))
	text := b.String()
	if r.IntN(4) == 0 {
		text = strings.TrimRight(text, "\n")
	}
	if r.IntN(4) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

// TestEditLaws adds keys to random configs, takes them out again, and takes others
// out.
func TestEditLaws(t *testing.T) {
	const n = 4000
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	add := []NewKey{
		{Name: "age1new"}, {Name: "age1new", Comment: "who"}, {Name: "ssh-ed25519 AAAA me"}, {Name: "pgp:" + fpr}, {Name: kms + "+" + role},
		{Name: "pkcs11:object=o;token=a"}, {Name: "pkcs11:object=o", Attrs: map[string]any{"public_key": pem, "mech": "rsa"}},
		{Name: kms, Attrs: map[string]any{"context": map[string]string{"a": "b"}}},
	}
	refused := 0
	for range n {
		file := Name
		if r.IntN(2) == 0 {
			file = SopsName
		}
		src := randomConfig(r, file == SopsName)
		c, err := parse(t, file, src)
		if err != nil {
			t.Fatalf("seed %d: the generator is broken: %v\n%s", seed, err, src)
		}
		rule := &c.Rules[r.IntN(len(c.Rules))]
		key := add[r.IntN(len(add))]
		if len(rule.Groups) > 1 {
			key.Group = 1 + r.IntN(len(rule.Groups))
		}
		got, err := c.AddKey([]byte(src), rule, key)
		if err != nil {
			// Attributes do not fit into a string.
			if !strings.Contains(err.Error(), "does not fit into a string") {
				t.Fatalf("seed %d: %v\n%s", seed, err, src)
			}
			refused++
			continue
		}
		if !inOrder(src, string(got)) {
			t.Fatalf("seed %d: bytes are lost\n%s\nbecame\n%s", seed, src, got)
		}
		d, err := Parse(c.Path, got)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s\nbecame\n%s", seed, err, src, got)
		}
		at := slices.IndexFunc(c.Rules, func(x Rule) bool { return x.Line == rule.Line })
		want := Key{Name: key.Name, Attrs: key.Attrs}
		back, removed, err := d.RemoveKey(got, &d.Rules[at], func(k Key) bool { return k.is(want) })
		if err != nil || len(removed) != 1 || string(back) != src {
			t.Fatalf("seed %d: %v, %v\n%s\nbecame\n%s\nand then\n%s", seed, removed, err, src, got, back)
		}

		group := rule.Groups[r.IntN(len(rule.Groups))]
		one := group[r.IntN(len(group))].Name
		back, _, err = c.RemoveKey([]byte(src), rule, named(one))
		switch {
		case len(group) == 1:
			if !errors.Is(err, ErrLastKey) {
				t.Fatalf("seed %d: the last key: %v\n%s", seed, err, src)
			}
		case err != nil:
			if !strings.Contains(err.Error(), "edit it by hand") {
				t.Fatalf("seed %d: removing %s: %v\n%s", seed, one, err, src)
			}
			refused++
		case !inOrder(string(back), src):
			t.Fatalf("seed %d: removing %s added something\n%s\nbecame\n%s", seed, one, src, back)
		}
	}
	t.Logf("%d of %d edits were refused", refused, n)
	if refused > n/4 {
		t.Errorf("%d of %d edits were refused", refused, n)
	}
}

// inOrder reports whether all bytes of a are in b, in their order.
func inOrder(a, b string) bool {
	for i := range len(b) {
		if a != "" && a[0] == b[i] {
			a = a[1:]
		}
	}
	return a == ""
}

func FuzzEditConfig(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		f.Add([]byte(randomConfig(r, i%2 == 0)), "age1new", uint8(i))
	}
	f.Add([]byte("a: &a {age: [&b age1a, !!str age1b]}\ncreation_rules:\n  - <<: *a\n  - age: [*b, 'age1c,age1d']\n  - ? keys\n    : - age1e\n"), "pgp:AA", uint8(2))
	f.Fuzz(func(t *testing.T, src []byte, name string, choice uint8) {
		file := []string{Name, SopsName}[choice%2]
		c, err := Parse(file, src)
		if err != nil || len(c.Rules) == 0 {
			return
		}
		rule := &c.Rules[int(choice/2)%len(c.Rules)]
		key := NewKey{Name: name, Comment: "c", Group: int(choice) % (len(rule.Groups) + 1)}
		if got, err := c.AddKey(src, rule, key); err == nil {
			d, err := Parse(file, got)
			if err != nil || len(d.Rules) != len(c.Rules) || !inOrder(string(src), string(got)) {
				t.Fatalf("adding %q damages\n%s\nto\n%s: %v", name, src, got, err)
			}
		} else if got != nil {
			t.Fatal("a text and an error")
		}
		for _, g := range rule.Groups {
			for _, k := range g {
				got, removed, err := c.RemoveKey(src, rule, named(k.Name))
				if err != nil {
					continue
				}
				d, err := Parse(file, got)
				if err != nil || len(d.Rules) != len(c.Rules) || len(removed) == 0 || !inOrder(string(got), string(src)) {
					t.Fatalf("removing %q damages\n%s\nto\n%s: %v", k.Name, src, got, err)
				}
			}
		}
	})
}
