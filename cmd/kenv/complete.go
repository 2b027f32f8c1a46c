package main

import (
	"os"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What shells complete beside commands and flags: words, names of keys and paths in
// files. All of it is read without a key, and nobody is asked anything. Where there is
// nothing to say about arguments, they are files.

// isCompletion reports whether a command line is a shell's, which wants it completed.
func isCompletion(args []string) bool {
	return len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// addCompletions adds to a tree of commands what completes their arguments and the
// values of their flags.
func addCompletions(p *process, root *cobra.Command) {
	none := cobra.FixedCompletions(nil, cobra.ShellCompDirectiveNoFileComp)
	arguments := map[string]cobra.CompletionFunc{
		"kenv":               files(-1), // beside the subcommands
		"kenv keys":          files(-1),
		"kenv get":           p.completePath,
		"kenv set":           p.completePath,
		"kenv unset":         p.completePath,
		"kenv keys add":      first(none, files(-1)),
		"kenv keys remove":   first(p.completeKey, files(-1)),
		"kenv hsm check":     p.completeHSMKey,
		"kenv help":          completeCommand,
		"kenv exec-env":      files(1),
		"kenv exec-file":     files(1),
		"kenv edit":          files(1),
		"kenv filestatus":    files(1),
		"kenv init":          none,
		"kenv doctor":        none,
		"kenv version":       none,
		"kenv keys generate": none,
		"kenv hsm list":      none,
		"kenv hsm enroll":    none,
		"kenv groups add":    none,
		"kenv groups delete": none,
	}
	formats := words(kenv.Formats()...)
	values := map[string]cobra.CompletionFunc{
		"input-type":       formats,
		"output-type":      formats,
		"format":           words("raw", "json", "yaml", "dotenv"),
		"mech":             words("rsa-oaep-sha256", "rsa-oaep-sha1", "aes-256-gcm"),
		"type":             words("rsa", "aes"),
		"decryption-order": words(kinds(p.table)...),
		"output-dir":       cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs),
		"extract":          p.pathsOf,
		"key":              p.completeKey,
		"add-key":          p.completeKey,
		"rm-key":           p.completeRecipient,
		"comment":          none,
		"user":             none,
	}
	for _, row := range p.table {
		if row.Flag != "" {
			ofKind := p.completeKeyOf(row)
			values[row.Flag], values["add-"+row.Flag], values["rm-"+row.Flag] = ofKind, ofKind, ofKind
		}
	}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if f := arguments[cmd.CommandPath()]; f != nil {
			cmd.ValidArgsFunction = f
		}
		for _, set := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
			set.VisitAll(func(f *pflag.Flag) {
				complete := values[f.Name]
				if strings.HasSuffix(f.Name, "-regex") || strings.HasSuffix(f.Name, "-suffix") {
					complete = none
				}
				if complete != nil {
					cmd.RegisterFlagCompletionFunc(f.Name, complete) // which fails for a flag that has one
				}
			})
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	root.InitDefaultHelpCmd()
	visit(root)
}

// files completes up to n arguments with files, or all if n is negative.
func files(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if n >= 0 && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
}

// first completes the first argument in its own way.
func first(one, others cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return one(cmd, args, typed)
		}
		return others(cmd, args, typed)
	}
}

// words completes with some of a few.
func words(list ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return matching(list, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// matching returns the words that go on from what is typed, each once and only those
// that a shell can show in a line.
func matching(list []string, typed string) (found []string) {
	for _, word := range list {
		if strings.HasPrefix(word, typed) && oneLine(word) == word && !slices.Contains(found, word) {
			found = append(found, word)
		}
	}
	return found
}

func kinds(table keys.Table) (list []string) {
	for _, row := range table {
		list = append(list, row.Kind)
	}
	return list
}

func completeCommand(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	about, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []string
	for _, sub := range about.Commands() {
		if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
			list = append(list, cobra.CompletionWithDesc(sub.Name(), sub.Short))
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completePath completes FILE PATH.
func (p *process) completePath(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return nil, cobra.ShellCompDirectiveDefault
	case 1:
		return p.pathsOf(cmd, args, typed)
	}
	if f := cmd.Flags().Lookup("value-file"); f != nil && f.Changed && len(args) == 2 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeSize is the size of files in which paths are looked for while somebody types.
const completeSize = 16 << 20

// pathsOf completes a path in the first of the files.
func (p *process) pathsOf(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	none := func() ([]string, cobra.ShellCompDirective) { return nil, cobra.ShellCompDirectiveNoFileComp }
	src, ok := completeSource(cmd, args)
	if !ok {
		return none()
	}
	paths, more, err := p.setup().PathsFrom(src, typed)
	if err != nil || len(paths) == 0 {
		return none()
	}
	directive := cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	if more {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	return paths, directive
}

// completeSource reads the first of the files, if that neither waits nor takes long.
func completeSource(cmd *cobra.Command, args []string) (src kenv.Source, ok bool) {
	if len(args) == 0 {
		return src, false
	}
	if info, err := os.Stat(args[0]); err != nil || !info.Mode().IsRegular() {
		return src, false
	}
	data, _, err := kenv.ReadFile(args[0], completeSize)
	if err != nil {
		return src, false
	}
	src = kenv.Source{Name: args[0], Data: data}
	if f := cmd.Flags().Lookup("input-type"); f != nil && f.Value.String() != "" {
		src.Format, err = kenv.FormatNamed(f.Value.String())
	}
	return src, err == nil
}

// configKeys returns the names of the keys in the config that is in force here.
func (p *process) configKeys() (list []string) {
	c, err := p.setup().ConfigHere()
	if err != nil || c == nil {
		return nil
	}
	for i := range c.Rules {
		for _, group := range c.Rules[i].Groups {
			for _, n := range group {
				if k, err := p.table.Make(keys.Spec{Name: n.Name, Attrs: n.Attrs}); err == nil {
					list = append(list, k.Name())
				}
			}
		}
	}
	return list
}

func (p *process) completeKey(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return matching(p.configKeys(), typed), cobra.ShellCompDirectiveNoFileComp
}

func (p *process) completeHSMKey(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	list := slices.DeleteFunc(p.configKeys(), func(name string) bool { return !strings.HasPrefix(name, "pkcs11:") })
	return matching(list, typed), cobra.ShellCompDirectiveNoFileComp
}

// completeKeyOf completes a flag such as --age, which takes several names and leaves
// out what all of that kind begin with.
func (p *process) completeKeyOf(row keys.Provider) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		at := strings.LastIndex(typed, ",") + 1
		var list []string
		for _, name := range p.configKeys() {
			if kindOf(p.table, keys.Spec{Name: name}) == row.Kind {
				list = append(list, typed[:at]+strings.TrimPrefix(name, row.Prefix))
			}
		}
		return matching(list, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRecipient completes with the keys that the file has, else with the config's.
func (p *process) completeRecipient(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	var list []string
	if src, ok := completeSource(cmd, args); ok {
		if r, err := p.setup().Recipients(src); err == nil {
			for _, group := range r.Groups {
				for _, k := range group {
					list = append(list, k.Name)
				}
			}
		}
	}
	if len(list) == 0 {
		list = p.configKeys()
	}
	return matching(list, typed), cobra.ShellCompDirectiveNoFileComp
}
