package envelope

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/doc"
)

// TestSealCoversReading: changes that leave every value, its type and its place as
// sops sees them, and that some reader of the plaintext sees all the same.
func TestSealCoversReading(t *testing.T) {
	secret := Selector{EncryptedRegex: "^secret"}
	for _, row := range []struct {
		name     string
		format   doc.Format
		policy   Policy
		plain    string
		from, to string
	}{
		{"non-specific tag", doc.YAML{}, Policy{}, "port: 5432\n", "port: ", "port: ! "},
		{"non-specific tag on a map", doc.YAML{}, Policy{}, "a: {b: 1}\n", "a: {", "a: ! {"},
		{"directive", doc.YAML{}, Policy{}, "---\non: 1\n", "---\n", "%YAML 1.1\n---\n"},
		{"directive removed", doc.YAML{}, Policy{}, "%YAML 1.1\n---\non: 1\n", "%YAML 1.1\n", ""},
		{"braces of an empty document", doc.YAML{}, Policy{}, "{}\n", "{}\n", "sops:"},
		{"tag that holds a zero byte", doc.YAML{}, Policy{}, "!t key: &v !u val\n", "!t key: &v !u ", "key: !t%00%26v%20!!u "},
		{"surrogate in a key", doc.JSON{}, Policy{}, `{"\ud800": "x"}`, `"\ud800"`, `"\udbff"`},
		{"line break in a dotenv comment", doc.Dotenv{}, Policy{Selector: secret}, "secret=x\n#hello\n", "#hello", "#hello\rLD_PRELOAD=/tmp/x.so"},
		{"dotenv comment changed", doc.Dotenv{}, Policy{Selector: secret}, "secret=\"x\n#hello\n", "#hello", "#hello\""},
		{"root wrapped", doc.JSON{}, Policy{MACOnlyEncrypted: true}, `{"kenv_root": "a", "x_unencrypted": 1}`, `, "x_unencrypted": 1`, ``},
		{"root unwrapped", doc.JSON{}, Policy{MACOnlyEncrypted: true}, `["a"]`, `{"kenv_root"`, `{"x_unencrypted": 1, "kenv_root"`},
		{"text unwrapped", doc.JSON{}, Policy{MACOnlyEncrypted: true}, `{"kenv_text": "a", "x_unencrypted": 1}`, `, "x_unencrypted": 1`, ``},
		{"value shadowed", doc.JSON{}, Policy{MACOnlyEncrypted: true}, `{"password": "a"}`, `{"password"`, `{"password": null, "password"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := row.policy
			p.Groups, p.Now = testPolicy.Groups, time.Unix(1700000000, 0)
			sealed, err := Seal(t.Context(), []byte(row.plain), row.format, p)
			if err != nil {
				t.Fatal(err)
			}
			text := string(sealed.Data)
			if row.name == "braces of an empty document" {
				_, meta, _ := strings.Cut(text, "sops: ")
				text, row.from = meta, ""
				text = "sops: " + strings.TrimSuffix(text, "}\n") + "\n"
			} else if !strings.Contains(text, row.from) {
				t.Fatalf("%q is not in the file", row.from)
			} else {
				text = strings.Replace(text, row.from, row.to, 1)
			}
			f, err := Open(t.Context(), []byte(text), row.format, clearTable, OpenOptions{})
			if integrity := (*IntegrityError)(nil); !errors.As(err, &integrity) {
				if err == nil {
					err = errors.New("opens as " + string(f.Plaintext()))
				}
				t.Errorf("want an integrity error: %v\n%s", err, text)
			}
		})
	}
}

// TestUnwrapIsBounded: the number of sets of shares that are tried does not grow
// with the number of groups.
func TestUnwrapIsBounded(t *testing.T) {
	const groups = 40
	m := &Metadata{ShamirThreshold: groups}
	for range groups {
		e, err := clearKey("k").Wrap(t.Context(), make([]byte, 33))
		if err != nil {
			t.Fatal(err)
		}
		m.Groups = append(m.Groups, nil)
		m.Groups[len(m.Groups)-1] = append(m.Groups[len(m.Groups)-1], e)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := unwrapDataKey(t.Context(), m, clearTable, nil, func([]byte) bool { return false })
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("shares with one number gave a key")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("tries every set of 40 shares")
	}
}

// TestSelectorIsBounded: an expression that a file brings along cannot be made to
// take minutes.
func TestSelectorIsBounded(t *testing.T) {
	for _, expr := range []string{strings.Repeat("(a?b?c?){20}", 1000), strings.Repeat("x", maxProgram+1), "((a{10}){10}){10}{10}"} {
		s := Selector{EncryptedRegex: expr}
		if _, err := s.compile(false); err == nil {
			t.Errorf("%.20q… of %d bytes compiles", expr, len(expr))
		}
	}
	if _, err := (Selector{EncryptedRegex: `^(data|stringData|pass(word)?|.*_(key|token))$`}).compile(false); err != nil {
		t.Error(err)
	}
}
