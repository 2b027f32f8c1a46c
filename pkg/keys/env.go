package keys

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoTerminal is wrapped by the error of [Env.Ask] when there is nobody to ask.
var ErrNoTerminal = errors.New("there is no terminal to ask on")

// Env is what providers need from outside. The zero Env is a program without
// environment, directories or terminal, in which no secret key is at hand.
type Env struct {
	Getenv    func(name string) string // "" for a variable that is not set
	HomeDir   string                   // the user's home; "" when there is none
	ConfigDir string                   // kenv's own: $XDG_CONFIG_HOME/kenv or ~/.config/kenv

	// Setting returns what the user has set on this machine under a name such as
	// "pkcs11_module": by flag, else by the environment variable KENV_PKCS11_MODULE,
	// else in config.yaml in ConfigDir; "" if nowhere. Nothing that a repository
	// holds has a say in it.
	Setting func(name string) string

	// Prompt asks the person on the terminal, without echo, and returns the answer,
	// which whoever asked wipes. The text ends in ": "; parts of it may come from a
	// plugin, so it is shown escaped. Nil when nobody may be asked, by programs such as
	// gpg neither.
	Prompt func(ctx context.Context, text string) ([]byte, error)
	// Warn tells the person something that is not an error.
	Warn func(format string, args ...any)

	// AllowPlugins lets key plugins be started: programs on the PATH whose names
	// files may choose.
	AllowPlugins bool
}

// ProcessEnv returns an Env with the environment and home directory of this process, and
// settings from its environment alone. There is nobody to ask, and no plugin is started.
func ProcessEnv() Env {
	home, _ := os.UserHomeDir() // "" is an answer, too
	env := Env{Getenv: os.Getenv, HomeDir: home}
	if dir := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		env.ConfigDir = filepath.Join(dir, "kenv")
	} else if home != "" {
		env.ConfigDir = filepath.Join(home, ".config", "kenv")
	}
	env.Setting = func(name string) string { return os.Getenv("KENV_" + strings.ToUpper(name)) }
	return env
}

// Var returns an environment variable, or "".
func (e Env) Var(name string) string {
	if e.Getenv == nil {
		return ""
	}
	return e.Getenv(name)
}

// Set returns one of the user's settings, or "".
func (e Env) Set(name string) string {
	if e.Setting == nil {
		return ""
	}
	return e.Setting(name)
}

// Ask prompts, or returns an error that wraps ErrNoTerminal.
func (e Env) Ask(ctx context.Context, text string) ([]byte, error) {
	if e.Prompt == nil {
		return nil, ErrNoTerminal
	}
	return e.Prompt(ctx, text)
}

// Warnf warns, where there is somebody to warn.
func (e Env) Warnf(format string, args ...any) {
	if e.Warn != nil {
		e.Warn(format, args...)
	}
}
