package awskms

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/kenvhq/kenv/pkg/keys"
)

const (
	callLimit  = 15 * time.Second // a call with all its retries, in all Regions
	dialLimit  = 3 * time.Second
	atOnce     = 32      // calls
	maxRegions = 3       // in which a multi-Region key is tried
	maxAnswer  = 1 << 20 // bytes of an answer that are read
)

// clients is what the keys share: what was found out about credentials, the services
// that were set up, and the data keys that were unwrapped.
type clients struct {
	env    keys.Env
	memo   memo
	public sync.Map      // RSA public keys by fingerprint
	slots  chan struct{} // a token for each call that may be under way
	http   func() *awshttp.BuildableClient

	mu         sync.Mutex
	identities map[string]*identity // by profile
	services   map[place]*service
	warned     map[string]bool // endpoints
}

// A place is where a client sends calls and as whom.
type place struct{ region, profile, role string }

func newClients(env keys.Env) *clients {
	return &clients{
		env:   env,
		slots: make(chan struct{}, atOnce),
		http: sync.OnceValue(func() *awshttp.BuildableClient {
			return awshttp.NewBuildableClient().
				WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialLimit }).
				WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = atOnce })
		}),
		identities: make(map[string]*identity),
		services:   make(map[place]*service),
		warned:     make(map[string]bool),
	}
}

// defaultRegion is where a key is whose name does not say it.
func (c *clients) defaultRegion() string {
	if region := c.env.Var("AWS_REGION"); region != "" {
		return region
	}
	return c.env.Var("AWS_DEFAULT_REGION")
}

// settings returns a setting that may be a list.
func (c *clients) settings(name string) []string {
	var list []string
	for s := range strings.SplitSeq(c.env.Set(name), ",") {
		list = appendNew(list, strings.TrimSpace(s))
	}
	return list
}

// A path is how a key is reached.
type path struct {
	role, profile string
	// What only the file asked for, and was not done.
	refusedRole, refusedProfile string
}

// path works out how to reach the key. A user or a config may say it; a file may only
// choose among what they say.
func (k *key) path(ctx context.Context) path {
	profiles := k.clients.settings("aws_profile")
	if !k.entry {
		p := path{role: k.role, profile: k.profile}
		if p.profile == "" && len(profiles) > 0 {
			p.profile = profiles[0]
		}
		return p
	}
	roles := k.clients.settings("aws_roles")
	var named []string // profiles for this key
	for _, m := range keys.Named(ctx) {
		n, ok := m.(*key)
		if !ok || n.entry {
			continue
		}
		roles = appendNew(roles, n.role)
		if n.means(k.arn, k.alias) {
			named = appendNew(named, n.profile)
		}
	}
	profiles = appendNew(named, profiles...)
	var p path
	switch {
	case slices.Contains(profiles, k.profile):
		p.profile = k.profile
	case len(profiles) > 0:
		p.profile = profiles[0]
	}
	if p.profile != k.profile {
		p.refusedProfile = k.profile
	}
	if slices.Contains(roles, k.role) {
		p.role = k.role
	} else {
		p.refusedRole = k.role
	}
	return p
}

// hint says what a file asked for in vain.
func (p path) hint() string {
	switch {
	case p.refusedRole != "":
		return "the file's role " + p.refusedRole + " was not taken on, as only the file names it; to trust it, name the key as ARN+ROLE in the config, or list the role under aws_roles in kenv's config.yaml"
	case p.refusedProfile != "":
		return "the file's AWS profile " + keys.Short(p.refusedProfile) + " was not used, as only the file names it; to trust it, set it as aws_profile in the config, or in kenv's config.yaml"
	}
	return ""
}

// regions returns where a key is tried, in this order.
func (k *key) regions(ctx context.Context, target arn) []string {
	regions := []string{target.region}
	if !target.everywhere() {
		return regions
	}
	for _, m := range keys.Named(ctx) {
		if n, ok := m.(*key); ok && n.arn.is(target) {
			regions = appendNew(regions, n.arn.region)
		}
	}
	if region := k.clients.defaultRegion(); isRegion(region) {
		regions = appendNew(regions, region)
	}
	return regions[:min(len(regions), maxRegions)]
}

// A request is what is done with a service: one call, for a key, with the retries that
// the options have.
type request[T any] func(ctx context.Context, s *service, keyID string, o func(*kms.Options)) (T, error)

// hastily makes a call that is not worth waiting long for, as another can be made.
func hastily(o *kms.Options) { o.RetryMaxAttempts = 2 }

func patiently(*kms.Options) {}

// call has a key's service do something, under a deadline, and explains what it
// failed with.
func call[T any](ctx context.Context, k *key, p path, target arn, op string, do request[T]) (T, error) {
	var none T
	c := k.clients
	regions := k.regions(ctx, target)
	var first error
	for i, region := range regions {
		s := c.service(place{region, p.profile, p.role})
		retries := hastily
		if i == len(regions)-1 {
			retries = patiently
		}
		v, err := attempt(ctx, c, s, callLimit/time.Duration(len(regions)), func(ctx context.Context) (T, error) {
			return do(ctx, s, target.in(region).id(), retries)
		})
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		var away *noCredentialsError
		if errors.As(err, &away) {
			return none, away.with(p.hint())
		}
		if first == nil {
			first = s.explain(ctx, err, target.in(region), op, p)
		}
		if !mayWorkElsewhere(err) {
			break
		}
	}
	return none, first
}

// attempt makes one call of a service.
func attempt[T any](ctx context.Context, c *clients, s *service, limit time.Duration, do func(context.Context) (T, error)) (T, error) {
	var none T
	if err := s.ready(ctx); err != nil {
		return none, err
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	v, err := do(ctx)
	if err != nil && ctx.Err() != nil {
		err = &timeoutError{limit, err}
	}
	return v, err
}

// A service is KMS in one Region, called as one identity.
type service struct {
	place
	clients  *clients
	identity *identity
	turn     chan struct{} // holds one token: one caller sets up

	// Set once ready.
	kms     *kms.Client
	sts     *sts.Client
	assumed *aws.CredentialsCache // nil without a role
}

func (c *clients) service(p place) *service {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.services[p]
	if s == nil {
		id := c.identities[p.profile]
		if id == nil {
			id = newIdentity(c.env, p.profile, c.http)
			c.identities[p.profile] = id
		}
		s = &service{place: p, clients: c, identity: id, turn: make(chan struct{}, 1)}
		c.services[p] = s
	}
	return s
}

// ready sees to it that the service can be called: that it is set up and that there
// are credentials, which it may ask the user for.
func (s *service) ready(ctx context.Context) error {
	cfg, err := s.identity.ready(ctx, s.region)
	if err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.kms == nil {
		s.setUp(cfg)
	}
	if s.assumed == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	_, err = s.assumed.Retrieve(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = &timeoutError{callLimit, err}
	}
	return &roleError{err}
}

func (s *service) setUp(cfg aws.Config) {
	cfg = cfg.Copy()
	cfg.Region = s.region
	cfg.HTTPClient = plainBodies{cfg.HTTPClient}
	if s.role != "" {
		s.assumed = assumeRole(cfg, s.role)
		cfg.Credentials = s.assumed
	}
	s.kms, s.sts = kms.NewFromConfig(cfg), sts.NewFromConfig(cfg)
	s.clients.warnOfClearText(s.kms.Options().BaseEndpoint, s.sts.Options().BaseEndpoint)
}

// plainBodies sends requests whose bodies can only be read. The SDK closes a body as
// soon as there is an answer; its WriteTo then fails where its Read is at the end, and
// net/http, if it is not done with the body yet, drops the connection and the answer. Of
// an answer it passes on what any of KMS or STS has room in.
type plainBodies struct{ aws.HTTPClient }

func (c plainBodies) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	resp, err := c.HTTPClient.Do(r)
	if resp != nil && resp.Body != nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// warnOfClearText warns of endpoints that data keys would travel to unencrypted.
func (c *clients) warnOfClearText(endpoints ...*string) {
	for _, e := range endpoints {
		u, err := url.Parse(aws.ToString(e))
		if err != nil || u.Scheme != "http" || isLoopback(u.Hostname()) {
			continue
		}
		c.mu.Lock()
		known := c.warned[u.Host]
		c.warned[u.Host] = true
		c.mu.Unlock()
		if !known {
			c.env.Warnf("the AWS endpoint http://%s is not encrypted: data keys can be read on the way", u.Host)
		}
	}
}

// shown returns an endpoint without a password that may be in it.
func shown(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "what is not a URL"
	}
	return u.Redacted()
}

func isLoopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}
