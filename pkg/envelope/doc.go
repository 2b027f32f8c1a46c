// Package envelope is all the cryptography that kenv has of its own: the tokens that
// values become, sops's mac over them, the seal over the whole file, the layout, and the
// data key with the shares of it that groups of master keys hold. It knows no syntax,
// which is package doc's, and no master key, which are the providers below package keys.
//
// [Seal] makes an encrypted file of a plaintext and has decrypted it again before it
// returns; [File.Reseal] does so with a changed plaintext under the same data key. [Open]
// returns no plaintext whose integrity was not checked; [OpenUnverified] is the only way
// around that. docs/format.md specifies the bytes.
package envelope
