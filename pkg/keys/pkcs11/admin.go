package pkcs11

// A Token is what a module shows of one HSM, or of one partition of it.
type Token struct {
	Label        string `json:"label"`
	Serial       string `json:"serial"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	PIN          string `json:"pin"` // how it stands to logins, in a few words
	Keys         []Key  `json:"keys"`
}

// A Key is what a module shows of a key.
type Key struct {
	URI         string `json:"uri"`
	Algorithm   string `json:"algorithm"` // "RSA", "AES", "EC", or "other"
	Bits        int    `json:"bits,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"` // of an RSA key's public half
	// Usable says that kenv can wrap with keys of this algorithm and length.
	Usable bool `json:"usable"`
}

// EnrollOptions say what Enroll may do.
type EnrollOptions struct {
	// Generate makes the key, which must not exist: an RSA key of 3072 bits, or a
	// Secret one, for AES-256.
	Generate, Secret bool
	// AllowWeak takes a key although the HSM would give it away, or let it be used
	// without a PIN.
	AllowWeak bool
}

// An Enrolled is a key that was proved by a round trip, as a config names it.
type Enrolled struct {
	Name      string // the key string
	URI       string
	Mech      string
	PublicKey string // PEM; "" for a secret key
	// Notes are what a person should know: mechanisms that the HSM does not offer,
	// weaknesses that were allowed.
	Notes []string
}
