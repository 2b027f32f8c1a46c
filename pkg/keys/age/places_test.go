package age_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/keystest"
)

// wrapFor returns the key of a name, a data key and the entry that holds it.
func wrapFor(t *testing.T, env keys.Env, name string) (keys.MasterKey, []byte, keys.Entry) {
	t.Helper()
	k, ok, err := age.Provider(env).Parse(keys.Spec{Name: name})
	if err != nil || !ok {
		t.Fatalf("Parse: %v, %v", ok, err)
	}
	dataKey := keystest.NewDataKey(t, 32)
	e, err := k.Wrap(t.Context(), dataKey)
	if err != nil {
		t.Fatal(err)
	}
	return k, dataKey, e
}

func opens(t *testing.T, env keys.Env, name string) {
	t.Helper()
	k, dataKey, e := wrapFor(t, env, name)
	got, err := k.Unwrap(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, dataKey) {
		t.Fatal("another key comes out")
	}
}

// refuses returns the message of an Unwrap that wraps ErrNotHere.
func refuses(t *testing.T, env keys.Env, name string) string {
	t.Helper()
	k, _, e := wrapFor(t, env, name)
	got, err := k.Unwrap(t.Context(), e)
	var nh *keys.NotHereError
	if got != nil || !errors.Is(err, keys.ErrNotHere) || !errors.As(err, &nh) {
		t.Fatalf("Unwrap = %d bytes, %v; want ErrNotHere", len(got), err)
	}
	return err.Error()
}

func TestPlaces(t *testing.T) {
	file, secret, name := generate(t, false)
	_, decoy, _ := generate(t, false)
	private, public := sshKey(t, 0, "")
	home, config, xdg := t.TempDir(), t.TempDir(), t.TempDir()
	at := func(elem ...string) string { return write(t, file, append([]string{t.TempDir()}, elem...)...) }
	printer := func(text string) string {
		return "cat '" + write(t, []byte(text), t.TempDir(), "with space") + "'"
	}
	inHome := func(text []byte, rel string) string {
		dir := t.TempDir()
		write(t, text, dir, rel)
		return dir
	}
	write(t, file, config, "age/keys.txt")
	write(t, file, xdg, "sops/age/keys.txt")

	for _, tt := range []struct {
		place string
		env   keys.Env
		name  string
	}{
		{"KENV_AGE_KEY", keys.Env{Getenv: vars("KENV_AGE_KEY", secret)}, name},
		{"KENV_AGE_KEY whole file", keys.Env{Getenv: vars("KENV_AGE_KEY", string(file))}, name},
		{"KENV_AGE_KEY several in a line", keys.Env{Getenv: vars("KENV_AGE_KEY", decoy+" "+secret)}, name},
		{"KENV_AGE_KEY CRLF", keys.Env{Getenv: vars("KENV_AGE_KEY", "# x\r\n\r\n"+secret+"\r\n")}, name},
		{"KENV_AGE_KEY beside a bad line", keys.Env{Getenv: vars("KENV_AGE_KEY", "AGE-NEW-KIND-1XX\n"+secret)}, name},
		{"KENV_AGE_KEY of ssh", keys.Env{Getenv: vars("KENV_AGE_KEY", string(private))}, public},
		{"KENV_AGE_KEY_FILE", keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", at("k"))}, name},
		{"KENV_AGE_KEY_FILE list", keys.Env{Getenv: vars("KENV_AGE_KEY_FILE",
			strings.Join([]string{"/nonexistent", "", at("k")}, string(os.PathListSeparator)))}, name},
		{"KENV_AGE_KEY_FILE of ssh", keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", write(t, private, t.TempDir(), "id"))}, public},
		{"config directory", keys.Env{ConfigDir: config}, name},
		{"SOPS_AGE_KEY", keys.Env{Getenv: vars("SOPS_AGE_KEY", secret)}, name},
		{"SOPS_AGE_KEY_FILE", keys.Env{Getenv: vars("SOPS_AGE_KEY_FILE", at("k"))}, name},
		{"SOPS_AGE_KEY_FILE odd name", keys.Env{Getenv: vars("SOPS_AGE_KEY_FILE", at("a:b"))}, name},
		{"SOPS_AGE_KEY_CMD", keys.Env{Getenv: vars("SOPS_AGE_KEY_CMD", printer(string(file)))}, name},
		{"SOPS_AGE_SSH_PRIVATE_KEY_FILE", keys.Env{Getenv: vars("SOPS_AGE_SSH_PRIVATE_KEY_FILE", write(t, private, t.TempDir(), "id"))}, public},
		{"SOPS_AGE_SSH_PRIVATE_KEY_CMD", keys.Env{Getenv: vars("SOPS_AGE_SSH_PRIVATE_KEY_CMD", printer(string(private)))}, public},
		{"~/.ssh/id_ed25519", keys.Env{HomeDir: inHome(private, ".ssh/id_ed25519")}, public},
		{"~/.ssh/id_rsa", keys.Env{HomeDir: inHome(private, ".ssh/id_rsa")}, public},
		{"XDG_CONFIG_HOME", keys.Env{Getenv: vars("XDG_CONFIG_HOME", xdg), HomeDir: home}, name},
		{"~/.config", keys.Env{HomeDir: inHome(file, ".config/sops/age/keys.txt")}, name},
		{"a later place after a broken one", keys.Env{
			Getenv:    vars("KENV_AGE_KEY", "nonsense", "SOPS_AGE_KEY_FILE", "/nonexistent", "SOPS_AGE_KEY_CMD", "false"),
			ConfigDir: config}, name},
	} {
		t.Run(tt.place, func(t *testing.T) { opens(t, tt.env, tt.name) })
	}
	t.Run("macOS", func(t *testing.T) {
		if runtime.GOOS != "darwin" {
			t.Skip("only on macOS")
		}
		opens(t, keys.Env{HomeDir: inHome(file, "Library/Application Support/sops/age/keys.txt")}, name)
	})
}

// TestLooked pins what a person sees when no identity fits.
func TestLooked(t *testing.T) {
	file, secret, _ := generate(t, false)
	_, second, _ := generate(t, false)
	_, _, name := generate(t, false)
	_, public := sshKey(t, 0, "")
	home, dir := t.TempDir(), t.TempDir()
	config := filepath.Join(home, ".config", "kenv")
	write(t, append(bytes.Clone(file), second+"\n"...), config, "age", "keys.txt")
	write(t, []byte("# empty\n"), home, ".config/sops/age/keys.txt")
	locked := write(t, sealed(t, file, "x", false), dir, "locked")
	huge := write(t, bytes.Repeat([]byte("#\n"), 1<<20), dir, "huge")
	write(t, []byte("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"), home, ".ssh/id_rsa")

	env := keys.Env{HomeDir: home, ConfigDir: config, Getenv: vars(
		"KENV_AGE_KEY", "# x\n"+secret[:40]+"\n"+name+"\nhunter2 hunter3\n",
		"KENV_AGE_KEY_FILE", strings.Join([]string{"/nonexistent", dir, locked, huge}, string(os.PathListSeparator)),
		"SOPS_AGE_KEY", second,
		"SOPS_AGE_KEY_CMD", "sh -c 'echo hunter2 >&2; exit 3'",
	)}
	const lines = "KENV_AGE_KEY (line 2: a malformed age identity; line 3: a recipient where an identity is expected; line 4: not an age identity)"
	want := "no matching secret key at hand; looked in " + strings.Join([]string{
		lines,
		"KENV_AGE_KEY_FILE /nonexistent (no such file)",
		"KENV_AGE_KEY_FILE " + dir + " (is a directory)",
		"KENV_AGE_KEY_FILE " + locked + " (protected by a passphrase: there is no terminal to ask on)",
		"KENV_AGE_KEY_FILE " + huge + " (more than 1048576 bytes)",
		"~/.config/kenv/age/keys.txt (2 identities, none matches)",
		"SOPS_AGE_KEY (1 identity, does not match)",
		"SOPS_AGE_KEY_FILE (not set)",
		"SOPS_AGE_KEY_CMD (the command failed; run it by hand to see why)",
		"~/.config/sops/age/keys.txt (no identity in it)",
	}, ", ")
	if got := refuses(t, env, name); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	want += ", SOPS_AGE_SSH_PRIVATE_KEY_FILE (not set), SOPS_AGE_SSH_PRIVATE_KEY_CMD (not set)" +
		", ~/.ssh/id_ed25519 (no such file), ~/.ssh/id_rsa (not an ed25519 or rsa private key that age can use)"
	if got := refuses(t, env, public); got != want {
		t.Errorf("for an ssh key:\ngot  %s\nwant %s", got, want)
	}
}

// TestReadOnce counts on a file that changes: every place is read once, until it is to be
// forgotten.
func TestReadOnce(t *testing.T) {
	file, _, name := generate(t, false)
	config := t.TempDir()
	path := write(t, file, config, "age/keys.txt")
	_, _, e := wrapFor(t, keys.Env{}, name)
	p := age.Provider(keys.Env{ConfigDir: config})
	k, err := p.FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Unwrap(t.Context(), e); err != nil {
		t.Errorf("the second time: %v", err)
	}
	p.Forget()
	if _, err := k.Unwrap(t.Context(), e); !errors.Is(err, keys.ErrNotHere) {
		t.Errorf("once it is forgotten: %v", err)
	}
}

// TestNotReadUnlessNeeded makes places fail the test when they are touched.
func TestNotReadUnlessNeeded(t *testing.T) {
	_, secret, name := generate(t, false)
	log := filepath.Join(t.TempDir(), "log")
	env := keys.Env{
		Getenv: vars("KENV_AGE_KEY", secret, "SOPS_AGE_KEY_CMD", "touch "+log, "SOPS_AGE_SSH_PRIVATE_KEY_CMD", "touch "+log),
		Prompt: func(context.Context, string) ([]byte, error) {
			t.Error("somebody was asked")
			return nil, errors.New("no")
		},
	}
	opens(t, env, name)
	if _, err := os.Stat(log); err == nil {
		t.Error("a command ran though KENV_AGE_KEY has the identity")
	}
}

func TestCommand(t *testing.T) {
	file, _, name := generate(t, false)
	_, _, other := generate(t, false)
	dir := t.TempDir()
	path := write(t, file, dir, "keys.txt")
	log := filepath.Join(dir, "log")
	script := write(t, fmt.Appendf(nil, "echo \"$SOPS_AGE_RECIPIENT\" >> %s; cat %s\n", log, path), dir, "script")
	env := keys.Env{Getenv: vars("SOPS_AGE_KEY_CMD", "sh "+script)}
	p := age.Provider(env)
	for _, n := range []string{name, other, name, other} {
		_, dataKey, e := wrapFor(t, env, n)
		k, err := p.FromEntry(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Unwrap(t.Context(), e)
		if n == name && !bytes.Equal(got, dataKey) {
			t.Errorf("Unwrap: %v", err)
		}
		if n == other && !errors.Is(err, keys.ErrNotHere) {
			t.Errorf("Unwrap of another's: %v", err)
		}
	}
	ran, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if want := name + "\n" + other + "\n"; string(ran) != want {
		t.Errorf("the command ran for\n%swant once for each recipient:\n%s", ran, want)
	}

	t.Run("quiet", func(t *testing.T) {
		k, _, e := wrapFor(t, keys.Env{Getenv: vars("SOPS_AGE_KEY_CMD", "touch "+dir+"/ran")}, name)
		if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrQuiet) || !errors.Is(err, keys.ErrNotHere) {
			t.Errorf("got %v, want ErrQuiet and ErrNotHere", err)
		}
		if _, err := os.Stat(dir + "/ran"); err == nil {
			t.Error("the command ran")
		}
	})
	for _, tt := range []struct{ what, line, want string }{
		{"endless", "yes", "the command printed more than 1048576 bytes"},
		{"missing", "kenv-no-such-program x", "there is no such command"},
		{"silent", "true", "the command printed nothing"},
		{"no shell", "echo x > " + dir + "/shell", "line 1: not an age identity"},
		{"quotes", "cat 'x", "the command ends within quotes or after a backslash"},
		{"blank", "  ", "the command is empty"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			msg := refuses(t, keys.Env{Getenv: vars("SOPS_AGE_KEY_CMD", tt.line)}, name)
			if !strings.Contains(msg, "SOPS_AGE_KEY_CMD ("+tt.want+")") {
				t.Errorf("got %s, want %q", msg, tt.want)
			}
		})
	}
	if _, err := os.Stat(dir + "/shell"); err == nil {
		t.Error("a shell ran the command")
	}
	t.Run("cancelled", func(t *testing.T) {
		k, _, e := wrapFor(t, keys.Env{Getenv: vars("SOPS_AGE_KEY_CMD", "sh -c 'sleep 10 & sleep 10'")}, name)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := k.Unwrap(ctx, e); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

// asker answers prompts in turn and counts them.
func asker(n *atomic.Int32, answers ...string) func(context.Context, string) ([]byte, error) {
	return func(_ context.Context, text string) ([]byte, error) {
		if !strings.HasSuffix(text, ": ") {
			return nil, fmt.Errorf("a prompt without an end: %q", text)
		}
		i := int(n.Add(1)) - 1
		if i >= len(answers) {
			return nil, errors.New("interrupted")
		}
		return []byte(answers[i]), nil
	}
}

func TestPassphrase(t *testing.T) {
	file, secret, name := generate(t, false)
	_, decoy, decoyName := generate(t, false)
	for _, armored := range []bool{false, true} {
		path := write(t, sealed(t, file, "open sesame", armored), t.TempDir(), "keys.txt")
		for _, tt := range []struct {
			what    string
			answers []string
			opens   bool
			asked   int32
			says    string
		}{
			{"right", []string{"open sesame"}, true, 1, ""},
			{"right at last", []string{"x", "", "open sesame"}, true, 3, ""},
			{"wrong", []string{"x", "y", "z", "open sesame"}, false, 3, "wrong passphrase"},
			{"nobody answers", nil, false, 2, "protected by a passphrase: interrupted"},
		} {
			t.Run(fmt.Sprintf("%s armored=%v", tt.what, armored), func(t *testing.T) {
				var n atomic.Int32
				env := keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path), Prompt: asker(&n, tt.answers...)}
				k, dataKey, e := wrapFor(t, env, name)
				if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrQuiet) || n.Load() != 0 {
					t.Errorf("quietly: %v, %d prompts", err, n.Load())
				}
				for range 2 { // the second time nobody is asked who has answered
					got, err := k.Unwrap(t.Context(), e)
					if tt.opens && !bytes.Equal(got, dataKey) {
						t.Fatal(err)
					}
					if !tt.opens && (!errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), tt.says)) {
						t.Fatalf("got %v, want ErrNotHere and %q", err, tt.says)
					}
					if err != nil && (strings.Contains(err.Error(), "sesame") || strings.Contains(err.Error(), secret)) {
						t.Fatalf("the message tells a secret: %v", err)
					}
				}
				if n.Load() != tt.asked {
					t.Errorf("%d prompts, want %d", n.Load(), tt.asked)
				}
				if _, err := k.Unwrap(keys.Quiet(t.Context()), e); tt.opens && err != nil {
					t.Errorf("quietly, once it is open: %v", err)
				}
			})
		}
	}
	t.Run("not asked when a plain identity fits", func(t *testing.T) {
		var n atomic.Int32
		path := write(t, sealed(t, file, "open sesame", true), t.TempDir(), "keys.txt")
		opens(t, keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path, "SOPS_AGE_KEY", decoy), Prompt: asker(&n, "open sesame")}, decoyName)
		if n.Load() != 0 {
			t.Errorf("%d prompts", n.Load())
		}
	})
	t.Run("asked once by many", func(t *testing.T) {
		var n atomic.Int32
		path := write(t, sealed(t, file, "open sesame", true), t.TempDir(), "keys.txt")
		ask := asker(&n, "open sesame")
		k, dataKey, e := wrapFor(t, keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path), Prompt: func(ctx context.Context, text string) ([]byte, error) {
			time.Sleep(20 * time.Millisecond) // people are slow: the others are there by then
			return ask(ctx, text)
		}}, name)
		done := make(chan error)
		for range 8 {
			go func() {
				got, err := k.Unwrap(t.Context(), e)
				if err == nil && !bytes.Equal(got, dataKey) {
					err = errors.New("another key comes out")
				}
				done <- err
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n.Load() != 1 {
			t.Errorf("%d prompts", n.Load())
		}
	})
	t.Run("cancelled while asking", func(t *testing.T) {
		path := write(t, sealed(t, file, "open sesame", true), t.TempDir(), "keys.txt")
		ctx, cancel := context.WithCancel(t.Context())
		first := true
		k, dataKey, e := wrapFor(t, keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path), Prompt: func(ctx context.Context, _ string) ([]byte, error) {
			if first {
				first = false
				cancel()
				return nil, ctx.Err()
			}
			return []byte("open sesame"), nil
		}}, name)
		if _, err := k.Unwrap(ctx, e); !errors.Is(err, context.Canceled) || errors.Is(err, keys.ErrNotHere) {
			t.Errorf("got %v", err)
		}
		if got, err := k.Unwrap(t.Context(), e); !bytes.Equal(got, dataKey) {
			t.Errorf("later: %v", err)
		}
	})
	t.Run("sealed for somebody's key", func(t *testing.T) {
		_, _, e := wrapFor(t, keys.Env{}, decoyName)
		path := write(t, []byte(e.Field("enc")), t.TempDir(), "keys.txt")
		var n atomic.Int32
		msg := refuses(t, keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path), Prompt: asker(&n, "x", "y")}, name)
		if !strings.Contains(msg, "encrypted with age, but not with a passphrase") || n.Load() != 1 {
			t.Errorf("%d prompts, %s", n.Load(), msg)
		}
	})
}

func TestLockedSSH(t *testing.T) {
	private, public := sshKey(t, 0, "open sesame")
	_, another := sshKey(t, 0, "")
	_, _, native := generate(t, false)
	home := t.TempDir()
	write(t, private, home, ".ssh/id_ed25519")

	for _, tt := range []struct {
		what    string
		answers []string
		opens   bool
		says    string
	}{
		{"second try", []string{"", "open sesame"}, true, ""},
		{"wrong", []string{"x", "y", "z"}, false, "~/.ssh/id_ed25519 (wrong passphrase)"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			var n atomic.Int32
			k, dataKey, e := wrapFor(t, keys.Env{HomeDir: home, Prompt: asker(&n, tt.answers...)}, public)
			if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrQuiet) {
				t.Errorf("quietly: %v", err)
			}
			for range 2 {
				got, err := k.Unwrap(t.Context(), e)
				if tt.opens && !bytes.Equal(got, dataKey) {
					t.Fatal(err)
				}
				if !tt.opens && (!errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), tt.says)) {
					t.Fatalf("got %v, want %q", err, tt.says)
				}
			}
			if int(n.Load()) != len(tt.answers) {
				t.Errorf("%d prompts, want %d", n.Load(), len(tt.answers))
			}
		})
	}
	t.Run("no terminal", func(t *testing.T) {
		msg := refuses(t, keys.Env{HomeDir: home}, public)
		if want := "protected by a passphrase: there is no terminal to ask on"; !strings.Contains(msg, want) {
			t.Errorf("got %s, want %q", msg, want)
		}
	})
	for _, name := range []string{another, native} {
		var n atomic.Int32
		refuses(t, keys.Env{HomeDir: home, Prompt: asker(&n, "open sesame")}, name)
		if n.Load() != 0 {
			t.Errorf("asked for a passphrase that cannot help with %q", name)
		}
	}
}

// TestSSHKeygen reads what ssh-keygen writes, also the old form that does not hold
// the public key in clear.
func TestSSHKeygen(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("ssh-keygen is not on the PATH")
	}
	if err != nil {
		t.Skip("ssh-keygen is not on the PATH")
	}
	for what, args := range map[string][]string{
		"id_ed25519":     {"-t", "ed25519", "-a", "1"},
		"id_rsa":         {"-t", "rsa", "-b", "2048", "-a", "1"},
		"id_rsa old PEM": {"-t", "rsa", "-b", "2048", "-m", "PEM"},
	} {
		for _, passphrase := range []string{"", "open sesame"} {
			t.Run(fmt.Sprintf("%s passphrase=%v", what, passphrase != ""), func(t *testing.T) {
				home := t.TempDir()
				path := write(t, nil, home, ".ssh", strings.Fields(what)[0])
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				out, err := exec.Command(keygen, append(args, "-q", "-C", "a comment, of mine", "-N", passphrase, "-f", path)...).CombinedOutput()
				if err != nil {
					t.Fatalf("ssh-keygen: %v\n%s", err, out)
				}
				line, err := os.ReadFile(path + ".pub")
				if err != nil {
					t.Fatal(err)
				}
				var n atomic.Int32
				opens(t, keys.Env{HomeDir: home, Prompt: asker(&n, passphrase)}, string(line))
				if asked := n.Load() == 1; asked != (passphrase != "") {
					t.Errorf("asked %d times", n.Load())
				}
				if what == "id_rsa old PEM" && passphrase != "" {
					if err := os.Remove(path + ".pub"); err != nil {
						t.Fatal(err)
					}
					msg := refuses(t, keys.Env{HomeDir: home}, string(line))
					if !strings.Contains(msg, "put it beside the private key") {
						t.Errorf("without its public key: %s", msg)
					}
				}
			})
		}
	}
}

// TestWiped: what a person typed does not stay in memory that is ours.
func TestWiped(t *testing.T) {
	file, _, name := generate(t, false)
	private, public := sshKey(t, 0, "open sesame")
	for path, name := range map[string]string{
		write(t, sealed(t, file, "open sesame", true), t.TempDir(), "keys.txt"): name,
		write(t, private, t.TempDir(), "id_ed25519"):                            public,
	} {
		answer := []byte("open sesame")
		opens(t, keys.Env{Getenv: vars("KENV_AGE_KEY_FILE", path), Prompt: func(context.Context, string) ([]byte, error) {
			return answer, nil
		}}, name)
		if !bytes.Equal(answer, make([]byte, len(answer))) {
			t.Errorf("%s: the passphrase is still there", filepath.Base(path))
		}
	}
}

func TestGenerateAndRecipients(t *testing.T) {
	for _, pq := range []bool{false, true} {
		file, secret, name := generate(t, pq)
		lines := strings.Split(string(file), "\n")
		if len(lines) != 4 || lines[3] != "" || lines[1] != "# public key: "+name || lines[2] != secret {
			t.Errorf("not the form of a keys.txt: %d lines", len(lines))
		}
		created, ok := strings.CutPrefix(lines[0], "# created: ")
		if _, err := time.Parse(time.RFC3339, created); !ok || err != nil {
			t.Errorf("first line %q: %v", lines[0], err)
		}
		if again, _, _ := generate(t, pq); bytes.Equal(again, file) {
			t.Error("two identities are the same")
		}
		opens(t, keys.Env{Getenv: vars("KENV_AGE_KEY", string(file))}, name)
	}

	file, _, name := generate(t, false)
	_, pqSecret, pqName := generate(t, true)
	plainSSH, plainPublic := sshKey(t, 2048, "")
	lockedSSH, lockedPublic := sshKey(t, 0, "x")
	home, config := t.TempDir(), t.TempDir()
	write(t, sealed(t, file, "x", true), config, "age/keys.txt")
	write(t, lockedSSH, home, ".ssh/id_ed25519")
	write(t, plainSSH, home, ".ssh/id_rsa")
	write(t, file, home, ".config/sops/age/keys.txt")
	env := keys.Env{HomeDir: home, ConfigDir: config, Getenv: vars("KENV_AGE_KEY", pqSecret, "SOPS_AGE_KEY_CMD", "false"),
		Prompt: func(context.Context, string) ([]byte, error) {
			t.Error("somebody was asked")
			return nil, errors.New("no")
		}}
	known, unknown, err := age.Recipients(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	want := []age.Public{
		{Recipient: pqName, Place: "KENV_AGE_KEY"},
		{Recipient: name, Place: "~/.config/sops/age/keys.txt"},
		{Recipient: lockedPublic, Place: "~/.ssh/id_ed25519"},
		{Recipient: plainPublic, Place: "~/.ssh/id_rsa"},
	}
	if fmt.Sprint(known) != fmt.Sprint(want) {
		t.Errorf("known %v\nwant  %v", known, want)
	}
	if want := []string{age.IdentityFile(env), "SOPS_AGE_KEY_CMD"}; fmt.Sprint(unknown) != fmt.Sprint(want) {
		t.Errorf("unknown %v, want %v", unknown, want)
	}
}

// TestDamaged: what is no wrapped key is called damaged, not somebody else's.
func TestDamaged(t *testing.T) {
	_, secret, name := generate(t, false)
	env := keys.Env{Getenv: vars("KENV_AGE_KEY", secret)}
	k, _, e := wrapFor(t, env, name)

	e.Fields["enc"] = e.Field("enc") + strings.Repeat("\n", 64<<10)
	if _, err := k.Unwrap(t.Context(), e); err == nil || errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "more than 65536") {
		t.Errorf("an entry of 64 KiB: %v", err)
	}
	for _, enc := range []string{"x", "-----BEGIN AGE ENCRYPTED FILE-----\n", strings.Repeat("\n", 2000), encryptTo(t, name, 32)[:150]} {
		e.Fields["enc"] = enc
		if _, err := k.Unwrap(t.Context(), e); err == nil || errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("an entry that is no age file: %v", err)
		}
	}
	for _, n := range []int{0, keys.MaxDataKey + 1, 10 << 10} {
		e.Fields["enc"] = encryptTo(t, name, n)
		if got, err := k.Unwrap(t.Context(), e); err == nil || got != nil || errors.Is(err, keys.ErrNotHere) {
			t.Errorf("a payload of %d bytes: %v", n, err)
		}
	}
}
