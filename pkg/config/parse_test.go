package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// names returns the names of the keys of each group.
func names(groups [][]Key) [][]string {
	var all [][]string
	for _, g := range groups {
		var one []string
		for _, k := range g {
			one = append(one, k.Name)
		}
		all = append(all, one)
	}
	return all
}

func parse(t *testing.T, name, src string) (*Config, error) {
	t.Helper()
	c, err := Parse(filepath.Join(t.TempDir(), name), []byte(src))
	if err == nil && name == Name {
		if err := validates(src); err != nil {
			t.Errorf("docs/config.schema.json refuses what is accepted: %v in\n%.1000s", err, src)
		}
	}
	return c, err
}

func mustParse(t *testing.T, name, src string) *Config {
	t.Helper()
	c, err := parse(t, name, src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRuleKeys(t *testing.T) {
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/aa"
	tests := []struct {
		name string
		rule string // the fields of the one rule
		want [][]string
	}{
		{"age string", `age: age1a`, [][]string{{"age1a"}}},
		{"age with commas, spaces and a trailing comma", `age: "age1a, age1b,"`, [][]string{{"age1a", "age1b"}}},
		{"age list", `age: [age1a, "age1b,age1c"]`, [][]string{{"age1a", "age1b", "age1c"}}},
		{"age folded", "age: >-\n      age1a,\n      age1b", [][]string{{"age1a", "age1b"}}},
		{"ssh", `age: ssh-ed25519 AAAA me@here`, [][]string{{"ssh-ed25519 AAAA me@here"}}},
		{"pgp without its spaces", `pgp: "85D7 7543, ABCD"`, [][]string{{"pgp:85D77543", "pgp:ABCD"}}},
		{"pgp that looks like a number", `pgp: 1234567890123456789012345678901234567890`, [][]string{{"pgp:1234567890123456789012345678901234567890"}}},
		{"pgp list", `pgp: [AA, BB]`, [][]string{{"pgp:AA", "pgp:BB"}}},
		{"kms", `kms: ` + arn, [][]string{{arn}}},
		{"kms list", `kms: [` + arn + `1, ` + arn + `2]`, [][]string{{arn + "1", arn + "2"}}},
		{"kms with a role", `kms: ` + arn + `+arn:aws:iam::1:role/r`, [][]string{{arn + "+arn:aws:iam::1:role/r"}}},
		{"gcp", `gcp_kms: projects/p/locations/l/keyRings/r/cryptoKeys/k`, [][]string{{"gcp-kms:projects/p/locations/l/keyRings/r/cryptoKeys/k"}}},
		{"azure", `azure_keyvault: https://v.vault.azure.net/keys/k/1,https://v.vault.azure.net/keys/k/`, [][]string{{"azure-kv:https://v.vault.azure.net/keys/k/1", "azure-kv:https://v.vault.azure.net/keys/k"}}},
		{"vault", `hc_vault_transit_uri: [https://v:8200/v1/transit/keys/k]`, [][]string{{"hc-vault:https://v:8200/v1/transit/keys/k"}}},
		{"hckms", `hckms: ["cn-north-1:aaaa"]`, [][]string{{"hckms:cn-north-1:aaaa"}}},
		{"the order of a group is sops's", "hckms: ['r:h']\n    azure_keyvault: https://a/keys/k\n    hc_vault_transit_uri: https://v/v1/t/keys/k\n    gcp_kms: projects/g\n    kms: arn:k\n    pgp: P\n    age: age1a\n    keys: [pkcs11:object=o]",
			[][]string{{"pkcs11:object=o", "age1a", "pgp:P", "arn:k", "gcp-kms:projects/g", "hckms:r:h", "azure-kv:https://a/keys/k", "hc-vault:https://v/v1/t/keys/k"}}},
		{"duplicates in flat lists", `age: age1a,age1b,age1a`, [][]string{{"age1a", "age1b"}}},

		{"keys", `keys: [age1a, "pgp:AB CD", "pkcs11:token=a,b;object=c"]`, [][]string{{"age1a", "pgp:ABCD", "pkcs11:token=a,b;object=c"}}},
		{"keys in one string", `keys: age1a, age1b`, [][]string{{"age1a", "age1b"}}},
		{"keys as maps", "keys:\n      - uri: pkcs11:object=o\n        mech: rsa-oaep-sha256\n      - age1a", [][]string{{"pkcs11:object=o", "age1a"}}},
		{"keys with a role", "keys:\n      - {uri: '" + arn + "', role: 'arn:aws:iam::1:role/r'}", [][]string{{arn + "+arn:aws:iam::1:role/r"}}},
		{"groups of lists", `groups: [[age1a, age1b], [age1c]]`, [][]string{{"age1a", "age1b"}, {"age1c"}}},
		{"groups of maps", "groups:\n      - keys: [age1a]\n      - keys: age1b,age1c", [][]string{{"age1a"}, {"age1b", "age1c"}}},

		{"key_groups", "key_groups:\n      - age: [age1a]\n        pgp: [AA]\n      - kms:\n          - arn: arn:k\n        hc_vault: [https://v]\n        gcp_kms:\n          - resource_id: projects/g\n        hckms:\n          - key_id: 'r:h'\n        azure_keyvault:\n          - {vaultUrl: 'https://v/', key: k, version: '1'}\n          - {vaultUrl: 'https://v', key: k}",
			[][]string{{"age1a", "pgp:AA"}, {"arn:k", "gcp-kms:projects/g", "hckms:r:h", "azure-kv:https://v/keys/k/1", "azure-kv:https://v/keys/k", "hc-vault:https://v"}}},
		{"merge comes first, goes deep, drops duplicates", "key_groups:\n      - age: [age1a, age1d]\n        merge:\n          - age: [age1b]\n            merge:\n              - age: [age1c, age1a]\n          - pgp: [AA]",
			[][]string{{"age1c", "age1a", "age1b", "pgp:AA", "age1d"}}},
		{"no key_groups after all", "key_groups: []\n    age: age1a", [][]string{{"age1a"}}},
	}
	for _, tt := range tests {
		for _, file := range []string{Name, SopsName} {
			t.Run(tt.name+" in "+file, func(t *testing.T) {
				c := mustParse(t, file, "creation_rules:\n  - "+tt.rule+"\n")
				if got := names(c.Rules[0].Groups); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got  %q\nwant %q", got, tt.want)
				}
			})
		}
	}
}

func TestKeyAttributes(t *testing.T) {
	c := mustParse(t, Name, `creation_rules:
  - path: a
    kms: arn:one+arn:role
    aws_profile: prof
  - path: b
    key_groups:
      - kms:
          - arn: arn:one
            role: arn:role
            aws_profile: other
            context: {App: web, Port: 80}
          - arn: arn:one
            context: {App: web}
          - arn: arn:one
            context: {App: web}
  - path: c
    keys:
      - uri: pkcs11:object=o
        mech: rsa-oaep-sha256
        public_key: |
          -----BEGIN PUBLIC KEY-----
          AAAA
          -----END PUBLIC KEY-----
`)
	want := [][]Key{
		{{Name: "arn:one+arn:role", Line: 3, Attrs: map[string]any{"role": "arn:role", "aws_profile": "prof"}}},
		{
			{Name: "arn:one+arn:role", Line: 8, Attrs: map[string]any{"role": "arn:role", "aws_profile": "other", "context": map[string]string{"App": "web", "Port": "80"}}},
			{Name: "arn:one", Line: 12, Attrs: map[string]any{"context": map[string]string{"App": "web"}}},
		},
		{{Name: "pkcs11:object=o", Line: 18, Attrs: map[string]any{
			"mech":       "rsa-oaep-sha256",
			"public_key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
		}}},
	}
	for i, w := range want {
		if got := c.Rules[i].Groups[0]; !reflect.DeepEqual(got, w) {
			t.Errorf("rule %d:\ngot  %+v\nwant %+v", i, got, w)
		}
	}
}

func TestRuleFields(t *testing.T) {
	c := mustParse(t, Name, `creation_rules:
  - age: age1a
    path_regex: a
    path: [b, "!c"]
    shamir_threshold: 1
    mac_only_encrypted: yes
    integrity: sealed
    encrypted_regex: ^x$
  - {age: age1a, unencrypted_suffix: s}
  - {age: age1a, encrypted_suffix: s}
  - {age: age1a, unencrypted_regex: s}
  - {age: age1a, unencrypted_comment_regex: s}
  - {age: age1a, encrypted_comment_regex: s}
  - {age: age1a, unencrypted_regex: ""}
  - {groups: [[age1a], [age1b], [age1c]], shamir_threshold: 2}
destination_rules:
  - s3_bucket: b
    anything: at all
stores: {yaml: {indent: 2}, json: {indent: 0}, ini: {}}
exec: {keep_env: [PATH, HOME], pristine: true, only: "A, B", prefix: P_, mask: off}
`)
	keys := func(names ...string) (g []Key) {
		for _, n := range names {
			g = append(g, Key{Name: n})
		}
		return g
	}
	one := [][]Key{keys("age1a")}
	want := []Rule{
		{Line: 2, Groups: one, PathRegex: "a", Path: []string{"b", "!c"}, Threshold: 1, MACOnlyEncrypted: true, Sealed: true, EncryptedRegex: "^x$"},
		{Line: 9, Groups: one, UnencryptedSuffix: "s"},
		{Line: 10, Groups: one, EncryptedSuffix: "s"},
		{Line: 11, Groups: one, UnencryptedRegex: "s"},
		{Line: 12, Groups: one, UnencryptedCommentRegex: "s"},
		{Line: 13, Groups: one, EncryptedCommentRegex: "s"},
		{Line: 14, Groups: one},
		{Line: 15, Groups: [][]Key{keys("age1a"), keys("age1b"), keys("age1c")}, Threshold: 2},
	}
	for i := range c.Rules {
		r := c.Rules[i]
		r.regex, r.globs = nil, nil
		for _, g := range r.Groups {
			for j := range g {
				g[j].Line = 0
			}
		}
		if !reflect.DeepEqual(r, want[i]) {
			t.Errorf("rule %d:\ngot  %+v\nwant %+v", i, r, want[i])
		}
	}
	if len(c.Rules) != len(want) {
		t.Errorf("%d rules, want %d", len(c.Rules), len(want))
	}
	if want := (Stores{YAMLIndent: 2, JSONIndent: 0, JSONBinaryIndent: -1}); c.Stores != want {
		t.Errorf("stores %+v, want %+v", c.Stores, want)
	}
	exec := map[string]any{"keep_env": []string{"PATH", "HOME"}, "pristine": true, "only": []string{"A", "B"}, "prefix": "P_", "mask": false}
	if !reflect.DeepEqual(c.Exec, exec) {
		t.Errorf("exec %v, want %v", c.Exec, exec)
	}
	if c.Sealed {
		t.Error("one sealed rule made the whole config sealed")
	}
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, SopsName, "creation_rules: [{age: age1a}]\nstores: {yaml: {indent: 0}}\nexec: {keep_env: true}\nintegrity: sealed\n")
	if want := (Stores{YAMLIndent: 4, JSONIndent: -1, JSONBinaryIndent: -1}); c.Stores != want {
		t.Errorf("stores %+v, want %+v", c.Stores, want)
	}
	if !c.Sealed || !c.Rules[0].Sealed {
		t.Error("integrity at the top does not reach the rules")
	}
	if c.Exec["keep_env"] != true {
		t.Errorf("exec %v", c.Exec)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	c := mustParse(t, SopsName, `keys:
  - &alice age1a
  - &bob age1b
  - &team
    age: *alice
    encrypted_regex: ^x$
x-more: {a: 1, a: 2}
creation_rules:
  - path_regex: one
    <<: *team
    age: *bob
  - <<: [{path_regex: two}, *team]
    <<more: ignored
  - key_groups:
      - age: [*alice, *bob]
  - &self
    path_regex: four
    age: age1a
  - *self
`)
	if got, want := names(c.Rules[0].Groups), [][]string{{"age1b"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("an explicit field lost to a merged one: %q", got)
	}
	if r := c.Rules[1]; r.PathRegex != "two" || r.EncryptedRegex != "^x$" || r.Groups[0][0].Name != "age1a" {
		t.Errorf("list of merges: %+v", r)
	}
	if got, want := names(c.Rules[2].Groups), [][]string{{"age1a", "age1b"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("aliases in a group: %q", got)
	}
	if len(c.Rules) != 5 || c.Rules[4].PathRegex != "four" {
		t.Errorf("a rule that is an alias: %+v", c.Rules)
	}
}

func TestErrors(t *testing.T) {
	const rule = "creation_rules:\n  - age: age1a\n"
	tests := []struct {
		name  string
		file  string // "" for both
		src   string
		line  int
		field string
		msg   string // in the message
	}{
		{"empty", Name, "", 0, "creation_rules", "missing"},
		{"only a comment", Name, "# hello\n", 0, "creation_rules", "missing"},
		{"null rules", Name, "creation_rules:\n", 1, "creation_rules", "no value"},
		{"empty rules", "", "creation_rules: []\n", 1, "creation_rules", "has no rule"},
		{"rules are a map", "", "creation_rules:\n  age: a\n", 2, "creation_rules", "must be a list"},
		{"a rule is a string", "", "creation_rules:\n  - age1a\n", 2, "creation_rules", "must be a map"},
		{"the file is a list", "", "- a\n", 1, "", "must be a map"},
		{"not YAML", "", "creation_rules: [\n", 0, "", "not valid YAML"},
		{"not YAML, with a line", "", "a: b\nc: 'x\n", 2, "", "not valid YAML"},
		{"unknown alias", "", "a: *nobody\n", 0, "", "unknown anchor"},
		{"second document", Name, rule + "---\na: 1\n", 3, "", "second YAML document"},

		{"typing error at the top", Name, rule + "store: {}\n", 3, "", `"store"; did you mean "stores"?`},
		{"typing error in a rule", Name, rule + "    path_regx: a\n", 3, "", `did you mean "path_regex"?`},
		{"hyphens in a rule", Name, rule + "    mac-only-encrypted: true\n", 3, "", `did you mean "mac_only_encrypted"?`},
		{"letter case in a rule", Name, rule + "    Encrypted_Regex: a\n", 3, "", `did you mean "encrypted_regex"?`},
		{"unlike anything", Name, rule + "exec: {colour: 1}\n", 3, "", "known here: keep_env, mask, only, prefix, pristine"},
		{"unknown in a group", Name, "creation_rules:\n  - key_groups:\n      - agee: [a]\n", 3, "", `did you mean "age"?`},
		{"unknown in a key", Name, "creation_rules:\n  - keys:\n      - uri: a\n        mechanism: m\n", 4, "", `unknown field "mechanism"`},
		{"unknown in stores", Name, rule + "stores: {yaml: {indnt: 2}}\n", 3, "", `did you mean "indent"?`},
		{"a field that is a list", Name, rule + "? [a]\n: b\n", 3, "", "name of a field"},

		{"the same field twice", "", "creation_rules:\n  - age: age1a\n    age: age1b\n", 3, "", `"age" is given twice`},
		{"the same field twice at the top", "", rule + "creation_rules: []\n", 3, "", `"creation_rules" is given twice`},
		{"two selectors", "", rule + "    encrypted_regex: a\n    unencrypted_suffix: b\n", 4, "unencrypted_suffix", "already has encrypted_regex"},
		{"bad path_regex", "", rule + "    path_regex: a(b\n", 3, "path_regex", `"a(b": missing closing )`},
		{"path_regex of another dialect", "", rule + "    path_regex: (?!x)\n", 3, "path_regex", "invalid"},
		{"bad selector regex", "", rule + "    unencrypted_comment_regex: '['\n", 3, "unencrypted_comment_regex", "missing closing ]"},
		{"path_regex is a list", "", rule + "    path_regex: [a]\n", 3, "path_regex", "must be a string"},
		{"bad glob", "", rule + "    path:\n      - ok\n      - '[a'\n", 5, "path", "never closed"},
		{"only exclusions", "", rule + "    path: '!a'\n", 3, "path", "no pattern that covers anything"},
		{"empty path list", "", rule + "    path: []\n", 3, "path", "no pattern"},
		{"empty path", "", rule + "    path: ''\n", 3, "path", "empty string"},
		{"null path", Name, rule + "    path:\n", 3, "path", "no value"},
		{"null path_regex", Name, rule + "    path_regex: ~\n", 3, "path_regex", "no value"},
		{"not a boolean", "", rule + "    mac_only_encrypted: perhaps\n", 3, "mac_only_encrypted", "true or false"},
		{"integrity", "", rule + "    integrity: none\n", 3, "integrity", `must be "sealed"`},
		{"integrity of all", "", rule + "integrity: true\n", 3, "integrity", `must be "sealed"`},

		{"negative threshold", "", rule + "    shamir_threshold: -1\n", 3, "shamir_threshold", "from 0 to 255"},
		{"threshold in words", "", rule + "    shamir_threshold: two\n", 3, "shamir_threshold", "whole number"},
		{"threshold of a flat rule", Name, rule + "    shamir_threshold: 2\n", 3, "shamir_threshold", "2 groups are asked for, but the rule has 1"},
		{"threshold of groups", Name, "creation_rules:\n  - groups: [[age1a], [age1b]]\n    shamir_threshold: 3\n", 3, "shamir_threshold", "3 groups are asked for, but the rule has 2"},
		{"threshold 1", Name, "creation_rules:\n  - groups: [[age1a], [age1b]]\n    shamir_threshold: 1\n", 3, "shamir_threshold", "one group with all the keys"},
		{"no key", Name, "creation_rules:\n  - path: a\n", 2, "keys", "no key"},
		{"no key in a list", Name, "creation_rules:\n  - keys: []\n", 2, "keys", "no key"},
		{"empty group", Name, "creation_rules:\n  - groups: [[age1a], []]\n", 2, "groups", "group 2 of this rule has no key"},
		{"keys and groups", "", "creation_rules:\n  - keys: [age1a]\n    groups: [[age1b]]\n", 2, "groups", "has keys as well"},
		{"flat lists and key_groups", Name, "creation_rules:\n  - age: age1a\n    key_groups: [{age: [age1b]}]\n", 2, "key_groups", "would not be used"},
		{"aws_profile and key_groups", Name, "creation_rules:\n  - aws_profile: p\n    key_groups: [{age: [age1b]}]\n", 2, "aws_profile", "would not be used"},
		{"groups and key_groups", "", "creation_rules:\n  - groups: [[age1a]]\n    key_groups: [{age: [age1b]}]\n", 3, "key_groups", "already has groups"},
		{"too many groups", Name, "creation_rules:\n  - groups: [" + strings.Repeat("[age1a],", 256) + "]\n", 2, "groups", "at most 255"},

		{"age of another kind", Name, "creation_rules:\n  - age: arn:aws\n", 2, "age", "not an age recipient"},
		{"kms of another kind", Name, "creation_rules:\n  - kms: alias/foo\n", 2, "kms", "begins with arn:"},
		{"a map of keys", "", "creation_rules:\n  - keys: {uri: a}\n", 2, "keys", "list of keys"},
		{"age as a map", "", "creation_rules:\n  - age: [{recipient: a}]\n", 2, "age", "must be a string"},
		{"a list within a list", "", "creation_rules:\n  - keys: [[age1a]]\n", 2, "keys", "must be a string"},
		{"a key without uri", "", "creation_rules:\n  - keys: [{mech: m}]\n", 2, "keys", "no uri"},
		{"a null key", "", "creation_rules:\n  - keys: [~]\n", 2, "keys", "no value"},
		{"an azure key without name", "", "creation_rules:\n  - key_groups: [{azure_keyvault: [{vaultUrl: https://v}]}]\n", 2, "azure_keyvault", "no key"},
		{"two roles", "", "creation_rules:\n  - key_groups: [{kms: [{arn: arn:a+arn:b, role: arn:c}]}]\n", 2, "kms", "two roles"},
		{"context without value", "", "creation_rules:\n  - key_groups: [{kms: [{arn: arn:a, context: {a: }}]}]\n", 2, "context", "no value"},
		{"a key of two lines", "", "creation_rules:\n  - keys: [\"age1a\\nage1b\"]\n", 2, "keys", "one line"},
		{"an escape sequence in a key", "", "creation_rules:\n  - pgp: \"A\\eB\"\n", 2, "pgp", "control characters"},
		{"a module", "", "creation_rules:\n  - keys: [{uri: 'pkcs11:', module: /x.so}]\n", 2, "module", "never read from here"},
		{"a module in the URI", "", "creation_rules:\n  - keys: ['pkcs11:object=o?module-path=/x.so']\n", 2, "keys", "does not belong"},
		{"indent", "", rule + "stores: {yaml: {indent: -1}}\n", 3, "yaml.indent", "from 0 to 64"},
		{"huge indent", "", rule + "stores: {json: {indent: 1000000000}}\n", 3, "json.indent", "from -1 to 64"},
		{"exec list", "", rule + "exec: [a]\n", 3, "exec", "must be a map"},
		{"exec flag", "", rule + "exec: {mask: maybe}\n", 3, "mask", "true or false"},
		{"exec prefix", "", rule + "exec: {prefix: [a]}\n", 3, "prefix", "must be a string"},
		{"exec names", "", rule + "exec: {only: {a: b}}\n", 3, "only", "must be a list"},
	}
	for _, tt := range tests {
		files := []string{tt.file}
		if tt.file == "" {
			files = []string{Name, SopsName}
		}
		for _, file := range files {
			t.Run(tt.name+" in "+file, func(t *testing.T) {
				_, err := parse(t, file, tt.src)
				var e *Error
				if !errors.As(err, &e) {
					t.Fatalf("got %v, want an *Error", err)
				}
				if tt.line != e.Line && tt.line != 0 || tt.field != e.Field || !strings.Contains(e.Msg, tt.msg) {
					t.Errorf("got %d, %q, %q\nwant %d, %q, …%s…", e.Line, e.Field, e.Msg, tt.line, tt.field, tt.msg)
				}
				if want := file + ":"; !strings.Contains(err.Error(), want) {
					t.Errorf("the message does not name the file: %s", err)
				}
			})
		}
	}
}

// What sops ignores, or minds only in the rule that it uses, is no error in its
// file for the files that the broken rule does not cover.
func TestSopsConfigIsReadAsSopsDoes(t *testing.T) {
	for name, broken := range map[string]string{
		"no key":             `{path_regex: broken}`,
		"empty group":        `{path_regex: broken, key_groups: [{age: [age1a]}, {}]}`,
		"threshold":          `{path_regex: broken, age: age1a, shamir_threshold: 2}`,
		"not an ARN":         `{path_regex: broken, kms: foo}`,
		"not age":            `{path_regex: broken, age: foo}`,
		"unknown and empty":  `{path_regex: broken, colour: green, age: }`,
		"null rule contents": `{path_regex: broken, kms: , pgp: ~, key_groups: , shamir_threshold: }`,
	} {
		t.Run(name, func(t *testing.T) {
			c := mustParse(t, SopsName, "creation_rules:\n  - "+broken+"\n  - age: age1a\n")
			if r, err := c.Match(filepath.Join(c.Dir, "fine.yaml")); err != nil || r.Line != 3 {
				t.Errorf("another rule's file: %v, %v", r, err)
			}
			var e *Error
			if r, err := c.Match(filepath.Join(c.Dir, "broken.yaml")); !errors.As(err, &e) || e.Line != 2 {
				t.Errorf("the broken rule's file: %v, %v", r, err)
			}
			if _, err := parse(t, Name, "creation_rules:\n  - "+broken+"\n"); err == nil {
				t.Error("accepted in " + Name)
			}
		})
	}
	t.Run("flat lists beside key_groups", func(t *testing.T) {
		c := mustParse(t, SopsName, "creation_rules:\n  - age: age1a\n    key_groups: [{age: [age1b]}]\n")
		if got, want := names(c.Rules[0].Groups), [][]string{{"age1b"}}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("no rules at all", func(t *testing.T) {
		for _, src := range []string{"", "creation_rules:\n", "destination_rules: []\n"} {
			c := mustParse(t, SopsName, src)
			var none *NoRuleError
			if _, err := c.Match("x"); !errors.As(err, &none) || !strings.Contains(err.Error(), "has no creation_rules") {
				t.Errorf("%q: %v", src, err)
			}
		}
	})
	t.Run("other names", func(t *testing.T) {
		for file, strict := range map[string]bool{"sops-prod.yaml": false, "prod.yaml": true, ".kenv.yaml": true} {
			_, err := parse(t, file, "colour: green\ncreation_rules: [{age: age1a}]\n")
			if (err != nil) != strict {
				t.Errorf("%s: %v", file, err)
			}
		}
	})
}

// A secret that was pasted into a config is refused, and not repeated.
func TestSecretsAreRefused(t *testing.T) {
	const secret = "QQTOPSECRETQQ"
	for name, field := range map[string]string{
		"identity":             `age: AGE-SECRET-KEY-1` + secret,
		"identity, lower case": `keys: [age-secret-key-1` + strings.ToLower(secret) + `]`,
		"plugin identity":      `keys: [AGE-PLUGIN-YUBIKEY-1` + secret + `]`,
		"private key":          "keys:\n      - |\n        -----BEGIN OPENSSH PRIVATE KEY-----\n        " + secret,
		"private key as public": "keys:\n      - uri: pkcs11:object=o\n        public_key: |\n          -----BEGIN PRIVATE KEY-----\n          " +
			secret,
		"PIN in the URI": `keys: ["pkcs11:object=o?pin-value=` + secret + `"]`,
		"PIN":            `keys: [{uri: "pkcs11:object=o", pin: ` + secret + `}]`,
		"wrong field":    `kms: ` + secret + "\n    age: " + secret,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, Name, "creation_rules:\n  - "+field+"\n")
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(strings.ToUpper(err.Error()), secret) {
				t.Errorf("repeated: %v", err)
			}
		})
	}
}

func TestNoControlCharactersInErrors(t *testing.T) {
	for _, src := range []string{
		"\"\\e[31m\": 1\n",
		"\"\\e[31m\": 1\n\"\\e[31m\": 1\n",
		"creation_rules:\n  - path: \"\\e[31m[\"\n",
		"creation_rules:\n  - path_regex: \"\\e[31m(\"\n",
		"creation_rules:\n  - keys: [\"\\e[31m\"]\n",
		"integrity: \"\\e[31m\"\n",
		"creation_rules:\n  - keys: [{uri: arn:a, context: {\"\\e[31m\": }}]\n",
	} {
		_, err := parse(t, Name, src)
		if err == nil {
			t.Errorf("%q: accepted", src)
		} else if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q: raw control character in %q", src, err)
		}
	}
}

func wideMap(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "x%d: ,", i)
	}
	return b.String()
}

// hostile is texts that are small to write and meant to be large to read, each
// with what stops them.
func hostile() map[string][2]string {
	var laughs strings.Builder
	laughs.WriteString("destination_rules:\n  a0: &a0 [{age: [age1a]}]\n")
	for i := 1; i < 25; i++ {
		fmt.Fprintf(&laughs, "  a%d: &a%d [{merge: *a%d}, {merge: *a%d}]\n", i, i, i-1, i-1)
	}
	laughs.WriteString("creation_rules: [{key_groups: *a24}]\n")
	var wide strings.Builder
	wide.WriteString("destination_rules: &a [" + strings.Repeat("age1a,", 10000) + "]\ncreation_rules:\n")
	for range 10000 {
		wide.WriteString("  - keys: *a\n")
	}
	var mergeBomb strings.Builder
	mergeBomb.WriteString("destination_rules:\n  m0: &m0 {age: age1a}\n")
	for i := 1; i < 25; i++ {
		fmt.Fprintf(&mergeBomb, "  m%d: &m%d {<<: [*m%d, *m%d]}\n", i, i, i-1, i-1)
	}
	mergeBomb.WriteString("creation_rules: [*m24]\n")
	aliases := strings.Repeat("*a,", 100000)
	return map[string][2]string{
		"a long key, often":  {"destination_rules: &a " + strings.Repeat("A", 500000) + "\ncreation_rules: [{pgp: [" + aliases + "]}]\n", "too large"},
		"many keys, often":   {"destination_rules: &a '" + strings.Repeat("A,", 250000) + "'\ncreation_rules: [{pgp: [" + aliases + "]}]\n", "too many keys"},
		"a long name, often": {"destination_rules: &a {" + strings.Repeat("A", 1000) + ": 1}\ncreation_rules: [{<<: [" + aliases + "]}]\n", "too large"},
		"a wide map, often":  {"destination_rules: &a {" + wideMap(50000) + "}\ncreation_rules: [{<<: [" + aliases + "]}]\n", "too large"},
		"billion laughs":     {laughs.String(), "too large"},
		"wide aliases":       {wide.String(), "too large"},
		"bomb of merges":     {mergeBomb.String(), "too large"},
		"an alias to itself": {"creation_rules: [{key_groups: &a [{merge: *a}]}]\n", "nested more"},
		"a merge of itself":  {"creation_rules: [&a {<<: *a, age: age1a, path_regex: '('}]\n", "path_regex"},
		"nested lists":       {"creation_rules: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "must be a map"},
		"nested merges":      {"creation_rules: [{key_groups: [" + strings.Repeat("{merge: [", 2000) + strings.Repeat("]}", 2000) + "]}]", "nested more"},
		"large expressions":  {"creation_rules:\n" + strings.Repeat("  - {age: age1a, path_regex: '"+strings.Repeat(".{1000}", 100)+"'}\n", 1000), "too large together"},
		"large glob":         {"creation_rules: [{age: age1a, path: '" + strings.Repeat("[a-z]*", 100000) + "'}]\n", "too long"},
		"open brackets":      {strings.Repeat("[", maxSize), "max depth"},
		"open braces":        {strings.Repeat("{", maxSize), "max depth"},
		"dashes":             {strings.Repeat("- ", maxSize/2), "max depth"},
		"questions":          {strings.Repeat("? ", maxSize/2), "max depth"},
		"comments":           {strings.Repeat("#\n", maxSize/2-10) + "(", "must be a map"},
		"tags":               {"%YAML 1.1\n" + strings.Repeat("%TAG !a! x\n", 50000) + "---\ncreation_rules: []\n", "%TAG"},
		"too large":          {strings.Repeat("\n", maxSize+1), "larger than"},
		"many rules":         {"creation_rules: [" + strings.Repeat("{age: age1a},", 70000) + "]\n", "more than 8192"},
		"zero bytes":         {strings.Repeat("\x00", 1000), "control characters"},
		"not UTF-8":          {"a: \xff\xfe\xfd\n", "UTF-8"},
	}
}

func TestHostile(t *testing.T) {
	for name, test := range hostile() {
		src, want := test[0], test[1]
		for _, file := range []string{Name, SopsName} {
			t.Run(name+" in "+file, func(t *testing.T) {
				start := time.Now()
				_, err := parse(t, file, src)
				strange := file == Name && strings.Contains(fmt.Sprint(err), "unknown field")
				if err == nil || !strings.Contains(err.Error(), want) && !strange {
					t.Errorf("got %.200q, want …%s…", fmt.Sprint(err), want)
				}
				if d := time.Since(start); d > 30*time.Second {
					t.Errorf("took %v", d)
				}
			})
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, Name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Load(dir); err == nil {
		t.Error("a directory was read")
	}
	path := filepath.Join(dir, Name)
	for _, n := range []int{maxSize - 100, maxSize + 1, 50 * maxSize} {
		src := "creation_rules: [{age: age1a}]\n#"
		if err := os.WriteFile(path, []byte(src+strings.Repeat("x", n-len(src))), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if small := n <= maxSize; (err == nil) != small {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := os.Stat("/dev/zero"); err == nil {
		if _, err := Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than") {
			t.Errorf("/dev/zero: %v", err)
		}
	}
}

func FuzzLoad(f *testing.F) {
	for _, test := range hostile() {
		if len(test[0]) < 5000 {
			f.Add([]byte(test[0]))
		}
	}
	f.Add(Render([]string{"age1a", "ssh-ed25519 AAAA"}))
	f.Add([]byte("creation_rules:\n  - {path: ['*.y[a-z]?', '!/b/**'], path_regex: ^a, age: age1a, encrypted_regex: x}\n"))
	f.Add([]byte("a: &a {age: age1a}\ncreation_rules:\n  - <<: *a\n    shamir_threshold: 1\n  - key_groups: [{merge: [*a], kms: [{arn: arn:a, context: {a: b}}]}]\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, file := range []string{Name, SopsName} {
			c, err := Parse(file, src)
			if err != nil {
				continue
			}
			for i := range c.Rules {
				r := &c.Rules[i]
				set := 0
				for _, expr := range []string{r.UnencryptedRegex, r.EncryptedRegex, r.UnencryptedCommentRegex, r.EncryptedCommentRegex, r.PathRegex} {
					if _, err := regexp.Compile(expr); err != nil {
						t.Errorf("loaded with a bad expression: %v", err)
					}
				}
				for _, s := range []string{r.UnencryptedRegex, r.EncryptedRegex, r.UnencryptedCommentRegex, r.EncryptedCommentRegex, r.UnencryptedSuffix, r.EncryptedSuffix} {
					if s != "" {
						set++
					}
				}
				if set > 1 {
					t.Errorf("%d selectors", set)
				}
				if len(r.Path) != len(r.globs) {
					t.Errorf("%d patterns, %d globs", len(r.Path), len(r.globs))
				}
				if r.fault != nil {
					if file == Name {
						t.Error("a rule with a fault was loaded")
					}
					continue
				}
				if len(r.Groups) == 0 || r.Threshold < 0 || r.Threshold > len(r.Groups) {
					t.Errorf("threshold %d of %d", r.Threshold, len(r.Groups))
				}
				for _, g := range r.Groups {
					if len(g) == 0 {
						t.Error("an empty group")
					}
					for _, k := range g {
						if k.Name == "" || strings.ContainsAny(k.Name, "\n\x1b") {
							t.Errorf("key %q", k.Name)
						}
					}
				}
			}
			for _, name := range []string{"a", "b/c.yaml", "/elsewhere/x"} {
				r, err := c.Match(name)
				if (r == nil) == (err == nil) {
					t.Errorf("Match(%q) = %v, %v", name, r, err)
				}
			}
		}
	})
}
