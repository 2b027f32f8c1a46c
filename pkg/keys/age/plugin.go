package age

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/secret"
)

// notStarted is the error where plugins are not allowed.
func notStarted(name string) error {
	return fmt.Errorf("age-plugin-%s is needed, and this command starts no plugins", name)
}

// A pluginRecipient wraps by starting its plugin.
type pluginRecipient struct {
	ctx context.Context
	*plugin.Recipient
}

func (p pluginRecipient) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	stanzas, _, err := p.WrapWithLabels(fileKey)
	return stanzas, err
}

func (p pluginRecipient) WrapWithLabels(fileKey []byte) ([]*age.Stanza, []string, error) {
	type wrapped struct {
		stanzas []*age.Stanza
		labels  []string
	}
	w, err := await(p.ctx, func() (w wrapped, err error) {
		w.stanzas, w.labels, err = p.Recipient.WrapWithLabels(fileKey)
		return w, err
	})
	return w.stanzas, w.labels, pluginError(err)
}

// A pluginIdentity unwraps by starting its plugin.
type pluginIdentity struct {
	env      keys.Env
	name     string
	encoding string
}

func (p *pluginIdentity) rank() rank {
	if !p.env.AllowPlugins {
		return native // it costs nothing to say no
	}
	return asking
}

// public is not known: only the plugin could tell.
func (p *pluginIdentity) public() string { return "" }

func (p *pluginIdentity) unwrap(ctx context.Context, stanzas []*age.Stanza) ([]byte, error) {
	if !p.env.AllowPlugins {
		return nil, notStarted(p.name)
	}
	id, err := plugin.NewIdentity(p.encoding, clientUI(ctx, p.env))
	if err != nil {
		return nil, err
	}
	fileKey, err := await(ctx, func() ([]byte, error) { return id.Unwrap(stanzas) })
	return fileKey, pluginError(err)
}

// await returns what f returns, or the context's error as soon as that ends. age's
// plugin client takes no context; the plugin left behind ends with this program.
func await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		secret.Do(func() { r.v, r.err = f() })
		done <- r
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

func pluginError(err error) error {
	var missing *plugin.NotFoundError
	if errors.As(err, &missing) {
		return fmt.Errorf("age-plugin-%s is needed and not on the PATH; install it", missing.Name)
	}
	return err
}

// clientUI lets plugins talk to the person through env.
func clientUI(ctx context.Context, env keys.Env) *plugin.ClientUI {
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error {
			env.Warnf("age-plugin-%s: %s", name, message)
			return nil
		},
		RequestValue: func(name, prompt string, _ bool) (string, error) {
			answer, err := env.Ask(ctx, fmt.Sprintf("age-plugin-%s: %s: ", name, prompt))
			defer clear(answer)
			return string(answer), err
		},
		Confirm: func(name, prompt, yes, no string) (bool, error) {
			text := fmt.Sprintf("age-plugin-%s: %s (enter for %q): ", name, prompt, yes)
			if no != "" {
				text = fmt.Sprintf("age-plugin-%s: %s (1 for %q, 2 for %q): ", name, prompt, yes, no)
			}
			answer, err := env.Ask(ctx, text)
			if err != nil {
				return false, err
			}
			defer clear(answer)
			switch strings.TrimSpace(string(answer)) {
			case "1":
				return true, nil
			case "2":
				return false, nil
			case "":
				if no == "" {
					return true, nil
				}
			}
			return false, errors.New("not an answer to the question")
		},
		WaitTimer: func(name string) {
			env.Warnf("waiting for age-plugin-%s", name)
		},
	}
}
