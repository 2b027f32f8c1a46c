package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// docs/tour.svg shows the tour of README, typed into a terminal. scripts/tour-svg
// draws it anew.
func TestTour(t *testing.T) {
	needPrograms(t, "bash")
	picture := draw(play(t))
	path := filepath.Join("..", "..", "docs", "tour.svg")
	if *update {
		if err := os.WriteFile(path, picture, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, picture) {
		t.Errorf("docs/tour.svg is not up to date (%v); scripts/tour-svg draws it. What it would show:\n%s", err, picture)
	}
	decoder := xml.NewDecoder(bytes.NewReader(picture))
	for {
		if _, err := decoder.Token(); err != nil {
			if err.Error() != "EOF" {
				t.Errorf("it is not XML: %v", err)
			}
			break
		}
	}
}

// The prompts of the tour's bash. The sequences before them do nothing to a terminal,
// and tell when bash waits.
const (
	waits  = "\x1b]9\a"
	prompt = waits + "$ "
	more   = waits + "> "
)

// play types the tour into a bash on a terminal, line for line, and returns what the
// terminal got. Of what is different each time, the masks take the place.
func play(t *testing.T) string {
	t.Helper()
	_, tour, _ := strings.Cut(page(t, "README.md"), "\n## A tour")
	tour, _, _ = strings.Cut(tour, "\n## ")
	blocks, err := blocksOf("README.md", tour)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	home := filepath.Join(dir, "home")
	project := filepath.Join(home, "project")
	if err := os.MkdirAll(project, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "--norc", "--noprofile", "--noediting", "-i")
	cmd.Dir = project
	cmd.Env = []string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TERM=xterm", "LANG=C.UTF-8", "PS1=" + prompt, "PS2=" + more,
		"HISTFILE=", "GORACE=atexit_sleep_ms=0",
	}
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 100, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		terminal.Close()
	}()
	got := make(chan byte, 1<<16)
	go func() {
		defer close(got)
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			for _, b := range buf[:n] {
				got <- b
			}
			if err != nil {
				return
			}
		}
	}()
	var all strings.Builder
	wait := func() {
		t.Helper()
		late := time.After(time.Minute)
		for start := all.Len(); ; {
			select {
			case b, ok := <-got:
				if !ok {
					t.Fatalf("the shell has ended:\n%q", all.String())
				}
				all.WriteByte(b)
			case <-late:
				t.Fatalf("the shell does not come back:\n%q", all.String())
			}
			if s := all.String()[start:]; strings.HasSuffix(s, prompt) || strings.HasSuffix(s, more) {
				return
			}
		}
	}
	wait()
	for _, b := range blocks {
		if b.language != "sh" || b.hidden {
			continue
		}
		for line := range strings.Lines(b.text) {
			if strings.TrimSpace(line) == "" {
				continue
			}
			if _, err := terminal.WriteString(line); err != nil {
				t.Fatal(err)
			}
			wait()
		}
	}
	text := strings.TrimSuffix(all.String(), prompt)
	for _, m := range []struct{ expr, mask string }{
		{regexp.QuoteMeta(home), "/home/you"},
		{`,data:[^,]*,iv:[^,]*,tag:[^,]*,`, ",data:…,"},
		{`age1[0-9a-z]{58}`, "age1…"},
	} {
		text = regexp.MustCompile(m.expr).ReplaceAllString(text, m.mask)
	}
	return text
}

// A cell is a character on the screen.
type cell struct {
	r     rune
	style string // classes
}

// A row is a line on the screen.
type row struct {
	cells []cell
	step  int // how many commands were typed before it, it included
}

// rows reads what a terminal got, as far as the tour needs it: text, colours, and going
// back to the beginning of the line.
func rows(text string) (list []row) {
	steps, at, style := 0, 0, ""
	list = append(list, row{})
	typed := false
	for len(text) > 0 {
		if strings.HasPrefix(text, waits) {
			text = text[len(waits):]
			typed = true
			if strings.HasPrefix(text, "$ ") {
				steps++
			}
			list[len(list)-1].step = steps
			continue
		}
		if m := regexp.MustCompile(`^\x1b\[([0-9;]*)([A-Za-z])`).FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch m[2] {
			case "m":
				for code := range strings.SplitSeq(m[1], ";") {
					if n, _ := strconv.Atoi(code); n == 0 || n == 22 || n == 39 {
						style = ""
					} else {
						style = strings.TrimSpace(style + " c" + code)
					}
				}
			case "K":
				list[len(list)-1].cells = list[len(list)-1].cells[:at]
			}
			continue
		}
		r, n := rune(0), 0
		for _, r = range text {
			n = len(string(r))
			break
		}
		text = text[n:]
		last := &list[len(list)-1]
		switch {
		case r == '\r':
			at = 0
		case r == '\n':
			list = append(list, row{step: steps})
			at, typed = 0, false
		case r < ' ':
		default:
			c := cell{r, style}
			if typed {
				c.style = "t"
			}
			last.cells = append(last.cells[:at], append([]cell{c}, last.cells[min(at+1, len(last.cells)):]...)...)
			at++
		}
	}
	for len(list) > 0 && len(list[len(list)-1].cells) == 0 {
		list = list[:len(list)-1]
	}
	return list
}

// draw makes a picture of what a terminal got. Its lines appear command by command,
// where that can be; else they are all there.
func draw(text string) []byte {
	const (
		width, height = 8.4, 19 // of a character
		margin, top   = 16, 40
		pause         = 0.9 // seconds
	)
	list := rows(text)
	columns := 0
	for _, r := range list {
		columns = max(columns, len(r.cells))
	}
	w, h := int(float64(columns)*width)+2*margin, len(list)*height+top+margin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", w, h, w, h)
	b.WriteString(`<title>A tour of kenv in a terminal</title>
<style>
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #b1bac4; white-space: pre; animation: show 0.1s both }
.t { fill: #ffffff; font-weight: bold }
.c1 { font-weight: bold }
.c31 { fill: #ff7b72 } .c32 { fill: #7ee787 } .c33 { fill: #e3b341 } .c36 { fill: #76e3ea }
@keyframes show { from { opacity: 0 } }
@media (prefers-reduced-motion: reduce) { text { animation: none } }
</style>
`)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#0d1117"/>`+"\n", w, h)
	for i, colour := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%d" cy="18" r="6" fill="%s"/>`+"\n", margin+6+20*i, colour)
	}
	for i, r := range list {
		if len(r.cells) == 0 {
			continue
		}
		delay := float64(r.step-1) * pause
		if r.cells[0].style != "t" {
			delay += pause / 2
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" xml:space="preserve" style="animation-delay:%.2fs">`, margin, top+height*(i+1)-5, delay)
		for len(r.cells) > 0 {
			style, run := r.cells[0].style, ""
			for len(r.cells) > 0 && r.cells[0].style == style {
				run += string(r.cells[0].r)
				r.cells = r.cells[1:]
			}
			fmt.Fprintf(&b, `<tspan class="%s">`, style)
			xml.EscapeText(&b, []byte(run))
			b.WriteString("</tspan>")
		}
		b.WriteString("</text>\n")
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
