package git

import (
	"bytes"
	"errors"
	"testing"
)

func TestBlock(t *testing.T) {
	for _, text := range []string{"", "a\n", "a", "a\r\n", "\n", "#!/bin/sh", "a\nb\nc", "\x00\xff"} {
		for at := range len(text) + 1 {
			if at > 0 && at < len(text) && text[at-1] != '\n' {
				continue // a block begins a line
			}
			with, err := putBlock([]byte(text), at, "", "x\n")
			if err != nil {
				t.Fatalf("%q at %d: %v", text, at, err)
			}
			again, err := putBlock(with, 0, "", "x\n")
			if err != nil || !bytes.Equal(again, with) {
				t.Errorf("%q at %d: a second time it is\n%q\nand not\n%q (%v)", text, at, again, with, err)
			}
			other, err := putBlock(with, 0, "", "y\nz\n")
			if err != nil || bytes.Equal(other, with) {
				t.Errorf("%q at %d: new lines give\n%q (%v)", text, at, other, err)
			}
			rest, found, made, err := cutBlock(other)
			if string(rest) != text || !found || made || err != nil {
				t.Errorf("%q at %d: out again it is %q (found %v, made %v, %v)", text, at, rest, found, made, err)
			}
		}
	}
	with, err := putBlock(nil, 0, madeFile, "x\n")
	if err != nil {
		t.Fatal(err)
	}
	if rest, _, made, _ := cutBlock(with); !made || len(rest) > 0 {
		t.Errorf("a file that was made is not known as such: %q", rest)
	}
	for _, text := range []string{
		blockBegin + "\nx\n",
		"x\n" + blockEnd,
		"x " + blockBegin + "\nx\n" + blockEnd,
		blockBegin + "\n" + blockBegin + "\n" + blockEnd + blockEnd,
		blockEnd + blockBegin + "\n",
	} {
		if _, err := putBlock([]byte(text), 0, "", "y\n"); !errors.Is(err, errBlock) {
			t.Errorf("put into %q: %v", text, err)
		}
		if _, _, _, err := cutBlock([]byte(text)); !errors.Is(err, errBlock) {
			t.Errorf("cut out of %q: %v", text, err)
		}
	}
}

func TestIsShell(t *testing.T) {
	for text, want := range map[string]bool{
		"#!/bin/sh\n": true, "#!/bin/bash -e\n": true, "#!/usr/bin/env bash\n": true, "#! /usr/bin/env -S bash -e\n": true,
		"npx lint-staged\n": true, "": true, "#!/bin/sh": true, "#!/usr/bin/zsh\n": true,
		"#!/usr/bin/env python3\n": false, "#!/usr/bin/node\n": false, "\x7fELF\x00": false, "#!/usr/bin/fish\n": false, "#!/usr/bin/env pwsh\n": false,
	} {
		if got := isShell([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzBlock: kenv's lines come out of any text as if they had never been there, and going in
// twice is going in once.
func FuzzBlock(f *testing.F) {
	f.Add([]byte("#!/bin/sh\nmake\n"), 10, []byte("kenv\n"))
	f.Add([]byte("a\r\nb"), 99, []byte(""))
	f.Add([]byte(blockBegin+"\nx\n"+blockEnd+"y"), 0, []byte("z\n"))
	f.Fuzz(func(t *testing.T, text []byte, at int, lines []byte) {
		at = min(max(at, 0), len(text))
		if at < len(text) {
			at = bytes.LastIndexByte(text[:at], '\n') + 1 // a block begins a line
		}
		if len(lines) > 0 {
			lines = append(bytes.Clone(lines), '\n')
		}
		if bytes.Contains(lines, []byte("kenv git install")) {
			return // they are ours to choose
		}
		with, err := putBlock(text, at, "", string(lines))
		if marked := bytes.Contains(text, []byte(blockBegin)) || bytes.Contains(text, []byte(blockEnd)); err != nil {
			if !marked {
				t.Fatalf("%q: %v", text, err)
			}
			return
		} else if marked {
			return // TestBlock
		}
		again, err := putBlock(with, 0, "", string(lines))
		if err != nil || !bytes.Equal(again, with) {
			t.Fatalf("a second time it is\n%q\nand not\n%q (%v)", again, with, err)
		}
		if rest, found, made, err := cutBlock(with); !bytes.Equal(rest, text) || !found || made || err != nil {
			t.Fatalf("out of\n%q\ncomes\n%q (%v, %v, %v)", with, rest, found, made, err)
		}
	})
}
