package sasl

import (
	"bytes"
	"errors"
	"unicode/utf8"
)

// anonymousUser is who a client is that did not say.
const anonymousUser = "anonymous"

// anonymous takes whatever trace information the client sends, and ignores it: there is no
// one to tell whether it is true.
type anonymous struct{}

func (anonymous) Step(response []byte) ([]byte, bool, string, error) {
	if err := checkResponse(response); err != nil {
		return nil, false, "", err
	}
	return nil, true, anonymousUser, nil
}

// plain is RFC 4616: [authzid] NUL authcid NUL passwd, in the client's first response.
type plain struct {
	users Users
	asked bool
	over  bool
}

var (
	errPlainForm = errors.New("malformed PLAIN response: it is [authzid] NUL authcid NUL passwd, in UTF-8")
	errOver      = errors.New("a SASL response after the exchange was over")
	errAuthzID   = errors.New("acting for another user is not supported: leave the authorization identity empty")
)

func (p *plain) Step(response []byte) (challenge []byte, done bool, user string, err error) {
	if p.over {
		return nil, false, "", errOver
	}
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, false, "", nil
	}
	p.over = true
	if err := checkResponse(response); err != nil {
		return nil, false, "", err
	}
	authzid, rest, first := bytes.Cut(response, []byte{0})
	authcid, password, second := bytes.Cut(rest, []byte{0})
	if !first || !second || bytes.IndexByte(password, 0) >= 0 || !utf8.Valid(response) || len(authcid) > maxNameBytes {
		return nil, false, "", errPlainForm
	}
	if len(authzid) > 0 && !bytes.Equal(authzid, authcid) {
		return nil, false, "", errAuthzID
	}
	if p.users == nil {
		if len(authcid) == 0 {
			return nil, true, anonymousUser, nil
		}
		return nil, true, string(authcid), nil
	}
	if len(authcid) == 0 || !p.users.Verify(string(authcid), string(password)) {
		return nil, false, "", refused(string(authcid))
	}
	return nil, true, string(authcid), nil
}
