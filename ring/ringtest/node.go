package ringtest

import (
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Node is a ring machine on the network. What survives a crash is RingSeq.
type Node struct {
	Net     *Net
	Machine *cpg.Machine
	Config  cpg.Config
	// Use, if set, sees each Ready after it was sent. It may call the machine.
	Use func(n *Node, r *cpg.Ready)

	busy bool
}

// Start makes a machine and attaches it. To restart after Crash, start again with a Config
// that has the RingSeq of before and a new PID.
func Start(net *Net, cfg cpg.Config, use func(*Node, *cpg.Ready)) (*Node, error) {
	m, err := cpg.New(cfg, net.Now())
	if err != nil {
		return nil, err
	}
	n := &Node{Net: net, Machine: m, Config: cfg, Use: use}
	net.Attach(n.ID(), n)
	n.Flush()
	return n, nil
}

// ID is the node's id.
func (n *Node) ID() wire.NodeID { return n.Config.Totem.Node }

// Receive implements Host.
func (n *Node) Receive(now time.Duration, p wire.Packet) {
	n.Machine.Step(now, p)
	n.Flush()
	n.Net.WakeAt(n.ID(), n.Machine.Next())
}

// Wake implements Host.
func (n *Node) Wake(now time.Duration) time.Duration {
	n.Machine.Tick(now)
	n.Flush()
	return n.Machine.Next()
}

// Multicast sends a message now.
func (n *Node) Multicast(parts ...[]byte) error {
	err := n.Machine.Multicast(parts...)
	n.Do()
	return err
}

// Do is to be called after anything done to the machine from outside the network.
func (n *Node) Do() {
	n.Flush()
	n.Net.WakeAt(n.ID(), n.Machine.Next())
}

// Flush sends and shows what the machine has ready.
func (n *Node) Flush() {
	if n.busy {
		return // called from Use: the loop below takes care
	}
	n.busy = true
	defer func() { n.busy = false }()
	for {
		r := n.Machine.Ready()
		if len(r.Send) == 0 && len(r.Events) == 0 && !r.SaveRingSeq {
			return
		}
		if r.SaveRingSeq {
			n.Config.Totem.RingSeq = r.RingSeq
		}
		n.Net.Send(n.ID(), r.Send)
		if n.Use != nil {
			n.Use(n, r)
		}
	}
}

// Crash takes the node off the network as it is.
func (n *Node) Crash() { n.Net.Detach(n.ID()) }
