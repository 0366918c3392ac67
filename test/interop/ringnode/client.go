package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/corosync"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// client is a member of a group of this host's corosync, without what brokers tell one another.
type client struct {
	*corosync.Client
	commander
	self cpg.Member
	left bool
}

// How long a corosync may take to come up.
const dialLimit = 20 * time.Second

var errNoRoom = errors.New("corosync takes nothing now")

func runClient() error {
	c := &client{self: cpg.Member{PID: uint32(os.Getpid())}}
	for end := time.Now().Add(dialLimit); ; {
		var err error
		if c.Client, err = corosync.Dial(); err == nil {
			break
		}
		if denied := new(corosync.DeniedError); errors.As(err, &denied) || time.Now().After(end) {
			return err
		}
		_, _ = unix.Poll(nil, 20) // interrupted: it is tried again a little earlier
	}
	defer c.Close()
	node, err := c.Node()
	if err != nil {
		return err
	}
	c.self.Node = node
	if err := c.Join("interop", c.self.PID); err != nil {
		return err
	}
	var failure error
	c.leave = func() { failure = c.Leave() }
	for !c.left && !c.eof && failure == nil {
		if err := c.turn(); err != nil {
			return err
		}
	}
	return failure
}

// turn waits for something to do and does it.
func (c *client) turn() error {
	timeout := -1
	if len(c.work.queue) > 0 || c.work.left != 0 {
		timeout = 1
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}, {Fd: int32(c.FD()), Events: unix.POLLIN}}, timeout)
	if err := c.Hush(); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = c.Deliver(0, c); err != nil {
			return err
		}
		c.Release()
	}
	if err := c.commands(); err != nil {
		return err
	}
	c.work.send(c.multicast) // what is left keeps the next turn short
	return nil
}

func (c *client) multicast(parts ...[]byte) error {
	taken, err := c.Mcast(parts...)
	if err == nil && !taken {
		err = errNoRoom
	}
	return err
}

func (c *client) Message(_ time.Duration, from cpg.Member, one, two []byte) {
	c.work.take(from, from == c.self, bytes.Join([][]byte{one, two}, nil))
}

func (c *client) Configuration(_ time.Duration, members []cpg.Member, left []cpg.Left) {
	printView(members, left)
	for _, l := range left {
		c.left = c.left || l.Member == c.self
	}
}

func (c *client) Totem(_ time.Duration, ring wire.RingID, nodes []wire.NodeID) {
	fmt.Println("ring", ring, nodes)
}
