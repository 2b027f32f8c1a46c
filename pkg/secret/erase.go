//go:build goexperiment.runtimesecret && linux && (amd64 || arm64) && !cgo

// With cgo, Go 1.26 crashes at a call of C within runtime/secret.Do, and nothing says
// which library makes one.

package secret

import (
	"runtime"
	"runtime/secret"
)

const erases = true

func do(f func()) { secret.Do(f) }

func collect() { runtime.GC() }
