package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
)

// A listedFile is who can decrypt a file, as --json shows it.
type listedFile struct {
	File         string      `json:"file"`
	Threshold    int         `json:"threshold"`
	Groups       int         `json:"groups"`
	Sealed       bool        `json:"sealed"`
	LastModified string      `json:"lastmodified"`
	Keys         []listedKey `json:"keys"`
}

// A listedKey is one of its master keys. State and Detail are what the key said, if
// it was asked; else Detail is why the key cannot be used here.
type listedKey struct {
	Group     int    `json:"group"` // from 1
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Region    string `json:"region"`
	CreatedAt string `json:"created_at"`
	Alias     string `json:"alias"`
	Supported bool   `json:"supported"`
	State     string `json:"state"`
	Detail    string `json:"detail"`
}

// askLimit is how long a key may take to answer, askAllLimit how long all of them.
const (
	askLimit    = 10 * time.Second
	askAllLimit = 30 * time.Second
)

type keysListOptions struct{ online, json bool }

// keysArguments takes a word that cannot well be a file for a mistyped command.
func keysArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || strings.ContainsAny(args[0], `./\-`) {
		return nil
	}
	if _, err := os.Lstat(args[0]); err == nil {
		return nil
	}
	return unknownCommand(cmd, args)
}

func runKeysList(ctx context.Context, p *process, o keysListOptions, paths []string) error {
	setup := p.setup()
	setup.Keys = p.askingNobody()
	jobs, err := listJobs(setup, paths)
	if err != nil {
		return err
	}
	read := make([]*kenv.Recipients, len(jobs))
	errs := p.sideBySide(len(jobs), func(i int, _ speaker) (err error) {
		j := jobs[i]
		if err := j.read(p.ui); err != nil {
			return err
		}
		defer func() { j.source.Data = nil }()
		read[i], err = setup.Recipients(j.source)
		return j.about(err)
	})
	var files []listedFile
	var of [][]kenv.Recipient // the recipients of each file, in the order of its keys
	for i, r := range read {
		if errs[i] == nil {
			f, recipients := listed(jobs[i].name, r)
			files, of = append(files, f), append(of, recipients)
		}
	}
	if o.online {
		askKeys(ctx, setup, files, of)
	}
	if o.json {
		err = p.ui.json(append([]listedFile{}, files...)) // [], never null
	} else if len(files) > 0 {
		err = printKeys(p.ui, files)
	}
	if err != nil {
		return err
	}
	return summary(errs)
}

// listJobs returns the files that paths stand for. A directory stands for the
// encrypted files below it: see kenv.Setup.EncryptedFiles.
func listJobs(setup kenv.Setup, paths []string) (jobs []*job, err error) {
	for _, path := range paths {
		names := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			if names, err = setup.EncryptedFiles(names); err != nil {
				return nil, err
			}
		}
		for _, name := range names {
			j := &job{name: name}
			if j.source.Name = name; name == "-" {
				j.name, j.source.Name = stdinName, ""
			}
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// listed turns what a file says into what is shown of it.
func listed(name string, r *kenv.Recipients) (f listedFile, all []kenv.Recipient) {
	f = listedFile{File: name, Threshold: r.Threshold, Groups: len(r.Groups), Sealed: r.Sealed, LastModified: r.LastModified}
	for i, group := range r.Groups {
		for _, k := range group {
			l := listedKey{
				Group: i + 1, Kind: k.Entry.Kind, Name: k.Name, Region: region(k.Name),
				CreatedAt: k.Entry.Field("created_at"), Alias: k.Entry.Field("alias"),
				Supported: !errors.Is(k.Err, keys.ErrUnsupported),
			}
			switch {
			case !l.Supported:
				l.Detail = keys.ErrUnsupported.Error()
			case k.Err != nil:
				l.Detail = k.Err.Error()
			}
			f.Keys, all = append(f.Keys, l), append(all, k)
		}
	}
	return f, all
}

// region returns the region in the ARN of a KMS key, "" for other names.
func region(name string) string {
	part := strings.SplitN(name, ":", 6)
	if len(part) == 6 && part[0] == "arn" && part[2] == "kms" {
		return part[3]
	}
	return ""
}

// askKeys has the keys that can be asked say how they are.
func askKeys(ctx context.Context, setup kenv.Setup, files []listedFile, of [][]kenv.Recipient) {
	ctx, cancel := context.WithTimeout(ctx, askAllLimit)
	defer cancel()
	var looks []look
	var about []*listedKey
	for i := range files {
		for n, r := range of[i] {
			if _, ok := r.Key.(keys.Prober); !ok {
				continue
			}
			about = append(about, &files[i].Keys[n])
			looks = append(looks, look{r.Name, askLimit, func(ctx context.Context) []keys.Finding {
				f, _ := setup.Probe(ctx, files[i].File, r)
				return []keys.Finding{f}
			}})
		}
	}
	for i, found := range lookAll(ctx, looks)() {
		about[i].State, about[i].Detail = found[0].State, found[0].Detail
	}
}

// printKeys writes a table for people. What has nothing to say in any row has no
// column.
func printKeys(u *ui, files []listedFile) error {
	var rows [][]string
	var needs []string
	for _, f := range files {
		if f.Groups > 1 {
			needs = append(needs, fmt.Sprintf("%s: %d of %d groups are needed", f.File, f.Threshold, f.Groups))
		}
		for _, k := range f.Keys {
			group, name, created := "", keys.Short(k.Name), "-"
			if f.Groups > 1 {
				group = fmt.Sprint(k.Group)
			}
			if k.Alias != "" {
				name += " (" + keys.Short(k.Alias) + ")"
			}
			if t, err := time.Parse(time.RFC3339, k.CreatedAt); err == nil {
				created = t.Format(time.DateOnly)
			}
			rows = append(rows, []string{f.File, group, k.Kind, name, keys.Short(k.Region), created, k.State, k.Detail})
		}
	}
	if err := u.table([]string{"FILE", "GROUP", "KIND", "KEY", "REGION", "CREATED", "STATE", "DETAIL"}, rows); err != nil {
		return err
	}
	for _, line := range needs {
		if err := u.printf("%s", line); err != nil {
			return err
		}
	}
	return nil
}
