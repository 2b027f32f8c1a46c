package run

import "os"

// A directory is removed by its own process alone.
func owned(string) bool { return false }

func lockDir(string) (*os.File, error) { return nil, nil }
