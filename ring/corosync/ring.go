package corosync

import (
	"errors"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/corosync/group"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
)

// Config is what a process must know to join its group.
type Config struct {
	Group string // 1 to 127 bytes
	PID   uint32
	// Patience is how long a corosync is waited for that is not there or not ready.
	Patience time.Duration
	// Waiting is told once why that is.
	Waiting func(err error, patience time.Duration)
}

const (
	// maxEvents is how many events are taken before their memory is given back: corosync spins
	// while it has events for us and no room.
	maxEvents = 64
	// sendAgain is how soon corosync is asked again that took nothing: it does not say when it
	// would, and looks at its own queue as often.
	sendAgain = time.Millisecond
	dialAgain = time.Second
	// leavePatience is how long what was multicast may take to leave before we do.
	leavePatience = 500 * time.Millisecond
)

// Ring is a place in a group of the corosync on this host. It belongs to one goroutine.
type Ring struct {
	client  *Client
	machine *group.Machine
	blocked bool // corosync takes nothing now
	leaveBy time.Duration
	left    bool
	err     error
}

// Open connects to corosync and joins the group.
func Open(cfg Config) (*Ring, error) {
	c, err := dialPatiently(cfg)
	if err != nil {
		return nil, err
	}
	node, err := c.Node()
	if err == nil {
		err = c.Join(cfg.Group, cfg.PID)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return &Ring{client: c, machine: group.New(group.Config{Self: cpg.Member{Node: node, PID: cfg.PID}})}, nil
}

// dialPatiently connects, also to a corosync that is only coming up.
func dialPatiently(cfg Config) (*Client, error) {
	for end, told := time.Now().Add(cfg.Patience), false; ; {
		c, err := Dial()
		var absent *AbsentError
		if err == nil || !errors.As(err, &absent) && !errors.Is(err, statusTryAgain) {
			return c, err
		}
		if !time.Now().Before(end) {
			if errors.Is(err, statusTryAgain) {
				err = fmt.Errorf("Failed to initialize CPG: %w: corosync runs but is not ready; its log and corosync-quorumtool tell what it waits for", err)
			}
			return nil, err
		}
		if !told && cfg.Waiting != nil {
			cfg.Waiting(err, cfg.Patience)
			told = true
		}
		<-time.NewTimer(min(dialAgain, time.Until(end))).C
	}
}

// Close ends the connection. Without Leave the others see that as a death.
func (r *Ring) Close() { r.client.Close() }

// FD is readable when Receive has something to do.
func (r *Ring) FD() int { return r.client.FD() }

// Self is this process in the group.
func (r *Ring) Self() cpg.Member { return r.machine.Self() }

// Stats returns the counters.
func (r *Ring) Stats() group.Stats { return r.machine.Stats() }

// fail ends the ring. What was received stays valid until Release.
func (r *Ring) fail(err error) {
	r.client.conn.hangUp()
	if r.err != nil || r.leaveBy != 0 && errors.Is(err, ErrGone) {
		r.left = true
		return
	}
	if !errors.Is(err, ErrGone) {
		err = fmt.Errorf("Disconnected from cluster: %w; restart this broker and it joins again", err)
	}
	r.err, r.left = err, true
}

// Err tells why the ring cannot go on.
func (r *Ring) Err() error { return r.err }

// Receive takes some of what corosync has delivered, and tells whether there may be more. Ready
// shows it; Release has to be called when that is done with.
func (r *Ring) Receive(now time.Duration) (more bool) {
	if r.left {
		return false
	}
	if err := r.client.Hush(); err != nil {
		r.fail(err)
		return false
	}
	for range maxEvents {
		found, err := r.client.Deliver(now, r.machine)
		if err != nil {
			err = fmt.Errorf("Error in CPG dispatch: %w", err)
		} else {
			err = r.machine.Err()
		}
		if err != nil {
			r.fail(err)
		}
		if !found || err != nil {
			return false
		}
	}
	return true
}

// Ready returns what has happened since it was called last. Messages point into corosync's
// memory, up to the next Release.
func (r *Ring) Ready() *group.Ready { return r.machine.Ready() }

// Release gives the memory of what was received back to corosync.
func (r *Ring) Release() { r.client.Release() }

// MulticastLazily does the same as Multicast: the token is corosync's own affair.
func (r *Ring) MulticastLazily(parts ...[]byte) error { return r.Multicast(parts...) }

// Multicast sends one message to the group, given in parts that are copied.
func (r *Ring) Multicast(parts ...[]byte) error {
	if r.left || r.leaveBy != 0 {
		return cpg.ErrLeft
	}
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if size > group.MaxMessage || !r.machine.Open() || r.blocked {
		return r.machine.Push(parts...)
	}
	var list [4][]byte
	taken, err := r.client.Mcast(append(append(list[:0], r.machine.Head()), parts...)...)
	switch {
	case err != nil:
		r.fail(err)
		return err
	case !taken:
		r.blocked = true
		return r.machine.Push(parts...)
	}
	r.machine.SentData()
	return nil
}

// Room is the length of the longest message that Multicast would take now.
func (r *Ring) Room() int {
	if r.left || r.leaveBy != 0 {
		return 0
	}
	return r.machine.Room()
}

// Flush sends what is queued and what the members have to tell one another.
func (r *Ring) Flush(now time.Duration) {
	r.blocked = false
	for !r.left {
		head, data, any := r.machine.Front()
		if !any {
			break
		}
		taken, err := r.client.Mcast(head, data)
		if err != nil {
			r.fail(err)
			return
		}
		if !taken {
			r.blocked = true
			break
		}
		r.machine.Sent(now)
	}
	if r.leaveBy != 0 && !r.left && (!r.machine.Queued() || now >= r.leaveBy) {
		if err := r.client.Leave(); err != nil {
			r.fail(err)
		}
		r.left = true
	}
}

// Tick does what is due and returns when it wants to be called next, 0 for never.
func (r *Ring) Tick(now time.Duration) (next time.Duration) {
	if r.left {
		return 0
	}
	next = r.machine.Tick(now)
	r.Flush(now)
	if r.blocked || r.leaveBy != 0 {
		return now + sendAgain
	}
	return next
}

// Leave leaves the group when what was multicast before has gone. Left tells that it is done.
func (r *Ring) Leave(now time.Duration) {
	if r.leaveBy == 0 {
		r.leaveBy = now + leavePatience
		r.Flush(now)
	}
}

// Left tells that this process is no longer in the group.
func (r *Ring) Left() bool { return r.left }
