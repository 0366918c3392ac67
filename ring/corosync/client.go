package corosync

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// MaxRequest is the longest message that goes in one request. libcpg leaves as much of a
// request's mebibyte to headers.
const MaxRequest = requestBytes - 1024

// Limits of calls. corosync answers none while its nodes synchronise.
const (
	callLimit  = 10 * time.Second
	leaveLimit = time.Second
	retryEvery = 5 * time.Millisecond
)

// Client is one process's connection to the closed process groups of the corosync on this
// host. It belongs to one goroutine.
type Client struct {
	conn     *conn
	group    string
	pid      uint32
	head     []byte
	partials map[cpg.Member]*partial
	event    event // the last one
}

// partial is a message of which not all parts have come.
type partial struct {
	data []byte
	size int
}

// Dial connects to the corosync on this host.
func Dial() (*Client, error) {
	c, err := connect("cpg")
	if err != nil {
		return nil, err
	}
	return &Client{conn: c, partials: map[cpg.Member]*partial{}}, nil
}

// Close ends the connection, and with it a membership.
func (c *Client) Close() { c.conn.close() }

// FD is readable when there are events.
func (c *Client) FD() int { return c.conn.fd }

// ask sends a request and reads the answer, again and again while corosync asks for that.
func (c *Client) ask(limit time.Duration, request []byte) ([]byte, error) {
	end := time.Now().Add(limit)
	for {
		answer, err := c.conn.call(time.Until(end), request)
		if err != nil {
			return nil, err
		}
		answer, err = parseAnswer(answer)
		if !errors.Is(err, statusTryAgain) || time.Now().After(end) {
			return answer, err
		}
		_, _ = c.conn.poll(0, retryEvery)
	}
}

// Node is the id of this host's node.
func (c *Client) Node() (wire.NodeID, error) {
	answer, err := c.ask(callLimit, appendRequest(nil, requestLocal, requestHeader))
	if err == nil && len(answer) < 4 {
		err = errMalformed
	}
	if err != nil {
		return 0, fmt.Errorf("Cannot get local CPG identity: %w", err)
	}
	return wire.NodeID(native.Uint32(answer)), nil
}

// Join joins a group. Its first event is the configuration with us in it.
func (c *Client) Join(group string, pid uint32) error {
	c.group, c.pid = group, pid
	_, err := c.ask(callLimit, appendJoin(nil, group, pid))
	switch {
	case errors.Is(err, statusExist):
		return fmt.Errorf("Cannot join CPG group %s: %w: a process %d of this node is in it already; brokers in containers with process ids of their own need a corosync each", group, err, pid)
	case err != nil:
		return fmt.Errorf("Cannot join CPG group %s: %w", group, err)
	}
	return nil
}

// Leave leaves the group. Its last event is the configuration without us.
func (c *Client) Leave() error {
	if _, err := c.ask(leaveLimit, appendLeave(nil, c.group, c.pid)); err != nil && !errors.Is(err, statusNotExist) {
		return fmt.Errorf("Cannot leave CPG group %s: %w", c.group, err)
	}
	return nil
}

// Members asks for the members of the group.
func (c *Client) Members(group string) ([]cpg.Member, error) {
	answer, err := c.ask(callLimit, appendMembership(nil, group))
	if err != nil {
		return nil, fmt.Errorf("cannot get the members of CPG group %s: %w", group, err)
	}
	return parseMembers(answer)
}

// Mcast multicasts one message to the group, in one request without an answer, or, if it is
// longer than MaxRequest, in parts that corosync answers one by one. It returns false if
// corosync takes nothing now; a long message waits for it.
func (c *Client) Mcast(parts ...[]byte) (bool, error) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > MaxRequest {
		return true, c.mcastParts(size, parts)
	}
	c.head = appendMcast(c.head[:0], size)
	var list [4][]byte
	err := c.conn.send(append(append(list[:0], c.head), parts...)...)
	if err == errBusy {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("Cannot mcast to CPG group %s: %w", c.group, err)
	}
	return true, nil
}

func (c *Client) mcastParts(size int, parts [][]byte) error {
	whole := make([]byte, 0, size)
	for _, p := range parts {
		whole = append(whole, p...)
	}
	for at := 0; at < size; {
		n := min(size-at, MaxRequest)
		part := uint32(partMiddle)
		if at == 0 {
			part = partFirst
		} else if at+n == size {
			part = partLast
		}
		request := append(appendPartial(make([]byte, 0, partialHeader+n), size, n, part), whole[at:at+n]...)
		if _, err := c.ask(callLimit, request); err != nil {
			return fmt.Errorf("Cannot mcast to CPG group %s: %w", c.group, err)
		}
		at += n
	}
	return nil
}

// Hush makes FD readable only for events that come from now on.
func (c *Client) Hush() error { return c.conn.hush() }

// Group is told what happens in a group, in its order. The bytes of a message come in one or two
// pieces, which are valid until Release; lists are valid until the next call.
type Group interface {
	Message(now time.Duration, from cpg.Member, one, two []byte)
	Configuration(now time.Duration, members []cpg.Member, left []cpg.Left)
	Totem(now time.Duration, ring wire.RingID, nodes []wire.NodeID)
}

// Deliver hands over one event. It returns false if there is none.
func (c *Client) Deliver(now time.Duration, g Group) (bool, error) {
	one, two, err := c.conn.next()
	e := &c.event
	if one != nil && err == nil {
		err = e.parse(one, two)
	}
	if one == nil || err != nil {
		return false, err
	}
	switch e.id {
	case eventDeliver:
		g.Message(now, e.from, e.one, e.two)
	case eventPartial:
		if whole := c.assemble(e); whole != nil {
			g.Message(now, e.from, whole, nil)
		}
	case eventConfiguration:
		for _, l := range e.left {
			delete(c.partials, l.Member)
		}
		g.Configuration(now, e.members, e.left)
	case eventTotem:
		g.Totem(now, e.ring, e.nodes)
	}
	return true, nil
}

// Release gives the memory of the events delivered so far back to corosync.
func (c *Client) Release() { c.conn.event.release() }

// assemble takes a part of a message, and returns the message when it was the last.
func (c *Client) assemble(e *event) []byte {
	if e.part == partFirst && e.size <= maxMessageBytes {
		c.partials[e.from] = &partial{size: e.size}
	}
	p := c.partials[e.from]
	if p == nil || len(p.data)+len(e.one)+len(e.two) > p.size {
		delete(c.partials, e.from)
		return nil
	}
	p.data = append(append(p.data, e.one...), e.two...)
	if e.part != partLast {
		return nil
	}
	delete(c.partials, e.from)
	if len(p.data) != p.size {
		return nil
	}
	return p.data
}

// Address is the address at which corosync has its first ring on this host, from its
// configuration map.
func Address(node wire.NodeID) (netip.Addr, error) {
	conn, err := connect("cmap")
	if err != nil {
		return netip.Addr{}, err
	}
	c := &Client{conn: conn}
	defer c.Close()
	answer, err := c.ask(callLimit, appendGet(nil, fmt.Sprintf("runtime.members.%d.ip", node)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("cannot get this node's address from corosync: %w", err)
	}
	text, err := parseString(answer)
	if err != nil {
		return netip.Addr{}, err
	}
	_, text, _ = strings.Cut(text, "ip(")
	text, _, _ = strings.Cut(text, ")")
	return netip.ParseAddr(text)
}
