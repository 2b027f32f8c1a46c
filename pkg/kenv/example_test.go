package kenv_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/age"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
)

// project makes a directory with a file secrets.yaml, encrypted for an identity, and
// changes to it.
func project() (identity []byte, leave func()) {
	identity, recipient, err := age.Generate(false)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	back, err := os.Getwd()
	if err != nil {
		log.Fatal(err)
	}
	if err := os.Chdir(dir); err != nil {
		log.Fatal(err)
	}
	setup := kenv.Setup{Keys: keys.Table{age.Provider(keys.Env{})}}
	out, err := setup.Encrypt(context.Background(), kenv.Source{
		Name: "secrets.yaml",
		Data: []byte("db:\n    password: hunter2 # changed in March\n    port: 5432\nhosts: [a.example.com, b.example.com]\n"),
	}, kenv.EncryptOptions{Keys: []string{recipient}})
	if err != nil {
		log.Fatal(err)
	}
	if err := kenv.Replace("secrets.yaml", out.Data, kenv.WriteOptions{Ciphertext: true}); err != nil {
		log.Fatal(err)
	}
	return identity, func() {
		os.Chdir(back)
		os.RemoveAll(dir)
	}
}

// Read values of a file with the keys that the command kenv would use, but for those that
// it would ask for.
func ExampleOpen() {
	identity, leave := project()
	defer leave()
	os.Setenv("KENV_AGE_KEY", string(identity))
	defer os.Unsetenv("KENV_AGE_KEY")

	ctx := context.Background()
	f, err := kenv.Open(ctx, "secrets.yaml", age.Provider(keys.ProcessEnv()))
	if err != nil {
		log.Fatal(err)
	}
	defer f.Wipe()

	password, err := f.Get("db.password")
	if err != nil {
		log.Fatal(err)
	}
	second, err := f.Get("hosts[1]")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(password, second)
	// Output: hunter2 b.example.com
}

// Open a file whose keys are in AWS KMS and nowhere else. The program has the AWS SDK
// among its dependencies, which finds the credentials, and nothing of age or PKCS#11.
func ExampleOpen_kms() {
	ctx := context.Background()
	f, err := kenv.Open(ctx, "secrets.yaml", awskms.Providers(keys.ProcessEnv())...)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Wipe()
}

// Tell errors apart.
func ExampleOpen_errors() {
	_, leave := project()
	defer leave()
	another, _, err := age.Generate(false)
	if err != nil {
		log.Fatal(err)
	}
	provider, err := age.Identities(another)
	if err != nil {
		log.Fatal(err)
	}

	_, err = kenv.Open(context.Background(), "secrets.yaml", provider)
	var noKey *envelope.NoKeyError
	var integrity *envelope.IntegrityError
	switch {
	case errors.As(err, &noKey):
		fmt.Println("none of its", len(noKey.Failures), "keys is here")
	case errors.As(err, &integrity):
		fmt.Println("somebody without a key changed it")
	case errors.Is(err, os.ErrNotExist):
		fmt.Println("there is no such file")
	}
	// Output: none of its 1 keys is here
}

// Decode a part of a file, or all of it, into a struct.
func ExampleFile_Decode() {
	identity, leave := project()
	defer leave()
	provider, err := age.Identities(identity)
	if err != nil {
		log.Fatal(err)
	}
	f, err := kenv.Open(context.Background(), "secrets.yaml", provider)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Wipe()

	var config struct {
		DB struct {
			Password string
			Port     int
		}
		Hosts []string
	}
	if err := f.Decode("", &config); err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.DB.Password, config.DB.Port, len(config.Hosts))
	// Output: hunter2 5432 2
}

// Change values of a file. Only their lines change, and the integrity lines.
func ExampleFile_Set() {
	identity, leave := project()
	defer leave()
	provider, err := age.Identities(identity)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	f, err := kenv.Open(ctx, "secrets.yaml", provider)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Wipe()

	if err := f.Set("db.password", "hunter3"); err != nil {
		log.Fatal(err)
	}
	if err := f.Set("hosts[2]", "c.example.com"); err != nil {
		log.Fatal(err)
	}
	if err := f.Unset("db.port"); err != nil {
		log.Fatal(err)
	}
	if err := f.Save(ctx); err != nil {
		log.Fatal(err)
	}

	text, err := f.Get("")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(text)
	// Output:
	// db:
	//     password: hunter3 # changed in March
	// hosts: [a.example.com, b.example.com, c.example.com]
}

// Encrypt new data and write it to a file that must not be there yet. Encrypting takes
// the recipients alone. Without Keys they are those that the config names.
func ExampleSetup_Encrypt() {
	_, leave := project()
	defer leave()
	_, recipient, err := age.Generate(false)
	if err != nil {
		log.Fatal(err)
	}

	setup := kenv.Setup{Keys: keys.Table{age.Provider(keys.Env{})}}
	out, err := setup.Encrypt(context.Background(), kenv.Source{
		Name: "new.yaml",
		Data: []byte("token: s3cr3t\n"),
	}, kenv.EncryptOptions{Keys: []string{recipient}})
	if err != nil {
		log.Fatal(err)
	}
	err = kenv.Replace("new.yaml", out.Data, kenv.WriteOptions{Ciphertext: true, Perm: 0o644, Expect: &kenv.Stamp{}})
	if err != nil {
		log.Fatal(err)
	}

	files, _ := filepath.Glob("*.yaml")
	fmt.Println(files, out.Recipients[0][0] == recipient)
	// Output: [new.yaml secrets.yaml] true
}

// Change an encrypted text that is no file here, such as one that an API returned.
func ExampleSetup_OpenFile() {
	identity, leave := project()
	defer leave()
	data, err := os.ReadFile("secrets.yaml")
	if err != nil {
		log.Fatal(err)
	}
	provider, err := age.Identities(identity)
	if err != nil {
		log.Fatal(err)
	}

	setup := kenv.Setup{Keys: keys.Table{provider}}
	f, err := setup.OpenFile(context.Background(), kenv.Source{Data: data}, kenv.ChangeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer f.Wipe()
	if err := f.Set("db.port", 5433); err != nil {
		log.Fatal(err)
	}
	out, err := f.Encrypt()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Format.Name(), len(out.Data) > 0)
	// Output: yaml true
}
