package git

import (
	"bytes"
	"errors"
)

// A block is lines of kenv's in a file that is somebody else's, between two marks, so
// that they can be found and taken out again byte by byte. What there is to know for
// that stands in the first mark.
const (
	blockBegin = "# >>> kenv git install >>>"
	blockEnd   = "# <<< kenv git install <<<\n"

	madeFile = " (it made this file)"
	noEnd    = " (the line before did not end)"
)

var errBlock = errors.New("the marks of kenv git install are damaged; take its lines out by hand")

// findBlock returns where the block in a text is, and its first line.
func findBlock(text []byte) (start, end int, mark string, err error) {
	start = bytes.Index(text, []byte(blockBegin))
	if start < 0 {
		if bytes.Contains(text, []byte(blockEnd)) {
			return 0, 0, "", errBlock
		}
		return -1, -1, "", nil
	}
	first, _, _ := bytes.Cut(text[start:], []byte("\n"))
	n := bytes.Index(text[start:], []byte(blockEnd))
	if n < 0 || start > 0 && text[start-1] != '\n' || bytes.Count(text, []byte(blockBegin)) > 1 {
		return 0, 0, "", errBlock
	}
	return start, start + n + len(blockEnd), string(first), nil
}

// putBlock returns a text with lines in kenv's block, which is put at an offset if it
// is not there.
func putBlock(text []byte, at int, mark, lines string) ([]byte, error) {
	start, end, old, err := findBlock(text)
	if err != nil {
		return nil, err
	}
	before := ""
	if start < 0 {
		start, end = at, at
		if at > 0 && text[at-1] != '\n' {
			before, mark = "\n", mark+noEnd
		}
		old = blockBegin + mark
	}
	return bytes.Join([][]byte{text[:start], []byte(before + old + "\n" + lines + blockEnd), text[end:]}, nil), nil
}

// cutBlock is the inverse of putBlock. made reports whether the file was made for the
// block.
func cutBlock(text []byte) (rest []byte, found, made bool, err error) {
	start, end, mark, err := findBlock(text)
	if err != nil || start < 0 {
		return text, false, false, err
	}
	if bytes.HasSuffix([]byte(mark), []byte(noEnd)) {
		start--
	}
	return bytes.Join([][]byte{text[:start], text[end:]}, nil), true, mark == blockBegin+madeFile, nil
}
