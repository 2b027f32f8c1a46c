//go:build cgo && !nopkcs11

package pkcs11

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/kenvhq/kenv/pkg/keys"
	"github.com/miekg/pkcs11"
)

// A failure is a PKCS#11 call that failed, in words.
type failure struct {
	words string
	code  uint
	name  string // of the code
}

func (f *failure) Error() string { return f.words + " (" + f.name + ")" }

// codeOf returns the code of a PKCS#11 call that failed, and its name; 0 if the
// error is another. The text is what tells: not every error has its code wrapped.
func codeOf(err error) (code uint, name string) {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.code, f.name
	}
	m := regexp.MustCompile(`pkcs11: 0x([0-9A-Fa-f]+): ?(\w*)`).FindStringSubmatch(err.Error())
	if m == nil {
		return 0, ""
	}
	n, err := strconv.ParseUint(m[1], 16, strconv.IntSize)
	if err != nil {
		return 0, ""
	}
	if name = m[2]; name == "" {
		name = "code 0x" + m[1]
	}
	return uint(n), name
}

// explain says what a code means for whoever wants a key.
func explain(err error) error {
	if err == nil || errors.Is(err, keys.ErrNotHere) || errors.Is(err, ErrPIN) || errors.As(err, new(*failure)) {
		return err
	}
	code, name := codeOf(err)
	what := ""
	switch code {
	case 0:
		return err
	case pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		what = "the token has no user PIN yet; set one with the HSM's own tools"
	case pkcs11.CKR_USER_TYPE_INVALID:
		what = "there is no user to log in on this token: is it the right one?"
	case pkcs11.CKR_TOKEN_NOT_RECOGNIZED:
		what = "the token is not initialised; do that with the HSM's own tools"
	case pkcs11.CKR_TOKEN_WRITE_PROTECTED:
		what = "the token is write-protected, and kenv's sessions are opened for writing"
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID,
		pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED:
		what = "the key or its token is gone since it was found; try again"
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID, pkcs11.CKR_ARGUMENTS_BAD, pkcs11.CKR_BUFFER_TOO_SMALL:
		what = "the HSM does not offer this mech; kenv hsm enroll finds one that works"
	case pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED, pkcs11.CKR_KEY_TYPE_INCONSISTENT:
		what = "the key may not be used for this; kenv hsm enroll says why"
	case pkcs11.CKR_USER_NOT_LOGGED_IN:
		what = "the key wants a login for each use, which kenv cannot do"
	default:
		what = "the HSM could not do it: wrapped for another key, damaged, or trouble in the HSM"
	}
	return &failure{what, code, name}
}

// unloadable says why a module cannot be loaded: the loader's own words do not come
// through.
func unloadable(path string) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("the PKCS#11 module %s %s", path, fmt.Sprintf(format, args...))
	}
	if !strings.ContainsRune(path, os.PathSeparator) {
		return bad("is not where the system looks for libraries; give its whole path")
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad("does not exist; name the library of the HSM's maker with --pkcs11-module or KENV_PKCS11_MODULE")
	case errors.Is(err, fs.ErrPermission):
		return bad("may not be read by this user")
	case err != nil:
		return bad("cannot be read: %v", err)
	case info.IsDir():
		return bad("is a directory, not a library")
	}
	f, err := os.Open(path)
	if err != nil {
		return bad("may not be read by this user")
	}
	defer f.Close()
	if runtime.GOOS == "darwin" || runtime.GOOS == "windows" {
		return bad("cannot be loaded: is it a PKCS#11 module, made for this processor, with all libraries that it needs?")
	}
	lib, err := elf.NewFile(f)
	if err != nil {
		return bad("is not a library at all")
	}
	want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "386": elf.EM_386, "arm": elf.EM_ARM,
		"riscv64": elf.EM_RISCV, "ppc64le": elf.EM_PPC64, "s390x": elf.EM_S390, "loong64": elf.EM_LOONGARCH}[runtime.GOARCH]
	if lib.Machine != want && want != elf.EM_NONE {
		return bad("is for another processor (%v, and this kenv is for %s)", lib.Machine, runtime.GOARCH)
	}
	symbols, _ := lib.DynamicSymbols()
	for _, s := range symbols {
		if s.Name == "C_GetFunctionList" && s.Section != elf.SHN_UNDEF {
			return bad("cannot be loaded: a library that it needs is missing, or is not the one it needs; ldd %s shows which", path)
		}
	}
	return bad("is a library, but not a PKCS#11 module: it has no C_GetFunctionList")
}
