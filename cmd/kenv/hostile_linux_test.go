package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys/age"
)

// What a command may cost on a file of a megabyte that was made to hurt, as
// docs/security.md says. Processor time is given more here, as other tests run beside
// this one and machines differ; a step that is quadratic takes much longer than that.
const (
	hostileSize = 1 << 20
	mostMemory  = 200 << 20
	mostCPU     = 5 * time.Second
	mostSaid    = 20 << 10 // bytes of words

	// A text in which every few bytes are a value, as many as there may be, costs more.
	mostMemoryDense = 250 << 20
)

// everyCommand has all commands run on all hostile texts, which takes six minutes.
var everyCommand = os.Getenv("KENV_TEST_HOSTILE") == "all"

// A lair is a directory with an identity, a config and hostile files.
type lair struct {
	testing.TB
	dir, kenv string
	env       []string
	limit     int64
}

// newLair skips a kenv with the race detector, which takes many times the memory.
func newLair(t testing.TB) *lair {
	if info, ok := debug.ReadBuildInfo(); ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" }) {
		t.Skip("what a program costs is measured without the race detector")
	}
	kenv, err := exec.LookPath("kenv") // TestMain puts it there
	if err != nil {
		t.Fatal(err)
	}
	identity, recipient, err := age.Generate(false)
	if err != nil {
		t.Fatal(err)
	}
	l := &lair{TB: t, dir: t.TempDir(), kenv: kenv, limit: mostMemory}
	l.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "EDITOR=true", "AWS_EC2_METADATA_DISABLED=true", "KENV_AGE_KEY=" + string(identity)}
	l.write(".kenv.yaml", "creation_rules:\n  - age: "+recipient+"\n")
	return l
}

func (l *lair) write(name, text string) {
	l.Helper()
	if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
		l.Fatal(err)
	}
}

func (l *lair) read(name string) string {
	l.Helper()
	data, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.Fatal(err)
	}
	return string(data)
}

// run runs kenv, writes what it prints to the file out, and fails if that cost too
// much, or if kenv crashed or had a lot to say.
func (l *lair) run(out string, args ...string) (code int, said string) {
	l.Helper()
	cmd := exec.Command("measure", append([]string{"cost", l.kenv}, args...)...)
	cmd.Dir, cmd.Env = l.dir, l.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out != "" {
		f, err := os.Create(filepath.Join(l.dir, out))
		if err != nil {
			l.Fatal(err)
		}
		defer f.Close()
		cmd.Stdout = f
	}
	if err := cmd.Run(); err != nil {
		l.Fatalf("%v: %s", err, stderr.String())
	}
	var cpu time.Duration
	var peak int64
	if _, err := fmt.Sscan(l.read("cost"), &code, &cpu, &peak); err != nil {
		l.Fatal(err)
	}
	said = stderr.String()
	short := said[:min(len(said), 150)]
	l.Logf("%4d ms %4d MB  exit %d  kenv %.60q  %q", cpu.Milliseconds(), peak>>20, code, args, short)
	files := 1
	if args[0] == "git" && args[1] == "merge" {
		files = 3
	}
	switch {
	case cpu > time.Duration(files)*mostCPU:
		l.Errorf("kenv %.60q took %v", args, cpu)
	case peak > int64(files)*l.limit:
		l.Errorf("kenv %.60q took %d MB", args, peak>>20)
	case len(said) > mostSaid:
		l.Errorf("kenv %.60q said %d bytes", args, len(said))
	case code < 0 || code == 2 || strings.Contains(said, "goroutine "):
		l.Errorf("kenv %.60q: exit %d: %.2000s", args, code, said)
	}
	return code, said
}

func init() { measure = runMeasured }

// runMeasured runs a command and writes its exit code, its processor time and the most memory
// that it had into a file. The memory of a process counts from that of the one that
// started it, and this one is small.
func runMeasured() {
	cmd := exec.Command(os.Args[2], os.Args[3:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		panic(err)
	}
	p := cmd.ProcessState
	cost := fmt.Sprintln(p.ExitCode(), int64(p.SystemTime()+p.UserTime()), p.SysUsage().(*syscall.Rusage).Maxrss<<10)
	if err := os.WriteFile(os.Args[1], []byte(cost), 0o600); err != nil {
		panic(err)
	}
}

// attack runs commands on an encrypted file, each on the file as it was.
func (l *lair) attack(name, text string, commands ...string) {
	l.Helper()
	for _, c := range commands {
		l.write(name, text)
		args := strings.Fields(c)
		for i, a := range args {
			if a == "FILE" {
				args[i] = name
			}
		}
		if c == "git merge FILE ours theirs FILE" {
			l.write("ours", text)
			l.write("theirs", text)
			l.run("", "set", "--string", "theirs", "a", "3")
		}
		l.run("", args...)
	}
}

var (
	fewCommands  = []string{"set FILE a 2"} // which reads, opens and seals
	mostCommands = []string{
		"decrypt FILE", "get FILE a", "set FILE a 2", "unset FILE a", "edit FILE", "exec --flatten FILE -- true", "rotate FILE",
		"updatekeys --yes FILE", "keys FILE", "keys --online FILE", "check FILE", "filestatus FILE", "git textconv FILE", "git merge FILE ours theirs FILE",
		"diff FILE", "__complete get FILE a",
	}
)

// small is a plaintext in each format.
var small = map[string]string{
	".yaml": "a: 1\nb: two\n", ".json": "{\"a\": 1,\n\"b\": \"two\"\n}\n", ".env": "a=1\nb=two\n", ".ini": "[s]\na = 1\nb = two\n", ".bin": "x",
}

// metadata is how each format's begins.
var metadata = map[string]string{".yaml": "\nsops:", ".json": "\"sops\"", ".env": "\nsops_", ".ini": "\n[sops]"}

// encrypted returns a small file, encrypted, in two parts: the metadata is the second.
func (l *lair) encrypted(ext string) (body, meta string) {
	l.Helper()
	l.write("small"+ext, small[ext])
	if code, said := l.run("small.enc", "encrypt", "small"+ext); code != 0 {
		l.Fatal(said)
	}
	text := l.read("small.enc")
	at := strings.Index(text, metadata[ext])
	return text[:at], text[at:]
}

// TestHostileTexts: no text of a megabyte costs more than the limits say, as a file to
// encrypt and as an encrypted file of that size. A text that kenv does not encrypt is
// put in front of the metadata of another file.
func TestHostileTexts(t *testing.T) {
	for _, h := range hostileTexts {
		if !h.always && !everyCommand {
			continue
		}
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			l := newLair(t)
			if h.dense {
				l.limit = mostMemoryDense
			}
			ext := filepath.Ext(h.name)
			text := h.text(hostileSize)
			l.write(h.name, text)
			if everyCommand {
				for _, c := range []string{"check", "filestatus", "decrypt"} {
					l.run("", c, h.name)
				}
			}
			file := "enc" + ext
			if code, _ := l.run(file, "encrypt", h.name); code == 0 {
				if n := len(l.read(file)); n > hostileSize*5/4 {
					l.write(h.name, h.text(hostileSize/8*hostileSize/n*8))
					l.run(file, "encrypt", h.name)
				}
				text = l.read(file)
			} else if ext != ".bin" {
				_, meta := l.encrypted(ext)
				text = strings.TrimRight(text, "\n}") + map[string]string{".json": ","}[ext] + meta
			}
			commands := fewCommands
			if everyCommand {
				commands = mostCommands
				l.write("plain"+ext, l.read(h.name)+"\n")
				l.write(file, text)
				l.run("", "encrypt", "--previous", file, "plain"+ext)
			}
			l.attack(file, text, commands...)
		})
	}
}

// Age files as somebody without an identity can make them.
func ageFile(stanzas ...string) string {
	line := base64.RawStdEncoding.EncodeToString(make([]byte, 32))
	header := "age-encryption.org/v1\n" + strings.Join(stanzas, "") + "--- " + line + "\n" + strings.Repeat("y", 48)
	var b strings.Builder
	b.WriteString("-----BEGIN AGE ENCRYPTED FILE-----\\n")
	for text := base64.StdEncoding.EncodeToString([]byte(header)); text != ""; text = text[min(64, len(text)):] {
		b.WriteString(text[:min(64, len(text))] + "\\n")
	}
	return `"` + b.String() + `-----END AGE ENCRYPTED FILE-----\n"`
}

func ageStanza(words string) string {
	return "-> " + words + "\n" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)) + "\n"
}

// bomb is lines each of which stands for nine times the one before.
func bomb(indent string) string {
	text := indent + "a0: &a0 [x]\n"
	for i := 1; i < 20; i++ {
		text += fmt.Sprintf("%sa%d: &a%[2]d [%s]\n", indent, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	return text
}

// TestHostileMetadata: whatever stands under sops: costs no more either, with an identity
// at hand and every entry to be tried.
func TestHostileMetadata(t *testing.T) {
	l := newLair(t)
	body, meta := l.encrypted(".yaml")
	body += "\n"
	meta = strings.TrimPrefix(meta, "\nsops:\n")
	cut := func(text, expr string) string { return regexp.MustCompile(expr).ReplaceAllString(text, "") }
	own := regexp.MustCompile(`(?m)^        - enc: \|\n(?:              .*\n)+          recipient: .*\n`).FindString(meta)
	keyless := cut(cut(meta, `(?m)^    kenv:\n(?:        .*\n)+`), `(?m)^    age:\n(?:        .*\n)+`)
	const recipient = ", recipient: age1zyj8plu2hwwpp5wr5lv5eu40gnk3xugluv5mktj2gz78vkvjs9zqxhjlru}\n"
	entries := func(kind, entry string) string {
		return "sops:\n    " + kind + ":\n" + fill(hostileSize, "        - "+entry) + keyless
	}
	dated := func(fields string) string {
		return "{" + fields + `, created_at: "2024-01-02T03:04:05Z", enc: AAAA}` + "\n"
	}
	point := base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte{9}, 32))
	group := "        - age:\n" + regexp.MustCompile(`(?m)^`).ReplaceAllString(strings.TrimSuffix(own, "\n"), "    ") + "\n"
	groups := func(need string, n int) string {
		return "sops:\n    shamir_threshold: " + need + "\n    key_groups:\n" + strings.Repeat(group, n) + keyless
	}
	field := func(name, value string) string {
		return "sops:\n    " + name + ": " + value + "\n" + cut(meta, `(?m)^    `+name+`: .*\n`)
	}
	inKenv := func(list, item string) string {
		return "sops:\n" + strings.Replace(meta, "    kenv:\n", "    kenv:\n        "+list+":\n"+fill(hostileSize, "            - "+item+"\n"), 1)
	}
	regex := func(name, expr string) string {
		return field(name, `"`+expr+`"`) // beside unencrypted_suffix: only check and --ignore-mac get this far
	}
	alone := func(text string) string { return cut(text, `(?m)^    unencrypted_suffix: .*\n`) }
	for name, text := range map[string]string{
		"age damaged":      body + entries("age", "{enc: x"+recipient),
		"age unreadable":   body + entries("age", "{enc: x, recipient: age1evil%d}\n"),
		"age for others":   body + entries("age", "{enc: "+ageFile(ageStanza("X25519 "+point))+recipient),
		"age scrypt":       body + entries("age", "{enc: "+ageFile(ageStanza("scrypt AAAAAAAAAAAAAAAAAAAAAA 30"))+recipient),
		"age stanzas":      body + "sops:\n    age:\n" + strings.Repeat("        - {enc: "+ageFile(strings.Repeat(ageStanza("X25519 "+point), 440))+recipient, 14) + keyless,
		"age long":         body + "sops:\n    age:\n        - {enc: " + ageFile("-> X25519 "+strings.Repeat("A", 700000)+"\n") + recipient + keyless,
		"pgp":              body + entries("pgp", dated("fp: EF3829C76267B7074F4383F7BF5999B069DACA52")),
		"kms":              body + entries("kms", dated(`aws_profile: "", arn: "arn:aws:kms:eu-west-%d:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"`)),
		"kms_rsa":          body + entries("kms_rsa", dated(`key_fp: x, arn: "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-%d"`)),
		"pkcs11":           body + entries("pkcs11", dated(`uri: "pkcs11:token=a%d;object=k", mech: rsa-oaep-sha256, ek: AAAA, key_fp: x`)),
		"unsupported":      body + entries("gcp_kms", dated(`resource_id: "a%d"`)),
		"context":          body + "sops:\n    kms:\n        - arn: x\n          created_at: \"2024-01-02T03:04:05Z\"\n          context:\n" + fill(hostileSize, "            k%d: v\n") + keyless,
		"groups":           body + "sops:\n    key_groups:\n" + fill(hostileSize, "        - age: []\n") + keyless,
		"groups 2":         body + groups("2", 255),
		"groups 128":       body + groups("128", 255),
		"groups 255":       body + groups("255", 255),
		"threshold":        body + field("shamir_threshold", strings.Repeat("9", hostileSize)),
		"fields":           body + "sops:\n" + fill(hostileSize, "    f%d: 1\n") + meta,
		"fields the same":  body + "sops:\n" + fill(hostileSize, "    f: 1\n") + meta,
		"fields by case":   body + "sops:\n" + fill(hostileSize, "    AGE: []\n") + meta,
		"macs":             body + "sops:\n" + fill(hostileSize, "    mac: x\n") + meta,
		"field deep":       body + "sops:\n    f: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n" + meta,
		"aliases":          body + "sops:\n" + bomb("    ") + meta,
		"sops an alias":    body + "x: &x {}\nsops: *x\n",
		"sops a list":      body + "sops:\n" + fill(hostileSize, "  - a\n"),
		"sops again":       body + "sops:\n" + meta + fill(hostileSize, "---\nsops:\n  mac: x\n"),
		"layout":           body + inKenv("layout", "AAAA"),
		"layout long":      body + inKenv("layout", strings.Repeat("A", hostileSize)),
		"conflicts":        body + inKenv("conflicts", "AAAA"),
		"seal":             body + "sops:\n" + regexp.MustCompile(`seal: .*`).ReplaceAllString(meta, "seal: "+strings.Repeat("A", hostileSize)),
		"mac":              body + field("mac", "ENC[AES256_GCM,data:"+strings.Repeat("A", hostileSize)+",iv:AAAA,tag:AAAA,type:str]"),
		"lastmodified":     body + field("lastmodified", `"`+strings.Repeat("2", hostileSize)+`"`),
		"version":          body + field("version", strings.Repeat("1.", hostileSize/2)),
		"regex long":       body + alone(regex("encrypted_regex", strings.Repeat("a", hostileSize))),
		"regex repeated":   fill(hostileSize, "k%d: 1\n") + alone(regex("encrypted_regex", "((a{0,30}){0,30}){0,30}x")),
		"regex slow":       fill(hostileSize, strings.Repeat("a", 40)+"%d: 1\n") + alone(regex("encrypted_regex", "(x*a*b*){1000}$")),
		"regex comments":   fill(hostileSize, "# "+strings.Repeat("a", 40)+"\n") + body + alone(regex("encrypted_comment_regex", "(x*a*b*){800}$")),
		"regex, long text": "# " + strings.Repeat("a", hostileSize) + "\n" + body + alone(regex("encrypted_comment_regex", "(x*a*b*){800}$")),
		"tokens damaged":   "a:\n" + fill(hostileSize, "  - ENC[AES256_GCM,data:]\n") + "sops:\n" + meta,
		"tokens open":      "a: \"" + fill(hostileSize, "ENC[AES256_GCM,data:") + "\"\nsops:\n" + meta,
		"token long":       "a: ENC[AES256_GCM,data:" + strings.Repeat("A", hostileSize) + ",iv:AAAA,tag:AAAA,type:str]\nsops:\n" + meta,
		"token spaced":     "a: \"ENC[AES256_GCM,data:" + fill(hostileSize, `A \n\r`) + ",iv:AAAA,tag:AAAA,type:str]\"\nsops:\n" + meta,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := *l
			l.TB, l.dir = t, t.TempDir()
			l.write(".kenv.yaml", "creation_rules:\n  - age: age1zyj8plu2hwwpp5wr5lv5eu40gnk3xugluv5mktj2gz78vkvjs9zqxhjlru\n")
			commands := []string{"decrypt --ignore-mac FILE", "check FILE"}
			if everyCommand {
				commands = append(commands, mostCommands...)
			}
			l.attack("enc.yaml", text, commands...)
			if code, _ := l.run("", "decrypt", "enc.yaml"); code == 0 {
				t.Error("it decrypts")
			}
		})
	}
}

// TestHostileConfigs: nor does a config, which anybody may write who can open a pull
// request.
func TestHostileConfigs(t *testing.T) {
	const rule = "creation_rules:\n"
	for name, text := range map[string]string{
		"aliases":  bomb("") + "creation_rules: *a19\n",
		"nested":   rule + "  - age: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n",
		"rules":    rule + fill(hostileSize-100, "  - path_regex: x\n"),
		"globs":    rule + fill(hostileSize-100, "  - path: '**/*a*/**/*b*/**/c'\n    age: x\n"),
		"glob":     rule + "  - path: '" + fill(hostileSize-100, "**/*a*") + "'\n    age: x\n",
		"regex":    rule + "  - path_regex: '((a{0,30}){0,30}){0,30}x'\n    age: x\n",
		"regexes":  rule + fill(hostileSize-100, "  - path_regex: '(a*b*){900}$'\n    age: x\n"),
		"keys":     rule + "  - age: " + fill(hostileSize-100, "age1zyj8plu2hwwpp5wr5lv5eu40gnk3xugluv5mktj2gz78vkvjs9zqxhjlru,") + "\n",
		"keys bad": rule + "  - keys:\n" + fill(hostileSize-100, "    - age1x%d\n"),
		"groups":   rule + "  - key_groups:\n" + fill(hostileSize-100, "    - age: [x]\n"),
		"unknown":  fill(hostileSize-100, "x%d: 1\n") + rule,
		"too long": fill(hostileSize+100, "#\n"),
	} {
		for _, file := range []string{".kenv.yaml", ".sops.yaml"} {
			t.Run(name+file, func(t *testing.T) {
				t.Parallel()
				l := newLair(t)
				l.write("enc.yaml", "a: 1\n")
				if code, said := l.run("", "encrypt", "-i", "enc.yaml"); code != 0 {
					t.Fatal(said)
				}
				enc := l.read("enc.yaml")
				if err := os.Remove(filepath.Join(l.dir, ".kenv.yaml")); err != nil {
					t.Fatal(err)
				}
				l.write(file, text)
				l.write(strings.Repeat("a", 200)+".yaml", "a: 1\n")
				commands := []string{"encrypt " + strings.Repeat("a", 200) + ".yaml", "decrypt FILE", "check ."}
				if everyCommand {
					commands = append(commands, mostCommands...)
				}
				l.attack("enc.yaml", enc, commands...)
			})
		}
	}
}
