package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Releases are built for the systems that we promise, in a way that gives the same bytes
// twice, and packaged with all that belongs to them. What this cannot see, because it
// takes goreleaser, scripts/release-check does.
func TestReleaseConfig(t *testing.T) {
	type file struct {
		Src, Dst, Packager string
		Info               struct{ Mtime string }
		FileInfo           struct{ Mtime string } `yaml:"file_info"`
	}
	var config struct {
		Version int
		Builds  []struct {
			ID, Main, Binary string
			Env, Flags       []string
			Ldflags          string
			ModTimestamp     string `yaml:"mod_timestamp"`
			Goos, Goarch     []string
		}
		Archives []struct {
			IDs        []string
			BuildsInfo struct{ Mtime string } `yaml:"builds_info"`
			Files      []file
		}
		Nfpms []struct {
			IDs, Formats []string
			Mtime        string
			Contents     []file
		}
		Casks []struct{ Manpages []string } `yaml:"homebrew_casks"`
		Sboms []struct{ IDs, Args []string }
		Signs []struct{ Artifacts string }
	}
	if err := yaml.Unmarshal([]byte(page(t, ".goreleaser.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	systems := map[string][]string{"kenv": {"darwin", "freebsd", "linux", "windows"}, "kenv-hsm": {"linux"}}
	cgo := map[string]string{"kenv": "CGO_ENABLED=0", "kenv-hsm": "CGO_ENABLED=1"}
	formats := map[string][]string{"kenv": {"apk", "deb", "rpm"}, "kenv-hsm": {"deb", "rpm"}}
	sorted := func(list []string) []string { return slices.Sorted(slices.Values(list)) }
	if len(config.Builds) != len(systems) || len(config.Archives) != len(systems) || len(config.Nfpms) != len(systems) || len(config.Sboms) != len(systems) {
		t.Fatalf("not what this test knows: %+v", config)
	}
	for i, b := range config.Builds {
		if b.Main != "./cmd/kenv" || b.Binary != "kenv" || !slices.Contains(b.Env, cgo[b.ID]) {
			t.Errorf("%s is another program: %+v", b.ID, b)
		}
		if !slices.Equal(sorted(b.Goos), systems[b.ID]) || !slices.Equal(sorted(b.Goarch), []string{"amd64", "arm64"}) {
			t.Errorf("%s is built for %q on %q", b.ID, b.Goos, b.Goarch)
		}
		if !slices.Contains(b.Flags, "-trimpath") || !slices.Contains(b.Flags, "-buildvcs=false") || b.ModTimestamp != "{{ .CommitTimestamp }}" ||
			b.Ldflags != "-s -w -X main.version={{ .Version }}" {
			t.Errorf("%s comes out differently each time, or has not its version: %+v", b.ID, b)
		}
		a, p := config.Archives[i], config.Nfpms[i]
		if !slices.Equal(a.IDs, []string{b.ID}) || !slices.Equal(p.IDs, []string{b.ID}) || !slices.Equal(config.Sboms[i].IDs, []string{b.ID}) {
			t.Errorf("%s is archived from %q, packaged from %q and described from %q", b.ID, a.IDs, p.IDs, config.Sboms[i].IDs)
		}
		if !slices.Equal(sorted(p.Formats), formats[b.ID]) {
			t.Errorf("%s is packaged as %q", b.ID, p.Formats)
		}
		if a.BuildsInfo.Mtime == "" || p.Mtime == "" {
			t.Errorf("%s: an archive or a package has the time of day in it", b.ID)
		}
		var archived, installed []string
		for _, f := range a.Files {
			archived = append(archived, f.Src)
			if f.Info.Mtime == "" {
				t.Errorf("%s: %s is archived with the time of day", b.ID, f.Src)
			}
		}
		for _, f := range p.Contents {
			installed = append(installed, strings.TrimSpace(f.Packager+" "+f.Dst))
			if f.FileInfo.Mtime == "" {
				t.Errorf("%s: %s is packaged with the time of day", b.ID, f.Src)
			}
		}
		if want := []string{"LICENSE", "README.md", "bin/release/completions/*", "bin/release/man/*"}; !slices.Equal(sorted(archived), want) {
			t.Errorf("%s is archived with %q, want %q", b.ID, archived, want)
		}
		if want := []string{
			"/usr/share/bash-completion/completions/kenv", "/usr/share/doc/kenv/copyright",
			"/usr/share/fish/vendor_completions.d/kenv.fish", "/usr/share/man/man1/",
			"apk /usr/share/zsh/site-functions/_kenv", "deb /usr/share/zsh/vendor-completions/_kenv", "rpm /usr/share/zsh/site-functions/_kenv",
		}; !slices.Equal(sorted(installed), want) {
			t.Errorf("%s installs %q, want %q", b.ID, installed, want)
		}
	}
	if len(config.Signs) != 1 || config.Signs[0].Artifacts != "checksum" {
		t.Errorf("signed: %+v, want the checksums", config.Signs)
	}

	pages, err := filepath.Glob(filepath.Join("..", "..", "docs", "man", "*.1"))
	if err != nil || len(pages) == 0 {
		t.Fatal("no man pages", err)
	}
	var want []string
	for _, p := range pages {
		want = append(want, "man/"+filepath.Base(p)+".gz")
	}
	if got := config.Casks[0].Manpages; !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("the Homebrew cask in .goreleaser.yaml has the man pages\n%s\nwant\n%s", strings.Join(sorted(got), "\n"), strings.Join(sorted(want), "\n"))
	}
}

// The image has the program and nothing that could run beside it, and does not run as root.
func TestDockerfile(t *testing.T) {
	lines := regexp.MustCompile(`(?m)^[A-Z]+ .*`).FindAllString(page(t, "Dockerfile"), -1)
	want := []string{
		"ARG BASE=gcr.io/distroless/static-debian12:nonroot", "FROM $BASE", "ARG TARGETPLATFORM",
		"COPY LICENSE /usr/share/doc/kenv/copyright", "COPY $TARGETPLATFORM/kenv /usr/bin/kenv",
		"USER nonroot:nonroot", "WORKDIR /work", `ENTRYPOINT ["/usr/bin/kenv"]`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("Dockerfile:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// Workflows run the actions that we have seen, may do no more than they must, and take no
// text from outside as code.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", ".github", "workflows", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal("no workflows", err)
	}
	pinned := regexp.MustCompile(`^[\w-]+/[\w/-]+@[0-9a-f]{40}$`)
	versioned := regexp.MustCompile(`(?m)^ +(?:- )?uses: (\S+)(?: # (v\d+\.\d+\.\d+))?$`)
	commits := map[string]string{}                   // action → what it is pinned to
	writes := map[string][]string{"release.yml": {}} // file → the permissions to write in it
	for _, name := range files {
		name, err := filepath.Rel(filepath.Join("..", ".."), name)
		if err != nil {
			t.Fatal(err)
		}
		text := page(t, name)
		var workflow struct {
			On          yaml.Node
			Permissions *map[string]string
			Jobs        map[string]struct {
				Permissions *map[string]string
				Timeout     int `yaml:"timeout-minutes"`
				Steps       []struct {
					Uses, Run string
					With      map[string]string
				}
			}
		}
		if err := yaml.Unmarshal([]byte(text), &workflow); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p := workflow.Permissions; p == nil || len(*p) != 0 {
			t.Errorf("%s: permissions are not {} for all jobs", name)
		}
		if strings.Contains(text, "pull_request_target") || strings.Contains(text, "workflow_run") {
			t.Errorf("%s: runs with our rights for what others wrote", name)
		}
		for id, job := range workflow.Jobs {
			if job.Permissions == nil || job.Timeout == 0 {
				t.Errorf("%s: job %s has no permissions or no timeout of its own", name, id)
				continue
			}
			for what, level := range *job.Permissions {
				if level != "read" {
					writes[filepath.Base(name)] = append(writes[filepath.Base(name)], id+" "+what)
				}
			}
			for _, s := range job.Steps {
				if strings.Contains(s.Run, "${{") {
					t.Errorf("%s: job %s: what stands in ${{ }} in a script can be code:\n%s", name, id, s.Run)
				}
				if s.Uses != "" && !pinned.MatchString(s.Uses) {
					t.Errorf("%s: %s is not pinned by a commit", name, s.Uses)
				}
				if strings.HasPrefix(s.Uses, "actions/checkout@") && s.With["persist-credentials"] != "false" {
					t.Errorf("%s: job %s: leaves credentials in the clone", name, id)
				}
			}
		}
		for _, m := range versioned.FindAllStringSubmatch(text, -1) {
			action, _, _ := strings.Cut(m[1], "@")
			if m[2] == "" {
				t.Errorf("%s: no comment says which version %s is", name, m[1])
			}
			if is := m[1] + " " + m[2]; commits[action] != "" && commits[action] != is {
				t.Errorf("%s: %s here, and %s elsewhere", name, is, commits[action])
			} else {
				commits[action] = is
			}
		}
		if strings.Count(text, "uses:") != len(versioned.FindAllString(text, -1)) {
			t.Errorf("%s: a line with uses: that this test does not understand", name)
		}
	}
	want := []string{"release attestations", "release contents", "release id-token", "release packages", "release pull-requests"}
	for name, got := range writes {
		if name != "release.yml" && len(got) > 0 || name == "release.yml" && !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("%s: jobs that may write: %q", name, got)
		}
	}
}

// The Go that releases are built with can build this module.
func TestGoVersion(t *testing.T) {
	version := strings.TrimSpace(page(t, ".go-version"))
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(version) {
		t.Fatalf(".go-version is %q, not a whole version", version)
	}
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.\d+$`).FindSubmatch(mod)
	if m == nil || !strings.HasPrefix(version, string(m[1])+".") {
		t.Errorf(".go-version is %s, and go.mod has another: %s", version, m)
	}
}
