package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// sample is how many files sops decrypts, at most; it takes as long for each.
const sample = 50

// measureTree compares the decryption of many files under one KMS key.
func measureTree(args []string) error {
	flags := flag.NewFlagSet("tree", flag.ContinueOnError)
	files := flags.Int("files", 200, "how many files")
	delay := flags.Duration("delay", 50*time.Millisecond, "how long a call of KMS takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 3 || *files < 1 {
		return errors.New("tree takes DIR SOPS KENV, and at least one file")
	}
	dir, sops, kenv := flags.Arg(0), flags.Arg(1), flags.Arg(2)
	service := &kms{delay: *delay, dataKeys: map[string]string{}}
	server := httptest.NewServer(service)
	defer server.Close()

	tree := filepath.Join(dir, "tree")
	names, err := plant(tree, *files)
	if err != nil {
		return err
	}
	env := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "AWS_ENDPOINT_URL=" + server.URL, "AWS_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_EC2_METADATA_DISABLED=true"}
	run := func(args ...string) (time.Duration, error) {
		var stderr bytes.Buffer
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.Stderr = env, &stderr
		start := time.Now()
		if err := cmd.Run(); err != nil {
			return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, stderr.Bytes())
		}
		return time.Since(start), nil
	}
	encrypt, err := run(kenv, "encrypt", "-r", "-i", tree)
	if err != nil {
		return err
	}
	var decrypt time.Duration // the best of three
	for i := range 3 {
		took, err := run(kenv, "decrypt", "-r", "--output-dir", filepath.Join(dir, fmt.Sprint("plain-", i)), tree)
		if err != nil {
			return err
		}
		if i == 0 || took < decrypt {
			decrypt = took
		}
	}
	n := min(*files, sample)
	var each time.Duration
	for _, name := range names[:n] {
		took, err := run(sops, "decrypt", "--output", filepath.Join(dir, "decrypted"), name)
		if err != nil {
			return err
		}
		each += took
	}
	each /= time.Duration(n)
	all := each * time.Duration(*files)
	fmt.Printf("%d files, %v a call of KMS\n", *files, *delay)
	fmt.Printf("kenv encrypts them in %v\n", encrypt.Round(time.Millisecond))
	fmt.Printf("kenv decrypts them in %v\n", decrypt.Round(time.Millisecond))
	fmt.Printf("sops decrypts one in %v, all in %v\n", each.Round(time.Millisecond), all.Round(time.Millisecond))
	fmt.Printf("ratio %.3f, goal ≤ 0.05\n", decrypt.Seconds()/all.Seconds())
	return nil
}

const keyARN = "arn:aws:kms:us-east-1:111122223333:key/11112222-3333-4444-5555-666677778888"

// plant writes n small files and a config.
func plant(tree string, n int) (names []string, err error) {
	for i := range n {
		name := filepath.Join(tree, fmt.Sprintf("team-%02d", i%10), fmt.Sprintf("service-%04d.yaml", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return nil, err
		}
		text := fmt.Sprintf("database:\n  user: app_%d\n  password: hunter%d\n  port: 5432\n", i, i)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	config := "creation_rules:\n  - keys: [" + keyARN + "]\n"
	return names, os.WriteFile(filepath.Join(tree, ".kenv.yaml"), []byte(config), 0o600)
}

// A kms stands in for the service, as far as the two programs need it, and takes its
// time. It keeps data keys by the blobs that it gives out for them.
type kms struct {
	delay    time.Duration
	mu       sync.Mutex
	dataKeys map[string]string
}

func (k *kms) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(k.delay)
	var in struct{ Plaintext, CiphertextBlob string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := map[string]any{"KeyId": keyARN, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch target := r.Header.Get("X-Amz-Target"); target {
	case "TrentService.Encrypt":
		blob := make([]byte, 150)
		rand.Read(blob)
		text := base64.StdEncoding.EncodeToString(blob)
		k.dataKeys[text] = in.Plaintext
		out["CiphertextBlob"] = text
	case "TrentService.Decrypt":
		out["Plaintext"] = k.dataKeys[in.CiphertextBlob]
	default:
		http.Error(w, `{"__type":"UnknownOperationException"}`, http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	json.NewEncoder(w).Encode(out)
}
