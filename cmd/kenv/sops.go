package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/envelope"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// What makes kenv understand those who type what they type for sops: flags before
// the command, and the old form in which flags stand for commands. Under the name
// sops it also ends with sops's exit codes.

// sopsModes are the flags of the old form.
var sopsModes = map[string]string{
	"-d": "decrypt", "--decrypt": "decrypt",
	"-e": "encrypt", "--encrypt": "encrypt",
	"-r": "rotate", "--rotate": "rotate",
	"--set": "set",
}

// refused are things that sops does and kenv does not, with the reason.
var refused = map[string]string{
	"publish":                   "kenv writes files and uploads none: kenv decrypt -o FILE, or kenv rotate for other recipients, then the storage's own tool",
	"keyservice":                "a key service hands out data keys to whoever reaches it; give each machine a key of its own, or access to a KMS",
	"--keyservice":              "a key service hands out data keys to whoever reaches it; give each machine a key of its own, or access to a KMS",
	"--enable-local-keyservice": "there are no other key services to prefer to it",
	"--show-master-keys":        "master keys are not edited as text: kenv keys shows them, and kenv updatekeys, kenv rotate --add-key and --rm-key change them",
	"-s":                        "master keys are not edited as text: kenv keys shows them, and kenv updatekeys, kenv rotate --add-key and --rm-key change them",
	"--indent":                  "kenv leaves a file's layout as it is",
	"--check-for-updates":       "kenv asks no server for its latest version",
}

// fromSops turns a command line that begins with a flag, as sops has them, into
// kenv's: the command first. Other command lines come back as they are.
func fromSops(root *cobra.Command, args []string) ([]string, error) {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") || args[0] == "-" || args[0] == "--" {
		return args, nil
	}
	var flags, mode []string
	command, set := "", ""
	i := 0
	for ; i < len(args) && strings.HasPrefix(args[i], "-") && args[i] != "-" && args[i] != "--"; i++ {
		arg := args[i]
		name, value, inline := strings.Cut(arg, "=")
		switch {
		case name == "--disable-version-check":
			continue // which is how it is
		case refused[name] != "":
			return nil, refusal(root, name)
		case sopsModes[name] != "":
			if command = sopsModes[name]; !slices.Contains(mode, command) {
				mode = append(mode, command)
			}
			if command == "set" && !inline {
				if i++; i == len(args) {
					return nil, misused(root, "--set needs a path and a value: --set '[\"key\"] \"value\"'")
				}
				value = args[i]
			}
			if command == "set" {
				set = value
			}
			continue
		}
		flags = append(flags, arg)
		if !inline && takesValue(root, name) && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	rest := args[i:]
	switch {
	case len(mode) > 1:
		return nil, misused(root, "%s and %s are two things to do; say one", mode[0], mode[1])
	case len(mode) == 1:
	case len(rest) > 0 && isCommand(root, rest[0]):
		command, rest = rest[0], rest[1:]
	case len(rest) > 0 && !isMistyped(rest[0]):
		command = "edit"
	default:
		return args, nil
	}
	out := append([]string{command}, flags...)
	if command != "set" || set == "" {
		return append(out, rest...), nil
	}
	path, value, ok := splitSet(set)
	if !ok || len(rest) != 1 {
		return nil, misused(root, "--set takes a path and a JSON value, and one file: --set '[\"key\"] \"value\"' FILE")
	}
	return append(out, "--", rest[0], path, value), nil
}

// splitSet splits the value of sops's --set: brackets, then JSON.
func splitSet(s string) (path, value string, ok bool) {
	quote, depth := rune(0), 0
	for i, r := range s {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case depth > 0 && (r == '"' || r == '\''):
			quote = r
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ' ' && depth == 0:
			value = strings.TrimSpace(s[i:])
			return s[:i], value, i > 0 && value != ""
		}
	}
	return "", "", false
}

func isCommand(root *cobra.Command, word string) bool {
	return word == "help" || slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == word }) || refused[word] != ""
}

// takesValue reports whether a flag of any command has a value of its own.
func takesValue(root *cobra.Command, name string) bool {
	for _, c := range append(root.Commands(), root) {
		for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
			var f *pflag.Flag
			if long, ok := strings.CutPrefix(name, "--"); ok {
				f = set.Lookup(long)
			} else if len(name) == 2 {
				f = set.ShorthandLookup(name[1:])
			}
			if f != nil {
				return f.NoOptDefVal == ""
			}
		}
	}
	return false
}

// refusal says why kenv does not do what sops does.
func refusal(cmd *cobra.Command, what string) error {
	return &usageError{command: cmd.CommandPath(), err: fmt.Errorf("kenv has no %s: %s", what, refused[what]), hint: "docs/sops-users.md has what kenv does instead"}
}

// flagError is what cobra says of a flag, or why kenv does not have it.
func flagError(cmd *cobra.Command, err error) error {
	words := strings.Fields(err.Error())
	for _, w := range words {
		name, _, _ := strings.Cut(strings.Trim(w, `'"`), "=")
		if refused[name] != "" && strings.Contains(err.Error(), "unknown") {
			return refusal(cmd, name)
		}
	}
	if near := nearFlag(cmd, err); near != "" {
		return misused(cmd, "%w; did you mean --%s?", err, near)
	}
	return misused(cmd, "%w", err)
}

// nearFlag returns the flag that an unknown one may stand for, "" for none.
func nearFlag(cmd *cobra.Command, err error) (near string) {
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) {
		return ""
	}
	typed := unknown.GetSpecifiedName()
	if group := unknown.GetSpecifiedShortnames(); group != "" {
		typed, _, _ = strings.Cut(group, "=") // with one dash
	}
	if typed = strings.ToLower(typed); len(typed) < 3 || len(typed) > 50 {
		return ""
	}
	best := 2 + len(typed)/4 // at most a quarter of the letters and one more may be wrong
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if d := config.Distance(typed, f.Name); d < best && !f.Hidden {
			near, best = f.Name, d
		}
	})
	return near
}

// isSops reports whether the program was called by sops's name.
func isSops(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == "sops"
}

// sopsCode maps an error to the exit code that sops has for it, where scripts look at
// that, and else to kenv's own.
func sopsCode(err error) int {
	integrity := (*envelope.IntegrityError)(nil)
	switch {
	case as[execError](err):
		return exitCode(err)
	case errors.Is(err, kenv.ErrAlreadyEncrypted):
		return 203
	case as[*envelope.NoKeyError](err):
		return 128
	case errors.As(err, &integrity) && integrity.Msg == envelope.NoMAC:
		return 52
	case integrity != nil && integrity.Path == "":
		return 51
	case integrity != nil:
		return 25
	case errors.Is(err, fs.ErrNotExist):
		return 100
	case as[*config.NoRuleError](err), errors.Is(err, kenv.ErrNoKeys), as[*kenv.PathError](err):
		return 1
	case errors.Is(err, errUnchanged):
		return 200
	case errors.Is(err, errEditor):
		return 201
	case errors.Is(err, keys.ErrUnsupported):
		return 1
	}
	return exitCode(err)
}
