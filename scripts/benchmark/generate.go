package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

const (
	keyFile       = "key.txt"
	recipientFile = "recipient.txt"
)

// generate writes an age identity and the plaintext files. The values are random
// and the same each time.
func generate(dir string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	files := map[string]string{
		keyFile:       id.String() + "\n",
		recipientFile: id.Recipient().String(),
	}
	for _, w := range works() {
		r := rand.New(rand.NewPCG(1, uint64(w.leaves)))
		files[w.file()] = text(w.format, services(r, w.leaves, w.long))
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// A service holds perService values.
type service struct {
	name, host, user, password string
	port, replicas             int
	enabled                    bool
	tokens                     [3]string
}

const perService = 10

func services(r *rand.Rand, leaves int, long bool) []service {
	random := func(n int) string {
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return "x" + string(b) // so that none reads as a number
	}
	token := 23
	if long {
		token = 260
	}
	list := make([]service, leaves/perService)
	for i := range list {
		list[i] = service{
			name:     fmt.Sprintf("service_%05d", i),
			host:     fmt.Sprintf("db-%04d.internal.example.com", r.IntN(10000)),
			user:     "app_" + random(8),
			password: random(31),
			port:     1024 + r.IntN(60000),
			replicas: 1 + r.IntN(9),
			enabled:  r.IntN(2) == 0,
			tokens:   [3]string{random(token), random(token), random(token)},
		}
	}
	return list
}

func text(format string, list []service) string {
	var b strings.Builder
	switch format {
	case "YAML":
		b.WriteString("# Secrets of all services.\n")
		for _, s := range list {
			fmt.Fprintf(&b, "%s:\n  url: https://%s\n  database:\n    host: %s\n    port: %d\n    user: %s\n    password: \"%s\"\n",
				s.name, s.name, s.host, s.port, s.user, s.password)
			fmt.Fprintf(&b, "  replicas: %d\n  enabled: %t\n  tokens:\n    - %s\n    - %s\n    - %s\n",
				s.replicas, s.enabled, s.tokens[0], s.tokens[1], s.tokens[2])
		}
	case "JSON":
		b.WriteString("{")
		for i, s := range list {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, "\n  %q: {\n    \"url\": %q,\n    \"database\": {\n      \"host\": %q,\n      \"port\": %d,\n      \"user\": %q,\n      \"password\": %q\n    },\n",
				s.name, "https://"+s.name, s.host, s.port, s.user, s.password)
			fmt.Fprintf(&b, "    \"replicas\": %d,\n    \"enabled\": %t,\n    \"tokens\": [\n      %q,\n      %q,\n      %q\n    ]\n  }",
				s.replicas, s.enabled, s.tokens[0], s.tokens[1], s.tokens[2])
		}
		b.WriteString("\n}\n")
	case "INI":
		b.WriteString("; Secrets of all services.\n")
		for _, s := range list {
			fmt.Fprintf(&b, "[%s]\nurl = https://%s\ndb_host = %s\ndb_port = %d\ndb_user = %s\ndb_password = %s\n",
				s.name, s.name, s.host, s.port, s.user, s.password)
			fmt.Fprintf(&b, "replicas = %d\nenabled = %t\ntoken_0 = %s\ntoken_1 = %s\ntoken_2 = %s\n\n",
				s.replicas, s.enabled, s.tokens[0], s.tokens[1], s.tokens[2])
		}
	case "dotenv":
		b.WriteString("# Secrets of all services.\n")
		for _, s := range list {
			n := strings.ToUpper(s.name)
			fmt.Fprintf(&b, "%s_URL=https://%s\n%s_DB_HOST=%s\n%s_DB_PORT=%d\n%s_DB_USER=%s\n%s_DB_PASSWORD=%s\n",
				n, s.name, n, s.host, n, s.port, n, s.user, n, s.password)
			fmt.Fprintf(&b, "%s_REPLICAS=%d\n%s_ENABLED=%t\n%s_TOKEN_0=%s\n%s_TOKEN_1=%s\n%s_TOKEN_2=%s\n",
				n, s.replicas, n, s.enabled, n, s.tokens[0], n, s.tokens[1], n, s.tokens[2])
		}
	}
	return b.String()
}
