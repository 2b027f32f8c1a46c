package envelope

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
)

// DefaultUnencryptedSuffix is the rule of a file that sets none: keys that end
// with it, and what is below them, stay in clear.
const DefaultUnencryptedSuffix = "_unencrypted"

// A Selector is the rule that says which values and comments of a file are
// encrypted. At most one field may be set; when none is, UnencryptedSuffix is
// DefaultUnencryptedSuffix. The field names are those of the metadata.
//
// The suffixes and the first two expressions (RE2, unanchored) are matched with
// every key on the path from the root, so a match covers all that is below it.
// The comment expressions are matched with the comments that stand directly
// before the value or before one of the maps and lists that hold it.
type Selector struct {
	UnencryptedSuffix       string // encrypted unless a key ends with it
	EncryptedSuffix         string // encrypted if a key ends with it
	UnencryptedRegex        string // encrypted unless a key matches
	EncryptedRegex          string // encrypted if a key matches
	UnencryptedCommentRegex string // encrypted unless a comment matches
	EncryptedCommentRegex   string // encrypted if a comment matches
}

// A selectorField is one field of a Selector and its name in the metadata.
type selectorField struct {
	name  string
	value *string
}

// fields returns the fields of s in alphabetical order.
func (s *Selector) fields() [6]selectorField {
	return [...]selectorField{
		{"encrypted_comment_regex", &s.EncryptedCommentRegex},
		{"encrypted_regex", &s.EncryptedRegex},
		{"encrypted_suffix", &s.EncryptedSuffix},
		{"unencrypted_comment_regex", &s.UnencryptedCommentRegex},
		{"unencrypted_regex", &s.UnencryptedRegex},
		{"unencrypted_suffix", &s.UnencryptedSuffix},
	}
}

// Rule returns the name and the value of the field that is set, both empty if none is.
func (s Selector) Rule() (name, value string) {
	for _, f := range s.fields() {
		if *f.value != "" {
			return f.name, *f.value
		}
	}
	return "", ""
}

// checkOne returns an error when more than one field is set.
func (s Selector) checkOne() error {
	var set []string
	for _, f := range s.fields() {
		if *f.value != "" {
			set = append(set, f.name)
		}
	}
	if len(set) > 1 {
		return fmt.Errorf("%s are set, but a file has one rule for what is encrypted: keep one of them", strings.Join(set, " and "))
	}
	return nil
}

// A compiledSelector is a Selector ready to be asked. It keeps a memory of keys,
// so it serves one goroutine at a time.
type compiledSelector struct {
	matches    func(string) bool // a key, or a comment if ofComments
	ofComments bool
	encrypts   bool // what matches is encrypted, rather than left in clear

	memo map[string]bool // what matches said of keys; nil when asking is cheap
}

// compile returns an error when more than one field is set or a regular
// expression is not valid. In lenient mode, for files that sops wrote, a regular
// expression that is not valid matches nothing, as it does there.
func (s Selector) compile(lenient bool) (*compiledSelector, error) {
	if err := s.checkOne(); err != nil {
		return nil, err
	}
	suffix := func(suffix string) func(string) bool {
		return func(key string) bool { return strings.HasSuffix(key, suffix) }
	}
	c := &compiledSelector{
		ofComments: s.UnencryptedCommentRegex != "" || s.EncryptedCommentRegex != "",
		encrypts:   s.EncryptedSuffix != "" || s.EncryptedRegex != "" || s.EncryptedCommentRegex != "",
	}
	switch {
	case s.EncryptedSuffix != "":
		c.matches = suffix(s.EncryptedSuffix)
		return c, nil
	case s.UnencryptedSuffix != "":
		c.matches = suffix(s.UnencryptedSuffix)
		return c, nil
	}
	for _, f := range s.fields() {
		if *f.value == "" {
			continue
		}
		re, err := compileBounded(*f.value)
		switch {
		case err == nil:
			c.matches = re.MatchString
		case lenient:
			c.matches = func(string) bool { return false }
		default:
			return nil, fmt.Errorf("%s is not a valid regular expression: %w", f.name, err)
		}
		if !c.ofComments {
			c.memo = make(map[string]bool)
		}
		return c, nil
	}
	c.matches = suffix(DefaultUnencryptedSuffix)
	return c, nil
}

// maxProgram bounds a regular expression, in instructions: it comes from the file
// and runs before anything in it is verified.
const maxProgram = 5000

func compileBounded(expr string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	if len(expr) > maxProgram || len(prog.Inst) > maxProgram {
		return nil, errors.New("it is too long")
	}
	return regexp.Compile(expr)
}

// marks reports whether a comment with that text is one that the rule looks for.
// A file under unencrypted_comment_regex cannot be written when it marks an
// encrypted comment's token: the file would not decrypt.
func (c *compiledSelector) marks(comment string) bool {
	return c.ofComments && c.matches(comment)
}

// maxMemo bounds the memory of keys; beyond it the expression is run each time.
const maxMemo = 4096

func (c *compiledSelector) matchesKey(key string) bool {
	if c.memo == nil {
		return c.matches(key)
	}
	m, ok := c.memo[key]
	if !ok {
		m = c.matches(key)
		if len(c.memo) < maxMemo {
			c.memo[key] = m
		}
	}
	return m
}

// maxPath bounds the keys of one path, in bytes. Every value authenticates its
// whole path, so an unbounded one makes work grow with the square of a file.
const maxPath = 64 << 10

var errPathTooLong = errors.New("nested too deep: the keys on the path to one value are longer than 64 KiB")

// A level is a map or list on the way from the root to the node at hand.
type level struct {
	node *doc.Node
	next int // index of the next item
	path int // length of the walk's path up to here
	aad  string
	// hit says that a key on the path matches or a comment on an outer level
	// does; marked, that a comment before the next item does.
	hit, marked bool
}

// walk visits every scalar and comment of the tree under root, a Map, in file
// order, which is sops's order. aad is what the value's token authenticates: the
// keys on its path from the root, each followed by a colon, and for a comment
// the path of the map or list that holds it (":" at the root). Indices of lists
// are no part of it. encrypted is the rule's answer; it is false for nulls, and
// true also for empty strings, which have no token and stay as they are. An
// error from visit ends the walk.
//
// Comments count as in sops. Those directly before an item are active for the
// item and all that is below it, and for the comments between; the item ends
// them. A comment counts for itself when the rule keeps things in clear, and does
// not when the rule encrypts, so a marker stays readable either way. What counts
// is the text in the tree, so the tokens of an encrypted tree are matched as
// tokens. What is Hidden from sops counts for nothing else.
//
// sops writes an encrypted comment of a YAML list as an ordinary item, a string
// that is a token of type comment. Here as there such a node is a scalar: it gets
// the aad of the list, and it ends the active comments. sops so loses track of
// its own marker when comments follow it (encrypted_comment_regex, a marker, a
// second comment, a value: sops cannot read that list back). A caller that turns
// such nodes into Comment nodes before the walk gets the answers of the time of
// encryption, which differ in no file that sops itself can read.
//
// The walk keeps its own stack, so any depth will do, allocates less than once a
// map, and leaves the tree as it is. The strings it hands out may be kept.
func (c *compiledSelector) walk(root *doc.Node, visit func(n *doc.Node, aad string, encrypted bool) error) error {
	var (
		path  []byte // the keys down to the current level, each with its colon
		paths arena
		stack = []level{{node: root}}
	)
	for len(stack) > 0 {
		l := &stack[len(stack)-1]
		if l.next == len(l.node.Items) {
			stack = stack[:len(stack)-1]
			continue
		}
		n := l.node.Items[l.next]
		l.next++
		path = path[:l.path]

		if n.Kind == doc.Comment {
			marked := l.marked
			if c.ofComments {
				now := l.marked || c.matches(n.Text)
				if !c.encrypts {
					marked = now
				}
				if !n.Hidden {
					l.marked = now
				}
			}
			if err := visit(n, l.own(path, &paths), (l.hit || marked) == c.encrypts); err != nil {
				return err
			}
			continue
		}

		hit := l.hit || l.marked
		if !n.Hidden {
			l.marked = false
		}
		if l.node.Kind == doc.Map {
			hit = hit || !c.ofComments && c.matchesKey(n.Key)
			path = append(append(path, n.Key...), ':')
			if len(path) > maxPath {
				return errPathTooLong
			}
		}
		if n.Kind != doc.Scalar {
			stack = append(stack, level{node: n, path: len(path), hit: hit})
			continue
		}
		var aad string
		if l.node.Kind == doc.Map {
			aad = paths.keep(path)
		} else {
			aad = l.own(path, &paths)
		}
		if err := visit(n, aad, hit == c.encrypts && n.Type != doc.Null); err != nil {
			return err
		}
	}
	return nil
}

// own returns the aad of what stands in the level under no key of its own.
func (l *level) own(path []byte, paths *arena) string {
	if l.aad == "" {
		l.aad = ":"
		if len(path) > 0 {
			l.aad = paths.keep(path)
		}
	}
	return l.aad
}

// Mark reads a plaintext and says of every node whether it would be encrypted in this
// file, in Node.Encrypted. The error wraps doc.ErrRung for a text that has no tree of
// its own in a file.
func (f *File) Mark(plaintext []byte) (*doc.Document, error) {
	return f.mark(plaintext, doc.Splice, f.Meta.Selector)
}

// MarkBy is Mark for another selector than the file's own. A text without a tree of its
// own is read in the form in which a file would hold it.
func (f *File) MarkBy(plaintext []byte, s Selector) (d *doc.Document, err error) {
	for r, ok := doc.Splice, true; ok; r, ok = r.Next(err) {
		if d, err = f.mark(plaintext, r, s); !errors.Is(err, doc.ErrRung) {
			break
		}
	}
	return d, err
}

func (f *File) mark(plaintext []byte, r doc.Rung, s Selector) (*doc.Document, error) {
	d, _, err := f.Format.Prepare(plaintext, r)
	if err != nil {
		return nil, err
	}
	c, err := s.compile(!f.Sealed)
	if err != nil {
		return nil, err
	}
	for _, root := range d.Roots {
		err := c.walk(root, func(n *doc.Node, _ string, encrypted bool) error {
			n.Encrypted = encrypted
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// InForce returns the selector that counts where none is set: sops's own.
func (s Selector) InForce() Selector {
	if s == (Selector{}) {
		s.UnencryptedSuffix = DefaultUnencryptedSuffix
	}
	return s
}

// An arena makes many small strings with few allocations.
type arena struct{ b strings.Builder }

func (a *arena) keep(s []byte) string {
	const chunk = 8 << 10
	if a.b.Cap()-a.b.Len() < len(s) {
		a.b.Reset()
		a.b.Grow(max(chunk, len(s)))
	}
	a.b.Write(s)
	return a.b.String()[a.b.Len()-len(s):]
}
