package main

import (
	"strconv"

	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/spf13/cobra"
)

func newGroups(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups COMMAND",
		Short: "Add or delete a file's key groups, as sops does",
		Long: `Add or delete a key group of a file. kenv updatekeys does that by the config, for all
files of a rule, and is the better way where there is one.

Exit codes: 0 done, 2 wrong usage.`,
		Example: `  kenv groups add -i -f secrets.yaml --age age1…
  kenv groups delete -i -f secrets.yaml 1`,
		Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGroupsAdd(p), newGroupsDelete(p))
	return cmd
}

const groupCodes = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no usable master key, 4 integrity
failure, 5 the file has recipients that its rule does not name.`

// groupOptions are the flags of both.
type groupOptions struct {
	attrOptions
	file      string
	inPlace   bool
	threshold int
	accept    bool
}

func (o *groupOptions) addFlags(cmd *cobra.Command, p *process) {
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "the encrypted `file`")
	f.BoolVarP(&o.inPlace, "in-place", "i", false, "write the result back to the file")
	f.IntVar(&o.threshold, "shamir-secret-sharing-threshold", 0, "how many key groups are `needed` to decrypt; 0 is all of them")
	f.BoolVar(&o.accept, "accept-recipients", false, "allow keys that the file's rule does not name")
	o.attrOptions.addFlags(f, p.table)
}

func (o *groupOptions) run(cmd *cobra.Command, p *process, change kenv.RotateOptions) error {
	switch {
	case o.file == "":
		return misused(cmd, "name the file with --file")
	case o.threshold < 0:
		return misused(cmd, "--shamir-secret-sharing-threshold is negative")
	}
	setup, err := o.setup(cmd, p)
	if err != nil {
		return err
	}
	j := &job{speaker: p.ui.speaker, name: o.file, source: kenv.Source{Name: o.file}}
	if o.inPlace {
		j.to = o.file
	}
	rotate := &rotateOptions{RotateOptions: change}
	rotate.AcceptRecipients = o.accept
	rotate.Threshold = &o.threshold
	return rotate.rotate(cmd.Context(), p, setup, j)
}

func newGroupsAdd(p *process) *cobra.Command {
	o, group := &groupOptions{}, &keyOptions{}
	cmd := &cobra.Command{
		Use:   "add -f FILE --key KEY… [flags]",
		Short: "Add a key group to a file",
		Long: `Add a group of master keys to a file, which gets a new data key. With several groups
it takes one key each of as many of them as --shamir-secret-sharing-threshold says.

` + groupCodes,
		Example: `  kenv groups add -i -f secrets.yaml --age age1… --shamir-secret-sharing-threshold 2`,
		Args:    noArguments,
	}
	o.addFlags(cmd, p)
	group.addFlags(cmd.Flags(), p.table, "", "put into the new group")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		names, err := group.all(cmd, p.table)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return misused(cmd, "name the keys of the group: --key age1…")
		}
		return o.run(cmd, p, kenv.RotateOptions{AddGroup: names})
	}
	return cmd
}

func newGroupsDelete(p *process) *cobra.Command {
	o := &groupOptions{}
	cmd := &cobra.Command{
		Use:   "delete -f FILE [flags] N",
		Short: "Delete a key group from a file",
		Long: `Delete the key group number N of a file, counted from 0 as sops does. The file gets a
new data key.

` + groupCodes,
		Example: `  kenv groups delete -i -f secrets.yaml 1`,
	}
	o.addFlags(cmd, p)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return misused(cmd, "name the group by its number, from 0")
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 {
			return misused(cmd, "%q is not the number of a group", args[0])
		}
		return o.run(cmd, p, kenv.RotateOptions{DeleteGroup: n + 1})
	}
	return cmd
}
