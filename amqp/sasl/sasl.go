package sasl

import (
	"errors"
	"fmt"
	"strings"
)

// The mechanisms, by their registered names.
const (
	Anonymous   = "ANONYMOUS"     // RFC 4505
	Plain       = "PLAIN"         // RFC 4616
	ScramSHA256 = "SCRAM-SHA-256" // RFC 5802, RFC 7677
)

// Limits of what a client may send before it is known.
const (
	maxResponseBytes = 4096 // one response; three strings of 1,024 fit PLAIN with room
	maxNameBytes     = 255  // a user's name, as 0-9-1's short strings have it
)

// ErrAuthentication says that user and password do not go together. It does not say which
// of them is wrong.
var ErrAuthentication = errors.New("authentication failed: unknown user or wrong password")

// refused is ErrAuthentication of somebody.
func refused(user string) error { return fmt.Errorf("user %.64q: %w", user, ErrAuthentication) }

// Users looks up who may connect.
type Users interface {
	// Verify tells whether this is the user's password, in time that does not depend on
	// whether the user exists.
	Verify(user, password string) bool
	// Scram returns the stored SCRAM-SHA-256 keys of a user. For an unknown one ok is
	// false and the rest a made-up salt and the usual count, stable for that name.
	Scram(user string) (salt, storedKey, serverKey []byte, iterations int, ok bool)
}

// Server is one exchange with one client, by the mechanism that it chose.
type Server interface {
	// Step takes the client's response and returns what to send; done says that the client
	// is in, and as whom. An error ends the exchange: ErrAuthentication for wrong
	// credentials, any other for what is malformed.
	Step(response []byte) (challenge []byte, done bool, user string, err error)
}

// Mechanisms lists what a client may choose from, the plainest first. Without users nobody
// is asked who they are, and PLAIN takes any password.
func Mechanisms(users Users) []string {
	if users == nil {
		return []string{Anonymous, Plain}
	}
	return []string{Plain, ScramSHA256}
}

// NewServer begins an exchange. It needs random only to fill nonces.
func NewServer(mechanism string, users Users, random func([]byte)) (Server, error) {
	switch {
	case mechanism == Anonymous && users == nil:
		return anonymous{}, nil
	case mechanism == Plain:
		return &plain{users: users}, nil
	case mechanism == ScramSHA256 && users != nil:
		return newScram(users, random)
	}
	return nil, fmt.Errorf("no SASL mechanism %.32q here, use one of: %s",
		mechanism, strings.Join(Mechanisms(users), " "))
}

// checkResponse holds a response to its limit.
func checkResponse(response []byte) error {
	if len(response) > maxResponseBytes {
		return fmt.Errorf("a SASL response of %d bytes: at most %d are taken", len(response), maxResponseBytes)
	}
	return nil
}
