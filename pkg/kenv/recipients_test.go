package kenv_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/kenvhq/kenv/pkg/doc"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
)

func TestRecipients(t *testing.T) {
	s, recipient := newSetup(t)
	out, err := s.Encrypt(context.Background(), kenv.Source{Name: "a.yaml", Data: []byte("a: b\n")}, kenv.EncryptOptions{Keys: []string{recipient, "other"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.yaml", "", "renamed.json", "renamed"} {
		r, err := s.Recipients(kenv.Source{Name: name, Data: out.Data})
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if len(r.Groups) != 1 || len(r.Groups[0]) != 2 || r.Threshold != 1 || !r.Sealed || r.LastModified == "" {
			t.Errorf("%q: %+v", name, r)
		}
		if k := r.Groups[0][1]; k.Name != "other" || k.Err != nil || k.Key.Name() != "other" || k.Entry.Field("recipient") != "other" {
			t.Errorf("%q: %+v", name, k)
		}
	}

	// Nothing is opened: a file that was changed has the recipients that it says.
	changed := bytes.Replace(out.Data, []byte("recipient: other"), []byte("recipient: mallory"), 1)
	if r, err := s.Recipients(kenv.Source{Name: "a.yaml", Data: changed}); err != nil || r.Groups[0][1].Name != "mallory" {
		t.Errorf("a changed file: %v", err)
	}

	for what, data := range map[string]string{"plaintext": "a: b\n", "text": "x", "nothing but the word": "sops: 1\n"} {
		if _, err := s.Recipients(kenv.Source{Name: "a.yaml", Data: []byte(data)}); err == nil {
			t.Errorf("%s has recipients", what)
		} else if what == "plaintext" && !errors.Is(err, kenv.ErrNotEncrypted) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Recipients(kenv.Source{Name: "a.yaml"}); !errors.Is(err, doc.ErrEmpty) {
		t.Errorf("empty: %v", err)
	}
	cut := bytes.Replace(out.Data, []byte("version: 3"), []byte("version: x"), 1)
	var integrity *envelope.IntegrityError
	if _, err := s.Recipients(kenv.Source{Name: "a.yaml", Data: cut}); !errors.As(err, &integrity) {
		t.Errorf("damaged metadata: %v", err)
	}
}

// Keys that this program has no provider for are listed, too.
func TestRecipientsUnsupported(t *testing.T) {
	s, _ := newSetup(t)
	const date = `, "created_at": "2026-01-02T03:04:05Z", "enc": "x"}]`
	r, err := s.Recipients(kenv.Source{Name: "a.json", Data: []byte(`{"a": 1, "sops": {
		"shamir_threshold": 2,
		"key_groups": [
			{"kms": [{"arn": "arn:aws:kms:r:1:key/k"` + date + `, "pgp": [{"fp": "ABCD"` + date + `},
			{"gcp_kms": [{"resource_id": "projects/p"` + date + `, "hckms": [{"key_id": "eu:1"` + date + `},
			{"azure_kv": [{"vault_url": "https://v", "name": "n", "version": "1"` + date + `, "kms_rsa": [{"arn": "arn:rsa"` + date + `},
			{"hc_vault": [{"vault_address": "https://h", "engine_path": "e", "key_name": "k"` + date + `, "pkcs11": [{"uri": "pkcs11:object=k"` + date + `, "age": [{"recipient": "test", "enc": "x"}]}
		], "lastmodified": "2026-03-04T05:06:07Z", "mac": "x", "version": "3.13.3"}}`)})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"kms", "pgp"},
		{"gcp-kms:projects/p", "hckms:eu:1"},
		{"azure-kv:https://v/keys/n/1", "kms_rsa"},
		{"hc-vault:https://h/v1/e/keys/k", "test", "pkcs11"},
	}
	if r.Threshold != 2 || r.Sealed || len(r.Groups) != len(want) {
		t.Fatalf("%+v", r)
	}
	for i, group := range r.Groups {
		for n, k := range group {
			if k.Name != want[i][n] {
				t.Errorf("group %d: %q, want %q", i, k.Name, want[i][n])
			}
			if supported := k.Entry.Kind == "age"; supported != (k.Key != nil) || supported == errors.Is(k.Err, keys.ErrUnsupported) {
				t.Errorf("group %d, %s: %v, %v", i, k.Name, k.Key, k.Err)
			}
		}
	}
}
