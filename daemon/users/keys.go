package users

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

const (
	// iterations of PBKDF2 for new passwords. RFC 7677 asks for 4096 at least; these take
	// a few milliseconds of a core, which a broker pays for every PLAIN login.
	iterations    = 15000
	minIterations = 4096
	maxIterations = 10_000_000 // more would let a file stop the broker

	saltBytes        = 16
	seedBytes        = 16
	maxNameBytes     = 255
	maxPasswordBytes = 1024
)

// keys are what is stored of a password (RFC 5802, section 3).
type keys struct {
	salt, stored, server []byte
	iterations           int
}

// newKeys derives keys from a password, with a new salt.
func newKeys(password string) (keys, error) {
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return keys{}, fmt.Errorf("random salt: %w", err)
	}
	return deriveKeys(password, salt, iterations)
}

func deriveKeys(password string, salt []byte, count int) (keys, error) {
	client, err := scram.SHA256.NewClient("", password, "")
	if err != nil {
		return keys{}, fmt.Errorf("the password has characters that SASLprep (RFC 4013) prohibits: %w", err)
	}
	c, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: count})
	if err != nil {
		return keys{}, fmt.Errorf("the password cannot be stored: %w", err)
	}
	return keys{salt: salt, stored: c.StoredKey, server: c.ServerKey, iterations: count}, nil
}

// is tells whether the keys are those of a password, in time that depends on neither.
func (k *keys) is(password string) bool {
	if len(password) > maxPasswordBytes {
		password = ""
	}
	got, err := deriveKeys(password, k.salt, k.iterations)
	return err == nil && hmac.Equal(got.stored, k.stored)
}

// unknownKeys are what a user is shown to have who is none: a salt that is always the same
// for the name, and keys that no password has.
func unknownKeys(seed []byte, name string) keys {
	part := func(what string) []byte {
		mac := hmac.New(sha256.New, seed)
		mac.Write([]byte(what + ":" + name))
		return mac.Sum(nil)
	}
	return keys{salt: part("salt")[:saltBytes], stored: part("stored"), server: part("server"), iterations: iterations}
}

// CheckName tells what is wrong with a user's name.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxNameBytes:
		return fmt.Errorf("a user's name has 1 to %d bytes", maxNameBytes)
	case !utf8.ValidString(name):
		return fmt.Errorf("a user's name is UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return r == ':' || unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return fmt.Errorf("a user's name has no colons, spaces and control characters: %q", name)
	}
	return nil
}

// CheckPassword tells what is wrong with a password.
func CheckPassword(password string) error {
	if password == "" || len(password) > maxPasswordBytes {
		return fmt.Errorf("a password has 1 to %d bytes", maxPasswordBytes)
	}
	return nil
}
