// Command benchmark is the work of scripts/bench: it generates the files and runs
// the programs on them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "generate" {
		return generate(args[1])
	}
	if len(args) > 0 && args[0] == "tree" {
		return measureTree(args[1:])
	}
	if len(args) == 0 || args[0] != "measure" {
		return errors.New("usage: benchmark generate DIR | measure [-runs N] [-only TEXT] [-age AGE] [-dotenvx DOTENVX] DIR SOPS KENV | tree [-files N] [-delay TIME] DIR SOPS KENV")
	}
	flags := flag.NewFlagSet("measure", flag.ContinueOnError)
	runs := flags.Int("runs", 5, "runs of each program on a large file; small ones get more")
	only := flags.String("only", "", "measure only the work whose name has this text")
	age := flags.String("age", "", "the age program; none if empty")
	dotenvx := flags.String("dotenvx", "", "the dotenvx program; none if empty")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() != 3 || *runs < 1 {
		return errors.New("measure takes DIR SOPS KENV, and at least one run")
	}
	paths := [...]string{ofSops: flags.Arg(1), ofKenv: flags.Arg(2), ofAge: *age, ofDotenvx: *dotenvx}
	return measure(flags.Arg(0), paths[:], *runs, *only)
}
