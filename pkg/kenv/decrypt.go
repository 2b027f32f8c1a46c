package kenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// Open decrypts a file and checks its integrity. A file without a seal is refused
// where the config in force for it demands one. The caller wipes the file.
func (s Setup) Open(ctx context.Context, src Source) (*envelope.File, error) {
	return s.open(ctx, src, envelope.OpenOptions{})
}

// OpenUnverified opens a file without looking at its mac and seal: see
// envelope.OpenUnverified.
func (s Setup) OpenUnverified(ctx context.Context, src Source) (*envelope.File, error) {
	format, err := src.encrypted()
	if err != nil {
		return nil, err
	}
	f, err := envelope.OpenUnverified(s.named(ctx, src.Name), src.Data, format, s.Keys, envelope.OpenOptions{Order: s.Order})
	if errors.Is(err, doc.ErrNoMetadata) {
		return nil, ErrNotEncrypted
	}
	return f, err
}

// open refuses a file that holds an unresolved merge, of which it would give one side.
func (s Setup) open(ctx context.Context, src Source, o envelope.OpenOptions) (*envelope.File, error) {
	f, err := s.openAny(ctx, src, o)
	if err == nil && f.Unresolved() {
		f.Wipe()
		return nil, ErrUnresolved
	}
	return f, err
}

func (s Setup) openAny(ctx context.Context, src Source, o envelope.OpenOptions) (*envelope.File, error) {
	format, err := src.encrypted()
	if err != nil {
		return nil, err
	}
	ctx, o.Order = s.named(ctx, src.Name), s.Order
	f, err := envelope.Open(ctx, src.Data, format, s.Keys, o)
	if err != nil && src.Format == nil && !as[*envelope.NoKeyError](err) {
		// It may have another format than its name says, after a renaming.
		if other := encryptedFormat("", src.Data); other != nil && other.Name() != format.Name() {
			if again, err2 := envelope.Open(ctx, src.Data, other, s.Keys, o); err2 == nil {
				f, err = again, nil
			}
		}
	}
	switch {
	case err == nil:
	case conflict(src.Data) > 0:
		return nil, conflictError(src.Data)
	case errors.Is(err, doc.ErrNoMetadata) || as[*doc.SyntaxError](err) && !bytes.Contains(src.Data, []byte("sops")):
		if bytes.Contains(src.Data, []byte("ENC[AES256_GCM,data:")) {
			return nil, &envelope.IntegrityError{Msg: "it has encrypted values, and its sops metadata is gone"}
		}
		return nil, ErrNotEncrypted
	default:
		return nil, err
	}
	// The config can only say something about files that sops wrote last, so that
	// nothing wrong with it keeps a sealed file from being read.
	if !f.Sealed && !o.SealGone {
		if err := s.demandsSeal(src.Name); err != nil {
			f.Wipe()
			return nil, err
		}
	}
	return f, nil
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// ErrConflict is wrapped by the error about a file with a merge conflict in it.
var ErrConflict = errors.New("unresolved merge conflict")

// A ConflictError says where in a text there are the marks of a merge conflict. It wraps
// ErrConflict.
type ConflictError struct{ Line int }

func (e *ConflictError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, ErrConflict) }
func (e *ConflictError) Unwrap() error { return ErrConflict }

func conflictError(data []byte) error { return &ConflictError{conflict(data)} }

// conflict returns the line of the first conflict that git has left in a text, 0
// for none.
func conflict(data []byte) int {
	const ours, middle, theirs = "<<<<<<< ", "=======", ">>>>>>> "
	if !bytes.Contains(data, []byte(ours)) {
		return 0
	}
	line, start, seen := 0, 0, false
	for l := range bytes.Lines(data) {
		line++
		switch text := string(bytes.TrimRight(l, "\r\n")); {
		case strings.HasPrefix(text, ours):
			start, seen = line, false
		case text == middle:
			seen = true
		case strings.HasPrefix(text, theirs) && start > 0 && seen:
			return start
		}
	}
	return 0
}

// demandsSeal returns an error if the config in force for a file takes none
// without a seal.
func (s Setup) demandsSeal(name string) error {
	c, rule, _, err := s.rule(name)
	switch {
	case err != nil:
		return err
	case c == nil, rule == nil && !c.Sealed, rule != nil && !rule.Sealed:
		return nil
	}
	return fmt.Errorf("%w, and %s demands one", envelope.ErrUnsealed, c.Path)
}

// Text returns the plaintext of a file: byte for byte what was encrypted or, in a
// format other than its own, its data. A nil format is its own.
func Text(f *envelope.File, format doc.Format) ([]byte, error) {
	if format == nil || format.Name() == f.Format.Name() {
		return f.Plaintext(), nil
	}
	roots, whole := f.Roots()
	if whole != nil {
		return emitText(whole, roots, format)
	}
	return emit(roots, format)
}

// Extract returns what stands at a path in a file's first document: a string as it
// is, anything else in the format given; nil is the file's own. The error is a
// *PathError if nothing stands there.
func Extract(f *envelope.File, path Path, format doc.Format) ([]byte, error) {
	if format == nil {
		format = f.Format
	}
	n, err := find(f, path)
	if err != nil {
		return nil, err
	}
	if n.Kind == doc.Scalar {
		_, binary := format.(doc.Binary)
		_, dotenv := format.(doc.Dotenv)
		if n.Type == doc.String || binary || dotenv {
			return []byte(doc.PlainText(n)), nil
		}
	}
	return emit([]*doc.Node{n}, format)
}
