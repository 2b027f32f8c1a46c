package envelope

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/keys"
)

// tamperSource has one of everything that a file can be tampered with. Its second
// recipient and its selector are the policy's.
const tamperSource = `# note
user: alice
pin: 4821
flag: True
ratio: 1.50
db:
    # first
    pass: s3cr3t  # inline
    hosts:
        - h1
        - h2
    twins:
        - same
        - same
flow: [a, b]
quoted: "x y"
anchored: &here v
tagged: !vault v
copy: *here
"1": one
long: |
    two
    lines
blank: ""
nothing: null
none: {}
open_unencrypted: abcd
open2_unencrypted: efgh
num_unencrypted: 12
yes_unencrypted: "yes"
nested_unencrypted:
    k: v
base_unencrypted:
    "<<": {k: v}
# between
last: z
---
second: two
null2: ~
---
~
`

var tamperPolicy = func() Policy {
	p := testPolicy
	p.Groups = [][]keys.MasterKey{{clearKey("one"), clearKey("two")}}
	return p
}()

// A tampering is a change to a sealed text by somebody without its data key.
type tampering struct {
	name string
	make func(sealed string) string
	// sops says that section 9 of the format's description, or a vector under
	// negative/OK-, has sops accept it.
	sops bool
}

// sub replaces the first match of a multi-line regular expression.
func sub(pattern, with string) func(string) string {
	re := regexp.MustCompile("(?m)" + pattern)
	return func(s string) string {
		at := re.FindStringSubmatchIndex(s)
		if at == nil {
			return s
		}
		return s[:at[0]] + string(re.ExpandString(nil, with, s, at)) + s[at[1]:]
	}
}

// swap exchanges the first two groups of the first match.
func swap(pattern string) func(string) string {
	re := regexp.MustCompile("(?m)" + pattern)
	return func(s string) string {
		at := re.FindStringSubmatchIndex(s)
		if at == nil {
			return s
		}
		return s[:at[2]] + s[at[4]:at[5]] + s[at[3]:at[4]] + s[at[2]:at[3]] + s[at[5]:]
	}
}

// then does one after the other; a step that changes nothing undoes all.
func then(steps ...func(string) string) func(string) string {
	return func(s string) string {
		start := s
		for _, f := range steps {
			next := f(s)
			if next == s {
				return start
			}
			s = next
		}
		return s
	}
}

// move cuts the first match and puts it after the first match of after.
func move(pattern, after string) func(string) string {
	re := regexp.MustCompile("(?m)" + pattern)
	return func(s string) string {
		at := re.FindStringIndex(s)
		if at == nil {
			return s
		}
		cut := s[at[0]:at[1]]
		return sub("("+after+")", "${1}"+strings.ReplaceAll(cut, "$", "$$"))(s[:at[0]] + s[at[1]:])
	}
}

const tok = `ENC\[[^]]*\]`

// yamlTamperings are the matrix for YAML. The first block is negative/ of the
// vectors, in its order.
var yamlTamperings = []tampering{
	{"flip-data", sub(`(user: ENC.*data:)(....)`, "${1}////"), false},
	{"flip-tag", sub(`(user: ENC.*tag:)(....)`, "${1}////"), false},
	{"flip-iv", sub(`(user: ENC.*iv:)(....)`, "${1}////"), false},
	{"bad-base64", sub(`(user: ENC.*data:)`, "${1}!"), false},
	{"rename-encrypted-key", sub(`^user:`, "usar:"), false},
	{"plaintext-for-encrypted", sub(`^user: .*`, "user: plain"), false},
	{"number-for-encrypted", sub(`^user: .*`, "user: 5"), false},
	{"remove-encrypted-key", sub(`^user: .*\n`, ""), false},
	{"null-for-encrypted", sub(`^user: .*`, "user: null"), false},
	{"empty-for-encrypted", sub(`^user: .*`, `user: ""`), false},
	{"swap-list-items", swap(`hosts:\n +- (.*)\n +- (.*)`), false},
	{"drop-list-item", sub(`(hosts:\n +- .*\n) +- .*\n`, "$1"), false},
	{"repeat list item", sub(`(hosts:\n)( +- .*\n)`, "$1$2$2"), false},
	{"edit-unencrypted", sub(`: abcd`, ": abcx"), false},
	{"swap-top-keys", swap(`^(user: .*\n)(pin: .*\n)`), false},
	{"type-str-to-comment", sub(`(user: ENC.*type:)str`, "${1}comment"), false},
	{"type-unknown", sub(`(user: ENC.*type:)str`, "${1}zzz"), false},
	{"type-str-to-int", sub(`(user: ENC.*type:)str`, "${1}int"), false},
	{"type-str-to-bytes", sub(`(user: ENC.*type:)str`, "${1}bytes"), false}, // sops crashes
	{"lastmodified-changed", sub(`lastmodified: "2023`, `lastmodified: "2024`), false},
	{"lastmodified-missing", sub(`    lastmodified: .*\n`, ""), false},
	{"mac-missing", sub(`    mac: .*\n`, ""), false},
	{"mac replaced by another token", sub(`(\nuser: )(ENC.*)((?:.*\n)+    mac: ).*`, "$1$2$3$2"), false},
	{"version-missing", sub(`    version: 3.*\n`, ""), false},
	{"version-garbage", sub(`    version: 3.*`, "    version: x"), false},
	{"two-selectors", sub(`(    unencrypted_suffix: .*\n)`, "${1}    encrypted_regex: x\n"), false},
	{"mac-only-flag-added", sub(`(    mac: .*\n)`, "${1}    mac_only_encrypted: true\n"), false},
	{"selector-flip", sub(`unencrypted_suffix: _unencrypted`, "encrypted_suffix: _unencrypted"), false},
	{"OK-unknown-metadata", sub(`(    version: 3.*\n)`, "${1}    other: {a: [b]}\n"), true},
	{"OK-add-empty", sub(`^user:`, "extra: \"\"\nuser:"), true},
	{"OK-add-null", sub(`^user:`, "extra: null\nuser:"), true},
	{"OK-add-empty-map", sub(`^user:`, "extra: {}\nuser:"), true},
	{"OK-remove-empty", sub(`^blank: ""\n`, ""), true},
	{"OK-remove-null", sub(`^nothing: null\n`, ""), true},
	{"OK-remove-empty-map", sub(`^none: {}\n`, ""), true},
	{"OK-comment-removed", sub(`\A#ENC.*\n`, ""), true},
	{"OK-comment-plaintext", sub(`\A#ENC.*`, "# other"), true},
	{"comment in clear as it was", sub(`\A#ENC.*`, "# note"), true},
	{"OK-type-int-to-str", sub(`(pin: ENC.*type:)int`, "${1}str"), true},
	{"OK-type-int-to-float", sub(`(pin: ENC.*type:)int`, "${1}float"), true},
	{"OK-type-bool-to-str", sub(`(flag: ENC.*type:)bool`, "${1}str"), true},
	{"OK-nest-to-colon-key", sub(`^db:\n(    #.*\n)    pass: (`+tok+`)`, "db:pass: $2\ndb:\n$1    x: null"), true},
	{"OK-scalar-to-list", sub(`^user: (.*)`, "user: [\"$1\"]"), true},
	{"OK-list-nesting", sub(`^(    hosts:\n)( +)- (.*)`, "$1$2- - $3"), true},
	{"OK-list-to-scalar", sub(`^    hosts:\n +- (.*)\n +- (.*)`, "    hosts: [[\"$1\"], \"$2\"]"), true},
	{"OK-rename-unencrypted-key", sub(`^open_unencrypted`, "opex_unencrypted"), true},
	{"OK-boundary-shift", sub(`: abcd\n(.*): efgh`, ": abc\n$1: defgh"), true},
	{"OK-unencrypted-type-change", sub(`: 12$`, `: "12"`), true},
	{"OK-junk-after-enc", sub(`^(user: ENC.*)`, "${1}junk"), true},
	{"OK-extra-recipient", sub(`(    age:\n)`, "${1}        - enc: eHh4\n          recipient: age1evil\n"), true},
	{"OK-selector-downgrade", sub(`unencrypted_suffix: _unencrypted`, "unencrypted_regex: (_unencrypted|^future_)"), true},
	{"OK-lastmodified-fraction", sub(`(lastmodified: "[^Z]*)Z`, "${1}.5Z"), true},
	{"lastmodified with an offset", sub(`(lastmodified: "[^Z]*)Z`, "${1}+00:00"), true},
	{"OK-field-name-case", sub(`    mac:`, "    MAC:"), true},
	{"seal's name in another case", sub(`seal:`, "Seal:"), true},
	{"kenv's name in another case", sub(`    kenv:`, "    Kenv:"), true},
	{"OK-sops-first", then(sub(`(\nblank: ""\n)`, "$1"+"\x00"), func(s string) string {
		block := regexp.MustCompile(`(?m)^sops:\n(    .*\n)+`).FindString(s)
		return block + strings.Replace(strings.Replace(s, block, "", 1), "\x00", "", 1)
	}), true},

	{"wrapped blob replaced", sub(`(enc: .*\n +recipient: one\n +- enc: ).*`, "${1}eHh4"), true},
	{"wrapped blobs of another file", func(s string) string {
		return regexp.MustCompile(`(?m)enc: .*`).ReplaceAllString(s, "enc: eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=")
	}, false},
	{"entry removed", sub(` +- enc: .*\n +recipient: two\n`, ""), true},
	{"entries swapped", swap(`( +- enc: .*\n +recipient: one\n)( +- enc: .*\n +recipient: two\n)`), true},
	{"recipient changed", sub(`recipient: two`, "recipient: age1evil"), true},
	{"created_at added to an entry", sub(`(recipient: two\n)`, "${1}          created_at: \"2020-01-01T00:00:00Z\"\n"), true},
	{"unknown field in an entry", sub(`(recipient: two\n)`, "${1}          role: evil\n"), true},
	{"unknown list of keys", sub(`(    version: 3.*\n)`, "${1}    mystery_kms: [{arn: x}]\n"), true},
	{"known kind of key added", sub(`(    lastmodified)`, "    kms: [{arn: \"arn:aws:kms:eu-west-1:1:key/x\", created_at: \"2020-01-01T00:00:00Z\", enc: eHh4, aws_profile: \"\"}]\n$1"), true},
	{"unknown field under kenv", sub(`(    kenv:\n)`, "${1}        other: x\n"), true},
	{"field of metadata twice", sub(`(    version: 3.*\n)`, "$1$1"), false},
	{"version later", sub(`    version: 3.*`, "    version: 3.99.0"), true},
	{"shamir_threshold added", sub(`(    version: 3.*\n)`, "    shamir_threshold: 1\n$1"), true},
	{"key_groups beside the list", sub(`(    lastmodified)`, "    key_groups: [{age: [{recipient: age1evil, enc: eHh4}]}]\n$1"), true},

	{"junk after the mac", sub(`^(    mac: ENC.*)`, "${1}junk"), true},
	{"line break after the token", sub(`^user: (ENC.*)`, "user: \"${1}\\n\""), true},
	{"nonce not canonical", sub(`^(user: .*iv:[^=]*).(=,)`, "${1}B$2"), false},
	{"tag moved into the data", sub(`^(user: .*data:)(.*),iv:(.*),tag:(.*),type`, "$1$2$4,iv:$3,tag:AA==,type"), false},

	{"tag added", sub(`^user: `, "user: !x "), true},
	{"tag !!str added", sub(`^user: `, "user: !!str "), true},
	{"tag added to a map", sub(`^db:`, "db: !x"), true},
	{"tag added to a key", sub(`^user:`, "!x user:"), true},
	{"tag added to the document", sub(`^---\nsecond`, "--- !x\nsecond"), true},
	{"tag !!int added to a clear int", sub(`: 12$`, ": !!int 12"), true},
	{"tag changed", sub(`!vault`, "!fault"), true},
	{"tag removed", sub(`!vault `, ""), true},
	{"anchor added", sub(`^user: `, "user: &x "), true},
	{"anchor added to a key", sub(`^user:`, "&x user:"), true},
	{"anchor renamed", sub(`&here`, "&there"), true},
	{"anchor removed", sub(`&here `, ""), true},
	{"alias put in", then(sub(`: abcd`, ": &z abcd"), sub(`efgh`, "*z")), false},
	{"alias for a list item", then(sub(`(twins:\n +- )`, "${1}&z "), sub(`(twins:\n.*\n +- ).*`, "${1}*z")), false},

	{"layout entry removed", sub(`(layout:\n) +- .*\n`, "$1"), true},
	{"layout entry duplicated", sub(`(layout:\n)( +- .*\n)`, "$1$2$2"), true},
	{"layout entries swapped", swap(`layout:\n( +- .*\n)( +- .*\n)`), true},
	{"layout removed", sub(`        layout:\n( +- .*\n)+`, ""), true},
	{"layout entry changed", sub(`(layout:\n +- .*).(=*)$`, "${1}A$2"), true},
	{"seal changed", sub(`(seal: ..)..`, "${1}AA"), true},
	{"seal emptied", sub(`seal: .*`, `seal: ""`), true},
	{"seal cut", sub(`(seal: .{20}).*`, "$1"), true},
	{"seal removed", sub(`        seal: .*\n`, ""), true},

	{"clear comment added", sub(`^user:`, "# hi\nuser:"), true},
	{"clear comment added at the end", func(s string) string { return s + "# hi\n" }, true},
	{"clear comment added inline", sub(`(\npin: .*)`, "${1} # hi"), true},
	{"empty comment added", sub(`^user:`, "#\nuser:"), true},
	{"encrypted comment moved down", swap(`(#ENC.*\n)(last: .*\n)`), true},
	{"encrypted comment moved within its map", swap(`^db:\n(    #.*\n)(    pass: ` + tok + `)`), true},
	{"inline comment put on a line of its own", sub(`^(    pass: `+tok+`)  (#ENC.*)`, "    $2\n$1"), true},
	{"comment of a line of its own put inline", sub(`^(#ENC.*)\n(last: .*)`, "$2 $1"), true},
	{"encrypted comments swapped", swap(`(?s)\A(#ENC[^\n]*).*\n(#ENC[^\n]*)`), true},
	{"encrypted comment removed", sub(`^#ENC.*\nlast`, "last"), true},
	{"encrypted comment duplicated", sub(`^(#ENC.*\n)last`, "${1}${1}last"), true},
	{"encrypted comment moved to the metadata", sub(`\A(#ENC.*\n)((?:.*\n)*sops:)\n`, "$2 $1"), true},
	{"encrypted comment moved into the metadata", sub(`\A(#ENC.*\n)((?:.*\n)*sops:\n)`, "$2    $1"), true},
	{"encrypted comment moved to document 2", sub(`\A(#ENC.*\n)((?:.*\n)*---\n)second`, "$2${1}second"), true},
	{"value turned into a comment", sub(`^user: (ENC.*)type:str`, "#${1}type:comment"), false},

	{"key quoted", sub(`^user:`, `"user":`), true},
	{"key typed", sub(`^"1":`, `1:`), false},
	{"clear key typed", sub(`^open_unencrypted:`, `!!str open_unencrypted:`), true},
	{"clear key moved", move(`^open_unencrypted: abcd\n`, `num_unencrypted: 12\n`), false},
	{"clear key moved to a map", sub(`^nested_unencrypted:\n    k:`, "nested_unencrypted:\n    k2: \"\"\n    k:"), true},
	{"clear map turned to a colon key", sub(`^nested_unencrypted:\n    k: v`, "nested_unencrypted:k: v"), false},
	{"clear scalar turned to a list", sub(`: abcd`, ": [abcd]"), true},
	{"clear value unquoted", sub(`"yes"`, "yes"), true},
	{"clear int respelled", sub(`: 12$`, ": 0xc"), true},
	{"clear int to a float", sub(`: 12$`, ": 12.0"), true},
	{"merge key for a quoted <<", sub(`"<<": \{k: v\}`, "<<: {k: v}"), true},
	{"value unquoted", sub(`^quoted: "(.*)"`, "quoted: $1"), true},
	{"value quoted", sub(`^user: (.*)`, `user: "$1"`), true},
	{"block scalar turned to a plain one", sub(`^long: \|\n +(.*)`, "long: $1"), true},
	{"block scalar folded", sub(`^long: \|`, "long: >"), true},
	{"block scalar's header changed", sub(`^long: \|`, "long: |-"), true},
	{"null respelled", sub(`^nothing: null`, "nothing: ~"), true},
	{"empty string for null", sub(`^nothing: null`, `nothing: ""`), true},
	{"null for empty string", sub(`^blank: ""`, "blank: null"), true},
	{"empty list for empty map", sub(`^none: {}`, "none: []"), true},
	{"empty map for null document", sub(`---\n~\n\z`, "---\n{}\n"), true},

	{"documents joined", sub(`^---\nsecond`, "second"), false}, // the keys come after the metadata
	{"document split", sub(`^last:`, "---\nlast:"), false},
	{"last documents joined", sub(`---\n~\n\z`, ""), true},
	{"document added", func(s string) string { return s + "---\n" }, true},
	{"documents swapped", swap(`(---\nsecond(?:.*\n){2})(---\n~\n)`), true},
	{"metadata copied to document 2", func(s string) string {
		block := regexp.MustCompile(`(?m)^sops:\n(    .*\n)+`).FindString(s)
		return strings.Replace(s, "null2: ~\n", "null2: ~\n"+block, 1)
	}, true},
	{"metadata moved to document 2", func(s string) string {
		block := regexp.MustCompile(`(?m)^sops:\n(    .*\n)+`).FindString(s)
		return strings.Replace(strings.Replace(s, block, "", 1), "null2: ~\n", "null2: ~\n"+block, 1)
	}, false},
	{"metadata twice", func(s string) string {
		block := regexp.MustCompile(`(?m)^sops:\n(    .*\n)+`).FindString(s)
		return strings.Replace(s, block, block+block, 1)
	}, false},
	{"metadata's name in another case", sub(`^sops:`, "Sops:"), false},
	{"metadata removed", sub(`^sops:\n(    .*\n)+`, ""), false},
	{"selector's own value", sub(`unencrypted_suffix: _unencrypted`, "unencrypted_suffix: encrypted"), true},
	{"mac_only_encrypted spelt out", sub(`(    mac: .*\n)`, "${1}    mac_only_encrypted: false\n"), true},
}

var jsonTamperings = []tampering{
	{"key renamed", sub(`"open_unencrypted"`, `"other_unencrypted"`), true},
	{"key added", sub(`"b":`, `"n": null, "b":`), true},
	{"clear digits beyond a float's", sub(`12345678901234567890`, `12345678901234567891`), true},
	{"clear number respelled", sub(`: 1\.5,`, `: 15e-1,`), true},
	{"clear lone surrogate", sub(`\\ud800`, `\ud801`), true},
	{"type int to float", sub(`(type:)int`, "${1}float"), true},
	{"list nested", sub(`\[("ENC.*?")`, "[[$1]"), true},
	{"metadata first", func(s string) string {
		i := strings.Index(s, `"sops":`)
		j := strings.LastIndex(s, "}")
		block := strings.TrimSpace(s[i:j])
		return "{" + block + "," + s[1:strings.LastIndex(s[:i], ",")] + "}\n"
	}, true},
	{"metadata twice", sub(`("sops": \{)`, `"sops": {}, $1`), false},
	{"field twice", sub(`("version": "3)`, `"version": "3.13.3", $1`), false},
	{"recipient added", sub(`"age": \[`, `"age": [{"recipient": "age1evil", "enc": "eHh4"},`), true},
	{"mac_only_encrypted as a string", sub(`"mac":`, `"mac_only_encrypted": "false", "mac":`), true},
	{"object to a colon key", sub(`"m": \{\s*"x": ("ENC.*?")\s*\}`, `"m:x": $1`), true},
	{"text after the value", func(s string) string { return s + "{}" }, true},
}

var dotenvTamperings = []tampering{
	{"key renamed", sub(`^CLEAR_unencrypted`, "OTHER_unencrypted"), true},
	{"keys swapped", swap(`^(A=.*\n)(B=.*\n)`), false},
	{"empty key added", sub(`^A=`, "NEW=\nA="), true},
	{"boundary shifted", sub(`=abcd\n(.*)=efgh`, "=abc\n$1=defgh"), true},
	{"comment added", sub(`^A=`, "# hi\nA="), true},
	{"comment removed", sub(`^#ENC.*\n`, ""), true},
	{"comment moved", swap(`^(#ENC.*\n)(A=.*\n)`), true},
	{"comment in clear", sub(`^#ENC.*`, "# note"), true},
	{"junk after a token", sub(`^(A=ENC.*)`, "${1}junk"), true},
	{"carriage return after a token", sub(`^(A=ENC.*)`, "${1}\r"), true},
	{"key after the metadata", func(s string) string { return s + "NEW=\n" }, true},
	{"metadata moved up", move(`^A=.*\n`, `sops_version=.*\n`), false},
	{"metadata parted", move(`^CLEAR2.*\n`, `sops_lastmodified=.*\n`), true},
	{"recipient added", sub(`^sops_lastmodified`, "sops_age__list_1__map_recipient=age1evil\nsops_age__list_1__map_enc=eHh4\nsops_lastmodified"), true},
	{"unknown field", sub(`^sops_version`, "sops_other=x\nsops_version"), true},
	{"field twice", sub(`^(sops_version.*\n)`, "$1$1"), false},
	{"layout entry removed", sub(`^sops_kenv__map_layout__list_0.*\n`, ""), false},
	{"field's case", sub(`^sops_mac`, "sops_MAC"), true},
	{"export added", sub(`^CLEAR_un`, "export CLEAR_un"), true},
}

var iniTamperings = []tampering{
	{"clear key renamed", sub(`^open_unencrypted`, "opex_unencrypted"), true},
	{"keys swapped", swap(`^(a = .*\n)(b = .*\n)`), false},
	{"empty key added", sub(`^a =`, "new =\na ="), true},
	{"boundary shifted", sub(`= abcd\n(.*)= efgh`, "= abc\n$1= defgh"), true},
	{"clear comment added", sub(`^a =`, "; hi\na ="), true},
	{"clear comment added to one", sub(`^(; ENC.*\n)a =`, "$1; hi\na ="), true},
	{"clear comment added inline", sub(`^(a = .*)`, "$1 ; hi"), true},
	{"clear comment added inline, glued", sub(`^(a = .*)`, "$1#hi"), true},
	{"clear comment added at the end", func(s string) string { return s + "; hi\n" }, true},
	{"comment removed", sub(`^; ENC.*\na =`, "a ="), true},
	{"comment in clear", sub(`^; ENC.*\na =`, "; first\na ="), true},
	{"comments swapped", swap(`(?s)(; ENC[^\n]*)\na =.*(; ENC[^\n]*)\nz =`), false},
	{"comment moved to the next key", swap(`^(; ENC.*\n)(a = .*\n)`), true},
	{"comment moved to the section", swap(`^(\[db\]\n)(; ENC.*\n)`), true},
	{"comment moved behind its value", sub(`^(; ENC.*)\n(a = .*)`, "$2 $1"), true},
	{"comment moved above its value", sub(`^(b = \S* *.*) (; ENC.*)`, "$2\n$1"), true},
	{"comment of the last key moved to the end", swap(`^(; ENC.*\n)(z = .*\n)`), true},
	{"last comment moved up", swap(`^(z = .*\n)(; ENC.*\n)`), true},
	{"last comment removed", sub(`^; ENC.*\n\n\[sops`, "\n[sops"), true},
	{"comment moved into the metadata", sub(`^(; ENC.*\n)\n(\[sops\]\n)`, "\n$2$1"), true},
	{"comment's mark changed", sub(`^; (ENC.*\na =)`, "# $1"), true},
	{"comment indented", sub(`^; (ENC.*\na =)`, "  ; $1"), true},
	{"value turned into a comment", sub(`^a = (ENC.*)type:str`, "; ${1}type:comment"), false},
	{"junk after a token", sub(`^(a = ENC.*)`, "${1}junk"), true},
	{"junk after a quoted token", sub("^(raw = `ENC.*`)", "${1} junk"), true},
	{"junk after a header", sub(`^\[db\]`, "[db] junk"), true},
	{"junk after the metadata's header", sub(`^\[sops\]`, "[sops] junk"), true},
	{"quotes taken off", sub(`^q = "(.*)"`, "q = $1"), true},
	{"quotes added", sub(`^a = (.*)`, `a = "$1"`), true},
	{"quotes changed", sub(`^q = "(.*)"`, "q = '$1'"), true},
	{"backslash after a token", sub(`^(a = ENC.*)`, "${1}\\\n"), true},
	{"blanks before a comment taken away", sub(`^(b = ENC.*) ; `, "$1; "), true},
	{"blanks before a comment changed", sub(`^(b = ENC.*) ; `, "$1\v; "), true},
	{"raw quotes taken off", sub("^raw = `(.*)`", "raw = $1"), true},
	{"clear value quoted", sub(`= abcd`, `= "abcd"`), true},
	{"clear value continued", sub(`= abcd`, "= ab\\\ncd"), true},
	{"key quoted", sub(`^a =`, "`a` ="), true},
	{"key indented", sub(`^b =`, "  b ="), true},
	{"header indented", sub(`^\[list`, "  [list"), true},
	{"delimiter changed", sub(`^open_unencrypted =`, "open_unencrypted :"), true},
	{"section renamed", sub(`^\[list`, "[tsil"), false},
	{"section parted", sub(`^open_un`, "[db]\nopen_un"), true},
	{"section added", sub(`^\[list`, "[new]\n[list"), true},
	{"header removed", sub(`^\[list\]\n`, ""), false},
	{"key before the first section", func(s string) string { return "new =\n" + s }, true},
	{"first of a key's values removed", sub(`^rep = .*\nrep`, "rep"), true},
	{"first of a key's values emptied", sub(`^rep = .*\nrep`, "rep =\nrep"), true},
	{"a key's values swapped", swap(`^(rep = .*\n)(rep = .*\n)`), false},
	{"value put before another of its key", sub(`^a =`, "a =\na ="), true},
	{"value put behind another of its key", sub(`^(a = .*\n)`, "${1}a =\n"), false},
	{"key again behind others", swap(`^rep = .*\n(rep = .*\n)(raw = .*\n)`), true},
	{"metadata moved up", func(s string) string {
		i, j := strings.Index(s, "[list]"), strings.Index(s, "[sops]")
		return s[:i] + s[j:] + "\n" + s[i:j]
	}, true},
	{"metadata twice", func(s string) string { return s + s[strings.Index(s, "[sops]"):] }, false},
	{"section after the metadata", func(s string) string { return s + "[new]\n" }, true},
	{"recipient added", sub(`^lastmodified`, "age__list_2__map_recipient = age1evil\nage__list_2__map_enc = eHh4\nlastmodified"), false},
	{"recipient changed", sub(`recipient = two`, "recipient = age1evil"), true},
	{"unknown field", sub(`^version`, "other = x\nversion"), true},
	{"field twice", sub(`^(version = .*\n)`, "$1$1"), true},
	{"field's case", sub(`^mac`, "MAC"), true},
	{"layout entry removed", sub(`^kenv__map_layout__list_0.*\n`, ""), false},
	{"lastmodified changed", sub(`^lastmodified = 2023`, "lastmodified = 2024"), false},
}

// stripSeal takes all that sops does not know out of the metadata, as sops does
// when it writes.
var stripSeal = map[string]func(string) string{
	"yaml":   sub(`    kenv:\n(        .*\n)+`, ""),
	"json":   sub(`"kenv": \{(?s:[^{}]*)\},\s*`, ""),
	"dotenv": func(s string) string { return regexp.MustCompile(`(?m)^sops_kenv_.*\n`).ReplaceAllString(s, "") },
	"ini":    func(s string) string { return regexp.MustCompile(`(?m)^kenv__map_.*\n`).ReplaceAllString(s, "") },
}

const tamperJSON = `{
  "a": 1.0,
  "b": ["x", 2],
  "m": {"x": "y"},
  "open_unencrypted": {"n": 1.5, "big": 12345678901234567890, "s": "\ud800"}
}
`

const tamperEnv = "# note\nA=1\nB=\"two\nlines\"\nCLEAR_unencrypted=abcd\nCLEAR2_unencrypted=efgh\n"

const tamperINI = "; note\n[db]\n; first\na = 1\nb = two ; inline\nq = \"x y\"\nrep = r1\nrep = r2\nraw = p#q\ncont = e \\\n   f\n" +
	"open_unencrypted = abcd\nopen2_unencrypted = efgh\n[list]\n; of z\nz = 9\n; last\n"

// A matrix is a file and what is done to it.
var matrices = []struct {
	format doc.Format
	src    string
	rows   []tampering
}{
	{doc.YAML{}, tamperSource, yamlTamperings},
	{doc.JSON{}, tamperJSON, jsonTamperings},
	{doc.Dotenv{}, tamperEnv, dotenvTamperings},
	{doc.INI{}, tamperINI, iniTamperings},
}

// notIntegrity are the rows after which a file is not one that sops or kenv could
// read at all, so that another error than an IntegrityError is the right one.
var notIntegrity = map[string]string{
	"yaml/lastmodified-missing, stripped":    "lastmodified",
	"yaml/version-missing, stripped":         "version",
	"yaml/version-garbage, stripped":         "version",
	"yaml/two-selectors, stripped":           "one rule",
	"yaml/field of metadata twice, stripped": "occurs twice",
	"json/field twice, stripped":             "occurs twice",
	"yaml/metadata removed":                  "no sops metadata",
	"yaml/metadata's name in another case":   "no sops metadata",
	"json/text after the value":              "not valid JSON",
}

// refused checks that a text does not open: no plaintext, and an IntegrityError.
func refused(t *testing.T, name, tampered string, f doc.Format, table keys.Table) {
	t.Helper()
	file, err := Open(t.Context(), []byte(tampered), f, table, OpenOptions{})
	if file != nil {
		t.Fatalf("opened")
	}
	var integrity *IntegrityError
	why, ok := notIntegrity[f.Name()+"/"+name]
	if !ok {
		why, ok = notIntegrity[f.Name()+"/"+strings.TrimSuffix(name, ", stripped")]
	}
	if ok {
		if !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want: %s", err, why)
		}
	} else if !errors.As(err, &integrity) {
		t.Errorf("%T: %v, want an IntegrityError", err, err)
	}
}

// TestTamperMatrix: no change to a sealed file goes unnoticed, with the seal
// stripped neither.
func TestTamperMatrix(t *testing.T) {
	for _, m := range matrices {
		sealed, err := Seal(t.Context(), []byte(m.src), m.format, tamperPolicy)
		if err != nil {
			t.Fatal(err)
		}
		if sealed.Rung != doc.Splice {
			t.Fatalf("%s: rung %v", m.format.Name(), sealed.Rung)
		}
		original := string(sealed.Data)
		if _, err := Open(t.Context(), sealed.Data, m.format, clearTable, OpenOptions{RequireSeal: true}); err != nil {
			t.Fatal(err)
		}
		strip := stripSeal[m.format.Name()]
		t.Run(m.format.Name()+"/seal stripped", func(t *testing.T) {
			bare := strip(original)
			if strings.Contains(bare, "kenv") {
				t.Fatal("not stripped")
			}
			refused(t, "seal stripped", bare, m.format, clearTable)
		})
		for _, row := range m.rows {
			t.Run(m.format.Name()+"/"+row.name, func(t *testing.T) {
				tampered := row.make(original)
				if tampered == original {
					t.Fatal("nothing changed")
				}
				refused(t, row.name, tampered, m.format, clearTable)
				if bare := strip(tampered); bare != tampered {
					refused(t, row.name+", stripped", bare, m.format, clearTable)
				}
			})
		}
	}
}

// TestTamperMatrixSopsAccepts: the rows that are said to pass sops do, so the seal
// is what stops them.
func TestTamperMatrixSopsAccepts(t *testing.T) {
	run, policy, _ := sops(t)
	for _, m := range matrices {
		sealed, err := Seal(t.Context(), []byte(m.src), m.format, policy)
		if err != nil {
			t.Fatal(err)
		}
		original := string(sealed.Data)
		for _, row := range m.rows {
			tampered := row.make(original)
			if !row.sops || tampered == original {
				continue // a row about the second recipient
			}
			t.Run(m.format.Name()+"/"+row.name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(path, []byte(tampered), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := run("decrypt", "--input-type", m.format.Name(), "--output-type", m.format.Name(), path); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestTamperSameDataKey: what another file or an earlier state under the same
// data key lends does not fit.
func TestTamperSameDataKey(t *testing.T) {
	seal := func(src string, prev *File) string {
		p := tamperPolicy
		p.Previous = prev
		s, err := Seal(t.Context(), []byte(src), doc.YAML{}, p)
		if err != nil || s.FreshKey != "" {
			t.Fatal(err, s)
		}
		return string(s.Data)
	}
	first := seal(tamperSource, nil)
	old, err := Open(t.Context(), []byte(first), doc.YAML{}, clearTable, OpenOptions{ForReuse: true})
	if err != nil {
		t.Fatal(err)
	}
	second := seal(strings.NewReplacer("1.50", "1.500", "alice", "bob").Replace(tamperSource), old)
	lend := func(pattern string) func(string) string {
		re := regexp.MustCompile("(?m)" + pattern)
		return func(s string) string {
			return strings.Replace(s, re.FindString(s), re.FindString(first), 1)
		}
	}
	for name, make := range map[string]func(string) string{
		"value":       lend(`^user: .*`),
		"layout":      lend(`        layout:\n( +- .*\n)+`),
		"seal":        lend(`        seal: .*`),
		"mac":         lend(`    mac: .*`),
		"kenv":        lend(`    kenv:\n(        .*\n)+`),
		"value, seal": then(lend(`^user: .*`), lend(`        seal: .*`)),
		"value, mac":  then(lend(`^user: .*`), lend(`    mac: .*`)),
		"all but the layout": func(second string) string {
			layout := regexp.MustCompile(`(?m)        layout:\n( +- .*\n)+`)
			return strings.Replace(first, layout.FindString(first), layout.FindString(second), 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tampered := make(second)
			if tampered == second || tampered == first {
				t.Fatal("nothing changed")
			}
			refused(t, name, tampered, doc.YAML{}, clearTable)
		})
	}
}

// TestTamperKeyGroups: the same for files whose data key is shared out.
func TestTamperKeyGroups(t *testing.T) {
	p := testPolicy
	p.Groups = [][]keys.MasterKey{{clearKey("g1")}, {clearKey("g2")}, {clearKey("g3")}}
	p.Threshold = 2
	sealed, err := Seal(t.Context(), []byte("a: b\n"), doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	original := string(sealed.Data)
	for _, row := range []tampering{
		{"threshold lowered", sub(`shamir_threshold: 2`, "shamir_threshold: 1"), true},
		{"threshold raised", sub(`shamir_threshold: 2`, "shamir_threshold: 3"), true},
		{"threshold beyond the groups", sub(`shamir_threshold: 2`, "shamir_threshold: 4"), true},
		{"threshold removed", sub(` *shamir_threshold: 2\n`, ""), true},
		{"share replaced", sub(`enc: .*`, "enc: eHh4"), true},
		{"group removed", sub(`(?s)        - age:[^-]*- enc: [^\n]*\n *recipient: g3\n *hc_vault: \[\]\n`, ""), true},
		{"group doubled", sub(`(?s)(        - age:[^-]*- enc: [^\n]*\n *recipient: g1\n *hc_vault: \[\]\n)`, "$1$1"), true},
		{"recipient in a group", sub(`recipient: g3`, "recipient: age1evil"), true},
		{"unknown field in a group", sub(`hc_vault: \[\]`, "hc_vault: []\n          other: x"), true},
		{"list beside the groups", sub(`(    key_groups:)`, "    age: [{recipient: age1evil, enc: eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=}]\n$1"), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			tampered := row.make(original)
			if tampered == original {
				t.Fatalf("nothing changed:\n%s", original)
			}
			refused(t, row.name, tampered, doc.YAML{}, clearTable)
			refused(t, row.name, stripSeal["yaml"](tampered), doc.YAML{}, clearTable)
		})
	}
}

// TestTamperCommentSelector: where comments say what is encrypted, clear ones are
// sealed as well.
func TestTamperCommentSelector(t *testing.T) {
	const src = "# top\na: 1\n# keep secret\nb: two\nc:\n    # plain\n    d: e\n    f: null\nlist: []\n"
	for name, s := range map[string]Selector{
		"encrypted":   {EncryptedCommentRegex: "secret"},
		"unencrypted": {UnencryptedCommentRegex: "plain|top"},
	} {
		for _, only := range []bool{false, true} {
			p := testPolicy
			p.Selector, p.MACOnlyEncrypted = s, only
			sealed, err := Seal(t.Context(), []byte(src), doc.YAML{}, p)
			if err != nil {
				t.Fatal(err)
			}
			original := string(sealed.Data)
			for _, row := range []tampering{
				{"clear comment added", sub(`^list:`, "# hi\nlist:"), true},
				{"marker added before a null", sub(`^(    f:)`, "    # plain secret\n$1"), true},
				{"marker added before an empty list", sub(`^list:`, "# plain secret top\nlist:"), true},
				{"clear comment removed", sub(`^ *# .*\n`, ""), true},
				{"clear comment changed", sub(`# (.*)`, "# ${1} more"), true},
				{"marker moved", swap(`^( *# (?:keep secret|plain)\n)( *[bd]: .*\n)`), false},
				{"clear comment put inline", sub(`^( *# .*)\n(.*)\n`, "$2 $1\n"), true},
			} {
				t.Run(name+"/"+row.name+map[bool]string{true: ", mac_only_encrypted"}[only], func(t *testing.T) {
					tampered := row.make(original)
					if tampered == original {
						t.Fatalf("nothing changed:\n%s", original)
					}
					refused(t, row.name, tampered, doc.YAML{}, clearTable)
				})
			}
		}
	}
}

// TestTamperMACOnlyEncrypted: with mac_only_encrypted, what is encrypted is as
// safe as ever, and clear values with what holds nothing but those are open to
// change, which is what the option is for.
func TestTamperMACOnlyEncrypted(t *testing.T) {
	const src = "a: secret\nb: 2\nopen_unencrypted: abcd\nmap_unencrypted:\n    k: v\nm:\n    x_unencrypted: y\n    z: w\n"
	p := tamperPolicy
	p.MACOnlyEncrypted = true
	sealed, err := Seal(t.Context(), []byte(src), doc.YAML{}, p)
	if err != nil {
		t.Fatal(err)
	}
	original := string(sealed.Data)
	for _, row := range []tampering{
		{"value type changed", sub(`(\nb: .*type:)int`, "${1}str"), true},
		{"values swapped", swap(`^(a: .*\n)(b: .*\n)`), false},
		{"value removed", sub(`^b: .*\n`, ""), false},
		{"tag added", sub(`^a: `, "a: !x "), true},
		{"comment added", sub(`^a:`, "# hi\na:"), true},
		{"map renamed", sub(`^m:`, "n:"), false},
		{"nested value moved out", sub(`    z: (.*)`, "m:z: $1"), true},
		{"recipient added", sub(`(    age:\n)`, "${1}        - enc: eHh4\n          recipient: age1evil\n"), true},
		{"option taken away", sub(` *mac_only_encrypted: true\n`, ""), false},
		{"option turned off", sub(`mac_only_encrypted: true`, "mac_only_encrypted: false"), false},
		{"clear value for a secret", sub(`^a: .*`, "a_unencrypted: secret"), false},
	} {
		t.Run("refused/"+row.name, func(t *testing.T) {
			tampered := row.make(original)
			if tampered == original {
				t.Fatalf("nothing changed:\n%s", original)
			}
			refused(t, row.name, tampered, doc.YAML{}, clearTable)
			refused(t, row.name, stripSeal["yaml"](tampered), doc.YAML{}, clearTable)
		})
	}
	for _, row := range []tampering{
		{"clear value changed", sub(`: abcd`, ": other"), true},
		{"clear value added", sub(`^a:`, "new_unencrypted: x\na:"), true},
		{"clear value removed", sub(`^open_unencrypted: .*\n`, ""), true},
		{"clear map renamed", sub(`^map_un`, "pam_un"), true},
		{"clear value beside a secret", sub(`: y$`, ": n"), true},
		{"null added", sub(`^a:`, "new: null\na:"), true},
	} {
		t.Run("not covered/"+row.name, func(t *testing.T) {
			tampered := row.make(original)
			file, err := Open(t.Context(), []byte(tampered), doc.YAML{}, clearTable, OpenOptions{RequireSeal: true})
			if err != nil {
				t.Fatal(err)
			}
			if want := row.make(src); string(file.Plaintext()) != want || want == src {
				t.Errorf("got %q, want %q", file.Plaintext(), want)
			}
		})
	}
}

// TestTamperFormat: a file does not open as one of another format.
func TestTamperFormat(t *testing.T) {
	for _, src := range []string{`{"a": "b"}`, `{"data": "b"}`, "{\n\t\"data\": \"b\"\n}\n"} {
		sealed, err := Seal(t.Context(), []byte(src), doc.JSON{}, testPolicy)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []doc.Format{doc.YAML{}, doc.Binary{}} {
			if strings.Contains(src, "data") || f.Name() == "yaml" {
				refused(t, "", string(sealed.Data), f, clearTable)
				refused(t, "", stripSeal["json"](string(sealed.Data)), f, clearTable)
			}
		}
	}
	sealed, err := Seal(t.Context(), []byte("text"), doc.Binary{}, testPolicy)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "", string(sealed.Data), doc.JSON{}, clearTable)
	refused(t, "", string(sealed.Data), doc.YAML{}, clearTable)
}
