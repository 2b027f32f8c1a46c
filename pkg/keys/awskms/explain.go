package awskms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// whoLimit is how long a message may wait for who the caller is.
const whoLimit = 2 * time.Second

// A failure is an error of AWS in words that help. The cause is for errors.As: its own
// text is not shown.
type failure struct {
	text  string
	cause error
}

func (e *failure) Error() string { return e.text }
func (e *failure) Unwrap() error { return e.cause }

// A timeoutError says that a call ran into its own deadline.
type timeoutError struct {
	limit time.Duration
	cause error
}

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.limit) }

// A roleError is one of taking on a role.
type roleError struct{ cause error }

func (e *roleError) Error() string { return e.cause.Error() }
func (e *roleError) Unwrap() error { return e.cause }

// mayWorkElsewhere reports whether an error is one of a Region: it does not answer, is
// out of order, or has too much to do. What a key or policy says holds in each Region.
func mayWorkElsewhere(err error) bool {
	var late *timeoutError
	var send *smithyhttp.RequestSendError
	return errors.As(err, &late) || errors.As(err, &send) || status(err) >= http.StatusInternalServerError || isThrottling(err)
}

func status(err error) int {
	var r *awshttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

func isThrottling(err error) bool {
	_, yes := retry.DefaultThrottleErrorCodes[code(err)]
	return yes
}

func code(err error) string {
	var said smithy.APIError
	if errors.As(err, &said) {
		return said.ErrorCode()
	}
	return ""
}

// explain says what a call failed with and what to do about it. KMS's own message is
// repeated only where it is known to be about the key and the caller: one about a
// request might repeat what was to be encrypted.
func (s *service) explain(ctx context.Context, err error, target arn, op string, p path) error {
	text := s.reason(ctx, err, target, op)
	if hint := p.hint(); hint != "" {
		text += "; " + hint
	}
	var r *awshttp.ResponseError
	if errors.As(err, &r) && r.ServiceRequestID() != "" {
		text += fmt.Sprintf(" (request %.64q)", r.ServiceRequestID())
	}
	return &failure{text, err}
}

func (s *service) reason(ctx context.Context, err error, target arn, op string) string {
	var late *timeoutError
	var send *smithyhttp.RequestSendError
	var role *roleError
	service := "KMS"
	if errors.As(err, &role) {
		service = "STS"
	}
	switch {
	case errors.As(err, &late):
		return fmt.Sprintf("no answer from %s in %s within %v; check the network, its proxy or VPC endpoint, and whether that is the right Region", service, s.region, late.limit)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer from %s in %s in time", service, s.region)
	case errors.As(err, &send):
		return fmt.Sprintf("%s in %s cannot be reached: %v; check the network, its proxy or VPC endpoint, and whether that is the right Region", service, s.region, innermost(send))
	case isThrottling(err):
		return fmt.Sprintf("%s in %s is throttling requests; try again later, or have the account's quota raised", service, s.region)
	}
	aliasOrKey := "key"
	if target.isAlias() {
		aliasOrKey = "alias"
	}
	switch c := code(err); c {
	case "ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired":
		return fmt.Sprintf("the session of %s has ended; sign in again (aws sso login --profile %s) or renew AWS_SESSION_TOKEN", s.identity.source(), s.identity.profileName())
	case "UnrecognizedClientException", "InvalidClientTokenId":
		return fmt.Sprintf("AWS does not know the access key of %s; it was deleted, or is of another partition", s.identity.source())
	case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException":
		return fmt.Sprintf("the secret access key of %s is wrong, or this machine's clock is", s.identity.source())
	case "InvalidIdentityToken", "IDPRejectedClaim", "IDPCommunicationError":
		return fmt.Sprintf("STS does not accept %s%s", s.identity.source(), said(err))
	case "AccessDeniedException", "AccessDenied":
		if role != nil {
			of := s.role
			if of == "" {
				of = "the role of " + s.identity.name()
			}
			return fmt.Sprintf("%s cannot be taken on%s; its trust policy, and a policy of whoever calls, must allow sts:AssumeRole", of, said(err))
		}
		return fmt.Sprintf("%s may not call kms:%s%s; a policy of theirs or of the key must allow it, with the encryption context that the key has", s.who(ctx), op, said(err))
	case "DisabledException":
		return fmt.Sprintf("the KMS key is disabled in %s; enable it again (aws kms enable-key --region %[1]s --key-id %s), or use another of the file's keys", s.region, target.id())
	case "KMSInvalidStateException":
		return fmt.Sprintf("the KMS key cannot be used in %s in its state%s; if it is to be deleted, aws kms cancel-key-deletion --region %[1]s --key-id %s keeps it", s.region, said(err), target.id())
	case "NotFoundException":
		return fmt.Sprintf("there is no such %s in %s; check its ARN, and that Region and account are right", aliasOrKey, s.region)
	case "InvalidCiphertextException":
		return "KMS cannot decrypt the entry: the encryption context is another one than when it was made, or the entry is damaged or of another key; restore it from an earlier version of the file"
	case "IncorrectKeyException":
		if target.isAlias() {
			return "the entry was made with another key than the one that the alias means by now; name the earlier key by its ARN, or restore the alias"
		}
		return "the entry was made with another key than the one that it names; restore it from an earlier version of the file"
	case "InvalidKeyUsageException", "UnsupportedOperationException":
		return fmt.Sprintf("the KMS key is not of the kind that %s needs: kenv uses symmetric keys and, with their public half in the config, RSA keys for encrypting", op)
	case "KeyUnavailableException", "DependencyTimeoutException", "KMSInternalException", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException":
		return fmt.Sprintf("%s in %s is out of order at the moment (%s); try again", service, s.region, c)
	case "":
		if n := status(err); n != 0 {
			return fmt.Sprintf("%s in %s gave an answer that makes no sense, with HTTP status %d; check the endpoint (AWS_ENDPOINT_URL)", service, s.region, n)
		}
		return fmt.Sprintf("calling %s in %s did not work: %v", service, s.region, innermost(err))
	default:
		return fmt.Sprintf("%s in %s refuses %s: %.80s", service, s.region, op, c)
	}
}

// said returns the message of AWS as part of a sentence.
func said(err error) string {
	const longest = 400
	var a smithy.APIError
	if !errors.As(err, &a) || a.ErrorMessage() == "" {
		return ""
	}
	r := []rune(a.ErrorMessage())
	return fmt.Sprintf(" (AWS says: %s)", string(r[:min(len(r), longest)]))
}

// innermost returns the error at the end of a chain, without what the SDK puts before
// it.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// who says who calls, if STS tells soon.
func (s *service) who(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, whoLimit)
	defer cancel()
	out, err := s.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "the caller"
	}
	return cmp.Or(aws.ToString(out.Arn), "the caller")
}
