package awskms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"github.com/kenvhq/kenv/pkg/keys"
)

// How long credentials may take.
const (
	findLimit    = 2500 * time.Millisecond // from files and the network nearby
	programLimit = 30 * time.Second        // from a program or a sign-on service
	askLimit     = 2 * time.Minute         // when somebody types an MFA code
	failureHolds = 20 * time.Second        // before it is tried again
)

// A noCredentialsError says that there is nobody to call AWS as.
type noCredentialsError struct {
	looked []string
	asks   bool   // under a quiet context, and asking might help
	next   string // what to type, or ""
}

func (e *noCredentialsError) Error() string {
	return "no AWS credentials; looked in " + strings.Join(e.looked, ", ")
}

// with returns the error with a hint, if there is one.
func (e *noCredentialsError) with(hint string) *noCredentialsError {
	if hint == "" {
		return e
	}
	more := *e
	more.looked = append(slices.Clone(e.looked), "the file ("+hint+")")
	return &more
}

// An identity is who the user, or a profile of theirs, is to AWS.
type identity struct {
	env     keys.Env
	profile string // "" for what the environment says
	http    func() *awshttp.BuildableClient
	turn    chan struct{} // holds one token: one caller looks for credentials

	cfg     aws.Config
	loaded  bool
	mfa     string // serial number of the device whose code is needed
	found   bool   // credentials, at some time
	expires time.Time
	failure error // remembered until retry
	retry   time.Time

	ask atomic.Pointer[func() (string, error)] // for an MFA code; nil while nobody may be asked
}

func newIdentity(env keys.Env, profile string, client func() *awshttp.BuildableClient) *identity {
	return &identity{env: env, profile: profile, http: client, turn: make(chan struct{}, 1)}
}

// ready returns a configuration with credentials in it that have not expired. The
// Region is for the services that are needed to get them.
func (id *identity) ready(ctx context.Context, region string) (aws.Config, error) {
	select {
	case id.turn <- struct{}{}:
		defer func() { <-id.turn }()
	case <-ctx.Done():
		return aws.Config{}, ctx.Err()
	}
	if id.failure != nil && time.Now().Before(id.retry) {
		return aws.Config{}, id.failure
	}
	err := id.find(ctx, region)
	if ctx.Err() != nil {
		return aws.Config{}, ctx.Err()
	}
	if id.failure = nil; err != nil {
		if !keys.IsQuiet(ctx) {
			id.failure, id.retry = err, time.Now().Add(failureHolds)
		}
		return aws.Config{}, err
	}
	return id.cfg, nil
}

func (id *identity) find(ctx context.Context, region string) error {
	if id.env.Getenv == nil {
		return &noCredentialsError{looked: []string{"no environment"}}
	}
	if !id.loaded {
		if err := id.load(ctx, region); err != nil {
			return err
		}
	}
	if id.found && (id.expires.IsZero() || time.Now().Before(id.expires)) {
		return nil
	}
	limit := findLimit
	switch {
	case id.asksProgram(), id.asksSignOn():
		limit = programLimit
	case id.asksSTS():
		limit = callLimit
	}
	if keys.IsQuiet(ctx) && (id.mfa != "" || id.asksProgram()) {
		return &noCredentialsError{looked: []string{id.name() + " (needs an MFA code or a program, and nobody was asked)"}, asks: true}
	}
	if id.mfa != "" {
		limit = askLimit
		ask := func() (string, error) {
			code, err := id.env.Ask(ctx, fmt.Sprintf("MFA code of %s for %s: ", id.mfa, id.name()))
			defer clear(code)
			return strings.TrimSpace(string(code)), err
		}
		id.ask.Store(&ask)
		defer id.ask.Store(nil)
	}
	wait, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := id.cfg.Credentials.Retrieve(wait)
	if err != nil {
		return id.explain(err, wait.Err() != nil)
	}
	id.found, id.expires = true, time.Time{}
	if found.CanExpire {
		id.expires = found.Expires
	}
	return nil
}

// load reads the user's AWS configuration.
func (id *identity) load(ctx context.Context, region string) error {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(region),
		config.WithSharedConfigProfile(id.profile),
		config.WithHTTPClient(id.http()),
		config.WithLogger(logging.Nop{}), // which says on stderr what is no concern of anybody
		config.WithAssumeRoleCredentialOptions(func(o *stscreds.AssumeRoleOptions) {
			if o.SerialNumber != nil {
				id.mfa = *o.SerialNumber
			}
			o.TokenProvider = func() (string, error) {
				if ask := id.ask.Load(); ask != nil {
					return (*ask)()
				}
				return "", keys.ErrNoTerminal
			}
		}),
	)
	var missing config.SharedConfigProfileNotExistError
	switch {
	case errors.As(err, &missing):
		return &noCredentialsError{looked: []string{id.name() + " (not in ~/.aws/config or ~/.aws/credentials)"}}
	case err != nil:
		return fmt.Errorf("%s cannot be used: %w", id.name(), err)
	}
	if cfg.RetryMode == "" && cfg.RetryMaxAttempts == 0 {
		// Throttling passes sooner than the SDK's own pauses of up to 20 seconds.
		cfg.Retryer = func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 6, time.Second })
		}
	}
	id.cfg, id.loaded = cfg, true
	return nil
}

// name is how messages name the identity.
func (id *identity) name() string {
	return "AWS profile " + id.profileName()
}

func (id *identity) profileName() string {
	return cmp.Or(id.profile, id.env.Var("AWS_PROFILE"), id.env.Var("AWS_DEFAULT_PROFILE"), "default")
}

// has reports whether credentials come from one of these sources.
func (id *identity) has(sources ...aws.CredentialSource) bool {
	p, ok := id.cfg.Credentials.(aws.CredentialProviderSource)
	return ok && slices.ContainsFunc(p.ProviderSources(), func(s aws.CredentialSource) bool { return slices.Contains(sources, s) })
}

// source says where credentials come from.
func (id *identity) source() string {
	switch {
	case id.has(aws.CredentialSourceEnvVars):
		return "environment variables"
	case id.has(aws.CredentialSourceProcess):
		return "credential_process of " + id.name()
	case id.has(aws.CredentialSourceSSO, aws.CredentialSourceSSOLegacy):
		return "the SSO session of " + id.name()
	case id.has(aws.CredentialSourceLogin):
		return "the sign-in of " + id.name()
	case id.has(aws.CredentialSourceEnvVarsSTSWebIDToken):
		return "the web identity token in AWS_WEB_IDENTITY_TOKEN_FILE"
	case id.has(aws.CredentialSourceProfileSTSWebIDToken):
		return "the web identity token of " + id.name()
	case id.has(aws.CredentialSourceHTTP):
		return "the container's credentials"
	case id.has(aws.CredentialSourceIMDS):
		return "EC2 instance metadata"
	}
	return id.name()
}

// explain says why there are no credentials. The secret half is not at hand, unless
// AWS itself was asked and said no.
func (id *identity) explain(err error, late bool) error {
	why := "none there"
	if late {
		why = "no answer"
	}
	none := func(next, format string, args ...any) error {
		return &noCredentialsError{looked: []string{fmt.Sprintf(format, args...)}, next: next}
	}
	var program *processcreds.ProviderError
	var op *smithy.OperationError
	switch {
	case errors.As(err, &op) && op.Service() == sts.ServiceID:
		return &roleError{err}
	case id.asksProgram():
		if errors.As(err, &program) {
			why = "failed: " + innermost(program).Error() // what the program said is on the terminal
		}
		return none("", "%s (%s)", id.source(), why)
	case id.asksSignOn():
		next := "aws sso login --profile " + id.profileName()
		if id.has(aws.CredentialSourceLogin) {
			next = "aws login --profile " + id.profileName()
		}
		if !late {
			why = "not signed in, or no longer: run " + next
		}
		return none(next, "%s (%s)", id.source(), why)
	case errors.Is(err, keys.ErrNoTerminal):
		return none("", "%s (needs the MFA code of %s: %v)", id.name(), id.mfa, keys.ErrNoTerminal)
	case id.asksSTS() && late:
		return &roleError{&timeoutError{callLimit, err}}
	}
	var looked []string
	if id.profile == "" {
		looked = append(looked, "AWS_ACCESS_KEY_ID (not set)")
	}
	looked = append(looked, id.name()+" (no credentials)")
	if id.asksSTS() { // there is a token, and it cannot be read
		looked = append(looked, fmt.Sprintf("%s (%v)", id.source(), innermost(err)))
		return &noCredentialsError{looked: looked}
	}
	looked = append(looked, "AWS_WEB_IDENTITY_TOKEN_FILE (not set)")
	switch {
	case id.has(aws.CredentialSourceHTTP):
		looked = append(looked, fmt.Sprintf("the container's credentials (%s)", why))
	case strings.EqualFold(id.env.Var("AWS_EC2_METADATA_DISABLED"), "true"):
		looked = append(looked, "AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)", "EC2 instance metadata (turned off)")
	default:
		looked = append(looked, "AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)",
			fmt.Sprintf("EC2 instance metadata (%s; elsewhere than on EC2, AWS_EC2_METADATA_DISABLED=true saves the wait)", why))
	}
	return &noCredentialsError{looked: looked, next: "aws configure, or aws sso login, or set AWS_PROFILE"}
}

// asksProgram, asksSignOn and asksSTS say who is asked for credentials.
func (id *identity) asksProgram() bool { return id.has(aws.CredentialSourceProcess) }
func (id *identity) asksSignOn() bool {
	return id.has(aws.CredentialSourceSSO, aws.CredentialSourceSSOLegacy, aws.CredentialSourceLogin)
}
func (id *identity) asksSTS() bool {
	return id.has(aws.CredentialSourceSTSAssumeRole, aws.CredentialSourceSTSAssumeRoleWebID,
		aws.CredentialSourceEnvVarsSTSWebIDToken, aws.CredentialSourceProfileSTSWebIDToken)
}

var notInSessionName = regexp.MustCompile(`[^A-Za-z0-9_+=,.@-]`)

// assumeRole returns the credentials of a role, taken on with those of a
// configuration.
func assumeRole(cfg aws.Config, role string) *aws.CredentialsCache {
	return aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = sessionName()
	}))
}

// sessionName is what CloudTrail shows of whoever took on a role.
func sessionName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	name := notInSessionName.ReplaceAllString("kenv@"+host, "")
	return name[:min(len(name), 64)]
}
