package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
)

// Text returns what git is to show and compare in place of a file: the plaintext,
// and below it who can decrypt the file and by which rules. It depends on the content
// alone, as git hands over files of any commit, under other names. Nobody is asked
// anything. hide leaves values out: see kenv.Redact.
//
// There is always a text. Where the file is damaged, or cannot be decrypted here, its
// first line says so, and the encrypted text follows. A file that is not encrypted is
// shown as it is. The caller wipes the text.
func Text(ctx context.Context, s kenv.Setup, data []byte, hide bool) []byte {
	src := kenv.Source{Data: data}
	f, err := s.Open(keys.Quiet(ctx), src)
	var noKey *envelope.NoKeyError
	var text []byte
	switch {
	case err == nil:
		text = bytes.Clone(f.Plaintext())
		f.Wipe()
	case errors.Is(err, kenv.ErrNotEncrypted), errors.Is(err, doc.ErrEmpty):
		return bytes.Clone(data)
	case errors.As(err, &noKey) && hide:
	case errors.As(err, &noKey):
		text = note("no usable master key is at hand, so this is the encrypted text (kenv decrypt says which keys were tried)")
	case ctx.Err() != nil:
		text = note("its keys did not answer in time, so this is the encrypted text")
	default:
		text = note(fmt.Sprintf("not in order, so this is the encrypted text: %v", err))
	}
	switch {
	case hide && err == nil:
		clear(text)
		text = kenv.Redact(data)
	case hide:
		text = append(text, kenv.Redact(data)...)
	case err != nil:
		return append(text, data...)
	}
	return append(text, readers(s, src, text)...)
}

// note returns a line that is not of the file.
func note(text string) []byte {
	return []byte("# kenv: " + strings.ReplaceAll(text, "\n", " ") + "\n")
}

// readers returns what is beside the values in a file, and must not change unseen.
func readers(s kenv.Setup, src kenv.Source, above []byte) (text []byte) {
	r, err := s.Recipients(src)
	if err != nil {
		return nil
	}
	if len(above) > 0 && !bytes.HasSuffix(above, []byte("\n")) {
		text = append(text, "\n"...)
		text = append(text, note("no line feed at the end")...)
	}
	for i, group := range r.Groups {
		of := ""
		if len(r.Groups) > 1 {
			of = fmt.Sprintf("group %d, ", i+1)
		}
		for _, k := range group {
			text = append(text, note(of+"key "+keys.Short(k.Name))...)
		}
	}
	for _, rule := range r.Rules {
		text = append(text, note(rule)...)
	}
	if !r.Sealed {
		text = append(text, note("no seal")...)
	}
	return text
}
