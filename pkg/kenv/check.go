package kenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// The kinds of Problem. They are part of what kenv check promises to scripts.
const (
	NotEncrypted     = "not-encrypted"
	ValueInClear     = "value-in-clear"
	DamagedToken     = "damaged-token"
	DamagedMetadata  = "damaged-metadata"
	MergeConflict    = "merge-conflict"
	UnresolvedMerge  = "unresolved-merge"
	MissingRecipient = "missing-recipient"
	ExtraRecipient   = "extra-recipient"
	KeyGroups        = "key-groups"
	WrongSelector    = "selector"
	Unsealed         = "unsealed"
	Integrity        = "integrity"
	IdentityInClear  = "identity-in-clear"
	PrivateKey       = "private-key"
	KeyFile          = "key-file"
	PINFile          = "pin-file"
	EnvFile          = "env-file"
)

// A CheckKind is a kind of Problem and what it is about.
type CheckKind struct{ ID, About string }

// CheckKinds returns all kinds of Problem.
func CheckKinds() []CheckKind {
	return []CheckKind{
		{NotEncrypted, "A file that a rule of the config names is not encrypted"},
		{ValueInClear, "A value or comment of an encrypted file is in clear, where the file's own rule would encrypt it"},
		{DamagedToken, "An encrypted value is not well formed"},
		{DamagedMetadata, "The metadata of an encrypted file is incomplete or damaged"},
		{MergeConflict, "git has left conflict markers in a file"},
		{UnresolvedMerge, "An encrypted file holds conflicts of a merge that nobody has resolved"},
		{MissingRecipient, "The config names a key that the file was not encrypted for"},
		{ExtraRecipient, "The file can be decrypted with a key that the config does not name"},
		{KeyGroups, "Key groups or threshold are not those of the config"},
		{WrongSelector, "What is encrypted in the file is not chosen as the config says"},
		{Unsealed, "The file has no seal, and the config demands one"},
		{Integrity, "The file was changed by somebody without its key"},
		{IdentityInClear, "An age identity is in clear"},
		{PrivateKey, "A private key is in clear"},
		{KeyFile, "A file of a kind that holds private keys"},
		{PINFile, "A file with a PIN is in clear"},
		{EnvFile, "A .env file is in clear"},
	}
}

// A CheckFile is a file to check.
type CheckFile struct {
	Name string // its path, by which config, rule and format are found
	// Open gives what it holds, or nil if it is no regular file or gone; a nil Open
	// reads the file of that name.
	Open func() (io.ReadCloser, error)
}

// CheckOptions say how to check.
type CheckOptions struct {
	// Verify has the integrity of files checked for which a key is at hand.
	Verify bool
	// Configs are configs that are read instead of what is on disk: see config.Tree.
	Configs map[string][]byte
	// PINFile is the path of the file that holds this person's PIN, if there is one.
	PINFile string
}

// A Problem is something that a check objects to.
type Problem struct {
	Kind string
	File string // as CheckFile has it
	Line int    // 0 if it is about no line
	Path string // of a value: the keys down to it, quoted for a terminal
	Msg  string // never holds a value

	Config     string // the path of the config that says otherwise, "" if none does
	ConfigLine int
}

// A CheckReport is what a check came to.
type CheckReport struct {
	Problems []Problem // in the order of the files
	Failures []error   // what kept files from being checked, each once

	Files      int // that were looked at
	Covered    int // by a rule
	Encrypted  int
	Verified   int
	Unverified int  // with Verify: there was no key at hand
	NoConfig   bool // is in force for any of the files
}

// lookLimit is how much of a file is looked at that no rule covers and that is too
// large for an encrypted one, in bytes.
const lookLimit = 32 << 20

// Check looks at files, without any key unless it is to verify them: whether each that
// a rule names is encrypted, each encrypted one well formed, all it should hide hidden,
// with the recipients and rules that the config asks for; and whether any file is or
// holds a secret that nobody should commit. Configs themselves need no rule.
//
// A rule that covers any path names no file. Under such a rule those must be encrypted
// that have a name like config.DefaultPaths and a format that holds data.
func (s Setup) Check(ctx context.Context, files []CheckFile, o CheckOptions) *CheckReport {
	c := &checker{Setup: s, o: o, tree: config.Tree{Path: s.Config, Texts: o.Configs}, rules: map[*config.Rule]*ruleKeys{}}
	if o.PINFile != "" {
		c.pin, _ = os.Stat(o.PINFile)
	}
	found := make([]fileReport, len(files))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(2*runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(files) || ctx.Err() != nil {
					return
				}
				c.check(ctx, files[i], &found[i])
			}
		})
	}
	wg.Wait()
	r := &CheckReport{NoConfig: true}
	if err := ctx.Err(); err != nil {
		r.Failures = append(r.Failures, err)
	}
	failed := map[string]bool{}
	for _, f := range found {
		r.Problems = append(r.Problems, f.problems...)
		if f.failure != nil && !failed[f.failure.Error()] {
			failed[f.failure.Error()] = true
			r.Failures = append(r.Failures, f.failure)
		}
		r.NoConfig = r.NoConfig && !f.configured
		for _, n := range []struct {
			is    bool
			count *int
		}{{f.looked, &r.Files}, {f.covered, &r.Covered}, {f.encrypted, &r.Encrypted}, {f.verified, &r.Verified}, {f.unverified, &r.Unverified}} {
			if n.is {
				*n.count++
			}
		}
	}
	return r
}

type checker struct {
	Setup
	o    CheckOptions
	tree config.Tree
	pin  fs.FileInfo

	mu    sync.Mutex
	rules map[*config.Rule]*ruleKeys
}

// ruleKeys are the master keys that a rule names.
type ruleKeys struct {
	groups      [][]keys.MasterKey
	unsupported []string
	err         error
}

type fileReport struct {
	name     string
	problems []Problem
	failure  error

	looked, configured, covered, encrypted, verified, unverified bool
}

func (r *fileReport) add(kind string, line int, format string, args ...any) *Problem {
	r.problems = append(r.problems, Problem{Kind: kind, File: r.name, Line: line, Msg: fmt.Sprintf(format, args...)})
	return &r.problems[len(r.problems)-1]
}

func (c *checker) check(ctx context.Context, f CheckFile, r *fileReport) {
	r.name = f.Name
	base := filepath.Base(f.Name)
	var cover config.Cover
	switch base {
	case config.Name, config.SopsName, ".gitignore", ".gitattributes":
		r.configured = true // it is part of what is set up
	default:
		if cover, r.failure = c.tree.Look(f.Name); r.failure != nil {
			return
		}
	}
	data, ok, err := read(f, cover.Rule != nil)
	if err != nil || !ok {
		r.failure = err
		return
	}
	r.looked, r.covered = true, cover.Rule != nil
	r.configured = r.configured || cover.Config != nil
	sure, _ := byName(f.Name)
	named := cover.Rule != nil && (cover.Named || cover.Usual && sure != nil)
	checked, format := c.checkForm(f.Name, data, named, r)
	switch {
	case checked != nil:
		r.encrypted = true
		if cover.Rule != nil {
			c.compareRule(cover.Config, cover.Rule, checked, format, metaLine(data), r)
			if c.o.Verify {
				c.verify(ctx, Source{Name: f.Name, Data: data}, r)
			}
		}
	case named && len(data) > 0 && len(r.problems) == 0:
		p := r.add(NotEncrypted, 0, "is not encrypted")
		if _, err := FormatOf(f.Name, data); err != nil || sure == nil {
			p.Msg = "is not encrypted, and kenv does not know its format: it would be taken as binary"
		}
		p.Config, p.ConfigLine = cover.Config.Path, cover.Rule.Line
	case len(r.problems) == 0 && !cover.Excluded:
		c.checkName(f.Name, data, r)
	}
	checkContent(data, r)
}

// read returns what a file holds, and false if that is nothing to look at.
func read(f CheckFile, covered bool) ([]byte, bool, error) {
	if f.Open == nil {
		f.Open = func() (io.ReadCloser, error) {
			info, err := os.Lstat(f.Name)
			if err == nil && !info.Mode().IsRegular() {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return os.Open(f.Name)
		}
	}
	in, err := f.Open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil // gone since it was listed, as temporary files are
	}
	if err != nil {
		return nil, false, fmt.Errorf("cannot read %s: %w", f.Name, cause(err))
	}
	if in == nil {
		return nil, false, nil
	}
	defer in.Close()
	var from io.Reader = in
	limit := int64(MaxSize)
	if !covered {
		from, limit = io.LimitReader(in, lookLimit), lookLimit
	}
	data, err := Read(from, f.Name, limit)
	return data, err == nil, err
}

// checkForm looks at a file as an encrypted one. It returns nil for one that is not
// encrypted, after it has told why where the file only looks as if it were.
func (c *checker) checkForm(name string, data []byte, named bool, r *fileReport) (*envelope.Checked, doc.Format) {
	tokens := bytes.Contains(data, []byte("ENC[AES256_GCM,data:"))
	format := encryptedFormat(name, data)
	if line := conflict(data); line > 0 && (named || tokens) {
		r.add(MergeConflict, line, "%v", ErrConflict)
		return nil, nil
	}
	if format == nil || !tokens && !bytes.Contains(data, []byte("sops")) {
		return nil, nil
	}
	checked, err := envelope.Check(data, format)
	if err != nil || len(checked.Flaws) > 0 {
		// It may have another format than its name says, after a renaming.
		if other := encryptedFormat("", data); other != nil && other.Name() != format.Name() {
			if again, err := envelope.Check(data, other); err == nil && len(again.Flaws) == 0 {
				return again, other
			}
		}
	}
	syntax := (*doc.SyntaxError)(nil)
	switch {
	case err == nil:
	case !tokens && errors.Is(err, doc.ErrNoMetadata), !tokens && !named:
		return nil, nil // it just has the word in it
	case !named && (errors.Is(err, doc.ErrNoMetadata) || errors.As(err, &syntax)):
		return nil, nil // a text about encrypted files
	case errors.Is(err, doc.ErrNoMetadata):
		r.add(DamagedMetadata, 0, "has encrypted values, and its sops metadata is gone")
		return nil, nil
	case errors.As(err, &syntax):
		kind := NotEncrypted
		if tokens {
			kind = DamagedMetadata
		}
		r.add(kind, syntax.Line, "is not an encrypted file: %s", (&doc.SyntaxError{Format: syntax.Format, Msg: syntax.Msg}).Error())
		return nil, nil
	default:
		r.add(DamagedMetadata, metaLine(data), "%v", err)
		return nil, nil
	}
	for _, f := range checked.Flaws {
		p := r.add(map[string]string{
			envelope.InClear: ValueInClear, envelope.BadToken: DamagedToken,
			envelope.BadMetadata: DamagedMetadata, envelope.Unresolved: UnresolvedMerge,
		}[f.Kind], f.Line, "%s", f.Msg)
		if p.Path = f.Path; f.Line == 0 {
			p.Line = metaLine(data)
		}
	}
	if checked.More > 0 {
		r.add(ValueInClear, 0, "%d values and comments more are not as they should be", checked.More)
	}
	return checked, format
}

// metaLine returns the line on which a file's metadata begins, 0 if that is not seen.
func metaLine(data []byte) int {
	for _, start := range []string{"\nsops:", "\nsops_", "\n[sops]", "\"sops\""} {
		if i := bytes.LastIndex(data, []byte(start)); i >= 0 {
			if start == "\nsops_" {
				i = bytes.Index(data, []byte(start))
			}
			return 1 + bytes.Count(data[:i+1], []byte("\n"))
		}
	}
	return 0
}

// keysOf returns the master keys of a rule, which are made once.
func (c *checker) keysOf(cfg *config.Config, rule *config.Rule) *ruleKeys {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.rules[rule]; ok {
		return k
	}
	k := &ruleKeys{}
	if k.groups, k.err = c.ruleGroups(cfg, rule); errors.Is(k.err, keys.ErrUnsupported) {
		k.err = nil
	}
	for _, g := range rule.Groups {
		for _, n := range g {
			if _, err := c.make(n.Name, n.Attrs); errors.Is(err, keys.ErrUnsupported) {
				k.unsupported = append(k.unsupported, n.Name)
			}
		}
	}
	c.rules[rule] = k
	return k
}

// compareRule looks whether recipients and rules of an encrypted file are those that
// the config asks for.
func (c *checker) compareRule(cfg *config.Config, rule *config.Rule, checked *envelope.Checked, format doc.Format, line int, r *fileReport) {
	want := c.keysOf(cfg, rule)
	if want.err != nil {
		r.failure = want.err
		return
	}
	m := checked.Meta
	object := func(kind, format string, args ...any) {
		p := r.add(kind, line, format, args...)
		p.Config, p.ConfigLine = cfg.Path, rule.Line
	}
	var names []string
	for _, g := range m.Groups {
		for _, e := range g {
			names = append(names, c.Keys.NameOf(e))
			if _, err := c.Keys.FromEntry(e); err != nil && !errors.Is(err, keys.ErrUnsupported) {
				r.add(DamagedMetadata, line, "a key of kind %s cannot be read: %v", e.Kind, err)
				return
			}
		}
	}
	lost, others := c.difference(m, want.groups, rule)
	for _, name := range want.unsupported {
		if !slices.ContainsFunc(names, func(n string) bool { return n == name || strings.HasPrefix(n, name+"/") }) {
			lost = append(lost, name)
		}
	}
	for _, name := range lost {
		object(MissingRecipient, "cannot be decrypted with %s, which the rule names", keys.Short(name))
	}
	for _, name := range others {
		object(ExtraRecipient, "can be decrypted with %s, which the rule does not name", keys.Short(name))
	}
	if change := c.regroup(m, want.groups, rule.Threshold); change != "" {
		object(KeyGroups, "key groups are not those of the rule: %s", change)
	}
	if _, binary := format.(doc.Binary); !binary { // which has no selector
		is, should := selectorWords(m.Selector, m.MACOnlyEncrypted), selectorWords(withRule(envelope.Selector{}, rule), rule.MACOnlyEncrypted)
		if is != should {
			object(WrongSelector, "has %s; the rule says %s", is, should)
		}
	}
	if rule.Sealed && !checked.Sealed {
		object(Unsealed, "has no seal, and the config demands one")
	}
}

// selectorWords says which values a file's rules encrypt.
func selectorWords(s envelope.Selector, macOnly bool) string {
	name, value := s.Rule()
	if name == "" {
		name, value = "unencrypted_suffix", envelope.DefaultUnencryptedSuffix
	}
	words := name + ": " + value
	if macOnly {
		words += " and mac_only_encrypted: true"
	}
	return words
}

// verify opens a file, if one of its keys is at hand.
func (c *checker) verify(ctx context.Context, src Source, r *fileReport) {
	f, err := c.Open(ctx, src)
	integrity := (*envelope.IntegrityError)(nil)
	switch {
	case err == nil:
		f.Wipe()
		r.verified = true
	case as[*envelope.NoKeyError](err):
		r.unverified = true
	case len(r.problems) > 0:
		// They say why.
	case errors.As(err, &integrity):
		r.add(Integrity, integrity.Line, "%s", integrity.Msg).Path = integrity.Path
	default:
		r.failure = fmt.Errorf("%s: %w", r.name, err)
	}
}

// checkName looks whether a file in clear is by its name one that holds secrets.
func (c *checker) checkName(name string, data []byte, r *fileReport) {
	base := strings.ToLower(filepath.Base(name))
	ends := func(suffixes ...string) bool {
		return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(base, s) })
	}
	if c.pin != nil {
		if info, err := os.Stat(name); err == nil && os.SameFile(info, c.pin) {
			r.add(PINFile, 0, "is the file with your PIN, in clear")
			return
		}
	}
	switch stem := strings.TrimSuffix(strings.TrimPrefix(base, "."), ".txt"); {
	case ends(".p12", ".pfx", ".jks", ".ppk") && len(data) > 0:
		r.add(KeyFile, 0, "is by its name a file with private keys")
	case (stem == "pin" || strings.HasSuffix(stem, ".pin") || ends("-pin", "_pin", "-pin.txt", "_pin.txt", "pinfile")) && isPIN(data):
		r.add(PINFile, 0, "is by its name and content a PIN, in clear")
	case ends(".example", ".sample", ".template", ".tmpl", ".dist", ".defaults"):
	case (base == ".env" || strings.HasPrefix(base, ".env.") || ends(".env")) && setsVariables(data):
		r.add(EnvFile, 0, "sets variables in clear")
	}
}

// isPIN reports whether a text is one short word.
func isPIN(data []byte) bool {
	fields := bytes.Fields(data)
	return len(data) <= 300 && len(fields) == 1 && len(fields[0]) >= 4
}

// setsVariables reports whether a line gives a variable a value.
func setsVariables(data []byte) bool {
	if bytes.IndexByte(data, 0) >= 0 {
		return false
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		name, value, ok := bytes.Cut(line, []byte("="))
		if ok && line[0] != '#' && len(bytes.TrimSpace(name)) > 0 && len(bytes.Trim(value, " \t\"'")) > 0 {
			return true
		}
	}
	return false
}

// checkContent looks for secret keys in what a file holds in clear.
func checkContent(data []byte, r *fileReport) {
	const most = 10
	found := 0
	look := func(mark string, is func(text []byte) bool, kind, what string) {
		for i := 0; found < most; {
			n := bytes.Index(data[i:], []byte(mark))
			if n < 0 {
				return
			}
			if is(data[i+n:]) {
				found++
				r.add(kind, 1+bytes.Count(data[:i+n], []byte("\n")), "%s", what)
			}
			i += n + len(mark)
		}
	}
	look("AGE-SECRET-KEY-", isIdentity, IdentityInClear, "an age identity is in clear")
	look("-----BEGIN ", isPrivateKey, PrivateKey, "a private key is in clear")
	look("PuTTY-User-Key-File-", isPuTTYKey, PrivateKey, "a private key is in clear")
}

// isIdentity tells an identity from a text about identities, by the length of what
// follows.
func isIdentity(text []byte) bool {
	text = bytes.TrimPrefix(text, []byte("AGE-SECRET-KEY-"))
	text, ok := bytes.CutPrefix(bytes.TrimPrefix(text, []byte("PQ-")), []byte("1"))
	return ok && runOf(text, func(b byte) bool { return 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' }) >= 50
}

// isPrivateKey tells a private key in PEM from a text about such, and from one that
// takes a passphrase: a line break, as it is or escaped, and base64 follow.
func isPrivateKey(text []byte) bool {
	text = text[len("-----BEGIN "):]
	label, rest, ok := bytes.Cut(text[:min(len(text), 4<<10)], []byte("-----"))
	if !ok || len(label) > 40 || !bytes.HasSuffix(bytes.TrimSuffix(label, []byte(" BLOCK")), []byte("PRIVATE KEY")) || bytes.HasPrefix(label, []byte("ENCRYPTED")) {
		return false
	}
	body, _, _ := bytes.Cut(rest, []byte("-----END"))
	if bytes.Contains(body, []byte("Proc-Type: 4,ENCRYPTED")) {
		return false
	}
	isBase64 := func(b byte) bool {
		return 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '+' || b == '/' || b == '='
	}
	body = bytes.ReplaceAll(body, []byte(`\n`), []byte("\n"))
	for line := range bytes.Lines(body) {
		line = bytes.Trim(line, " \t\r\n\"'`,+#*")
		if len(line) >= 32 && runOf(line, isBase64) == len(line) {
			// What OpenSSH writes names its cipher first: here "none".
			const ssh, inClear = "b3BlbnNzaC1rZXktdjEA", "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU"
			return !bytes.HasPrefix(line, []byte(ssh)) || bytes.HasPrefix(line, []byte(inClear))
		}
	}
	return false
}

func isPuTTYKey(text []byte) bool {
	text = text[:min(len(text), 8<<10)]
	return bytes.Contains(text, []byte("\nEncryption: none")) && bytes.Contains(text, []byte("\nPrivate-Lines: "))
}

// runOf returns how many of the first bytes of a text are like that.
func runOf(text []byte, like func(byte) bool) int {
	for i, b := range text {
		if !like(b) {
			return i
		}
	}
	return len(text)
}
