//go:build !(goexperiment.runtimesecret && linux && (amd64 || arm64) && !cgo)

package secret

const erases = false

func do(f func()) { f() }

func collect() {}
