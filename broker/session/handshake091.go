package session

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/qpidd-cluster/qpidd-cluster/amqp/sasl"
)

// The handshake (2.2.4): start, start-ok, as many secure and secure-ok as SASL wants, tune,
// tune-ok, open, open-ok.

// virtualHost is the only one there is.
const virtualHost = "/"

func (k *conn091) sendStart() {
	k.send(0, &amqp091.ConnectionStart{
		VersionMajor:     0,
		VersionMinor:     9,
		ServerProperties: k.serverProperties(),
		Mechanisms:       []byte(strings.Join(append(sasl.Mechanisms(k.users()), amqplain), " ")),
		Locales:          []byte("en_US"),
	})
}

// users converts between the two names of one interface: a nil one must stay nil.
func (k *conn091) users() sasl.Users {
	if k.c.cfg.Users == nil {
		return nil
	}
	return k.c.cfg.Users
}

func (k *conn091) serverProperties() []byte {
	cfg := k.c.cfg
	b, at := amqp091.BeginTable(nil, "capabilities")
	for _, name := range [...]string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
		"per_consumer_qos", "authentication_failure_close",
		"connection.blocked",
	} {
		b = amqp091.AppendBool(b, name, true)
	}
	b = amqp091.AppendBool(b, "consumer_priorities", false)
	b = amqp091.End(b, at)
	b = amqp091.AppendString(b, "product", cfg.Product)
	b = amqp091.AppendString(b, "version", cfg.Version)
	b = amqp091.AppendString(b, "platform", "Go")
	if cfg.Container != "" {
		b = amqp091.AppendString(b, "cluster_name", cfg.Container)
	}
	return b
}

// handshake takes the one method that is due in each state.
func (k *conn091) handshake(id amqp091.MethodID, arguments []byte) *amqp091.Error {
	switch {
	case k.state == startSent && id == amqp091.ConnectionStartOkID:
		return k.startOk(arguments)
	case k.state == secureSent && id == amqp091.ConnectionSecureOkID,
		k.state == provenSent && id == amqp091.ConnectionSecureOkID:
		return k.secureOk(arguments)
	case k.state == tuneSent && id == amqp091.ConnectionTuneOkID:
		return k.tuneOk(arguments)
	case k.state == openDue && id == amqp091.ConnectionOpenID:
		return k.open(arguments)
	}
	return amqp091.Errorf(amqp091.CommandInvalid, "%v does not come here in the handshake", id)
}

func (k *conn091) startOk(arguments []byte) *amqp091.Error {
	var m amqp091.ConnectionStartOk
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if v, ok := m.ClientProperties.Lookup("capabilities"); ok && v.Type == 'F' {
		k.cancelNotify = capability(v, "consumer_cancel_notify")
		k.authFailureClose = capability(v, "authentication_failure_close")
		k.notifyBlocked = capability(v, "connection.blocked")
	}
	mechanism, response := string(m.Mechanism), m.Response
	if mechanism == amqplain {
		var e *amqp091.Error
		if mechanism, response, e = plainOf(response); e != nil {
			return e
		}
	}
	server, err := sasl.NewServer(mechanism, k.users(), k.c.cfg.Random)
	if err != nil {
		return amqp091.Errorf(amqp091.AccessRefused, "%v", err)
	}
	k.sasl = server
	return k.step(string(m.Mechanism), response)
}

// amqplain is the mechanism of AMQP 0-8: PLAIN, with a table for a response. RabbitMQ has kept it, and there
// are clients that choose it where they are not told otherwise (php-amqplib, py-amqp).
const amqplain = "AMQPLAIN"

// plainOf is what a client that says this by AMQPLAIN says by PLAIN. The table comes without its length.
func plainOf(response []byte) (mechanism string, _ []byte, e *amqp091.Error) {
	table := amqp091.Table(response)
	login, ok1 := table.Lookup("LOGIN")
	password, ok2 := table.Lookup("PASSWORD")
	if !ok1 || !ok2 || login.Type != 'S' || password.Type != 'S' {
		return "", nil, amqp091.Errorf(amqp091.AccessRefused, "malformed AMQPLAIN response: it is a table with LOGIN and PASSWORD")
	}
	plain := append([]byte{0}, login.Raw...)
	plain = append(append(plain, 0), password.Raw...)
	return sasl.Plain, plain, nil
}

func capability(v amqp091.Value, name string) bool {
	c, _ := amqp091.Table(v.Raw).Lookup(name)
	on, _ := c.Bool()
	return on
}

func (k *conn091) secureOk(arguments []byte) *amqp091.Error {
	var m amqp091.ConnectionSecureOk
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if k.state == provenSent {
		k.sendTune()
		return nil
	}
	return k.step("", m.Response)
}

func (k *conn091) step(mechanism string, response []byte) *amqp091.Error {
	challenge, done, user, err := k.sasl.Step(response)
	switch {
	case err != nil:
		return k.refuse(mechanism, err)
	case !done:
		k.state = secureSent
	case len(challenge) > 0:
		// There is no place for data beside tune, so SASL's last word goes as a challenge.
		k.user, k.state = user, provenSent
	default:
		k.user = user
		k.sendTune()
		return nil
	}
	k.send(0, &amqp091.ConnectionSecure{Challenge: challenge})
	return nil
}

// refuse tells a client that it is not let in, if it announced that it would understand;
// the standard's own way is to close the socket (2.2.4).
func (k *conn091) refuse(mechanism string, err error) *amqp091.Error {
	if errors.Is(err, sasl.ErrAuthentication) {
		k.c.denied = err
	}
	if !k.authFailureClose {
		k.end(err)
		return nil
	}
	if !errors.Is(err, sasl.ErrAuthentication) {
		return amqp091.Errorf(amqp091.AccessRefused, "%v", err)
	}
	if mechanism != "" {
		mechanism = " using authentication mechanism " + mechanism
	}
	return amqp091.Errorf(amqp091.AccessRefused, "Login was refused%s: unknown user or wrong password", mechanism)
}

func (k *conn091) sendTune() {
	k.sasl = nil
	k.state = tuneSent
	k.frameMax = max(amqp091.FrameMinSize, frameBytes091)
	if n := k.c.cfg.FrameBytes; n != 0 {
		k.frameMax = max(amqp091.FrameMinSize, int(n))
	}
	k.channelMax = channels091
	if n := k.c.cfg.Channels; n != 0 {
		k.channelMax = n
	}
	k.heartbeat = heartbeat091
	if d := k.c.cfg.Heartbeat; d != 0 {
		k.heartbeat = d
	}
	k.send(0, &amqp091.ConnectionTune{
		ChannelMax: k.channelMax,
		FrameMax:   uint32(k.frameMax),
		Heartbeat:  uint16(k.heartbeat / time.Second),
	})
}

// tuneOk takes the client's values. It may ask for less than was offered, 0 being whatever
// there is; for the heartbeat its word counts, 0 being none.
func (k *conn091) tuneOk(arguments []byte) *amqp091.Error {
	var m amqp091.ConnectionTuneOk
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	switch {
	case m.FrameMax != 0 && m.FrameMax < amqp091.FrameMinSize:
		return amqp091.Errorf(amqp091.NotAllowed, "negotiated frame_max = %d is lower than the minimum allowed value (%d)",
			m.FrameMax, amqp091.FrameMinSize)
	case int64(m.FrameMax) > int64(k.frameMax):
		return amqp091.Errorf(amqp091.NotAllowed, "negotiated frame_max = %d is higher than the maximum allowed value (%d)",
			m.FrameMax, k.frameMax)
	case m.ChannelMax > k.channelMax:
		return amqp091.Errorf(amqp091.NotAllowed, "negotiated channel_max = %d is higher than the maximum allowed value (%d)",
			m.ChannelMax, k.channelMax)
	}
	if m.FrameMax != 0 {
		k.frameMax = int(m.FrameMax)
	}
	if m.ChannelMax != 0 {
		k.channelMax = m.ChannelMax
	}
	k.heartbeat = time.Duration(m.Heartbeat) * time.Second
	k.state = openDue
	return nil
}

func (k *conn091) open(arguments []byte) *amqp091.Error {
	var m amqp091.ConnectionOpen
	if err := m.Decode(arguments); err != nil {
		return asError(err)
	}
	if string(m.VirtualHost) != virtualHost {
		return amqp091.Errorf(amqp091.NotAllowed, "vhost %s not found", m.VirtualHost)
	}
	k.state = running091
	k.send(0, &amqp091.ConnectionOpenOk{KnownHosts: k.knownHosts()})
	return nil
}

// knownHosts is as many of the cluster's members as a short string holds.
func (k *conn091) knownHosts() []byte {
	if k.c.cfg.Hosts == nil {
		return nil
	}
	hosts := slices.Clone(k.c.cfg.Hosts())
	b := []byte(strings.Join(hosts, ","))
	for len(b) > 255 {
		b = b[:max(0, bytes.LastIndexByte(b, ','))]
	}
	return b
}
