package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A cost is that of one run, or the median of several.
type cost struct {
	wall time.Duration
	peak int64 // bytes of resident memory; 0 where the system does not tell
}

// A bench is one run of everything.
type bench struct {
	dir       string
	recipient string
	programs  []program
	runs      int
	costs     map[work][]cost // by program; a cost of 0 where it does not do that
}

func measure(dir string, paths []string, runs int, only string) error {
	recipient, err := os.ReadFile(filepath.Join(dir, recipientFile))
	if err != nil {
		return err
	}
	b := &bench{dir: dir, recipient: string(recipient), runs: runs, costs: map[work][]cost{}}
	for which, path := range paths {
		if path == "" {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		p := program{which, path, filepath.Join(dir, "of-"+programNames[which])}
		if err := os.Mkdir(p.dir, 0o700); err != nil {
			return err
		}
		b.programs = append(b.programs, p)
	}
	// What check and textconv go by.
	config := "creation_rules:\n  - keys: [" + b.recipient + "]\n"
	if err := os.WriteFile(filepath.Join(dir, "of-kenv", ".kenv.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	fmt.Println("| work | sops | kenv | ratio | goal | sops peak | kenv peak | ratio | goal | age | dotenvx |")
	fmt.Println("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
	for _, w := range works() {
		if !w.matches(only) {
			continue
		}
		if err := b.row(w); err != nil {
			return err
		}
	}
	b.growth()
	return nil
}

// row measures one work by all programs, in turns.
func (b *bench) row(w work) error {
	n := b.runs
	switch w.leaves {
	case small:
		n *= 8
	case medium:
		n *= 2
	case some, huge:
		n = min(n, 2)
	}
	costs := make([][]cost, len(programNames))
	for range n {
		for _, p := range b.programs {
			c, err := b.once(p, w)
			if err != nil {
				return err
			}
			costs[p.which] = append(costs[p.which], c)
		}
	}
	medians := make([]cost, len(programNames))
	for which, c := range costs {
		if len(c) > 0 {
			medians[which] = median(c)
		}
	}
	b.costs[w] = medians
	s, k := medians[ofSops], medians[ofKenv]
	fmt.Printf("| %v | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", w,
		milliseconds(s.wall), milliseconds(k.wall), ratio(k.wall.Seconds(), s.wall.Seconds()), goal(w.time),
		megabytes(s.peak), megabytes(k.peak), ratio(float64(k.peak), float64(s.peak)), goal(w.peak),
		milliseconds(medians[ofAge].wall), milliseconds(medians[ofDotenvx].wall))
	return nil
}

// growth compares each file with the one that has a tenth of its values.
func (b *bench) growth() {
	fmt.Println()
	fmt.Println("| against a tenth of the values | sops | kenv | kenv peak | goal |")
	fmt.Println("|---|--:|--:|--:|--:|")
	times := func(a, b float64) string {
		if a == 0 || b == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f ×", a/b)
	}
	for _, w := range works() {
		big, ok := b.costs[w]
		if !ok || w.leaves < large {
			continue
		}
		for tenth, base := range b.costs {
			if tenth.verb != w.verb || tenth.format != w.format || tenth.long != w.long || tenth.leaves != w.leaves/10 {
				continue
			}
			fmt.Printf("| %v | %s | %s | %s | ≤ %v × |\n", w,
				times(big[ofSops].wall.Seconds(), base[ofSops].wall.Seconds()), times(big[ofKenv].wall.Seconds(), base[ofKenv].wall.Seconds()),
				times(float64(big[ofKenv].peak), float64(base[ofKenv].peak)), linear)
		}
	}
}

// once runs a program; the cost is 0 if it does not do that. Its output goes to a file:
// what encrypt writes decrypt reads.
func (b *bench) once(p program, w work) (cost, error) {
	plain, encrypted := filepath.Join(b.dir, w.file()), filepath.Join(p.dir, w.file())
	args, inPlace := p.arguments(w, plain, b.recipient)
	if args == nil {
		return cost{}, nil
	}
	out := filepath.Join(b.dir, "output")
	if w.verb == "encrypt" {
		if inPlace {
			text, err := os.ReadFile(plain)
			if err != nil {
				return cost{}, err
			}
			if err := os.WriteFile(encrypted, text, 0o600); err != nil {
				return cost{}, err
			}
		} else {
			out = encrypted
		}
	}
	f, err := os.Create(out)
	if err != nil {
		return cost{}, err
	}
	defer f.Close()
	var stderr bytes.Buffer
	cmd := exec.Command(p.path, args...)
	cmd.Dir = p.dir
	// Nothing of the user's own settings.
	cmd.Env = []string{"HOME=" + b.dir, "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY_FILE=" + filepath.Join(b.dir, keyFile)}
	cmd.Stdout, cmd.Stderr = f, &stderr
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	if err != nil {
		return cost{}, fmt.Errorf("%s %s: %w\n%s", p.path, strings.Join(args, " "), err, stderr.Bytes())
	}
	if info, err := f.Stat(); w.verb == "decrypt" && (err != nil || info.Size() == 0) {
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
	if d == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

func megabytes(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return ""
	}
	return fmt.Sprintf("%.3f", a/b)
}

func goal(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return fmt.Sprintf("≤ %v", ratio)
}
