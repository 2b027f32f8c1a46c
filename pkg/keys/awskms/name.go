package awskms

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
)

// maxName bounds a name. KMS takes no encryption context longer than 8192 bytes.
const maxName = 16 << 10

// An arn is where a KMS key is, or an alias of one. Without an account it is a bare
// name, which means whatever the caller's own account has under it.
type arn struct {
	partition, region, account string
	resource                   string // "key/ID" or "alias/NAME"
}

// regionForm keeps typing errors from becoming names of hosts that are waited for.
const regionForm = `[a-z]{2,8}(?:-[a-z0-9]{1,16}){1,3}-[0-9]{1,2}`

var (
	arnForm  = regexp.MustCompile(`^arn:(aws[a-z0-9-]{0,30}):kms:(` + regionForm + `):([0-9]{1,12}):(key/[A-Za-z0-9-]{1,64}|alias/[A-Za-z0-9/_-]{1,250})$`)
	bareForm = regexp.MustCompile(`^(alias/[A-Za-z0-9/_-]{1,250}|mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:@(` + regionForm + `))?$`)
	roleForm = regexp.MustCompile(`^arn:aws[a-z0-9-]{0,30}:iam::[0-9]{1,12}:role/[A-Za-z0-9_+=,.@/-]{1,600}$`)
	fpForm   = regexp.MustCompile(`^sha256:[0-9a-f]{32}$`)
	isRegion = regexp.MustCompile(`^` + regionForm + `$`)
	idStart  = regexp.MustCompile(`^(alias/|mrk-[0-9a-f]|[0-9a-f]{8}-[0-9a-f]{4}-)`)
)

func parseARN(s string) (arn, bool) {
	if m := arnForm.FindStringSubmatch(s); m != nil {
		return arn{m[1], m[2], m[3], m[4]}, true
	}
	return arn{}, false
}

func (a arn) bare() bool    { return a.account == "" }
func (a arn) isAlias() bool { return strings.HasPrefix(a.resource, "alias/") }

// everywhere reports whether the key is a multi-Region one, which has the same id
// and the same key material in each of its Regions.
func (a arn) everywhere() bool { return strings.HasPrefix(a.resource, "key/mrk-") }

// in returns the replica in another Region.
func (a arn) in(region string) arn {
	a.region = region
	return a
}

func (a arn) String() string {
	if a.bare() {
		return a.id() + "@" + a.region
	}
	return "arn:" + a.partition + ":kms:" + a.region + ":" + a.account + ":" + a.resource
}

// id is what KMS takes as KeyId.
func (a arn) id() string {
	if a.bare() {
		return strings.TrimPrefix(a.resource, "key/")
	}
	return a.String()
}

// is reports whether the two are one key, as far as names tell.
func (a arn) is(b arn) bool {
	if a.everywhere() {
		a.region = b.region
	}
	if a.bare() {
		a.partition, a.account = b.partition, b.account
	}
	return a == b
}

// beside reports whether the two are in the same place, as an alias and its key are.
func (a arn) beside(b arn) bool {
	b.resource = a.resource
	if a.bare() {
		a.partition, a.account = b.partition, b.account
	}
	return a == b
}

// A name is what the canonical string of a master key says.
type name struct {
	arn     arn
	role    string            // to take on before calling, or ""
	context map[string]string // the encryption context; nil for none
	fp      string            // of an RSA key's public half: "sha256:…"
}

func (n name) String() string {
	s := n.arn.String()
	if n.role != "" {
		s += "+" + n.role
	}
	if len(n.context) > 0 {
		s += "?" + encodeContext(n.context)
	}
	if n.fp != "" {
		s += "#" + n.fp
	}
	return s
}

func encodeContext(context map[string]string) string {
	values := make(url.Values, len(context))
	for k, v := range context {
		values.Set(k, v)
	}
	return values.Encode()
}

// ours reports whether a string is meant as the name of a KMS key, well formed or
// not.
func ours(s string) bool {
	return strings.HasPrefix(s, "arn:") || idStart.MatchString(s)
}

// parseName reads ARN[+ROLE][?CONTEXT][#FINGERPRINT]. A bare name gets the Region
// that region returns, unless it has one of its own.
func parseName(s string, region func() string) (name, error) {
	bad := func(format string, args ...any) (name, error) {
		return name{}, fmt.Errorf("KMS key %q: %w", keys.Short(s), fmt.Errorf(format, args...))
	}
	if len(s) > maxName {
		return bad("it is too long to be the name of a key")
	}
	rest, fp, hasFP := strings.Cut(s, "#")
	rest, query, _ := strings.Cut(rest, "?")
	where, role, hasRole := strings.Cut(rest, "+")
	n := name{role: role, fp: fp}
	if a, ok := parseARN(where); ok {
		n.arn = a
	} else if m := bareForm.FindStringSubmatch(where); m != nil {
		n.arn = arn{region: m[2], resource: m[1]}
		if !n.arn.isAlias() {
			n.arn.resource = "key/" + m[1]
		}
		if n.arn.region == "" {
			n.arn.region = region()
		}
		if n.arn.region == "" {
			return bad("no Region is known for it; write %s@REGION or set AWS_REGION", where)
		}
		if !isRegion.MatchString(n.arn.region) {
			return bad("%q, from AWS_REGION, is not the name of a Region", keys.Short(n.arn.region))
		}
	} else {
		return bad("it is not the ARN of a KMS key, arn:aws:kms:REGION:ACCOUNT:key/ID or …:alias/NAME")
	}
	if hasRole && !roleForm.MatchString(role) {
		return bad("what follows the + is not the ARN of a role, arn:aws:iam::ACCOUNT:role/NAME")
	}
	if hasFP && !fpForm.MatchString(fp) {
		return bad("what follows the # is not a fingerprint, sha256: and 32 hexadecimal digits")
	}
	if strings.Contains(query, "+arn:") {
		return bad("the role stands before the encryption context: ARN+ROLE?NAME=VALUE")
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return bad("its encryption context is not of the form NAME=VALUE&NAME=VALUE with percent signs for what is special")
	}
	for k, v := range values {
		if len(v) > 1 {
			return bad("its encryption context has %q twice", k)
		}
		if n.context == nil {
			n.context = make(map[string]string)
		}
		n.context[k] = v[0]
	}
	if err := n.check(); err != nil {
		return bad("%w", err)
	}
	return n, nil
}

// check says what no key can have, wherever the parts of the name came from.
func (n name) check() error {
	for k := range n.context {
		if k == "" {
			return errors.New("an encryption context cannot have an empty name")
		}
	}
	switch {
	case len(encodeContext(n.context)) > maxName/2:
		return errors.New("its encryption context is too long")
	case n.fp != "" && len(n.context) > 0:
		return errors.New("an RSA key takes no encryption context; leave the context out")
	case n.fp != "" && n.arn.bare():
		return errors.New("an RSA key that wraps offline is named by its ARN, as nobody is asked for it")
	}
	return nil
}

// same reports whether two encryption contexts are equal: KMS compares them to the
// letter.
func same(a, b map[string]string) bool { return maps.Equal(a, b) }

// parseContext reads an encryption context as it is written on the command line:
// k:v,k2:v2.
func parseContext(text string) (any, error) {
	context := make(map[string]string)
	if strings.TrimSpace(text) == "" {
		return context, nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(pair, ":")
		if !ok || k == "" {
			return nil, fmt.Errorf("encryption context: %q is not of the form NAME:VALUE", pair)
		}
		if _, twice := context[k]; twice {
			return nil, fmt.Errorf("encryption context: %q is given twice", k)
		}
		context[k] = v
	}
	return context, nil
}

// stringMap reads a map of strings as a config and a file's metadata have it.
func stringMap(v any) (map[string]string, bool) {
	switch m := v.(type) {
	case nil:
		return nil, true
	case map[string]string:
		if len(m) == 0 {
			return nil, true
		}
		return maps.Clone(m), true
	}
	return nil, false
}

// appendNew appends what is not in the list yet and not "".
func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}
