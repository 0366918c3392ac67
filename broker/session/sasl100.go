package session

import (
	"errors"
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp100"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/sasl"
)

// This file is the SASL security layer of AMQP 1.0 (5.3): mechanisms out, init in,
// challenges and responses, outcome out. Whatever happens, there is one try.

// sasl100 is the exchange, once the client has chosen; user is set by success.
type sasl100 struct {
	server sasl.Server
	user   string
}

func (p *conn100) offerMechanisms() {
	p.sendSASL((&amqp100.SASLMechanisms{SASLServerMechanisms: sasl.Mechanisms(p.c.cfg.Users)}).Append)
}

func (p *conn100) sendSASL(body func(b []byte) []byte) {
	b, at := amqp100.BeginFrame(p.c.out.Buffer(), amqp100.FrameSASL, 0)
	p.c.out.SetBuffer(amqp100.EndFrame(body(b), at))
}

// onSASL takes sasl-init, once, and then sasl-response.
func (p *conn100) onSASL(body []byte) {
	code, value, _, err := amqp100.SplitDescribed(body)
	if err != nil {
		p.refuseSASL(amqp100.SASLSysPerm, err)
		return
	}
	switch {
	case code == amqp100.CodeSASLInit && p.sasl.server == nil:
		var init amqp100.SASLInit
		if err = init.Decode(value); err == nil {
			p.sasl.server, err = sasl.NewServer(init.Mechanism, p.c.cfg.Users, p.c.cfg.Random)
		}
		if err == nil {
			p.stepSASL(init.InitialResponse)
			return
		}
	case code == amqp100.CodeSASLResponse && p.sasl.server != nil:
		var response amqp100.SASLResponse
		if err = response.Decode(value); err == nil {
			p.stepSASL(response.Response)
			return
		}
	default:
		err = fmt.Errorf("%v is not due here", code)
	}
	p.refuseSASL(amqp100.SASLAuth, err)
}

func (p *conn100) stepSASL(response []byte) {
	challenge, done, user, err := p.sasl.server.Step(response)
	switch {
	case errors.Is(err, sasl.ErrAuthentication):
		p.c.denied = err
		p.refuseSASL(amqp100.SASLAuth, err)
	case err != nil:
		p.refuseSASL(amqp100.SASLSysPerm, err)
	case !done:
		p.sendSASL((&amqp100.SASLChallenge{Challenge: challenge}).Append)
	default:
		p.sasl.user = user
		p.sendSASL((&amqp100.SASLOutcome{Code: uint8(amqp100.SASLOK), AdditionalData: challenge}).Append)
		p.state = stateHeader
	}
}

// refuseSASL tells the outcome and ends the connection, as 5.3.2 has it.
func (p *conn100) refuseSASL(code amqp100.SASLCode, err error) {
	p.sendSASL((&amqp100.SASLOutcome{Code: uint8(code)}).Append)
	p.end(fmt.Errorf("%w: SASL: %w", ErrProtocol, err))
}
