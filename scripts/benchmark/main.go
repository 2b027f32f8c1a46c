// Command benchmark is the work of scripts/bench: it generates the files and runs
// sops and kenv on them.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "generate" {
		return generate(args[1])
	}
	if len(args) > 0 && args[0] == "tree" {
		return measureTree(args[1:])
	}
	if len(args) == 0 || args[0] != "measure" {
		return errors.New("usage: benchmark generate DIR | measure [-runs N] [-only TEXT] DIR SOPS KENV | tree [-files N] [-delay TIME] DIR SOPS KENV")
	}
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	runs := flags.Int("runs", 5, "runs of each program on a large file; small ones get more")
	only := flags.String("only", "", "measure only the work whose name has this text")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 3 || *runs < 1 {
		return errors.New("measure takes DIR SOPS KENV, and at least one run")
	}
	return measure(flags.Arg(0), flags.Arg(1), flags.Arg(2), *runs, *only)
}

// A work is one row of the table. Goals are ratios to sops, 0 for none.
type work struct {
	format     string
	leaves     int
	encrypt    bool
	time, peak float64
}

func (w work) file() string { return fmt.Sprintf("secrets-%d.%s", w.leaves, extension(w.format)) }

func (w work) String() string {
	verb := "decrypt"
	if w.encrypt {
		verb = "encrypt"
	}
	return fmt.Sprintf("%s %s, %d values", verb, w.format, w.leaves)
}

const (
	small, medium, large = 10, 10_000, 100_000

	// memory is the goal for the peak of every row, linear the goal for the time
	// of a large file in units of the medium one's.
	memory = 0.8
	linear = 1.5 * large / medium
)

// works is in the order of running: a file is encrypted before it is decrypted.
func works() []work {
	return []work{
		{"YAML", small, true, 0, memory},
		{"YAML", small, false, 0.6, memory},
		{"YAML", medium, true, 0, memory},
		{"YAML", medium, false, 0, memory},
		{"YAML", large, true, 0.4, memory},
		{"YAML", large, false, 0.3, memory},
		{"JSON", medium, true, 0, memory},
		{"JSON", medium, false, 0, memory},
		{"JSON", large, true, 0.05, memory},
		{"JSON", large, false, 0.05, memory},
		{"dotenv", medium, true, 0, memory},
		{"dotenv", medium, false, 0, memory},
		{"dotenv", large, true, 1, memory},
		{"dotenv", large, false, 1, memory},
		{"INI", medium, true, 0, memory},
		{"INI", medium, false, 0, memory},
		{"INI", large, true, 1, memory},
		{"INI", large, false, 1, memory},
	}
}

func extension(format string) string {
	if format == "dotenv" {
		return "env"
	}
	return strings.ToLower(format)
}

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
		files[w.file()] = text(w.format, services(r, w.leaves))
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

func services(r *rand.Rand, leaves int) []service {
	random := func(n int) string {
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
		b := make([]byte, n)
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return "x" + string(b) // so that none reads as a number
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
			tokens:   [3]string{random(23), random(23), random(23)},
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

// A program is one of the two that are compared.
type program struct {
	path    string
	keyFlag string // by which encrypt takes a recipient
	dir     string // where its encrypted files go
}

// A cost is that of one run, or the median of several.
type cost struct {
	wall time.Duration
	peak int64 // bytes of resident memory; 0 where the system does not tell
}

func measure(dir, sops, kenv string, runs int, only string) error {
	recipient, err := os.ReadFile(filepath.Join(dir, recipientFile))
	if err != nil {
		return err
	}
	programs := [2]program{
		{sops, "--age", filepath.Join(dir, "of-sops")},
		{kenv, "--key", filepath.Join(dir, "of-kenv")},
	}
	for i := range programs {
		p := &programs[i]
		if p.path, err = filepath.Abs(p.path); err != nil {
			return err
		}
		if filepath.Base(p.path) == "sops" {
			p.keyFlag = "--age"
		}
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			return err
		}
	}
	fmt.Println("| work | sops | kenv | ratio | goal | sops peak | kenv peak | ratio | goal |")
	fmt.Println("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
	walls := map[work][2]time.Duration{}
	for _, w := range works() {
		if !strings.Contains(w.String(), only) && !(w.encrypt && strings.Contains(w.decrypting().String(), only)) {
			continue
		}
		n := runs
		switch w.leaves {
		case small:
			n *= 8
		case medium:
			n *= 2
		}
		var costs [2][]cost
		for range n {
			for i, p := range programs {
				c, err := once(dir, p, w, string(recipient))
				if err != nil {
					return err
				}
				costs[i] = append(costs[i], c)
			}
		}
		a, b := median(costs[0]), median(costs[1])
		walls[w] = [2]time.Duration{a.wall, b.wall}
		fmt.Printf("| %v | %s | %s | %.3f | %s | %s | %s | %.2f | %s |\n", w,
			milliseconds(a.wall), milliseconds(b.wall), b.wall.Seconds()/a.wall.Seconds(), goal(w.time),
			megabytes(a.peak), megabytes(b.peak), float64(b.peak)/float64(a.peak), goal(w.peak))
	}
	for _, w := range works() {
		tenth := w
		tenth.leaves, tenth.time = medium, 0
		big, ok := walls[w]
		if w.leaves != large || !ok {
			continue
		}
		if base, ok := walls[tenth]; ok {
			fmt.Printf("| %v, against %d | %.1f × | %.1f × | | ≤ %v × | | | | |\n", w, medium,
				big[0].Seconds()/base[0].Seconds(), big[1].Seconds()/base[1].Seconds(), linear)
		}
	}
	return nil
}

// decrypting is the work that needs what w makes.
func (w work) decrypting() work {
	w.encrypt = false
	return w
}

// once runs a program. Its output goes to a file: what encrypt writes decrypt reads.
func once(dir string, p program, w work, recipient string) (cost, error) {
	encrypted := filepath.Join(p.dir, w.file())
	args, out := []string{"decrypt", encrypted}, filepath.Join(dir, "decrypted")
	if w.encrypt {
		args, out = []string{"encrypt", p.keyFlag, recipient, filepath.Join(dir, w.file())}, encrypted
	}
	f, err := os.Create(out)
	if err != nil {
		return cost{}, err
	}
	defer f.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(p.path, args...)
	cmd.Dir = dir
	// Nothing of the user's own settings.
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY_FILE=" + filepath.Join(dir, keyFile)}
	cmd.Stdout, cmd.Stderr = f, &stderr
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", p.path, strings.Join(args, " "), err, stderr.Bytes())
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return cost{}, fmt.Errorf("%s %s: no output: %w", p.path, strings.Join(args, " "), err)
	}
	return cost{wall, peak(cmd.ProcessState)}, nil
}

// median takes the medians of time and memory apart.
func median(costs []cost) cost {
	walls, peaks := make([]time.Duration, len(costs)), make([]int64, len(costs))
	for i, c := range costs {
		walls[i], peaks[i] = c.wall, c.peak
	}
	slices.Sort(walls)
	slices.Sort(peaks)
	return cost{walls[len(walls)/2], peaks[len(peaks)/2]}
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }

func goal(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return fmt.Sprintf("≤ %v", ratio)
}
