//go:build !unix

package run

// Shell returns the arguments by which the system's shell runs a command.
func Shell(command string) []string { return []string{"cmd.exe", "/C", command} }
