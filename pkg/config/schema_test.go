package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/xeipuuv/gojsonschema"
	"go.yaml.in/yaml/v3"
)

// docs/config.schema.json is the schema by which editors look at a .kenv.yaml. What
// kenv accepts it must accept, and the fields that it knows must be kenv's. (It accepts
// more: a config in which two fields do not fit together is for kenv to refuse.)

var schemaText = sync.OnceValues(func() ([]byte, error) {
	return os.ReadFile(filepath.FromSlash("../../docs/config.schema.json"))
})

var schema = sync.OnceValues(func() (*gojsonschema.Schema, error) {
	text, err := schemaText()
	if err != nil {
		return nil, err
	}
	return gojsonschema.NewSchema(gojsonschema.NewBytesLoader(text))
})

// validates returns what the schema objects to in a config.
func validates(src string) error {
	s, err := schema()
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(src), &doc); err != nil {
		return err
	}
	result, err := s.Validate(gojsonschema.NewGoLoader(plain(&doc)))
	if err != nil {
		return err
	}
	if !result.Valid() {
		return fmt.Errorf("%v", result.Errors())
	}
	return nil
}

// plain returns a node as JSON has it, aliases and merges followed.
func plain(n *yaml.Node) any {
	switch n.Kind {
	case yaml.DocumentNode:
		return plain(n.Content[0])
	case yaml.AliasNode:
		return plain(n.Alias)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			list = append(list, plain(item))
		}
		return list
	case yaml.MappingNode:
		m := map[string]any{}
		merge := func(v any) {
			more, _ := v.(map[string]any)
			for name, value := range more {
				if _, has := m[name]; !has {
					m[name] = value
				}
			}
		}
		var merged []any
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := n.Content[i], n.Content[i+1]
			if k.ShortTag() != "!!merge" {
				m[fmt.Sprint(plain(k))] = plain(v)
			} else if list, ok := plain(v).([]any); ok {
				merged = append(merged, list...)
			} else {
				merged = append(merged, plain(v))
			}
		}
		for _, v := range merged {
			merge(v)
		}
		return m
	}
	var v any
	switch n.ShortTag() {
	case "!!null", "!!bool", "!!int":
		if n.Decode(&v) == nil {
			return v
		}
	}
	return n.Value
}

// What the docs show of configs, kenv and the schema accept. (The configs of other
// tests go through parse, which asks the schema as well.)
func TestSchemaAcceptsDocumentedConfigs(t *testing.T) {
	pages, err := filepath.Glob(filepath.FromSlash("../../docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains("\n"+m[1], "\ncreation_rules:") {
				continue
			}
			found++
			if _, err := parse(t, Name, m[1]); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, m[1])
			}
		}
	}
	if found < 4 {
		t.Errorf("found %d configs in the docs", found)
	}
}

// Wherever a config can have fields, kenv and the schema know the same ones and refuse
// others.
func TestSchemaFields(t *testing.T) {
	places := map[string]string{ // definitions, and a config with a field more there
		"":           "creation_rules: [{age: age1a}]\n%s",
		"rule":       "creation_rules: [{age: age1a, %s}]",
		"groupMap":   "creation_rules: [{groups: [{age: age1a, %s}]}]",
		"key":        "creation_rules: [{keys: [{uri: age1a, %s}]}]",
		"kmsKey":     "creation_rules: [{kms: [{arn: arn:a, %s}]}]",
		"gcpKey":     "creation_rules: [{gcp_kms: [{resource_id: a, %s}]}]",
		"hckmsKey":   "creation_rules: [{hckms: [{key_id: a, %s}]}]",
		"azureKey":   "creation_rules: [{azure_keyvault: [{vaultUrl: a, key: b, %s}]}]",
		"exec":       "creation_rules: [{age: age1a}]\nexec: {%s}",
		"stores":     "creation_rules: [{age: age1a}]\nstores: {%s}",
		"yamlStore":  "creation_rules: [{age: age1a}]\nstores: {yaml: {%s}}",
		"jsonStore":  "creation_rules: [{age: age1a}]\nstores: {json: {%s}}",
		"plainStore": "creation_rules: [{age: age1a}]\nstores: {dotenv: {%s}}",
	}
	type object struct {
		AdditionalProperties any
		Properties           map[string]any
	}
	var all struct {
		object
		Definitions map[string]object
	}
	text, err := schemaText()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	all.Definitions[""] = all.object
	for name, o := range all.Definitions {
		if (o.Properties != nil || o.AdditionalProperties == false) && places[name] == "" {
			t.Errorf("%s has fields, and this test does not know where", name)
		}
	}
	for name, config := range places {
		if src := fmt.Sprintf(config, ""); validates(src) != nil {
			t.Errorf("%s: %v", src, validates(src))
		}
		src := fmt.Sprintf(config, "x: 1")
		if validates(src) == nil {
			t.Errorf("%s: the schema accepts it", src)
		}
		_, err := parse(t, Name, src)
		var known []string
		if _, list, ok := strings.Cut(fmt.Sprint(err), "known here: "); ok {
			known = strings.Split(list, ", ")
		} else if !strings.Contains(fmt.Sprint(err), "none is known here") {
			t.Errorf("%s: %v", src, err)
		}
		var has []string
		for field := range all.Definitions[name].Properties {
			has = append(has, field)
		}
		slices.Sort(has)
		if !slices.Equal(has, known) {
			t.Errorf("%q has %q, and kenv knows %q", name, has, known)
		}
	}
}
