//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package run

import "errors"

const haveFIFOs = false

func (File) serve(string) (stop func(), err error) { return nil, errors.ErrUnsupported }
