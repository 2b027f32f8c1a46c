package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
)

const listedYAML = `a: b
sops:
    kms:
        - arn: arn:aws:kms:eu-west-1:1:key/a
          alias: alias/prod
          created_at: "2026-01-02T03:04:05Z"
          enc: x
        - arn: arn:aws:kms:us-east-1:1:key/slow
          created_at: "2026-01-02T03:04:05Z"
          enc: "y"
    age:
        - recipient: agenosuch
          enc: x
    lastmodified: "2026-03-04T05:06:07Z"
    mac: x
    version: 3.13.3
`

// With --online the keys are asked side by side, each with its entry, under the eyes
// of the config, and none longer than it may take.
func TestKeysOnline(t *testing.T) {
	probe := func(ctx context.Context, name string, e keys.Entry) keys.Finding {
		if e.Field("arn") != name || e.Field("enc") == "" {
			t.Errorf("%s is asked with the entry %v", name, e)
		}
		if named := keys.Named(ctx); len(named) != 1 || named[0].Name() != "arn:named" {
			t.Errorf("the config names %v", named)
		}
		if strings.HasSuffix(name, "slow") {
			time.Sleep(time.Hour)
		}
		time.Sleep(time.Second)
		return keys.Finding{What: name, State: keys.Warning, Detail: "older key material", Hint: "rotate"}
	}
	mute := fakeProvider("age", "age", nil, nil)
	mute.FromEntry = func(keys.Entry) (keys.MasterKey, error) {
		return struct{ keys.MasterKey }{&fakeKey{name: "agenosuch"}}, nil
	}
	p, output := fakeProcess(t, keys.Table{mute, fakeProvider("kms", "arn:", probe, nil)})
	writeFile(t, ".kenv.yaml", "creation_rules:\n  - keys: arn:named\n")
	writeFile(t, "a.yaml", listedYAML)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := runKeysList(t.Context(), p, keysListOptions{online: true}, []string{"a.yaml"}); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != askLimit+grace {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour) // the bubble has to be empty in the end
	})
	want := strings.TrimPrefix(`
FILE    KIND  KEY                                         REGION     CREATED     STATE    DETAIL
a.yaml  kms   arn:aws:kms:eu-west-1:1:key/a (alias/prod)  eu-west-1  2026-01-02  warning  older key material
a.yaml  kms   arn:aws:kms:us-east-1:1:key/slow            us-east-1  2026-01-02  missing  no answer in time
a.yaml  age   agenosuch                                              -
`, "\n")
	if output() != want {
		t.Errorf("got\n%s\nwant\n%s", output(), want)
	}
}

// However many keys do not answer, the list comes.
func TestKeysOnlineEnds(t *testing.T) {
	slow := func(context.Context, string, keys.Entry) keys.Finding {
		time.Sleep(time.Hour)
		return keys.Finding{}
	}
	p, output := fakeProcess(t, keys.Table{fakeProvider("kms", "arn:", slow, nil)})
	entry := `        - {arn: "arn:aws:kms:r:1:key/a", created_at: "2026-01-02T03:04:05Z", enc: x}` + "\n"
	writeFile(t, "a.yaml", "a: b\nsops:\n    kms:\n"+strings.Repeat(entry, 100)+"    lastmodified: \"2026-03-04T05:06:07Z\"\n    mac: x\n    version: 3.13.3\n")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := runKeysList(t.Context(), p, keysListOptions{online: true}, []string{"a.yaml"}); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > askAllLimit+grace {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour) // the bubble has to be empty in the end
	})
	if n := strings.Count(output(), "not asked, since others took too long"); n < 100-4*maxLooks || n == 100 {
		t.Errorf("%d keys were not asked", n)
	}
}

func TestKeysJSON(t *testing.T) {
	p, output := fakeProcess(t, keys.Table{fakeProvider("kms", "arn:", nil, nil)})
	writeFile(t, "a.yaml", listedYAML)
	if err := runKeysList(t.Context(), p, keysListOptions{json: true}, []string{"a.yaml"}); err != nil {
		t.Fatal(err)
	}
	var got []listedFile
	d := json.NewDecoder(strings.NewReader(output()))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil || len(got) != 1 || len(got[0].Keys) != 3 {
		t.Fatalf("%v in\n%s", err, output())
	}
	if k := got[0].Keys[0]; k != (listedKey{Group: 1, Kind: "kms", Name: "arn:aws:kms:eu-west-1:1:key/a", Region: "eu-west-1", CreatedAt: "2026-01-02T03:04:05Z", Alias: "alias/prod", Supported: true}) {
		t.Errorf("%+v", k)
	}
	if k := got[0].Keys[2]; k != (listedKey{Group: 1, Kind: "age", Name: "age", Detail: "not supported by this kenv"}) {
		t.Errorf("%+v", k)
	}
	if f := got[0]; f.File != "a.yaml" || f.Threshold != 1 || f.Groups != 1 || f.Sealed || f.LastModified != "2026-03-04T05:06:07Z" {
		t.Errorf("%+v", f)
	}
	for _, name := range []string{"file", "threshold", "groups", "sealed", "lastmodified", "keys", "group", "kind", "name", "region", "created_at", "alias", "supported", "state", "detail"} {
		if !strings.Contains(output(), `"`+name+`": `) {
			t.Errorf("no field %s in\n%s", name, output())
		}
	}
}
