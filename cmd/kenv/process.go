package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unicode"

	"github.com/kenvhq/kenv/pkg/config"
	"github.com/kenvhq/kenv/pkg/kenv"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/all"
	"github.com/kenvhq/kenv/pkg/secret"
	"github.com/spf13/cobra"
)

// A process is what commands share: the person, the environment, signals.
type process struct {
	ui     *ui
	env    keys.Env
	table  keys.Table
	tables func(keys.Env) keys.Table // makes table
	config string                    // as given by flag

	flagged  map[string]*string // the user's settings, those that are flags
	warned   sync.Once
	settings func() (map[string]string, error) // those of the user's config, read when asked for

	busy     sync.RWMutex // held, to read, while a file is being written
	signals  chan os.Signal
	handler  atomic.Pointer[func(syscall.Signal) bool]
	ended    atomic.Int32 // the signal that ends the process
	coreDump func()       // allows core dumps again, as far as they were

	hidden map[string]string // variables that no program is to inherit but one that is asked for
}

func newProcess() *process {
	p := &process{ui: newUI(os.Stdin, os.Stdout, os.Stderr), signals: make(chan os.Signal, 1), coreDump: forbidCoreDumps()}
	p.hideVariables()
	p.env = keys.ProcessEnv()
	p.env.Prompt, p.env.Warn, p.env.Setting, p.env.AllowPlugins = p.ui.prompt, p.ui.warnf, p.setting, true
	p.env.Getenv = p.getenv
	p.settings = sync.OnceValues(func() (map[string]string, error) {
		if p.env.ConfigDir == "" {
			return nil, nil
		}
		return config.User(filepath.Join(p.env.ConfigDir, config.UserName))
	})
	p.tables = all.Table
	p.table = p.tables(p.env)
	p.listen()
	return p
}

// secretVariables are the variables whose values are secrets that are kenv's business.
var secretVariables = []string{"KENV_AGE_KEY", "SOPS_AGE_KEY", "KENV_PKCS11_PIN"}

// hideVariables takes these out of the environment, which all that
// kenv starts inherits: editor, gpg, git, plugins, the command that prints an identity.
func (p *process) hideVariables() {
	p.hidden = map[string]string{}
	for _, name := range secretVariables {
		if value, ok := os.LookupEnv(name); ok {
			p.hidden[name] = value
			os.Unsetenv(name)
		}
	}
}

func (p *process) getenv(name string) string {
	if value, ok := p.hidden[name]; ok {
		return value
	}
	return os.Getenv(name)
}

// environ is the environment that kenv was started in.
func (p *process) environ() []string {
	env := os.Environ()
	for _, name := range secretVariables {
		if value, ok := p.hidden[name]; ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// forget leaves no secret in memory that is only of use for opening files. It is called
// before kenv waits for a program.
func (p *process) forget() {
	p.table.Forget()
	secret.Collect()
}

// addSetting makes one of the user's settings a flag of all commands.
func (p *process) addSetting(root *cobra.Command, name, flag, usage string) {
	if p.flagged == nil {
		p.flagged = map[string]*string{}
	}
	p.flagged[name] = root.PersistentFlags().String(flag, "", usage)
}

// setting is what keys.Env.Setting says. A file of settings that cannot be used has
// none, and its user is told.
func (p *process) setting(name string) string {
	if flag := p.flagged[name]; flag != nil && *flag != "" {
		return *flag
	}
	if value := keys.ProcessEnv().Set(name); value != "" {
		return value
	}
	settings, err := p.settings()
	if err != nil {
		p.warned.Do(func() { p.ui.warnf("%v", err) })
	}
	return settings[name]
}

// listen makes a signal end the process at once, but for a file that is being
// written: that is finished first. Signals that whoever started kenv has it ignore
// stay ignored.
func (p *process) listen() {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(p.signals, s)
		}
	}
	go func() {
		var s syscall.Signal
		for goOn := true; goOn; {
			var ok bool
			if s, ok = (<-p.signals).(syscall.Signal); !ok {
				return
			}
			if s != syscall.SIGINT {
				p.ended.Store(int32(s))
			}
			handler := p.handler.Load()
			goOn = handler != nil && (*handler)(s)
		}
		p.ended.Store(int32(s))
		p.busy.Lock() // waits for all that write, and is never unlocked: nothing is written any more
		p.ui.restoreTerminal()
		os.Exit(128 + int(s))
	}()
}

// intercept has a function look at signals first. If it returns true the process goes
// on, to an end of its own unless that was an interrupt; if false it ends as usual.
func (p *process) intercept(handler func(syscall.Signal) (goOn bool)) (release func()) {
	p.handler.Store(&handler)
	return func() { p.handler.Store(nil) }
}

// close stops listening. A signal that came meanwhile decides on the exit code.
func (p *process) close(code int) int {
	signal.Stop(p.signals)
	close(p.signals)
	if s := p.ended.Load(); s != 0 {
		return 128 + int(s)
	}
	return code
}

// handOver leaves signals to somebody else.
func (p *process) handOver() { signal.Stop(p.signals) }

// uninterrupted runs what writes a file. Several files may be written at a time.
func (p *process) uninterrupted(write func() error) error {
	p.busy.RLock()
	defer p.busy.RUnlock()
	return write()
}

// askingNobody is a table of keys that ask nobody anything and start no plugin.
func (p *process) askingNobody() keys.Table {
	env := p.env
	env.AllowPlugins, env.Prompt = false, nil
	return p.tables(env)
}

// setup is what pkg/kenv needs. It is made when flags have been read.
func (p *process) setup() kenv.Setup {
	config := p.config
	for _, name := range []string{"KENV_CONFIG", "SOPS_CONFIG"} {
		if config == "" {
			config = os.Getenv(name)
		}
	}
	order := p.setting("decryption_order")
	if order == "" {
		order = os.Getenv("SOPS_DECRYPTION_ORDER")
	}
	words := strings.FieldsFunc(order, func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
	return kenv.Setup{Keys: p.table, Getenv: p.getenv, Config: config, Order: words}
}
