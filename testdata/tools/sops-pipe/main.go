// Command sops-pipe is sops's library behind a pipe, so that a test can ask it of
// thousands of files without starting a program for each. It reads requests and writes
// answers, a JSON value each, until its input ends. The age identity is taken from the
// environment, as sops does.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/version"
	"github.com/sirupsen/logrus"
)

type request struct {
	Encrypt   bool   // or decrypt
	Format    string // of the text: yaml, json, dotenv, ini, binary
	Text      []byte
	Recipient string // to encrypt for
}

type answer struct {
	Text  []byte // encrypted, or decrypted as sops writes it; empty if it cannot write it
	Tree  string // what was decrypted, one document a line
	Error string
}

func main() {
	logrus.SetOutput(io.Discard)
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r request
		if err := in.Decode(&r); err != nil {
			return
		}
		if err := out.Encode(serve(r)); err != nil {
			return
		}
	}
}

func serve(r request) (a answer) {
	defer func() {
		// There are files on which sops crashes.
		if crash := recover(); crash != nil {
			a = answer{Error: fmt.Sprint("panic: ", crash)}
		}
	}()
	do := decrypt
	if r.Encrypt {
		do = encrypt
	}
	a, err := do(common.StoreForFormat(formats.FormatFromString(r.Format), config.NewStoresConfig()), r)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}

func encrypt(store common.Store, r request) (a answer, err error) {
	branches, err := store.LoadPlainFile(r.Text)
	if err != nil {
		return a, err
	}
	if len(branches) < 1 || store.HasSopsTopLevelKey(branches[0]) {
		return a, fmt.Errorf("empty or encrypted")
	}
	key, err := age.MasterKeyFromRecipient(r.Recipient)
	if err != nil {
		return a, err
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		KeyGroups:         []sops.KeyGroup{{key}},
		UnencryptedSuffix: sops.DefaultUnencryptedSuffix,
		Version:           version.Version,
	}}
	dataKey, errs := tree.GenerateDataKey()
	if len(errs) > 0 {
		return a, fmt.Errorf("%v", errs)
	}
	if err := common.EncryptTree(common.EncryptTreeOpts{Tree: &tree, Cipher: aes.NewCipher(), DataKey: dataKey}); err != nil {
		return a, err
	}
	a.Text, err = store.EmitEncryptedFile(tree)
	return a, err
}

func decrypt(store common.Store, r request) (a answer, err error) {
	tree, err := store.LoadEncryptedFile(r.Text)
	if err != nil {
		return a, err
	}
	if _, err := common.DecryptTree(common.DecryptTreeOpts{Tree: &tree, KeyServices: local(), Cipher: aes.NewCipher()}); err != nil {
		return a, err
	}
	var b strings.Builder
	for _, branch := range tree.Branches {
		show(&b, branch)
		b.WriteByte('\n')
	}
	a.Tree = b.String()
	if text, err := store.EmitPlainFile(tree.Branches); err == nil {
		a.Text = text
	}
	return a, nil
}

// show writes a value in the notation of the tests that read it: maps as [key:value,),
// lists as {value,), scalars with their type.
func show(b *strings.Builder, v any) {
	switch v := v.(type) {
	case sops.TreeBranch:
		b.WriteByte('[')
		for _, item := range v {
			if _, comment := item.Key.(sops.Comment); comment {
				continue
			}
			b.WriteString(strconv.Quote(fmt.Sprint(item.Key)) + ":")
			show(b, item.Value)
			b.WriteByte(',')
		}
		b.WriteByte(')')
	case []any:
		b.WriteByte('{')
		for _, item := range v {
			if _, comment := item.(sops.Comment); comment {
				continue
			}
			show(b, item)
			b.WriteByte(',')
		}
		b.WriteByte(')')
	case nil:
		b.WriteString("null")
	case string:
		b.WriteString(strconv.Quote(v))
	case bool:
		fmt.Fprintf(b, "bool %v", v)
	case time.Time:
		b.WriteString("time " + v.Format(time.RFC3339Nano))
	default:
		f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
		if err != nil && f == 0 {
			fmt.Fprintf(b, "%T %v", v, v)
			return
		}
		b.WriteString("number " + strconv.FormatFloat(f+0, 'g', -1, 64))
	}
}

func local() []keyservice.KeyServiceClient {
	return []keyservice.KeyServiceClient{keyservice.NewLocalClient()}
}
