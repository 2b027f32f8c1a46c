package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// sealed reads the integrity field.
func (p *parser) sealed(n *yaml.Node) bool {
	if s := p.text(n, "integrity"); s != "sealed" {
		p.fail(n, "integrity", `must be "sealed"; leave it out to accept what sops wrote`)
	}
	return true
}

// config reads the whole file.
func (p *parser) config(src []byte) *Config {
	c := &Config{Stores: Stores{YAMLIndent: 4, JSONIndent: -1, JSONBinaryIndent: -1}}
	root := p.document(src)
	if p.err != nil {
		return nil
	}
	ignore := func(*yaml.Node) {}
	found := false
	if root != nil {
		p.mapping(root, "", fields{
			"creation_rules": func(n *yaml.Node) {
				found = true
				p.list(n, "creation_rules", func(item *yaml.Node) {
					if r := p.creationRule(item); r != nil {
						c.Rules = append(c.Rules, *r)
					}
				})
				if len(c.Rules) == 0 {
					p.fail(n, "creation_rules", "has no rule")
				}
			},
			"destination_rules": ignore,
			"stores":            func(n *yaml.Node) { c.Stores = p.stores(n, c.Stores) },
			"integrity":         func(n *yaml.Node) { c.Sealed = p.sealed(n) },
			"exec":              func(n *yaml.Node) { c.Exec = p.exec(n) },
		})
	}
	if p.err == nil && p.strict && !found {
		p.err = &Error{Path: p.path, Field: "creation_rules", Msg: "missing; it lists which keys encrypt which files"}
	}
	if c.Sealed {
		for i := range c.Rules {
			c.Rules[i].Sealed = true
		}
	}
	return c
}

func (p *parser) stores(n *yaml.Node, s Stores) Stores {
	indent := func(name string, min int, to *int) func(*yaml.Node) {
		return func(n *yaml.Node) {
			p.mapping(n, name, fields{"indent": func(n *yaml.Node) {
				*to = p.number(n, name+".indent", min, maxIndent)
			}})
		}
	}
	none := func(name string) func(*yaml.Node) {
		return func(n *yaml.Node) { p.mapping(n, name, nil) }
	}
	p.mapping(n, "stores", fields{
		"yaml":        indent("yaml", 0, &s.YAMLIndent),
		"json":        indent("json", -1, &s.JSONIndent),
		"json_binary": indent("json_binary", -1, &s.JSONBinaryIndent),
		"dotenv":      none("dotenv"),
		"ini":         none("ini"),
	})
	if s.YAMLIndent == 0 {
		s.YAMLIndent = 4 // sops takes 0 for its default
	}
	return s
}

func (p *parser) exec(n *yaml.Node) map[string]any {
	m := make(map[string]any)
	truth := func(name string) func(*yaml.Node) {
		return func(n *yaml.Node) { m[name] = p.truth(n, name) }
	}
	p.mapping(n, "exec", fields{
		"pristine": truth("pristine"),
		"mask":     truth("mask"),
		"only":     func(n *yaml.Node) { m["only"] = p.names(n, "only") },
		"prefix":   func(n *yaml.Node) { m["prefix"] = p.text(n, "prefix") },
		"keep_env": func(n *yaml.Node) {
			if v := p.follow(n, "keep_env"); v != nil && v.Kind == yaml.ScalarNode && v.ShortTag() == "!!bool" {
				m["keep_env"] = p.truth(v, "keep_env")
			} else {
				m["keep_env"] = p.names(n, "keep_env")
			}
		},
	})
	return m
}

// A ruleReader reads one rule, and remembers what stands where until all of it is read.
type ruleReader struct {
	*parser
	flat      map[string][]Key // the single keys, by field
	first     *yaml.Node       // of their lists
	groups    *yaml.Node
	groupsAre string // which of its two names the field has
	threshold *yaml.Node
	profile   string
	selectors []string
}

// creationRule reads one rule.
func (p *parser) creationRule(n *yaml.Node) *Rule {
	if p.err != nil {
		return nil
	}
	if p.rules++; p.rules > maxRules {
		p.fail(n, "creation_rules", "more than %d rules", maxRules)
		return nil
	}
	p.rule = &Rule{Line: n.Line}
	r := &ruleReader{parser: p, flat: make(map[string][]Key)}
	p.mapping(n, "creation_rules", r.fields())
	if p.err != nil {
		return nil
	}
	r.settleKeys(n)
	p.checkGroups(n, r.threshold)
	return p.rule
}

func (r *ruleReader) fields() fields {
	rule := r.rule
	known := fields{
		"path":               func(n *yaml.Node) { r.globs(n, rule) },
		"path_regex":         func(n *yaml.Node) { rule.PathRegex, rule.regex = r.regex(n, "path_regex") },
		"aws_profile":        func(n *yaml.Node) { r.profile = r.text(n, "aws_profile") },
		"mac_only_encrypted": func(n *yaml.Node) { rule.MACOnlyEncrypted = r.truth(n, "mac_only_encrypted") },
		"integrity":          func(n *yaml.Node) { rule.Sealed = r.sealed(n) },
		"shamir_threshold": func(n *yaml.Node) {
			r.threshold = n
			rule.Threshold = r.number(n, "shamir_threshold", 0, maxGroups)
		},
	}
	for name, to := range map[string]*string{
		"unencrypted_suffix":        &rule.UnencryptedSuffix,
		"encrypted_suffix":          &rule.EncryptedSuffix,
		"unencrypted_regex":         &rule.UnencryptedRegex,
		"encrypted_regex":           &rule.EncryptedRegex,
		"unencrypted_comment_regex": &rule.UnencryptedCommentRegex,
		"encrypted_comment_regex":   &rule.EncryptedCommentRegex,
	} {
		known[name] = func(n *yaml.Node) { r.selector(n, name, to) }
	}
	for _, k := range keyLists() {
		known[k.inRule] = func(n *yaml.Node) {
			if r.flat[k.inRule] = r.keys(n, k.inRule, k); len(r.flat[k.inRule]) > 0 && r.first == nil {
				r.first = n
			}
		}
	}
	for _, name := range []string{"groups", "key_groups"} {
		known[name] = func(n *yaml.Node) { r.keyGroups(n, name) }
	}
	return known
}

// selector reads one of the fields of which a rule can have one.
func (r *ruleReader) selector(n *yaml.Node, name string, to *string) {
	if strings.HasSuffix(name, "_regex") {
		*to, _ = r.regex(n, name)
	} else {
		*to = r.text(n, name)
	}
	if *to == "" {
		return
	}
	if r.selectors = append(r.selectors, name); len(r.selectors) == 2 {
		r.fail(n, name, "this rule already has %s, and it can have only one of the two", r.selectors[0])
	}
}

func (r *ruleReader) keyGroups(n *yaml.Node, name string) {
	if r.groups != nil {
		r.fail(n, name, "this rule already has %s", r.groupsAre)
		return
	}
	r.groups, r.groupsAre = n, name
	r.list(n, name, func(item *yaml.Node) { r.rule.Groups = append(r.rule.Groups, distinct(r.group(item, name))) })
}

// settleKeys makes one group of the single keys, where the rule has no groups. Beside
// groups there must be none.
func (r *ruleReader) settleKeys(n *yaml.Node) {
	switch {
	case len(r.rule.Groups) == 0:
		var all []Key
		for _, k := range keyLists() {
			all = append(all, r.flat[k.inRule]...)
		}
		for i := range all {
			all[i].take(r.profile)
		}
		r.rule.Groups = [][]Key{distinct(all)}
	case r.first != nil && len(r.flat["keys"]) > 0:
		r.fail(r.first, r.groupsAre, "this rule has keys as well; put them all into %s", r.groupsAre)
	case r.first != nil && r.strict:
		// sops passes over the single keys, and whoever wrote them cannot know.
		r.fail(r.first, r.groupsAre, "the keys that stand beside %s would not be used; put them into a group", r.groupsAre)
	case r.profile != "" && r.strict:
		r.fail(n, "aws_profile", "would not be used beside %s; give it with the keys", r.groupsAre)
	}
}

// checkGroups looks for what would make the groups of the rule unusable.
func (p *parser) checkGroups(n, threshold *yaml.Node) {
	groups := p.rule.Groups
	for i, g := range groups {
		switch {
		case len(g) > 0:
		case len(groups) == 1:
			p.fault(n, "keys", "this rule has no key, so what it covers could not be decrypted; add one")
		default:
			p.fault(n, "groups", "group %d of this rule has no key; add one", i+1)
		}
	}
	if len(groups) > maxGroups {
		p.fault(n, "groups", "%d groups; at most %d are possible", len(groups), maxGroups)
	}
	switch t := p.rule.Threshold; {
	case t > len(groups):
		p.fault(threshold, "shamir_threshold", "%d groups are asked for, but the rule has %d", t, len(groups))
	case t == 1 && len(groups) > 1:
		p.fault(threshold, "shamir_threshold", "1 of %d groups is what one group with all the keys gives; write that", len(groups))
	}
}

// globs reads the path of a rule.
func (p *parser) globs(n *yaml.Node, r *Rule) {
	some := false
	p.texts(n, "path", func(n *yaml.Node, pattern string) {
		expr, exclude, err := globExpr(pattern)
		if err != nil {
			p.fail(n, "path", "pattern %.200q: %v", pattern, err)
			return
		}
		some = some || !exclude
		r.Path = append(r.Path, pattern)
		r.globs = append(r.globs, glob{re: p.compile(n, "path", expr), exclude: exclude})
	})
	if !some {
		p.fail(n, "path", `no pattern that covers anything; add one without "!"`)
	}
}
