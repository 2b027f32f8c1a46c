package kenv

// Held returns the buffer that a File holds its plaintext in.
func Held(f *File) []byte { return f.now.text }
