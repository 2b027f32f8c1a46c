package kenv_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
)

// A serverKey counts how often it is asked, and how many keys are named then.
type serverKey struct {
	clearKey
	asked, named *int
}

func (k serverKey) Wrap(_ context.Context, dataKey []byte) (keys.Entry, error) {
	return keys.Entry{Kind: "kms", Fields: map[string]any{
		"arn": k.Name(), "aws_profile": "", "created_at": "2026-11-25T12:00:00Z",
		"enc": base64.StdEncoding.EncodeToString(dataKey),
	}}, nil
}

func (k serverKey) Unwrap(ctx context.Context, e keys.Entry) ([]byte, error) {
	*k.asked++
	*k.named = len(keys.Named(ctx))
	return base64.StdEncoding.DecodeString(e.Field("enc"))
}

// A key that asks a server is asked only if a config names it, whatever a file says.
func TestTrusting(t *testing.T) {
	const arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	asked, named := 0, 0
	local, _ := newSetup(t)
	s := kenv.Setup{Keys: keys.Table{{
		Kind: "kms", Remote: true,
		Parse: func(s keys.Spec) (keys.MasterKey, bool, error) {
			return serverKey{clearKey(s.Name), &asked, &named}, true, nil
		},
		FromEntry: func(e keys.Entry) (keys.MasterKey, error) {
			return serverKey{clearKey(e.Field("arn")), &asked, &named}, nil
		},
	}, local.Keys[0]}}
	out, err := s.Encrypt(t.Context(), kenv.Source{Data: []byte("a: b\n"), Format: doc.YAML{}}, kenv.EncryptOptions{Keys: []string{arn}})
	if err != nil {
		t.Fatal(err)
	}
	asked = 0 // encrypting may prove its result
	for _, c := range []struct {
		names string
		opens bool
	}{
		{"", false},
		{"creation_rules:\n  - keys: " + strings.Replace(arn, "1234abcd", "4321abcd", 1) + "\n", false},
		{"creation_rules:\n  - path: elsewhere\n    keys: " + arn + "\n", true},
	} {
		looked := false
		trusting := s.Trusting(func() []*config.Config {
			if looked = true; c.names == "" {
				return nil
			}
			c, err := config.Parse(filepath.Join(t.TempDir(), config.Name), []byte(c.names))
			if err != nil {
				t.Fatal(err)
			}
			return []*config.Config{c}
		})
		if looked {
			t.Error("configs are read before a key turned up")
		}
		f, err := trusting.Open(t.Context(), kenv.Source{Data: out.Data})
		switch noKey := (*envelope.NoKeyError)(nil); {
		case c.opens && (err != nil || asked != 1 || named != 1):
			t.Errorf("%q: asked %d times, told of %d keys: %v", c.names, asked, named, err)
		case c.opens:
			f.Wipe()
		case !errors.As(err, &noKey) || !errors.Is(err, keys.ErrNotHere) || asked > 0:
			t.Errorf("%q: asked %d times: %v", c.names, asked, err)
		}
		asked = 0
	}
}

// What Redact leaves says whether a value changed, and nothing else of it.
func TestRedact(t *testing.T) {
	s, recipient := newSetup(t)
	const canary = "CANARYq7Zk2LwP9xV"
	for name, text := range map[string]string{
		"a.yaml": "a: " + canary + " # " + canary + "\nb: [" + canary + ", 1]\nc_unencrypted: x\n",
		"a.json": `{"a": "` + canary + `", "c_unencrypted": "x"}`,
		"a.env":  "# " + canary + "\nA=" + canary + "\nc_unencrypted=x\n",
		"a.ini":  "[s]\na = " + canary + "\nc_unencrypted = x\n",
		"a.bin":  canary + "c_unencrypted x",
	} {
		format, err := kenv.FormatOf(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		encrypt := func(text string, previous []byte) []byte {
			out, err := s.Encrypt(t.Context(), kenv.Source{Data: []byte(text), Format: format}, kenv.EncryptOptions{Keys: []string{recipient}})
			if previous != nil {
				var f *envelope.File
				if f, err = s.OpenForEdit(t.Context(), kenv.Source{Data: previous, Format: format}); err == nil {
					out, err = s.Resealed(f, "", []byte(text), false)
				}
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return out.Data
		}
		one := encrypt(text, nil)
		redacted := kenv.Redact(one)
		for _, not := range []string{"ENC[", "data:", "sops", canary, "AGE"} {
			if bytes.Contains(redacted, []byte(not)) {
				t.Errorf("%s: %q is in\n%s", name, not, redacted)
			}
		}
		if name != "a.bin" && !bytes.Contains(redacted, []byte("c_unencrypted")) {
			t.Errorf("%s: what is in clear is gone:\n%s", name, redacted)
		}
		if again := kenv.Redact(encrypt(text+"\n", one)); name != "a.bin" && strings.TrimSpace(string(again)) != strings.TrimSpace(string(redacted)) {
			t.Errorf("%s: no value changed, and from\n%s\nit became\n%s", name, redacted, again)
		}
		if again := kenv.Redact(encrypt(strings.Replace(text, canary, "other", 1), one)); bytes.Equal(again, redacted) {
			t.Errorf("%s: a value changed, and the text did not", name)
		}
	}
	for _, text := range []string{"", "ENC[AES256_GCM,data:", "x: ENC[AES256_GCM,data:SECRET]", "ENC[AES256_GCM,data:SECRET,iv:a,tag:SECRET,type:str]", "sops:\n\x00", "sops_mac=ENC[AES256_GCM,data:SECRET,iv:aaaaaaaaaaaaaa]"} {
		if got := kenv.Redact([]byte(text)); bytes.Contains(got, []byte("SECRET")) {
			t.Errorf("%q gives %q", text, got)
		}
	}
}

func TestDiffOfEverything(t *testing.T) {
	s, recipient := newSetup(t)
	encrypt := func(name, text string) *kenv.Source {
		out, err := s.Encrypt(t.Context(), kenv.Source{Name: name, Data: []byte(text)}, kenv.EncryptOptions{Keys: []string{recipient}})
		if err != nil {
			t.Fatal(err)
		}
		return &kenv.Source{Name: name, Data: out.Data}
	}
	for _, c := range []struct{ name, old, new, want string }{
		{"a.yaml", "a: 1\n", "a: 1\n", ""},
		{"a.yaml", "a: 1\nb: 2\n", "b: 2\na: 1\n", "layout"},
		{"a.yaml", "a: 1\n", "a: '1'\n", `changed a 1 "1"`},
		{"a.yaml", "a: ~\nb: true\nc: 1.50\n", "a: ''\nb: false\nc: 1.5\n", `changed a null "", changed b true false`},
		{"a.yaml", "a: {}\n", "a: {b: c}\n", `added a.b  "c", removed a {} `},
		{"a.yaml", "a: [1, 2]\n", "a: [1]\n", "removed a[1] 2 "},
		{"a.yaml", "[1, 2]\n", "[1, 3]\n", "changed [1] 2 3"},
		{"a.yaml", "a: 1 # x\nb: 1 # y\n", "# new\na: 1 # x\nb: 1\n", `added top level: comment  " new", removed top level: comment " y" `},
		{"a.yaml", "a: 1\n---\na: 1\n", "a: 1\n---\na: 2\n", "changed document 2: a 1 2"},
		{"a.yaml", "a: 1\na: 2\n", "a: 1\na: 3\n", "changed the whole text \"a: 1\\na: 2\\n\" \"a: 1\\na: 3\\n\""},
		{"a.yaml", "k: {x: 1, y: 1, z: 1}\n", "k: {w: 1, z: 2}\n", "added k.w  1, removed k.x 1 , removed k.y 1 , changed k.z 1 2"},
		{"a.yaml", "a.b: <&>\n", "a.b: \"\\x07\"\n", `changed ["a.b"] "<&>" "\u0007"`},
		{"a.json", `{"a": 1e3}`, `{"a": 1e4}`, "changed a 1000 10000"},
		{"a.env", "A=1\nA=2\n", "A=1\nA=3\n", `changed A "2" "3"`},
		{"a.ini", "[s]\na = 1\n", "[s]\na = 2\n[t]\n", `changed s.a "1" "2", added t  {}`},
		{"a.bin", "x", "y", `changed the whole text "x" "y"`},
	} {
		old, new := encrypt(c.name, c.old), encrypt(c.name, c.new)
		for _, pair := range [][2]*kenv.Source{{old, new}, {{Name: c.name, Data: []byte(c.old)}, new}} {
			d, err := s.Diff(t.Context(), pair[0], pair[1])
			if err != nil {
				t.Fatalf("%s %q: %v", c.name, c.old, err)
			}
			var got []string
			for _, v := range d.Values {
				got = append(got, strings.Join([]string{v.Change, v.Path, string(v.Old), string(v.New)}, " "))
			}
			if d.Layout {
				got = append(got, "layout")
			}
			if got := strings.Join(got, ", "); got != c.want {
				t.Errorf("%s: from %q to %q:\n%s\nwant\n%s", c.name, c.old, c.new, got, c.want)
			}
		}
	}
}
