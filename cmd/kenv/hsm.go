package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/pkcs11"
	"github.com/spf13/cobra"
)

func newHSM(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hsm COMMAND",
		Short: "Look at an HSM, prove its keys",
		Long: `Look at a hardware security module, smart card or TPM, and prove its keys, through
the PKCS#11 module of its maker. --pkcs11-module, KENV_PKCS11_MODULE or
pkcs11_module in your own config.yaml says where that is. The PIN is read from
the file that --pin-file or KENV_PKCS11_PIN_FILE names, else from
KENV_PKCS11_PIN, else it is asked for.

Exit codes: 0 done, 1 failed, 2 wrong usage, 5 a key failed.`,
		Example: `  kenv hsm list
  kenv hsm check`,
		Args: subcommandOnly,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newHSMList(p), newHSMEnroll(p), newHSMCheck(p))
	return cmd
}

func newHSMList(p *process) *cobra.Command {
	var login, asJSON bool
	cmd := &cobra.Command{
		Use:   "list [flags] [URI]",
		Short: "Show tokens and their keys",
		Long: `Show the tokens of the module, or the one that a URI names, and the keys on them:
those that anybody sees, or with --login all that the token's user sees.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  kenv hsm list
  kenv hsm list --login pkcs11:token=prod`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misused(cmd, "%q is one argument too many", args[1])
			}
			return noEmptyFlags(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return runHSMList(cmd.Context(), p, strings.Join(args, ""), login, asJSON)
		},
	}
	cmd.Flags().BoolVar(&login, "login", false, "log in, to see private keys too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runHSMList(ctx context.Context, p *process, uri string, login, asJSON bool) error {
	tokens, err := pkcs11.List(ctx, p.env, uri, login)
	if err != nil {
		return err
	}
	if asJSON {
		if tokens == nil {
			tokens = []pkcs11.Token{}
		}
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(tokens); err != nil {
			return err
		}
		return p.ui.print(out.Bytes())
	}
	if len(tokens) == 0 {
		p.ui.sayf("the module shows no token")
	}
	for _, t := range tokens {
		if err := p.ui.printf("token %q, serial number %s, %s %s, PIN: %s", t.Label, t.Serial, t.Manufacturer, t.Model, t.PIN); err != nil {
			return err
		}
		for _, k := range t.Keys {
			if err := p.ui.printf("  %s", describeKey(k)); err != nil {
				return err
			}
		}
		if len(t.Keys) == 0 && !login {
			p.ui.notef("  no key shows without a login: kenv hsm list --login")
		}
	}
	return nil
}

func describeKey(k pkcs11.Key) string {
	what := k.Algorithm
	if k.Bits > 0 {
		what += fmt.Sprintf("-%d", k.Bits)
	}
	line := fmt.Sprintf("%-8s  %s", what, k.URI)
	if k.Fingerprint != "" {
		line += "  " + k.Fingerprint
	}
	if !k.Usable {
		line += "  (of no use to kenv)"
	}
	return line
}

func newHSMEnroll(p *process) *cobra.Command {
	var o pkcs11.EnrollOptions
	var kind string
	cmd := &cobra.Command{
		Use:   "enroll [flags] URI",
		Short: "Prove a key, and print how a config names it",
		Long: `Log in, see that the HSM keeps the key to itself, find the way of wrapping that
works by trying, and print what belongs under "keys" in a .kenv.yaml. With
--generate the key is made first: RSA with 3072 bits, which encrypts without the
HSM, or AES-256, which does not.

Exit codes: 0 done, 1 the key cannot be used, 2 wrong usage.`,
		Example: `  kenv hsm enroll --generate 'pkcs11:token=prod;object=kenv' >>.kenv.yaml
  kenv hsm enroll 'pkcs11:token=prod;object=kenv;id=%02'`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return misused(cmd, "name the key: pkcs11:token=…;object=…")
			case len(args) > 1:
				return misused(cmd, "%q is one argument too many; the URI has to stand in quotes, for the shell", args[1])
			case kind != "rsa" && kind != "aes":
				return misused(cmd, "--type is rsa or aes, not %q", kind)
			case cmd.Flags().Changed("type") && !o.Generate:
				return misused(cmd, "--type is for --generate")
			}
			return noEmptyFlags(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Secret = kind == "aes"
			return runHSMEnroll(cmd.Context(), p, args[0], o)
		},
	}
	cmd.Flags().BoolVar(&o.Generate, "generate", false, "make the key, which must not exist")
	cmd.Flags().StringVar(&kind, "type", "rsa", "the `type` of the key to make: rsa or aes")
	cmd.Flags().BoolVar(&o.AllowWeak, "allow-weak", false, "take a key that the HSM would give away, or let be used without a PIN")
	return cmd
}

func runHSMEnroll(ctx context.Context, p *process, uri string, o pkcs11.EnrollOptions) error {
	e, err := pkcs11.Enroll(ctx, p.env, uri, o)
	if err != nil {
		return err
	}
	for _, note := range e.Notes {
		p.ui.sayf("%s", note)
	}
	return p.ui.print(stanza(e))
}

// stanza is a key as it stands in a list of keys, indented as in the config that
// init writes.
func stanza(e *pkcs11.Enrolled) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "      - uri: %q\n        mech: %s\n", e.URI, e.Mech) // a URI is ASCII without quotes
	if e.PublicKey != "" {
		b.WriteString("        public_key: |\n")
		for line := range strings.Lines(e.PublicKey) {
			b.WriteString("          " + line)
		}
	}
	return b.Bytes()
}

func newHSMCheck(p *process) *cobra.Command {
	return &cobra.Command{
		Use:   "check [URI…]",
		Short: "Prove keys by wrapping and unwrapping",
		Long: `Wrap a throw-away data key with each of the keys, and unwrap it again in the HSM:
keys that are named, else the HSM keys of the config that is in force here.

Exit codes: 0 all keys work, 1 failed, 2 wrong usage, 5 a key failed.`,
		Example: `  kenv hsm check
  kenv hsm check 'pkcs11:token=prod;object=kenv'`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := noEmptyFlags(cmd); err != nil {
				return err
			}
			return runHSMCheck(cmd, p, names)
		},
	}
}

func runHSMCheck(cmd *cobra.Command, p *process, names []string) error {
	if err := pkcs11.Available(); err != nil {
		return err
	}
	var list []keys.MasterKey
	for _, name := range names {
		k, err := p.table.Parse(name)
		if err != nil {
			return misused(cmd, "%w", err)
		}
		if !isHSMKey(name) {
			return misused(cmd, "%s is not an HSM key, which begins with pkcs11:", keys.Short(k.Name()))
		}
		list = append(list, k)
	}
	if len(names) == 0 {
		var err error
		if list, err = configuredHSMKeys(p); err != nil {
			return err
		}
	}
	var failed failures
	for _, k := range list {
		if err := keys.Prove(cmd.Context(), k); err != nil {
			failed = append(failed, objection{err})
		} else if err := p.ui.printf("%s works", k.Name()); err != nil {
			return err
		}
	}
	return failed.err()
}

func isHSMKey(name string) bool {
	return len(name) >= len("pkcs11:") && strings.EqualFold(name[:len("pkcs11:")], "pkcs11:")
}

// configuredHSMKeys returns the HSM keys that the config in force in this directory
// names. There is at least one.
func configuredHSMKeys(p *process) (list []keys.MasterKey, err error) {
	path := p.setup().Config
	if path == "" {
		if path, err = config.Find(filepath.Join(".", "secrets.yaml")); err != nil {
			return nil, err
		}
	}
	if path == "" {
		return nil, hinted{errors.New("there is no config here that names keys"), "name the key: kenv hsm check pkcs11:token=…;object=…"}
	}
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	for _, r := range c.Rules {
		for _, n := range slices.Concat(r.Groups...) {
			if !isHSMKey(n.Name) {
				continue
			}
			k, err := p.table.Make(keys.Spec{Name: n.Name, Attrs: n.Attrs})
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, n.Line, err)
			}
			if !slices.ContainsFunc(list, func(other keys.MasterKey) bool { return other.Name() == k.Name() }) {
				list = append(list, k)
			}
		}
	}
	if len(list) == 0 {
		return nil, hinted{fmt.Errorf("%s names no HSM key", path), "kenv hsm enroll prints how to name one"}
	}
	return list, nil
}

// An objection is what a check found wrong.
type objection struct{ error }

func (o objection) Unwrap() []error { return []error{o.error, errObjection} }
