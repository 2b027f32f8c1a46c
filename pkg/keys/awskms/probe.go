package awskms

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/kenvhq/kenv/pkg/keys"
)

const (
	probeLimit   = 10 * time.Second
	examineLimit = 3 * time.Second
)

// Probe asks KMS, by dry runs, whether the caller may encrypt and decrypt with the key.
// For an entry of a symmetric key it has KMS decrypt it, as only that tells which key
// material it was made with; what comes out is wiped.
func (k *key) Probe(ctx context.Context, e keys.Entry) keys.Finding {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	f := keys.Finding{What: k.Name(), State: keys.Missing}
	target := k.target(e)
	// Encrypting comes first: a server that pays no heed to dry runs does no harm there.
	encrypt := k.try(ctx, target, "Encrypt", func(ctx context.Context, s *service, keyID string) error {
		_, err := s.kms.Encrypt(ctx, &kms.EncryptInput{
			KeyId: &keyID, Plaintext: make([]byte, keys.MaxDataKey/2), EncryptionContext: k.context, EncryptionAlgorithm: k.algorithm(),
			DryRun: aws.Bool(true),
		}, hastily)
		return err
	})
	if encrypt == nil {
		f.State, f.Detail = keys.Note, "not supported here: the server pays no heed to dry runs"
		return f
	}
	decrypt := encrypt
	if isDry(encrypt) || isDenied(encrypt) {
		decrypt = k.try(ctx, target, "Decrypt", func(ctx context.Context, s *service, keyID string) error {
			_, err := s.kms.Decrypt(ctx, &kms.DecryptInput{
				KeyId: &keyID, EncryptionContext: k.context, EncryptionAlgorithm: k.algorithm(),
				DryRun: aws.Bool(true), DryRunModifiers: []types.DryRunModifierType{types.DryRunModifierTypeIgnoreCiphertext},
			}, hastily)
			return err
		})
	}
	var away *noCredentialsError
	switch {
	case isDry(decrypt) && isDry(encrypt):
		f.State, f.Detail = keys.OK, "may encrypt and decrypt"
	case isDry(decrypt) && k.fp != "":
		f.State, f.Detail = keys.OK, "may decrypt; encrypting needs no permission"
	case isDry(decrypt):
		f.State, f.Detail = keys.OK, "may decrypt, not encrypt"
	case isDry(encrypt) && isDenied(decrypt):
		f.State, f.Detail = keys.Note, "may encrypt, not decrypt"
		return f
	case errors.As(decrypt, &away):
		f.Detail, f.Hint = away.Error(), away.next
		return f
	case decrypt == nil:
		f.State, f.Detail = keys.Note, "not supported here: the server pays no heed to dry runs"
		return f
	case errors.Is(decrypt, context.DeadlineExceeded):
		f.Detail = fmt.Sprintf("no answer from KMS in %s within %v", target.region, probeLimit)
		return f
	default:
		f.Detail, f.Hint, _ = strings.Cut(decrypt.Error(), "; ")
		return f
	}
	if k.isOld(ctx, target, e) {
		f.State = keys.Note
		f.Detail += "; the file's entry was made with older key material than the key's current one"
		f.Hint = "kenv rotate -i, or kenv updatekeys, wraps anew"
	}
	return f
}

func (k *key) try(ctx context.Context, target arn, op string, do func(context.Context, *service, string) error) error {
	_, err := call(ctx, k, k.path(ctx), target, op, func(ctx context.Context, s *service, keyID string, _ func(*kms.Options)) (struct{}, error) {
		return struct{}{}, do(ctx, s, keyID)
	})
	return err
}

// isDry reports whether an error says that a call would have worked.
func isDry(err error) bool {
	var dry *types.DryRunOperationException
	return errors.As(err, &dry)
}

func isDenied(err error) bool { return code(err) == "AccessDeniedException" }

// isOld reports whether an entry was made with key material that has been rotated
// away, as far as KMS tells.
func (k *key) isOld(ctx context.Context, target arn, e keys.Entry) bool {
	if e.Kind != Kind || k.kind() != Kind {
		return false
	}
	blob, err := decodeBlob(e.Field("enc"))
	if err != nil {
		return false
	}
	out, err := k.decrypt(ctx, k.path(ctx), target, blob)
	if err != nil {
		return false
	}
	clear(out.Plaintext)
	var current string
	err = k.try(ctx, target, "DescribeKey", func(ctx context.Context, s *service, keyID string) error {
		d, err := s.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &keyID}, hastily)
		if err == nil && d.KeyMetadata != nil {
			current = aws.ToString(d.KeyMetadata.CurrentKeyMaterialId)
		}
		return err
	})
	used := aws.ToString(out.KeyMaterialId)
	return err == nil && used != "" && current != "" && used != current
}

// examine looks at what the SDK would use here. It starts no program and asks nobody;
// STS tells who the credentials are of.
func (c *clients) examine(ctx context.Context) []keys.Finding {
	ctx, cancel := context.WithTimeout(keys.Quiet(ctx), examineLimit)
	defer cancel()
	region := c.defaultRegion()
	var findings []keys.Finding
	add := func(what, state, detail, hint string) {
		findings = append(findings, keys.Finding{What: what, State: state, Detail: detail, Hint: hint})
	}
	profile := ""
	if list := c.settings("aws_profile"); len(list) > 0 {
		profile = list[0]
	}
	s := c.service(place{region: region, profile: profile})
	if region == "" {
		s = c.service(place{region: "us-east-1", profile: profile}) // STS answers there too
	}
	var away *noCredentialsError
	switch err := s.ready(ctx); {
	case errors.As(err, &away) && away.asks:
		add("AWS credentials", keys.Note, strings.Join(away.looked, ", "), "")
	case errors.As(err, &away):
		add("AWS credentials", keys.Missing, "none; looked in "+strings.Join(away.looked, ", "), away.next)
	case err != nil:
		add("AWS credentials", keys.Missing, s.reason(ctx, err, arn{}, "GetCallerIdentity"), "")
	default:
		detail := "from " + s.identity.source()
		state := keys.OK
		if out, err := s.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}); err == nil {
			detail += ": " + aws.ToString(out.Arn)
		} else {
			state = keys.Warning
			detail += "; whose they are is not known: " + s.reason(ctx, &roleError{err}, arn{}, "GetCallerIdentity")
		}
		add("AWS credentials", state, detail, "")
	}
	if region == "" {
		add("AWS Region", keys.Note, "not set; only keys that are not named by their ARN need it", "")
	} else {
		add("AWS Region", keys.OK, region, "")
	}
	if s.kms != nil {
		for _, e := range []struct {
			what string
			at   *string
		}{{"KMS endpoint", s.kms.Options().BaseEndpoint}, {"STS endpoint", s.sts.Options().BaseEndpoint}} {
			if e.at != nil {
				add(e.what, keys.Note, fmt.Sprintf("set to %s", shown(*e.at)), "")
			}
		}
	}
	return findings
}
