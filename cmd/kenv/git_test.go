package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/all"
	"go.yaml.in/yaml/v3"
)

// hasCommand tells whether this kenv has a command.
func hasCommand(path ...string) bool {
	root := newRoot(&process{table: all.Table(keys.Env{})})
	c, rest, err := root.Find(path)
	return err == nil && c != root && len(rest) == 0
}

// scripts/demo-git shows what it says that it shows.
func TestDemoGit(t *testing.T) {
	needPrograms(t, "bash", "git")
	kenv, err := exec.LookPath("kenv")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", filepath.Join("..", "..", "scripts", "demo-git"), kenv)
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	want := []string{
		"-    password: hunter2   # changed in March\n+    password: hunter3   # changed in March\n",
		"secrets.yaml: HEAD → work tree\n  ~ db.password\n",
		"+    password: ***",
		"\nA  secrets.plain.yaml\n",
		"No secret is in git in clear.",
	}
	if hasCommand("git", "merge") {
		want = append(want, "    pool: 20\napi:\n    token: def456\n", "\nUU secrets.yaml\n", "\nours\n")
	} else {
		want = append(want, "left out: kenv git merge")
	}
	for _, w := range want {
		if !strings.Contains(string(out), w) {
			t.Errorf("it does not say %q, but\n%s", w, out)
		}
	}
	if left, _ := os.ReadDir(strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=")); len(left) > 0 {
		t.Errorf("it leaves behind %v", left)
	}
}

// ciProject makes what the recipes of docs/ci.md are about, and returns its directory
// and an environment in which they find kenv and, by KENV_AGE_KEY alone, an identity.
func ciProject(t *testing.T) (dir string, env []string) {
	t.Helper()
	needPrograms(t, "bash", "git")
	home := t.TempDir()
	dir = filepath.Join(home, "project")
	setUp := `
		git init -q
		kenv init
		printf 'creation_rules:\n  - keys:\n      - %s\n' "$(sed -n 's/^# public key: //p' ~/.config/kenv/age/keys.txt)" >.kenv.yaml
		echo 'TOKEN=s3cr3t-token' >prod.env
		echo 'password: hunter2' >secrets.yaml
		kenv encrypt -i prod.env secrets.yaml
		cat >deploy <<'END'
#!/bin/sh
echo "deploy $* with token ${TOKEN:-none}"
case $* in *--config*) grep -c hunter2 "$2" ;; esac
END
		chmod 755 deploy
		git add .
		tail -n 1 ~/.config/kenv/age/keys.txt
		rm -r ~/.config`
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "CI=true"}
	cmd := exec.Command("bash", "-euc", setUp)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return dir, append(env, "KENV_AGE_KEY="+lines[len(lines)-1])
}

// The YAML in the pages about CI is YAML, and its actions are pinned.
func TestCIPages(t *testing.T) {
	text := page(t, "docs/ci.md") + page(t, "docs/kubernetes.md") + page(t, "docs/aws.md")
	for _, block := range fences(text, "yaml") {
		var v any
		if err := yaml.Unmarshal([]byte(block), &v); err != nil {
			t.Errorf("%v in\n%s", err, block)
		}
		for line := range strings.Lines(block) {
			if _, uses, ok := strings.Cut(line, "uses: "); ok && !strings.Contains(uses, "@COMMIT ") {
				t.Errorf("not pinned: %s", uses)
			}
			for _, command := range []string{"- kenv ", "sh 'kenv "} {
				if _, rest, ok := strings.Cut(line, command); ok {
					if args := strings.Fields(rest); !hasCommand(args[0]) {
						t.Errorf("no such command: %s", line)
					}
				}
			}
		}
	}
}

// action.yml does in a job what its steps say.
func TestAction(t *testing.T) {
	var action struct {
		Inputs map[string]struct{ Default, Description string }
		Runs   struct {
			Using string
			Steps []struct {
				Name, If, Shell, Run string
				Env                  map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(page(t, "action.yml")), &action); err != nil {
		t.Fatal(err)
	}
	if action.Runs.Using != "composite" || len(action.Runs.Steps) != 3 {
		t.Fatalf("not what this test knows: %+v", action)
	}
	for _, s := range action.Runs.Steps {
		if s.Shell != "bash" || strings.Contains(s.Run, "${{") {
			t.Errorf("step %q: its shell is %q; what stands in ${{ }} in a script can be code", s.Name, s.Shell)
		}
	}
	dir, env := ciProject(t)
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	job := func(step int, inputs map[string]string) (string, error) {
		s := action.Runs.Steps[step]
		cmd := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", s.Run)
		cmd.Dir = dir
		cmd.Env = append(slices.Clone(env), "RUNNER_TEMP="+temp, "GITHUB_ACTION_PATH="+root, "GITHUB_PATH="+filepath.Join(temp, "path"))
		for name, value := range s.Env {
			input, ok := strings.CutPrefix(value, "${{ inputs.")
			input, ok2 := strings.CutSuffix(input, " }}")
			if _, known := action.Inputs[input]; !ok || !ok2 || !known {
				t.Fatalf("step %q: %s is %q", s.Name, name, value)
			}
			given, ok := inputs[input]
			if !ok {
				given = action.Inputs[input].Default
			}
			cmd.Env = append(cmd.Env, name+"="+given)
		}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}

	if out, err := job(1, nil); err != nil {
		t.Errorf("check: %v:\n%s", err, out)
	}
	canary := filepath.Join(temp, "canary")
	out, err := job(2, map[string]string{
		"files": "prod.env\n\n",
		"run":   "echo \"$TOKEN\"\n./deploy 'a b'; echo $(basename \"$PWD\")",
	})
	if err != nil || out != "***\ndeploy a b with token ***\nproject\n" {
		t.Errorf("run: %v:\n%s", err, out)
	}
	if out, err := job(2, map[string]string{"files": "prod.env; touch " + canary + "\n", "run": "true"}); err == nil {
		t.Errorf("a name that is code is taken for a file:\n%s", out)
	}
	if _, err := os.Stat(canary); err == nil {
		t.Error("an input was run as code")
	}
	if out, err := job(2, map[string]string{"files": "prod.env", "run": "false\ntrue"}); err == nil {
		t.Errorf("a command that failed is passed over:\n%s", out)
	}

	if testing.Short() {
		return
	}
	for _, name := range []string{"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB"} {
		value, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	if out, err := job(0, nil); err != nil {
		t.Fatalf("install: %v:\n%s", err, out)
	}
	path, err := os.ReadFile(filepath.Join(temp, "path"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(strings.TrimSpace(string(path)), "kenv"), "version").CombinedOutput(); err != nil {
		t.Errorf("what was installed: %v:\n%s", err, out)
	}
}

// The hook for the pre-commit framework is what the other hooks run.
func TestPreCommitHooks(t *testing.T) {
	var hooks []struct {
		ID, Name, Entry, Language string
		PassFilenames             bool `yaml:"pass_filenames"`
		AlwaysRun                 bool `yaml:"always_run"`
	}
	if err := yaml.Unmarshal([]byte(page(t, ".pre-commit-hooks.yaml")), &hooks); err != nil {
		t.Fatal(err)
	}
	if len(hooks) != 1 || hooks[0].ID != "kenv-check" || hooks[0].Entry != "kenv check --staged" || hooks[0].Language != "golang" || hooks[0].PassFilenames || !hooks[0].AlwaysRun {
		t.Errorf("%+v", hooks)
	}
}
