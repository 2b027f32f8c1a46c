package kenv

import (
	"errors"
	"strconv"
	"strings"
	"unicode"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
)

// maxPaths bounds what PathsFrom returns.
const maxPaths = 1000

// PathsFrom returns the paths in the first document of an encrypted file that go on
// from what somebody has typed of one, up to the next step, in the spelling that was
// begun. More reports that one of them leads to a map or a list. It takes no key, and
// nothing is verified. Names that a terminal could not show are left out.
func (s Setup) PathsFrom(src Source, typed string) (paths []string, more bool, err error) {
	format, err := src.encrypted()
	if err != nil {
		return nil, false, err
	}
	roots, err := envelope.Outline(src.Data, format)
	if errors.Is(err, doc.ErrNoMetadata) {
		err = ErrNotEncrypted
	}
	if err != nil || len(roots) == 0 {
		return nil, false, err
	}
	spellings := []func(Path) string{Path.String}
	if strings.HasPrefix(typed, "[") {
		spellings = []func(Path) string{Path.brackets, Path.String}
	}
	for _, spell := range spellings {
		if paths, more = pathsFrom(roots[0], typed, spell); len(paths) > 0 {
			break
		}
	}
	return paths, more, nil
}

func pathsFrom(root *doc.Node, typed string, spell func(Path) string) (paths []string, more bool) {
	var walk func(n *doc.Node, path Path)
	walk = func(n *doc.Node, path Path) {
		index := 0
		for _, item := range n.Items {
			if item.Kind == doc.Comment {
				continue
			}
			step := Step{Key: item.Key}
			if n.Kind == doc.List {
				step = Step{Index: index, List: true}
				index++
			}
			if len(paths) == maxPaths || strings.ContainsFunc(step.Key, func(r rune) bool { return !unicode.IsPrint(r) }) {
				continue
			}
			here := append(path[:len(path):len(path)], step)
			spelled := spell(here)
			if strings.HasPrefix(spelled, typed) {
				paths = append(paths, spelled)
				more = more || item.Kind != doc.Scalar
			}
			if item.Kind != doc.Scalar && strings.HasPrefix(typed, spelled) {
				walk(item, here)
			}
		}
	}
	walk(root, nil)
	return paths, more
}

// brackets spells the path as people do for sops: ["a"]["b"][0].
func (p Path) brackets() string {
	var b strings.Builder
	for _, s := range p {
		if s.List {
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
			continue
		}
		quote := `"`
		if strings.Contains(s.Key, `"]`) {
			quote = `'`
		}
		b.WriteString("[" + quote + s.Key + quote + "]")
	}
	return b.String()
}
