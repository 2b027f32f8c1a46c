package config

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestMatch(t *testing.T) {
	dir := tree(t, "repo/.kenv.yaml", "repo/app/", "repox/", "elsewhere/")
	src := `creation_rules:
  - {age: age1first, path_regex: ^prod/}
  - {age: age1second, path: "*.env"}
  - {age: age1third, path: "conf/", path_regex: 'y[a]?ml$'}
  - {age: age1fourth, path_regex: '/elsewhere/.*\.abs$'}
  - {age: age1fifth, path: ["secrets/**", "!*.example", "/secrets/kept.example"]}
`
	path := filepath.Join(dir, "repo", Name)
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"repo/prod/x":                    "age1first",
		"repo/prod/x.env":                "age1first", // and the second: the first wins
		"repo/app/prod/x":                "",          // the expression is anchored below the config
		"repo/app/x.env":                 "age1second",
		"repo/conf/a/b.yaml":             "age1third",
		"repo/conf/b.json":               "", // the path alone does not do
		"repo/other/b.yaml":              "", // nor the expression
		"elsewhere/x.abs":                "age1fourth",
		"elsewhere/x.env":                "", // globs stay below the config
		"repox/x.env":                    "",
		"repo/secrets/a/b":               "age1fifth",
		"repo/secrets/a/b.example":       "",
		"repo/secrets/kept.example":      "age1fifth",
		"repo/../repo/./app/../prod/new": "age1first",
	} {
		r, err := c.Match(filepath.Join(dir, filepath.FromSlash(file)))
		var none *NoRuleError
		switch {
		case want == "":
			if !errors.As(err, &none) {
				t.Errorf("%s: %+v, %v; want no rule", file, r, err)
			}
		case err != nil:
			t.Errorf("%s: %v", file, err)
		case r.Groups[0][0].Name != want:
			t.Errorf("%s: %s, want %s", file, r.Groups[0][0].Name, want)
		}
	}
	t.Chdir(filepath.Join(dir, "repo", "app"))
	if r, err := c.Match("x.env"); err != nil || r.Line != 3 {
		t.Errorf("a relative path: %v, %v", r, err)
	}
}

func TestNoRuleErrorShowsWhatWasTried(t *testing.T) {
	c := mustParse(t, Name, `creation_rules:
  - {age: age1a, path: [a, "!b"]}
  - {age: age1a, path_regex: "^x\\.y", path: c}
`)
	_, err := c.Match(filepath.Join(c.Dir, "sub", "f\x1b.yaml"))
	want := "no rule in " + c.Path + ` covers "sub/f\x1b.yaml"; tried:
  line 2: path "a", "!b"
  line 3: path "c" and path_regex "^x\\.y"
add the file to a rule, or give the keys with --key`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}

	many := mustParse(t, Name, "creation_rules:\n"+strings.Repeat("  - {age: age1a, path: a}\n", 1000))
	_, err = many.Match("x")
	if n := strings.Count(fmt.Sprint(err), "\n"); n > 15 || !strings.Contains(err.Error(), "and 990 more") {
		t.Errorf("%d lines:\n%v", n, err)
	}
}

func TestRender(t *testing.T) {
	for _, recipients := range [][]string{
		{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"},
		{"age1a", "ssh-ed25519 AAAAC3 me@here # not a comment", "arn:aws:kms:eu-west-1:1:key/a+arn:aws:iam::1:role/r",
			"pkcs11:token=a%20b;object=c,d", "pgp:ABCD", `quote " and \ backslash`, "é: {[&*!|>'%@`#"},
	} {
		src := Render(recipients)
		c, err := Parse(filepath.Join(t.TempDir(), Name), src)
		if err != nil {
			t.Fatalf("%v\n%s", err, src)
		}
		if len(c.Rules) != 1 || !reflect.DeepEqual(c.Rules[0].Path, DefaultPaths()) {
			t.Errorf("rules %+v", c.Rules)
		}
		if got := names(c.Rules[0].Groups); !reflect.DeepEqual(got, [][]string{recipients}) {
			t.Errorf("got %q, want %q", got, recipients)
		}
	}
	c, err := Parse(filepath.Join(t.TempDir(), Name), Render([]string{"age1a"}))
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]bool{
		"secrets.yaml": true, "app/secrets.json": true, "db.secrets.yaml": true, ".env": true, "app/.env.prod": true, "secrets/a/b.txt": true,
		".env.example": false, "README.md": false, "values.yaml": false, Name: false, "src/env.go": false,
	} {
		if _, err := c.Match(filepath.Join(c.Dir, file)); (err == nil) != want {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// sopsBinary returns the program to compare with.
func sopsBinary(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("sops")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("sops is not on PATH")
	}
	if err != nil {
		t.Skip("sops is not on PATH, so the choice of rules is not compared with it")
	}
	return path
}

// TestRulesAgainstSops encrypts files in a tree with a config of many rules, each
// with keys of its own, and sees in what sops wrote which rule it had taken.
func TestRulesAgainstSops(t *testing.T) {
	sops := sopsBinary(t)
	dir := tree(t, "repo/.git/")
	root := filepath.Join(dir, "repo")

	var b strings.Builder
	b.WriteString("keys:\n")
	recipient := func() string {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		return id.Recipient().String()
	}
	shared := recipient()
	fmt.Fprintf(&b, "  - &shared %s\n  - &defaults {age: *shared, encrypted_regex: secret}\ncreation_rules:\n", shared)
	exprs := []string{`^prod/`, `dev/.*\.yaml$`, `^/`, `(?i)UPPER`, `\.json$`, `a|b$`, `^[^/]+\.txt$`, `repo`, `x{2,}`, `^sub/deep/(one|two)\.`}
	for i, expr := range exprs {
		switch i % 4 {
		case 0:
			fmt.Fprintf(&b, "  - path_regex: '%s'\n    age: %s\n", expr, recipient())
		case 1:
			fmt.Fprintf(&b, "  - path_regex: '%s'\n    age: [%s, '%s,%s']\n", expr, recipient(), recipient(), recipient())
		case 2:
			fmt.Fprintf(&b, "  - path_regex: '%s'\n    colour: unknown\n    key_groups:\n      - age: [%s, *shared]\n        merge:\n          - age: [%s, *shared]\n", expr, recipient(), recipient())
		case 3:
			fmt.Fprintf(&b, "  - path_regex: '%s'\n    <<: *defaults\n", expr)
		}
	}
	fmt.Fprintf(&b, "  - age: '%s, '\n    unencrypted_suffix: _u\n", recipient())
	path := filepath.Join(root, SopsName)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}

	files := []string{"prod/x.yaml", "x/prod/x.yaml", "dev/a.yaml", "sub/dev/q.yaml", "sub/upper.yaml", "z.json", "z.txt", "s/z.txt",
		"repo.yaml", "xx.yaml", "x.yaml", "sub/deep/two.yaml", "sub/deep/three.yaml", "q/b", "../outside.yaml", "../outside/prod/x.yaml"}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		name := ""
		for range 1 + rng.IntN(3) {
			name += []string{"prod/", "dev/", "sub/", "upper", "xx", "a", "q"}[rng.IntN(7)]
		}
		files = append(files, name+"f"+[]string{".yaml", ".json", ".txt"}[rng.IntN(3)])
	}
	recipientIn := regexp.MustCompile(`"?recipient"?: "?(age1\w+)`)
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			abs := filepath.Join(root, filepath.FromSlash(file))
			cmd := exec.Command(sops, "--config", path, "encrypt", "--input-type", "yaml", "--output-type", "yaml", "--filename-override", abs)
			cmd.Dir = root
			cmd.Stdin = strings.NewReader("secret: x\n")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("sops: %v\n%s", err, &stderr)
			}
			var theirs []string
			for _, m := range recipientIn.FindAllStringSubmatch(string(out), -1) {
				theirs = append(theirs, m[1])
			}
			r, err := c.Match(abs)
			if err != nil {
				t.Fatal(err)
			}
			if ours := names(r.Groups)[0]; !reflect.DeepEqual(ours, theirs) {
				t.Errorf("took %s\nours %q\nsops %q", r, ours, theirs)
			}
			if sel := strings.Contains(string(out), "encrypted_regex: secret"); sel != (r.EncryptedRegex == "secret") {
				t.Errorf("encrypted_regex: ours %q, sops wrote it: %v", r.EncryptedRegex, sel)
			}
		})
	}
}

// The examples of the reference page load, and say what the page says they do.
func TestDocumentedExamples(t *testing.T) {
	page, err := os.ReadFile(filepath.FromSlash("../../docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	var configs []*Config
	settings := 0
	for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if !bytes.Contains(m[1], []byte("creation_rules")) {
			path := filepath.Join(t.TempDir(), UserName)
			if err := os.WriteFile(path, m[1], 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := User(path); err != nil || len(got) != 3 {
				t.Errorf("the example of settings has %q, %v", got, err)
			}
			settings++
			continue
		}
		configs = append(configs, mustParse(t, Name, string(m[1])))
	}
	if len(configs) != 3 || settings != 1 {
		t.Fatalf("%d and %d examples, want 3 and 1", len(configs), settings)
	}
	for _, tt := range []struct {
		config int
		file   string
		line   int
	}{{0, "app/secrets.yaml", 3}, {1, "app/prod/secrets.yaml", 2}, {1, "app/secrets.yaml", 7}, {1, "app/.env.local", 7}, {1, "app/.env.example", 0},
		{2, "clusters/a/b.yaml", 2}, {2, "other/clusters/b.yaml", 0}} {
		c := configs[tt.config]
		r, err := c.Match(filepath.Join(c.Dir, filepath.FromSlash(tt.file)))
		if (err == nil) != (tt.line > 0) || err == nil && r.Line != tt.line {
			t.Errorf("example %d, %s: %v, %v; want line %d", tt.config, tt.file, r, err, tt.line)
		}
	}
	if r := configs[2].Rules[0]; len(r.Groups) != 3 || r.Threshold != 2 {
		t.Errorf("third example: %d groups, threshold %d", len(r.Groups), r.Threshold)
	}
	// Every field that is read has its name on the page.
	for _, src := range []string{"x: 1", "creation_rules: [{x: 1}]", "creation_rules: [{keys: [{x: 1}]}]", "creation_rules: [{groups: [{x: 1}]}]",
		"creation_rules: [{kms: [{x: 1}]}]", "creation_rules: [{azure_keyvault: [{x: 1}]}]", "stores: {x: 1}", "exec: {x: 1}"} {
		_, err := parse(t, Name, src)
		_, list, ok := strings.Cut(fmt.Sprint(err), "known here: ")
		if !ok {
			t.Fatalf("%s: %v", src, err)
		}
		for _, name := range strings.Split(list, ", ") {
			switch name {
			case "json", "yaml", "json_binary":
				name += ".indent"
				fallthrough
			default:
				if !bytes.Contains(page, []byte("`"+name)) {
					t.Errorf("%s is not on the page", name)
				}
			}
		}
	}
}
