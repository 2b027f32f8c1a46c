package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Entry is a regular file in git's index.
type Entry struct {
	Path string // absolute
	ID   string // of the blob
}

// Staged returns the files that the next commit adds or changes.
func (w *WorkTree) Staged(ctx context.Context) ([]Entry, error) {
	out, err := w.run(ctx, "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-ext-diff", "--no-textconv", "--ignore-submodules", "--diff-filter=d")
	if err != nil {
		return nil, err
	}
	var list []Entry
	// :OLD-MODE MODE OLD-ID ID STATUS NUL PATH NUL
	for len(out) > 0 {
		head, rest, ok := bytes.Cut(out, []byte{0})
		path, rest, ok2 := bytes.Cut(rest, []byte{0})
		f := strings.Fields(string(head))
		if !ok || !ok2 || len(f) != 5 {
			return nil, errors.New("git diff: its output cannot be read")
		}
		out = rest
		list = w.add(list, f[1], f[3], string(path))
	}
	return list, nil
}

// Indexed returns the files in the index, of any directory, with one of some names.
func (w *WorkTree) Indexed(ctx context.Context, names ...string) ([]Entry, error) {
	out, err := w.run(ctx, append([]string{"ls-files", "--cached", "--stage", "-z", "--"}, anywhere(names)...)...)
	if err != nil {
		return nil, err
	}
	var list []Entry
	for record := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		// MODE ID STAGE TAB PATH
		head, path, ok := strings.Cut(string(record), "\t")
		if f := strings.Fields(head); ok && len(f) == 3 {
			list = w.add(list, f[0], f[1], path)
		}
	}
	return list, nil
}

// add adds what is a regular file, and in no conflict.
func (w *WorkTree) add(list []Entry, mode, id, path string) []Entry {
	if !strings.HasPrefix(mode, "100") || strings.Trim(id, "0") == "" {
		return list
	}
	return append(list, Entry{filepath.Join(w.Root, filepath.FromSlash(path)), id})
}

// Files returns the files below a directory, which is absolute and free of symbolic
// links, that are in the index or that git would not ignore. Some may be gone from the
// disk.
func (w *WorkTree) Files(ctx context.Context, dir string) ([]string, error) {
	return w.below(ctx, dir, "--cached", "--others", "--exclude-standard")
}

// Tracked returns those of the files below a directory, given as for Files, that are in
// the index.
func (w *WorkTree) Tracked(ctx context.Context, dir string) ([]string, error) {
	return w.below(ctx, dir, "--cached")
}

func (w *WorkTree) below(ctx context.Context, dir string, which ...string) ([]string, error) {
	rel, err := filepath.Rel(w.Root, dir)
	switch {
	case err != nil:
		return nil, err
	case rel == ".":
		return w.list(ctx, nil, which...)
	}
	return w.list(ctx, []string{":(top,literal)" + filepath.ToSlash(rel)}, which...)
}

// list returns the files that git lists for some pathspecs, or all.
func (w *WorkTree) list(ctx context.Context, specs []string, which ...string) ([]string, error) {
	out, err := w.run(ctx, slices.Concat([]string{"ls-files", "-z", "--deduplicate"}, which, []string{"--"}, specs)...)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, name := range fields(out) {
		list = append(list, filepath.Join(w.Root, filepath.FromSlash(name)))
	}
	return list, nil
}

// anywhere are the pathspecs for files with one of some names in any directory.
func anywhere(names []string) (specs []string) {
	for _, name := range names {
		specs = append(specs, ":(top,glob)**/"+name)
	}
	return specs
}

// Blobs reads blobs, one after the other, from one git process. Its methods may be
// called at the same time.
type Blobs struct {
	ctx context.Context
	end context.CancelFunc
	cmd *exec.Cmd

	mu  sync.Mutex // held while a blob is being read
	in  io.WriteCloser
	out *bufio.Reader
	err error
}

// blobDeadline is how long all blobs together may take.
const blobDeadline = 10 * time.Minute

// Blobs starts reading blobs. The caller closes it.
func (w *WorkTree) Blobs(ctx context.Context) (*Blobs, error) {
	b := &Blobs{}
	b.ctx, b.end = context.WithTimeout(ctx, blobDeadline)
	b.cmd = w.command(b.ctx, "cat-file", "--batch")
	in, err := b.cmd.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = b.cmd.StdoutPipe(); err == nil {
			b.in, b.out = in, bufio.NewReaderSize(out, 64<<10)
			err = b.cmd.Start()
		}
	}
	if err != nil {
		b.end()
		return nil, failure("cat-file", "", err)
	}
	return b, nil
}

// Close ends the process.
func (b *Blobs) Close() {
	b.in.Close()
	b.end()
	b.cmd.Wait()
}

// Open returns the content of a blob. No other is opened before it is closed.
func (b *Blobs) Open(id string) (io.ReadCloser, error) {
	b.mu.Lock()
	size, err := b.request(id)
	if err != nil {
		b.mu.Unlock()
		return nil, err
	}
	return &blob{b: b, left: size}, nil
}

func (b *Blobs) request(id string) (size int64, err error) {
	if b.err != nil {
		return 0, b.err
	}
	_, err = io.WriteString(b.in, id+"\n")
	head := ""
	if err == nil {
		head, err = b.out.ReadString('\n')
	}
	if err != nil {
		if b.ctx.Err() != nil {
			err = b.ctx.Err()
		}
		b.err = fmt.Errorf("git cat-file: %w", err)
		return 0, b.err
	}
	var got, kind string
	if n, _ := fmt.Sscanf(head, "%s %s %d", &got, &kind, &size); n != 3 || kind != "blob" {
		return 0, fmt.Errorf("git cat-file: object %s is not at hand", id)
	}
	return size, nil
}

type blob struct {
	b      *Blobs
	left   int64
	closed bool
}

func (r *blob) Read(p []byte) (int, error) {
	if r.left == 0 || r.closed {
		return 0, io.EOF
	}
	n, err := r.b.out.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close passes over what was not read, and the line break behind it.
func (r *blob) Close() error {
	if r.closed {
		return nil
	}
	r.closed = true
	if _, err := io.CopyN(io.Discard, r.b.out, r.left+1); err != nil {
		r.b.err = fmt.Errorf("git cat-file: %w", err)
	}
	r.b.mu.Unlock()
	return nil
}
