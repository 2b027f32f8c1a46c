package kenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/keys"
)

// A File is an encrypted file that was opened: its values can be read and changed, and
// the result saved. Its methods may be called at the same time.
//
// Paths are those of ParsePath: "db.password", "hosts[0]". Errors name the file, and
// never hold a value.
type File struct {
	setup   Setup
	options ChangeOptions

	mu     sync.Mutex
	source Source
	stamp  *Stamp         // nil: it was not read from a file
	saved  bool           // source is a later state than old
	old    *envelope.File // nil: wiped
	now    *draft
}

// Format prints the file's name, whatever the verb, so that a File in a log shows no
// secret. It implements fmt.Formatter.
func (f *File) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "kenv.File(%q)", f.source.Name) }

// A draft is the plaintext of a File as it is now.
type draft struct {
	text   []byte
	own    bool      // text is not that of the envelope.File
	values *doc.Text // of readValues, once somebody wants one
}

var errWiped = errors.New("it was wiped")

// Open opens the encrypted file at path and checks all of it, with the first of its
// master keys that works and whose kind is among providers. It is
// Setup{Keys: providers}.OpenFile for a file. The caller wipes the File.
func Open(ctx context.Context, path string, providers ...keys.Provider) (*File, error) {
	return Setup{Keys: providers}.OpenFile(ctx, Source{Name: path}, ChangeOptions{})
}

// OpenFile is Setup.Open for a File. A Source without Data is read from the file of its
// Name; one with Data can be changed and encrypted, and not saved.
func (s Setup) OpenFile(ctx context.Context, src Source, o ChangeOptions) (*File, error) {
	f := &File{setup: s, options: o, source: src}
	if src.Data == nil {
		data, stamp, err := ReadFile(src.Name, MaxSize)
		if err != nil {
			return nil, err
		}
		f.source.Data, f.stamp = data, &stamp
	}
	var err error
	if f.old, err = s.open(ctx, f.source, envelope.OpenOptions{ForReuse: true}); err != nil {
		return nil, f.about(err)
	}
	f.now = &draft{text: f.old.Plaintext()}
	return f, nil
}

// about says which file an error is about.
func (f *File) about(err error) error {
	if err == nil || f.source.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", f.source.Name, err)
}

// Get returns the single value at a path as kenv get shows it: without any syntax around
// it, null as "", a variable of dotenv as programs read it. The empty path stands for the
// whole plaintext, byte for byte. The error is a *PathError if nothing stands there. For
// maps and lists there is Decode.
func (f *File) Get(path string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old == nil {
		return "", f.about(errWiped)
	}
	if path == "" {
		return string(f.now.text), nil
	}
	text, n, err := f.value(path)
	switch {
	case err != nil:
		return "", f.about(err)
	case n.Kind != doc.Scalar:
		return "", f.about(fmt.Errorf("%q is %s, not a single value", path, describe(n)))
	}
	return string(plain(text, n)), nil
}

// Decode stores what stands at a path in the value that v points to, as package
// encoding/json does with the same data in JSON: struct fields go by their json tags. The
// empty path stands for the whole first document.
func (f *File) Decode(path string, v any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old == nil {
		return f.about(errWiped)
	}
	text, n, err := f.value(path)
	if err != nil {
		return f.about(err)
	}
	if text != nil {
		text.ExactNumbers(n)
	}
	data, err := emit([]*doc.Node{n}, doc.JSON{})
	if err != nil {
		return f.about(err)
	}
	defer clear(data)
	return f.about(unfit(json.Unmarshal(data, v)))
}

// unfit says what encoding/json objects to. Its own words, and those of types that
// decode themselves, may hold the value.
func unfit(err error) error {
	typ, invalid := (*json.UnmarshalTypeError)(nil), (*json.InvalidUnmarshalError)(nil)
	switch {
	case err == nil, errors.As(err, &invalid):
		return err
	case errors.As(err, &typ):
		what, _, _ := strings.Cut(typ.Value, " ") // "number 5"
		if typ.Field != "" {
			return fmt.Errorf("%q is a JSON %s, which does not fit a Go %s", typ.Field, what, typ.Type)
		}
		return fmt.Errorf("a JSON %s does not fit a Go %s", what, typ.Type)
	}
	return errors.New("a value does not fit the Go type that decodes it")
}

// value returns the node at a path, the root's for the empty one. The text is nil where
// only the data is known.
func (f *File) value(spelled string) (text *doc.Text, n *doc.Node, err error) {
	var path Path
	if spelled != "" {
		if path, err = ParsePath(spelled); err != nil {
			return nil, nil, err
		}
	}
	if f.now.values == nil {
		if f.now.values, err = readValues(f.old.Format, f.now.text); err != nil {
			n, err = find(f.old, path) // nothing of it was changed, as that takes reading it
			return nil, n, err
		}
	}
	n, err = valueIn(f.now.values, f.old.Format, path)
	return f.now.values, n, err
}

// Set puts a value where a path leads; Save writes it. A string is put there as it is,
// anything else as encoding/json has it: numbers, bools, nil, maps, slices, structs. See
// Setup.Set for what is made on the way, and for the errors.
func (f *File) Set(path string, value any) error {
	v, err := valueOf(value)
	if err != nil {
		return f.about(err)
	}
	return f.change(path, func(t *doc.Text, p Path) (now []byte, err error) {
		now, _, err = set(t, p, v)
		return now, err
	})
}

func valueOf(value any) (*doc.Document, error) {
	if text, ok := value.(string); ok {
		if !utf8.ValidString(text) {
			return nil, errors.New("the value is not UTF-8 text; base64 would be")
		}
		return doc.StringValue(text), nil
	}
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, fmt.Errorf("a %T is no value for a file: JSON does not have it", value)
	}
	v, err := doc.ParseValue(text.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the value: %w", err)
	}
	return v, nil
}

// Unset takes away what stands where a path leads, with the comments that belong to it;
// Save writes that. The error is a *PathError if nothing stands there.
func (f *File) Unset(path string) error { return f.change(path, unset) }

func (f *File) change(spelled string, edit func(*doc.Text, Path) ([]byte, error)) error {
	path, err := ParsePath(spelled)
	if err != nil {
		return f.about(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old == nil {
		return f.about(errWiped)
	}
	now, _, err := changed(f.old, f.now.text, path, f.options, func(t *doc.Text) ([]byte, error) { return edit(t, path) })
	if err != nil {
		return f.about(err)
	}
	f.now.wipe()
	f.now = &draft{text: now, own: true}
	return nil
}

func (d *draft) wipe() {
	if d.own {
		clear(d.text)
	}
}

// Encrypt returns the file as it is now, encrypted: what Save writes. Recipients, data
// key and rules stay as they are, and so does the ciphertext of what is unchanged. No
// master key is asked for anything. Recipients that the rule for the file does not name
// are a *RecipientsError, unless the ChangeOptions accept them.
func (f *File) Encrypt() (*Encrypted, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out, err := f.encrypt()
	return out, f.about(err)
}

func (f *File) encrypt() (*Encrypted, error) {
	if f.old == nil {
		return nil, errWiped
	}
	if f.saved {
		if err := f.reopen(); err != nil {
			return nil, err
		}
	}
	return f.setup.Resealed(f.old, f.source.Name, f.now.text, f.options.AcceptRecipients)
}

// reopen goes on from what was saved, so that its ciphertext is kept, too.
func (f *File) reopen() error {
	again, err := f.old.Reopen(f.source.Data)
	if err != nil {
		return err
	}
	if !f.now.own {
		f.now = &draft{text: again.Plaintext()}
	}
	f.old.Wipe()
	f.old, f.saved = again, false
	return nil
}

// Save writes the file, if it is not as it was, under the promises of Replace. Only the
// lines of what changed differ, and the integrity lines; a file that sops wrote last gets
// its seal. If somebody else has written the file since it was opened, nothing is written
// and the error wraps ErrChanged: open it again, and change it again. It waits for others
// who write the file, as LockFile does. The context is looked at before anything is
// written, not after.
func (f *File) Save(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stamp == nil {
		return f.about(errors.New("it was not read from a file, so there is none to save it to"))
	}
	out, err := f.encrypt()
	if err != nil {
		return f.about(err)
	}
	if bytes.Equal(out.Data, f.source.Data) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return f.about(err)
	}
	lock, err := LockFile(ctx, f.source.Name)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := Replace(f.source.Name, out.Data, WriteOptions{Ciphertext: true, Perm: 0o666, Expect: f.stamp, Lock: lock}); err != nil {
		return err
	}
	f.source.Data, f.saved = out.Data, true
	// Somebody else may have been as quick. Then the stamp stays, which is that of no file
	// any more, and the next Save says so.
	if data, stamp, err := ReadFile(f.source.Name, MaxSize); err == nil && bytes.Equal(data, out.Data) {
		f.stamp = &stamp
	}
	return nil
}

// Wipe clears the data key and the plaintext; after it every method but Wipe fails. What
// Get and Decode have handed out is the caller's.
func (f *File) Wipe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.old == nil {
		return
	}
	f.now.wipe()
	f.old.Wipe()
	f.old, f.now = nil, nil
}
