// Package sasl is the server's side of SASL (RFC 4422), as both AMQP 0-9-1 and AMQP 1.0
// carry it: ANONYMOUS, PLAIN and SCRAM-SHA-256.
//
// The caller tells its client what Mechanisms returns, makes a Server of what the client
// chose, and then, for each response of the client (the initial one too; nil where it sent
// none, which is not the same as an empty one):
//
//	challenge, done, user, err := server.Step(response)
//	switch {
//	case errors.Is(err, sasl.ErrAuthentication): // refuse: wrong credentials
//	case err != nil:                             // refuse: malformed, the text says how
//	case !done:                                  // send the challenge, wait for a response
//	case challenge != nil:                       // in, and this is the additional data
//	default:                                     // in
//	}
//
// Additional data with success (RFC 4422, 3.6) goes into the sasl-outcome of AMQP 1.0. A
// protocol without a place for it sends it as one last challenge, and takes the empty
// response to that without a Step.
//
// It does not keep passwords: see Users. It reads no clock, and what is random it is given.
package sasl
