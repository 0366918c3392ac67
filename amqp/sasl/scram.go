package sasl

import (
	"encoding/base64"
	"fmt"

	"github.com/xdg-go/scram"
)

// nonceBytes is the randomness of a server's nonce, before base64.
const nonceBytes = 24

// scramServer is RFC 5802 without channel binding. A user that does not exist is led to
// the end of the exchange, with a made-up salt, so that nobody learns who does.
type scramServer struct {
	conversation *scram.ServerConversation
	asked        bool
	known        bool
}

func newScram(users Users, random func([]byte)) (*scramServer, error) {
	s := &scramServer{}
	server, err := scram.SHA256.NewServer(func(user string) (scram.StoredCredentials, error) {
		salt, storedKey, serverKey, iterations, ok := users.Scram(user)
		s.known = ok
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(salt), Iters: iterations},
			StoredKey:  storedKey,
			ServerKey:  serverKey,
		}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("SCRAM-SHA-256: %w", err)
	}
	s.conversation = server.WithNonceGenerator(func() string {
		var nonce [nonceBytes]byte
		random(nonce[:])
		return base64.StdEncoding.EncodeToString(nonce[:])
	}).NewConversation()
	return s, nil
}

func (s *scramServer) Step(response []byte) (challenge []byte, done bool, user string, err error) {
	if response == nil && !s.asked {
		s.asked = true
		return []byte{}, false, "", nil
	}
	s.asked = true
	if err := checkResponse(response); err != nil {
		return nil, false, "", err
	}
	if s.conversation.Done() {
		return nil, false, "", errOver
	}
	answer, err := s.conversation.Step(string(response))
	switch {
	case err != nil && answer == scram.ErrInvalidProof, err == nil && s.conversation.Valid() && !s.known:
		return nil, false, "", refused(s.conversation.Username())
	case err != nil:
		return nil, false, "", fmt.Errorf("malformed SCRAM-SHA-256 response: %w", err)
	case !s.conversation.Valid():
		return []byte(answer), false, "", s.checkNames()
	}
	return []byte(answer), true, s.conversation.Username(), nil
}

// checkNames is asked once the client's first message has told its names.
func (s *scramServer) checkNames() error {
	user, authzid := s.conversation.Username(), s.conversation.AuthzID()
	if authzid != "" && authzid != user {
		return errAuthzID
	}
	if len(user) > maxNameBytes {
		return fmt.Errorf("a user name of %d bytes: at most %d are taken", len(user), maxNameBytes)
	}
	return nil
}
