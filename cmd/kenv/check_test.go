package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kenvhq/kenv/pkg/kenv"
	_ "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"
)

// fullReport has a problem of every kind, and a failure.
func fullReport() *kenv.CheckReport {
	r := &kenv.CheckReport{Files: 3, Failures: []error{errors.New("cannot read it")}}
	for i, k := range kenv.CheckKinds() {
		p := kenv.Problem{Kind: k.ID, File: filepath.Join("sub", "a b:#ü.yaml"), Line: i, Msg: "is wrong"}
		if i%2 == 1 {
			p.Path, p.Config, p.ConfigLine = "a.b", "/x/.kenv.yaml", 3
		}
		r.Problems = append(r.Problems, p)
	}
	return r
}

func decoded(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// conforms returns how a value fails to be as a JSON Schema says. It knows the words that
// docs/check.schema.json uses, and objects to others.
func conforms(schema map[string]any, v any, at string) (bad []string) {
	object := func(format string, args ...any) { bad = append(bad, at+": "+fmt.Sprintf(format, args...)) }
	for word, arg := range schema {
		switch word {
		case "$schema", "$id", "title", "description":
		case "type":
			var is bool
			switch v := v.(type) {
			case map[string]any:
				is = arg == "object"
			case []any:
				is = arg == "array"
			case string:
				is = arg == "string"
			case bool:
				is = arg == "boolean"
			case float64:
				is = arg == "number" || arg == "integer" && v == float64(int(v))
			}
			if !is {
				object("%v is no %v", v, arg)
			}
		case "required":
			m, _ := v.(map[string]any)
			for _, name := range arg.([]any) {
				if _, ok := m[name.(string)]; !ok {
					object("lacks %v", name)
				}
			}
		case "properties", "additionalProperties":
			known, _ := schema["properties"].(map[string]any)
			m, _ := v.(map[string]any)
			for name, value := range m {
				sub, ok := known[name].(map[string]any)
				switch {
				case ok && word == "properties":
					bad = append(bad, conforms(sub, value, at+"."+name)...)
				case !ok && word == "additionalProperties" && arg == false:
					object("has %s", name)
				}
			}
		case "items":
			list, _ := v.([]any)
			for i, item := range list {
				bad = append(bad, conforms(arg.(map[string]any), item, fmt.Sprintf("%s[%d]", at, i))...)
			}
		case "enum":
			if !slices.Contains(arg.([]any), v) {
				object("%v is none of %v", v, arg)
			}
		case "minimum":
			if n, ok := v.(float64); ok && n < arg.(float64) {
				object("%v is too small", v)
			}
		default:
			object("the schema says %q", word)
		}
	}
	return bad
}

// What --json prints is what its schema says, and the schema is not content with anything.
func TestCheckJSON(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal([]byte(page(t, "docs/check.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*kenv.CheckReport{"nothing": {}, "everything": fullReport()} {
		if bad := conforms(schema, decoded(t, checkResult(r, true)), "$"); len(bad) > 0 {
			t.Errorf("%s: %s", name, strings.Join(bad, "\n"))
		}
	}
	r := fullReport()
	r.Problems[0].Kind = "unheard-of"
	if bad := conforms(schema, decoded(t, checkResult(r, false)), "$"); len(bad) != 1 {
		t.Errorf("a kind that the schema does not know: %q", bad)
	}
	kinds := schema["properties"].(map[string]any)["problems"].(map[string]any)["items"].(map[string]any)["properties"].(map[string]any)["kind"].(map[string]any)["enum"].([]any)
	if len(kinds) != len(kenv.CheckKinds()) {
		t.Errorf("the schema has %d kinds, want %d", len(kinds), len(kenv.CheckKinds()))
	}
}

// What --sarif prints has what SARIF 2.1.0 requires of each of its objects, and what code
// scanning wants besides.
func TestCheckSARIF(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	if err := os.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	r := fullReport()
	r.Problems = append(r.Problems, kenv.Problem{Kind: kenv.EnvFile, File: filepath.Join("..", "outside"), Msg: "is wrong"})
	log := decoded(t, sarifLog(r, false, root)).(map[string]any)
	get := func(v any, path ...any) any {
		t.Helper()
		for _, step := range path {
			switch step := step.(type) {
			case string:
				v = v.(map[string]any)[step]
			case int:
				v = v.([]any)[step]
			}
			if v == nil {
				t.Fatalf("there is no %v", path)
			}
		}
		return v
	}
	if log["version"] != "2.1.0" || len(log["runs"].([]any)) != 1 || !strings.HasSuffix(log["$schema"].(string), "sarif-2.1.0.json") {
		t.Errorf("%v", log)
	}
	run := get(log, "runs", 0)
	if get(run, "tool", "driver", "name") != "kenv" {
		t.Error("the tool has no name")
	}
	rules := get(run, "tool", "driver", "rules").([]any)
	results := get(run, "results").([]any)
	if len(rules) != len(kenv.CheckKinds()) || len(results) != len(r.Problems) {
		t.Fatalf("%d rules, %d results", len(rules), len(results))
	}
	for i, result := range results {
		at := int(get(result, "ruleIndex").(float64))
		if get(rules[at], "id") != get(result, "ruleId") || get(rules[at], "shortDescription", "text") == "" {
			t.Errorf("result %d is not of rule %d", i, at)
		}
		place := get(result, "locations", 0, "physicalLocation")
		u, err := url.Parse(get(place, "artifactLocation", "uri").(string))
		switch {
		case err != nil:
			t.Error(err)
		case i < len(results)-1 && (u.IsAbs() || u.Path != "sub/a b:#ü.yaml" || get(place, "artifactLocation", "uriBaseId") != "%SRCROOT%"):
			t.Errorf("%v", place)
		case i == len(results)-1 && u.Scheme != "file":
			t.Errorf("%v", place)
		}
		if get(place, "region", "startLine").(float64) < 1 || get(result, "level") != "error" || get(result, "message", "text") == "" {
			t.Errorf("%v", result)
		}
	}
	call := get(run, "invocations", 0)
	if get(call, "executionSuccessful") != false || get(call, "toolExecutionNotifications", 0, "message", "text") != "cannot read it" {
		t.Errorf("%v", call)
	}
	if empty := decoded(t, sarifLog(&kenv.CheckReport{}, false, root)); len(get(empty, "runs", 0, "results").([]any)) != 0 {
		t.Error("results of nothing")
	}
}

// TestCheckSARIFSchema: what --sarif prints is valid by the public schema of SARIF
// 2.1.0, which stands as a constant in the source of a module.
func TestCheckSARIFSchema(t *testing.T) {
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && len(lit.Value) > len(text) {
			text, _ = strconv.Unquote(lit.Value)
		}
		return true
	})
	schema, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(text))
	if err != nil {
		t.Fatal(err)
	}
	valid := func(log any) []gojsonschema.ResultError {
		t.Helper()
		result, err := schema.Validate(gojsonschema.NewGoLoader(log))
		if err != nil {
			t.Fatal(err)
		}
		return result.Errors()
	}
	for name, r := range map[string]*kenv.CheckReport{"full": fullReport(), "empty": {}} {
		if bad := valid(sarifLog(r, true, "/work tree")); len(bad) > 0 {
			t.Errorf("%s: %v", name, bad)
		}
	}
	for _, log := range []any{map[string]any{"version": "2.1.0"}, map[string]any{"version": "2.1.0", "runs": []any{}, "more": 1}} {
		if len(valid(log)) == 0 {
			t.Errorf("%v is valid: does this test see the schema?", log)
		}
	}
}
