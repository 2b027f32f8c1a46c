package awskms_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/kenvhq/kenv/pkg/keys/awskms"
	"github.com/kenvhq/kenv/pkg/keys/awskms/kmstest"
)

// someEntry is one that nobody could decrypt, for tests that do not come so far.
func someEntry(fields ...any) keys.Entry {
	return entryOf("kms", append([]any{"arn", keyARN, "enc", "AAAA"}, fields...)...)
}

// profiles writes an AWS config file for the time of a test.
func profiles(t *testing.T, text string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", path)
}

// silent returns the address of a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return "http://" + l.Addr().String()
}

// Without credentials the answer comes soon, and says where they were looked for.
func TestNoCredentials(t *testing.T) {
	const elsewhere = "; elsewhere than on EC2, AWS_EC2_METADATA_DISABLED=true saves the wait)"
	secret := "[profile p]\nregion = " + secretKey + "\n"
	for _, tt := range []struct {
		what    string
		vars    []string
		config  string
		profile string
		want    []string
	}{
		{"nothing", nil, "", "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile default (no credentials)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)", "EC2 instance metadata (turned off)"}},
		{"a profile without credentials", []string{"AWS_PROFILE", "p"}, secret, "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile p (no credentials)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)", "EC2 instance metadata (turned off)"}},
		{"no such profile", []string{"AWS_PROFILE", "nope"}, secret, "", []string{"AWS profile nope (not in ~/.aws/config or ~/.aws/credentials)"}},
		{"no such profile for the key", nil, secret, "nope", []string{"AWS profile nope (not in ~/.aws/config or ~/.aws/credentials)"}},
		{"no instance metadata", []string{"AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"}, "", "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile default (no credentials)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)", "EC2 instance metadata (no answer" + elsewhere}},
		{"silent instance metadata", []string{"AWS_EC2_METADATA_DISABLED", "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT", silent(t)}, "", "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile default (no credentials)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
			"AWS_CONTAINER_CREDENTIALS_FULL_URI (not set)", "EC2 instance metadata (no answer" + elsewhere}},
		{"silent container", []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", silent(t)}, "", "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile default (no credentials)", "AWS_WEB_IDENTITY_TOKEN_FILE (not set)",
			"the container's credentials (no answer)"}},
		{"no token file", []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token", "AWS_ROLE_ARN", roleARN}, "", "", []string{
			"AWS_ACCESS_KEY_ID (not set)", "AWS profile default (no credentials)",
			"the web identity token in AWS_WEB_IDENTITY_TOKEN_FILE (unable to read file at /nonexistent/token: open /nonexistent/token: no such file or directory)"}},
		{"single sign-on", nil, "[profile p]\nsso_session = s\nsso_account_id = 111122223333\nsso_role_name = r\n[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://127.0.0.1:1/start\n", "p",
			[]string{"the SSO session of AWS profile p (not signed in, or no longer: run aws sso login --profile p)"}},
		{"a program that fails", nil, "[profile p]\ncredential_process = sh -c 'exit 3'\n", "p",
			[]string{"credential_process of AWS profile p (failed: exit status 3)"}},
		{"MFA without a terminal", nil, "[profile p]\nrole_arn = " + roleARN + "\nmfa_serial = arn:aws:iam::1:mfa/me\nsource_profile = q\n[profile q]\naws_access_key_id = a\naws_secret_access_key = " + secretKey + "\n", "p",
			[]string{"AWS profile p (needs the MFA code of arn:aws:iam::1:mfa/me: there is no terminal to ask on)"}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			kmstest.Clean(t)
			if tt.config != "" {
				profiles(t, tt.config)
			}
			for i := 0; i < len(tt.vars); i += 2 {
				t.Setenv(tt.vars[i], tt.vars[i+1])
			}
			k := parse(t, rows(), keyARN, "aws_profile", tt.profile)
			start := time.Now()
			got, err := k.Unwrap(t.Context(), someEntry())
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("it took %v", d)
			}
			var away *keys.NotHereError
			if got != nil || !errors.As(err, &away) || errors.Is(err, keys.ErrQuiet) {
				t.Fatalf("%v; want a NotHereError", err)
			}
			if !slices.Equal(away.Looked, tt.want) {
				t.Errorf("looked in\n%q, want\n%q", away.Looked, tt.want)
			}
			// The next file need not wait again.
			start = time.Now()
			if _, err := k.Unwrap(t.Context(), someEntry("created_at", "")); !errors.Is(err, keys.ErrNotHere) || time.Since(start) > 100*time.Millisecond {
				t.Errorf("again, after %v: %v", time.Since(start), err)
			}
			_, err = k.Wrap(t.Context(), make([]byte, 32))
			if err == nil || !strings.Contains(err.Error(), keyARN+": no AWS credentials; looked in "+tt.want[0]) {
				t.Errorf("Wrap: %v", err)
			}
		})
	}
}

// A wait that somebody broke off says nothing about credentials.
func TestCancelledSearch(t *testing.T) {
	s := shim(t)
	kmstest.Clean(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent(t))
	k := parse(t, rows(), s.Env["KENV_TEST_KMS_ARN"])
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Unwrap(ctx, someEntry()); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, keys.ErrNotHere) {
		t.Errorf("%v; that is neither a key nor its absence", err)
	}
}

// Profiles get their credentials in all the ways that the AWS CLI knows.
func TestProfiles(t *testing.T) {
	s := serve(t)
	arn := s.Env["KENV_TEST_KMS_ARN"]
	dataKey, e := wrap(t, parse(t, rows(), arn))
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("eyJ.eyJ.x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const role = "arn:aws:iam::123456789012:role/kenv"
	const base = "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = " + secretKey + "\n"
	for _, tt := range []struct {
		what, config string
		vars         []string
		ops          string // calls of STS
		caller       string // of KMS
	}{
		{"access key", "[profile p]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = x\n", nil, "", "AKIAPROFILE"},
		{"program", "[profile p]\ncredential_process = echo '{\"Version\":1,\"AccessKeyId\":\"AKIAPROGRAM\",\"SecretAccessKey\":\"x\"}'\n", nil, "", "AKIAPROGRAM"},
		{"role", base + "[profile p]\nrole_arn = " + role + "\nsource_profile = base\n", nil, "AssumeRole", ""},
		{"web identity", "[profile p]\nrole_arn = " + role + "\nweb_identity_token_file = " + token + "\n", nil, "AssumeRoleWithWebIdentity", ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s.Reset(t)
			profiles(t, tt.config)
			k := parse(t, rows(), arn, "aws_profile", "p")
			if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
				t.Fatal(err)
			}
			var ops []string
			for _, c := range s.Calls(t, "") {
				if c.Op != "Decrypt" {
					ops = append(ops, c.Op)
				} else if c.Caller == "test" || tt.caller != "" && c.Caller != tt.caller {
					t.Errorf("Decrypt is called as %q", c.Caller)
				}
			}
			if strings.Join(ops, " ") != tt.ops {
				t.Errorf("STS was asked for %q, want %q", ops, tt.ops)
			}
		})
	}

	t.Run("MFA", func(t *testing.T) {
		s.Reset(t)
		profiles(t, base+"[profile p]\nrole_arn = "+role+"\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n")
		var asked atomic.Int32
		with := env()
		with.Prompt = func(ctx context.Context, text string) ([]byte, error) {
			asked.Add(1)
			if text != "MFA code of arn:aws:iam::1:mfa/me for AWS profile p: " {
				t.Errorf("the question is %q", text)
			}
			return []byte(" 123456\n"), ctx.Err()
		}
		table := keys.Table(awskms.Providers(with))
		k := parse(t, table, arn, "aws_profile", "p")
		for range 2 {
			if _, err := k.Unwrap(keys.Quiet(t.Context()), e); !errors.Is(err, keys.ErrNotHere) || !errors.Is(err, keys.ErrQuiet) || asked.Load() != 0 {
				t.Errorf("quietly: %v", err)
			}
		}
		if got, err := k.Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
			t.Fatal(err)
		}
		if _, err := parse(t, table, s.Env["KENV_TEST_KMS_MRK_REPLICA_ARN"], "aws_profile", "p").Wrap(t.Context(), dataKey); err != nil {
			t.Error(err)
		}
		if asked.Load() != 1 {
			t.Errorf("asked %d times", asked.Load())
		}
		// What is at hand by now, quiet or not.
		if _, err := k.Unwrap(keys.Quiet(t.Context()), e); err != nil {
			t.Errorf("quietly, after it was asked for: %v", err)
		}
	})
	t.Run("quiet program", func(t *testing.T) {
		ran := filepath.Join(t.TempDir(), "ran")
		profiles(t, "[profile p]\ncredential_process = touch "+ran+"\n")
		_, err := parse(t, rows(), arn, "aws_profile", "p").Unwrap(keys.Quiet(t.Context()), e)
		if _, stat := os.Stat(ran); !errors.Is(err, keys.ErrQuiet) || stat == nil {
			t.Errorf("a program was started, or that was not said: %v", err)
		}
	})
	t.Run("aws_profile of the user's settings", func(t *testing.T) {
		s.Reset(t)
		profiles(t, base)
		if got, err := parse(t, rows("aws_profile", "base"), arn).Unwrap(t.Context(), e); err != nil || !bytes.Equal(got, dataKey) {
			t.Fatal(err)
		}
		if c := s.Calls(t, "Decrypt"); c[0].Caller != "AKIABASE" {
			t.Errorf("Decrypt is called as %q", c[0].Caller)
		}
	})
	t.Run("role that STS denies", func(t *testing.T) {
		s.Fault(t, kmstest.Fault{Op: "AssumeRole", Type: "AccessDenied", Status: 403, Message: "nobody may", Count: 9})
		_, err := parse(t, rows(), arn+"+"+role).Unwrap(t.Context(), e)
		if err == nil || errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), role+" cannot be taken on (AWS says: nobody may)") || !strings.Contains(err.Error(), "sts:AssumeRole") {
			t.Error(err)
		}
		profiles(t, base+"[profile p]\nrole_arn = "+role+"\nsource_profile = base\n")
		_, err = parse(t, rows(), arn, "aws_profile", "p").Unwrap(t.Context(), e)
		if err == nil || errors.Is(err, keys.ErrNotHere) || !strings.Contains(err.Error(), "the role of AWS profile p cannot be taken on (AWS says: nobody may)") {
			t.Error(err)
		}
	})
}

// What a file says about roles and profiles counts only if the config or the user says
// it too.
func TestTrust(t *testing.T) {
	s := serve(t)
	const role, other = "arn:aws:iam::123456789012:role/kenv", "arn:aws:iam::123456789012:role/other"
	arn, alias := s.Env["KENV_TEST_KMS_ARN"], s.Env["KENV_TEST_KMS_ALIAS_ARN"]
	dataKey, e := wrap(t, parse(t, rows(), alias))
	e.Fields["role"], e.Fields["aws_profile"] = role, "prod"
	profiles(t, "[profile prod]\naws_access_key_id = AKIAPROD\naws_secret_access_key = x\n[profile dev]\naws_access_key_id = AKIADEV\naws_secret_access_key = x\n")
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIADEFAULT")
	type attrs = []any
	for _, tt := range []struct {
		what     string
		named    string
		attrs    attrs
		settings []string
		role     bool
		caller   string // of STS, or of KMS where no role is taken on
	}{
		{"nobody", "", nil, nil, false, "AKIADEFAULT"},
		{"the key alone", arn, nil, nil, false, "AKIADEFAULT"},
		{"the role", arn + "+" + role, nil, nil, true, "AKIADEFAULT"},
		{"the role for another key", s.Env["KENV_TEST_KMS_ARN2"] + "+" + role, nil, nil, true, "AKIADEFAULT"},
		{"another role", arn + "+" + other, nil, nil, false, "AKIADEFAULT"},
		{"the profile", arn, attrs{"aws_profile", "prod"}, nil, false, "AKIAPROD"},
		{"the profile for the alias", alias, attrs{"aws_profile", "prod"}, nil, false, "AKIAPROD"},
		{"another profile", arn, attrs{"aws_profile", "dev"}, nil, false, "AKIADEV"},
		{"the profile for another key", s.Env["KENV_TEST_KMS_ARN2"], attrs{"aws_profile", "prod"}, nil, false, "AKIADEFAULT"},
		{"both", arn + "+" + role, attrs{"aws_profile", "prod"}, nil, true, "AKIAPROD"},
		{"the user's roles", "", nil, []string{"aws_roles", other + ", " + role}, true, "AKIADEFAULT"},
		{"the user's profiles", "", nil, []string{"aws_profile", "dev,prod"}, false, "AKIAPROD"},
		{"the user's profile", "", nil, []string{"aws_profile", "dev"}, false, "AKIADEV"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s.Reset(t)
			table := rows(tt.settings...)
			ctx := keys.WithNamed(t.Context(), func() []keys.MasterKey {
				if tt.named == "" {
					return nil
				}
				return []keys.MasterKey{parse(t, rows(), tt.named, tt.attrs...)} // of another table
			})
			k, err := table.FromEntry(e)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := k.Unwrap(ctx, e); err != nil || !bytes.Equal(got, dataKey) {
				t.Fatal(err)
			}
			calls := s.Calls(t, "")
			if calls[0].Caller != tt.caller {
				t.Errorf("the first caller is %s, want %s", calls[0].Caller, tt.caller)
			}
			if (calls[0].Op == "AssumeRole") != tt.role || tt.role && calls[0].Role != role {
				t.Errorf("the calls are %v", calls)
			}
			for _, c := range calls {
				if c.Op == "AssumeRole" && (!strings.HasPrefix(c.Session, "kenv@") || len(c.Session) > 64) {
					t.Errorf("the session is named %q", c.Session)
				}
				if tt.role && c.Op == "Decrypt" && c.Caller == tt.caller {
					t.Errorf("Decrypt is called as %s, not in the role", c.Caller)
				}
			}
		})
	}

	// Where it does not work without, the message says why it was without.
	s.Reset(t)
	s.Fault(t, kmstest.Fault{Op: "Decrypt", Type: "AccessDeniedException", Count: 9})
	k, err := rows().FromEntry(e)
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Unwrap(t.Context(), e)
	if err == nil || !strings.Contains(err.Error(), "the file's role "+role+" was not taken on") || !strings.Contains(err.Error(), "aws_roles in kenv's config.yaml") && !strings.Contains(err.Error(), "under aws_roles") {
		t.Errorf("a role that is not trusted: %v", err)
	}
	delete(e.Fields, "role")
	k, _ = rows().FromEntry(e)
	_, err = k.Unwrap(t.Context(), e)
	if err == nil || !strings.Contains(err.Error(), "the file's AWS profile prod was not used") || !strings.Contains(err.Error(), "aws_profile in the config") {
		t.Errorf("a profile that is not trusted: %v", err)
	}
	kmstest.Clean(t)
	var away *keys.NotHereError
	k, _ = rows().FromEntry(e)
	if _, err = k.Unwrap(t.Context(), e); !errors.As(err, &away) || !strings.Contains(fmt.Sprint(away.Looked), "the file's AWS profile prod was not used") {
		t.Errorf("without credentials: %v", err)
	}
}
