//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/kenv/faulttest"
)

// allFaults has each fault come at each system call of each command, which takes some
// minutes: scripts/faults. Otherwise it comes where files are at stake, and at some
// of these places only.
var allFaults = os.Getenv("KENV_TEST_FAULTS") == "all"

// A fault is something that happens to a command, and what kenv promises then.
// Besides, whatever happens: each file is the old or the new one, whole; the new one
// if success was reported; no other file has changed; there is plaintext in no
// new place, nor in what was said; an error says which file it is about; and the same
// command does its work when it is run again.
type fault struct {
	name, promise string
	run           func(t *testing.T, w *writing, name string)
}

var faults = []fault{
	{"SIGKILL", "besides, at most a temporary file of ciphertext is left, and plaintext in memory alone; the next run removes both", atCalls},
	{"SIGTERM", "nothing is left", atCalls},
	{"SIGINT", "nothing is left", atCalls},
	{"SIGHUP", "nothing is left", atCalls},
	{"ENOSPC", "nothing is left", atCalls},
	{"EIO", "nothing is left", atCalls},
	{"EDQUOT", "nothing is left", atCalls},
	{"EROFS", "nothing is left", atCalls},
	{"EACCES", "nothing is left", atCalls},
	{"EMFILE", "nothing is left", atCalls},
	{"few descriptors", "nothing is left", fewDescriptors},
	{"full disk", "nothing is left, and nothing changes but by files that fit", fullDisk},
	{"read-only directory", "nothing changes, and that is reported", readOnlyDirectory},
	{"file replaced", "what somebody else put there stays, and that is reported", fileReplaced},
	{"file written to", "what somebody else wrote stays, and that is reported", fileWrittenTo},
	{"nobody listens", "a message that nobody reads breaks no file", nobodyListens},
	{"closed streams", "the work is done", closedStreams},
	{"clock far off", "the work is done, whatever the times in files and of files are", clockFarOff},
}

// Every writing command, through every fault.
func TestFaults(t *testing.T) {
	needPrograms(t, "strace", "git")
	f := newFaulty(t)
	t.Cleanup(func() {
		total := 0
		for _, fault := range faults {
			t.Logf("%-20s %5d runs: %s", fault.name, f.runs[fault.name], fault.promise)
			total += f.runs[fault.name]
		}
		t.Logf("%d runs", total)
		left, err := filepath.Glob(filepath.Join(memoryDir, "kenv-private-*", "*"))
		if err != nil {
			t.Error(err)
		}
		for _, path := range left {
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
				continue
			}
			if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(f.canary)) {
				t.Errorf("plaintext is in %s", path)
			}
		}
	})
	for _, w := range writings(f) {
		t.Run(w.name(), func(t *testing.T) {
			t.Parallel()
			w.template = filepath.Join(f.base, strings.Map(func(r rune) rune {
				if strings.ContainsRune(" /.\"[]<{}", r) {
					return '-'
				}
				return r
			}, w.name()))
			w.place(t, w.template)
			if w.setup != nil {
				w.setup(t, w, w.template)
			}
			w.before = faulttest.Files(t, w.template)
			w.points = w.disturbed().Points(t)
			if t.Failed() {
				return
			}
			for _, fault := range faults {
				t.Run(fault.name, func(t *testing.T) { fault.run(t, w, fault.name) })
				if t.Failed() {
					return // one report is enough to understand it
				}
			}
		})
	}
}

// disturbed is the command, to have faults.
func (w *writing) disturbed() faulttest.Command {
	return faulttest.Command{
		Args: append([]string{w.kenv}, w.args...),
		Env:  w.env(),
		In:   "work",
		Base: w.base,
		Setup: func(t testing.TB, dir string) {
			if err := copyTree(w.template, dir); err != nil {
				t.Fatal(err)
			}
		},
		Check: func(t testing.TB, r faulttest.Result) { w.check(t, r) },
	}
}

func (w *writing) count(fault string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[fault]++
}

var (
	temporaryName = regexp.MustCompile(`^\.(.+)\.kenv-[a-z2-7]{16}$`)
	privateName   = regexp.MustCompile(`^run/kenv-private-[^/]+(/[^/]+)?$`)
)

// check is what holds after every run.
func (w *writing) check(t testing.TB, r faulttest.Result) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s (%s): %s; it ended with %v and said %q", r.Fault, r.Hit, fmt.Sprintf(format, args...), r.Err, r.Stderr)
	}
	if strings.Contains(r.Hit, "<anon_inode:") {
		r.Killed = true // Go's own runtime cannot go on without these
	}
	after := faulttest.Files(t, r.Dir)
	complete := true
	left := false // something for the next run to remove
	for name := range w.changes {
		data, there := after[name]
		old, was := w.before[name]
		err := w.isNew(name, data)
		switch {
		case err == nil && !(there && was && bytes.Equal(data, old)):
			continue
		case there == was && bytes.Equal(data, old):
		case w.between != nil && there && strings.HasSuffix(name, "config") && w.between(data) == nil:
		default:
			bad("%s is neither old nor new: %v", name, err)
		}
		complete = false
	}
	for name, data := range after {
		old, was := w.before[name]
		_, changes := w.changes[name]
		info, err := os.Lstat(filepath.Join(r.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case changes, was && bytes.Equal(old, data):
		case info.IsDir() && w.isParent(name):
		case r.Killed && temporaryName.MatchString(filepath.Base(name)) && w.changes[strings.TrimSuffix(filepath.Dir(name)+"/"+temporaryName.FindStringSubmatch(filepath.Base(name))[1], "/")] != nil:
			left = true
			of := filepath.Dir(name) + "/" + temporaryName.FindStringSubmatch(filepath.Base(name))[1]
			isSecret := bytes.Contains(data, []byte(w.canary)) || bytes.Contains(data, []byte("AGE-SECRET-KEY"))
			// The one exception: it has a name from one call to the next, and is complete.
			if isSecret && !(w.plaintext && w.before[of] != nil && strings.HasPrefix(r.Hit, "renameat(") && w.isNew(of, data) == nil) {
				bad("plaintext is left in %s", name)
			}
		case r.Killed && privateName.MatchString(name):
			left = true
		case name == w.lock:
			// Until that is removed, git says so itself.
			if err := os.Remove(filepath.Join(r.Dir, name)); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(name, ".unsaved") && r.Err != nil:
			if err := opensAs(func(text string) string { return text + "edited: 1\n" })(w, data); err != nil {
				bad("%s: %v", name, err)
			}
			os.Remove(filepath.Join(r.Dir, name))
		case was:
			bad("%s has changed", name)
		default:
			bad("%s is left", name)
		}
	}
	for name := range w.before {
		if _, there := after[name]; !there && w.changes[name] == nil {
			bad("%s is gone", name)
		}
	}
	switch {
	case strings.Contains(r.Stderr, w.canary):
		bad("plaintext was said")
	case r.Err == nil && !complete:
		bad("success, and not all is done")
	}
	if r.Err != nil && strings.Contains(r.Hit, "(INJECTED)") && matters(faulttest.Point{Line: r.Hit}, w.base) && !w.names(r) {
		bad("it does not say which file it is about")
	}
	w.next(t, r, complete, left)
}

func (w *writing) isNew(name string, data []byte) error { return w.changes[name](w, data) }

// isParent reports whether a directory was made for a file that is to be written.
func (w *writing) isParent(dir string) bool {
	for name := range w.changes {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// names reports whether an error says which file it is about: the one that the
// disturbed call was for, the file that was to be read or written, or its directory.
func (w *writing) names(r faulttest.Result) bool {
	said := r.Stderr
	if strings.HasPrefix(r.Hit, "write(1<") || strings.HasPrefix(r.Hit, "write(2<") {
		return true // it was lost on the way
	}
	if strings.Contains(said, "kenv-private-") || strings.Contains(said, "standard output") || strings.Contains(said, "git config") || strings.Contains(said, "the command does not get the file") {
		return true
	}
	return slices.ContainsFunc(slices.Concat(slices.Collect(maps.Keys(w.changes)), slices.Collect(maps.Keys(w.before))), func(name string) bool {
		return strings.Contains(said, filepath.Base(name))
	})
}

// next runs the command again, which has to do what was not done and to leave nothing.
func (w *writing) next(t testing.TB, r faulttest.Result, complete, left bool) {
	if complete && !left {
		return
	}
	t.Helper()
	args := w.args
	tries := [][]string{args}
	if w.again != nil {
		tries = append(tries, w.again)
	}
	var said []byte
	var err error
	for _, args := range tries {
		if said, err = w.prepare(r.Dir, "kenv", args...).CombinedOutput(); err == nil {
			break
		}
	}
	if err != nil && !complete {
		t.Errorf("%s (%s): the next run: %v: %s", r.Fault, r.Hit, err, said)
	}
	after := faulttest.Files(t, r.Dir)
	for name := range w.changes {
		if err := w.isNew(name, after[name]); err != nil && !complete {
			t.Errorf("%s (%s): after the next run %s is not the new file: %v", r.Fault, r.Hit, name, err)
		}
	}
	for name := range after {
		if temporaryName.MatchString(filepath.Base(name)) || privateName.MatchString(name) {
			t.Errorf("%s (%s): %s is left after the next run", r.Fault, r.Hit, name)
		}
	}
}

// The faults.

// taken are the faults that take turns at a command's calls.
var taken = []string{"SIGTERM", "ENOSPC", "SIGINT", "EIO", "EDQUOT", "SIGHUP", "EROFS", "EACCES", "EMFILE"}

// atCalls has the fault come at one call of each run.
func atCalls(t *testing.T, w *writing, name string) {
	number := slices.Index(taken, name)
	points := w.points
	if !allFaults {
		points = slices.DeleteFunc(slices.Clone(points), func(p faulttest.Point) bool { return !matters(p, w.base) })
	}
	if len(points) == 0 && len(w.changes) > 0 {
		t.Fatal("there are no calls to disturb")
	}
	c := w.disturbed()
	for i, p := range points {
		switch {
		case name == "EMFILE" && p.Call != "openat":
			continue
		case p.Call == "close" && !strings.HasPrefix(name, "SIG"):
			continue // it would stay open, which no system does
		case allFaults || w.every || name == "SIGKILL":
		case i%len(taken) != number: // one of the others at each call
			continue
		}
		c.At(t, p, name)
		w.count(name)
		if t.Failed() {
			return
		}
	}
}

// matters reports whether a call has to do with the files of a test.
func matters(p faulttest.Point, base string) bool {
	line := regexp.MustCompile(`AT_FDCWD<[^>]*>`).ReplaceAllString(p.Line, "")
	relative := regexp.MustCompile(`"[^/"]`).MatchString(line)
	return p.Call != "close" && (strings.Contains(line, base) || relative) && !strings.Contains(line, "/.git/")
}

func fewDescriptors(t *testing.T, w *writing, name string) {
	step := 3
	if allFaults {
		step = 1
	}
	for n := 4; n < 20; n += step {
		w.disturbed().Run(t, fmt.Sprintf("ulimit -n %d;", n))
		w.count(name)
	}
}

func fullDisk(t *testing.T, w *writing, name string) {
	disk := faulttest.SmallDisk(t, 2<<20)
	dir := filepath.Join(disk, "dir")
	c := w.disturbed()
	c.Setup(t, dir)
	fill := filepath.Join(disk, "fill")
	os.WriteFile(fill, make([]byte, 4<<20), 0o600) // as much as there is room for
	r := w.plain(dir)
	r.Fault = name
	os.Remove(fill)
	c.Check(t, r)
	w.count(name)
}

// plain runs the command in a directory, undisturbed.
func (w *writing) plain(dir string) faulttest.Result {
	cmd := w.prepare(dir, "kenv", w.args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	return faulttest.Result{Dir: dir, Err: err, Stderr: stderr.String()}
}

func readOnlyDirectory(t *testing.T, w *writing, name string) {
	dir, err := os.MkdirTemp(w.base, "")
	if err != nil {
		t.Fatal(err)
	}
	c := w.disturbed()
	c.Setup(t, dir)
	var r faulttest.Result
	func() {
		defer faulttest.ReadOnly(t, filepath.Join(dir, "work"))()
		defer faulttest.ReadOnly(t, filepath.Join(dir, "home"))()
		r = w.plain(dir)
	}()
	r.Fault = name
	if r.Err == nil && len(w.changes) > 0 {
		t.Errorf("success in a read-only directory")
	}
	if r.Err != nil && !w.names(r) {
		t.Errorf("it does not say which file it is about: %s", r.Stderr)
	}
	c.Check(t, r)
	os.RemoveAll(dir)
	w.count(name)
}

func fileReplaced(t *testing.T, w *writing, name string) {
	w.meanwhile(t, name, func(path string) error {
		if err := os.WriteFile(path+"~", []byte("somebody: else\n"), 0o600); err != nil {
			return err
		}
		return os.Rename(path+"~", path)
	})
}

func fileWrittenTo(t *testing.T, w *writing, name string) {
	w.meanwhile(t, name, func(path string) error {
		return os.WriteFile(path, []byte("somebody: else\n"), 0o600)
	})
}

// meanwhile changes files that the command has read and not yet written.
func (w *writing) meanwhile(t *testing.T, fault string, change func(path string) error) {
	sync := slices.IndexFunc(w.points, func(p faulttest.Point) bool { return p.Call == "fsync" })
	for _, name := range w.expects {
		if sync < 0 {
			t.Fatal("no point at which all is read and nothing written")
		}
		r := w.disturbed().Pause(t, w.points[sync], func(dir string) {
			if err := change(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		})
		w.count(fault)
		if r.Hit == "" {
			t.Fatal("it did not stop")
		}
		data, err := os.ReadFile(filepath.Join(r.Dir, name))
		if string(data) != "somebody: else\n" {
			t.Errorf("%s was written over: %v; it ended with %v and said %q", name, err, r.Err, r.Stderr)
		}
		if r.Err == nil || !w.names(r) {
			t.Errorf("it ended with %v and said %q", r.Err, r.Stderr)
		}
		for file, data := range faulttest.Files(t, r.Dir) {
			old, was := w.before[file]
			switch {
			case file == name, was && bytes.Equal(old, data):
			case strings.HasSuffix(file, ".unsaved"):
			case w.changes[file] != nil && w.isNew(file, data) == nil:
			case !w.isParent(file):
				t.Errorf("%s is left or has changed", file)
			}
		}
		os.RemoveAll(r.Dir)
	}
}

// nobodyListens has both streams end in a pipe that nobody reads.
func nobodyListens(t *testing.T, w *writing, name string) {
	dir, err := os.MkdirTemp(w.base, "")
	if err != nil {
		t.Fatal(err)
	}
	c := w.disturbed()
	c.Setup(t, dir)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	cmd := w.prepare(dir, "kenv", w.args...)
	cmd.Stdout, cmd.Stderr = writer, writer
	r := faulttest.Result{Dir: dir, Fault: name, Err: cmd.Run()}
	writer.Close()
	c.Check(t, r)
	os.RemoveAll(dir)
	w.count(name)
}

func closedStreams(t *testing.T, w *writing, name string) {
	if r := w.disturbed().Run(t, "exec <&- >&- 2>&-;"); r.Err != nil {
		t.Errorf("it ended with %v", r.Err)
	}
	w.count(name)
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), info.Mode().Perm())
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, info.Mode().Perm())
	})
}

// clockFarOff has files that were written, and last changed, at another end of time:
// what a machine with such a clock leaves to others, and they to it.
func clockFarOff(t *testing.T, w *writing, name string) {
	for _, when := range []time.Time{time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)} {
		other := *w
		dir, err := os.MkdirTemp(w.base, "")
		if err != nil {
			t.Fatal(err)
		}
		other.template = dir
		if err := copyTree(w.template, dir); err != nil {
			t.Fatal(err)
		}
		for file, data := range w.before {
			path := filepath.Join(dir, file)
			f, err := w.victim.setup.OpenForEdit(context.Background(), kenv.Source{Name: "secrets.yaml", Data: data})
			if err == nil {
				sealed, err := f.Reseal(f.Plaintext(), when)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, sealed.Data, 0o600); err != nil {
					t.Fatal(err)
				}
				f.Wipe()
			}
			if err := os.Chtimes(path, when, when); err != nil {
				t.Fatal(err)
			}
		}
		other.before = faulttest.Files(t, dir)
		c := other.disturbed()
		if r := c.Run(t, ""); r.Err != nil {
			t.Errorf("in %d it ended with %v and said %q", when.Year(), r.Err, r.Stderr)
		}
		os.RemoveAll(dir)
		w.count(name)
	}
}
