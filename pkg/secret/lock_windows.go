package secret

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

func lock(key []byte) { windows.VirtualLock(address(key), uintptr(len(key))) }

// unlock does nothing to memory that is not locked.
func unlock(key []byte) { windows.VirtualUnlock(address(key), uintptr(len(key))) }

func address(key []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(key))) }
