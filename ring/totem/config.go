package totem

import (
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Config is what a member must know before it can join. The names are those of
// corosync.conf. A zero value means the default; defaults are corosync's but for WindowSize
// and MaxMessages. Members of one ring should agree on the times: nothing on the wire
// compares them.
type Config struct {
	Node wire.NodeID // required

	// RingSeq is the number saved last (Output.SaveRing), 0 if none. A member that forgets
	// it is ignored by its peers until they miss their token.
	RingSeq uint64

	// Nodes is how many members are expected; above two each adds TokenCoefficient to the
	// default of Token.
	Nodes            int
	Token            time.Duration // loss of the token, 3 s + (Nodes-2)*TokenCoefficient
	TokenCoefficient time.Duration // 650 ms
	// TokenRetransmitsBeforeLoss sets the default of TokenRetransmit (4).
	TokenRetransmitsBeforeLoss int
	TokenRetransmit            time.Duration // repeat the token, Token/(retransmits+0.2)
	Hold                       time.Duration // pause of the idle token, 0.8*TokenRetransmit-10 ms
	Join                       time.Duration // repeat a join, 50 ms
	SendJoin                   time.Duration // a join is put off by up to so much, 0: it is not
	Consensus                  time.Duration // give up on silent nodes, 1.2*Token
	Merge                      time.Duration // idle time before looking for other rings, 200 ms

	// HeartbeatFailuresAllowed, if it is not 0, is how many times in a row a token may have to be
	// repeated before it counts as lost, which may be well before Token is over. MaxNetworkDelay,
	// 50 ms, is how long the last time may take.
	HeartbeatFailuresAllowed int
	MaxNetworkDelay          time.Duration

	FailRecvConst       int // visits without progress before we take ourselves for deaf, 2500
	SeqnoUnchangedConst int // idle rotations before the token is held, 30
	// CancelTokenHoldOnRetransmit keeps a ring turning while packets are asked for. Else it comes
	// to rest after SeqnoUnchangedConst rotations without a new one, and what is asked for is
	// multicast again once each Hold: a network that loses too much is not loaded with more.
	CancelTokenHoldOnRetransmit bool

	MissCountConst int // visits before a missing packet is asked for, 5

	// MaxMessages is how many packets one member multicasts in a visit, WindowSize how many
	// all members together in a rotation. corosync has 17 and 50. Ours:
	//
	//	64 packets * 1455 bytes = 91 KiB a visit, two full UDP_SEGMENT buffers
	//	256 packets a rotation  * 2304 bytes (a socket buffer with its bookkeeping)
	//	                        = 576 KiB, a seventh of the 4 MiB that links ask for
	//
	// so a receiver may sleep through several rotations before its kernel drops anything.
	WindowSize  int
	MaxMessages int
	// MaxWindow is how far the window may grow where all members announce themselves; a visit
	// may have half of it then. It grows while packets wait and none is lost, from WindowSize.
	// 1024 if WindowSize is left to its default, else WindowSize: who sets it means it.
	MaxWindow int

	// Plain members announce nothing, and take part as corosync does.
	Plain bool

	// NetMTU is the longest packet, in recovery; in operation packets are one header (45
	// bytes) shorter, so that recovery can wrap them. 1500. Longer packets than the interface
	// takes are fragmented and lose UDP_SEGMENT: over IPv6, whose headers are 48 bytes, an MTU
	// of 1500 wants 1497 or less here.
	NetMTU int
	// MaxPacketBytes is the longest packet that the link carries, in however many pieces: more
	// than NetMTU, as others may have a larger one. wire.MaxPacketBytes.
	MaxPacketBytes int
	// MaxNetMTU is how long packets may become in rings whose members announce themselves, where
	// packets of that length were heard by all from all. NetMTU if 0.
	MaxNetMTU int
}

// Limits of the configuration.
const (
	minTimeout = 30 * time.Millisecond
	minNetMTU  = 256
	maxNetMTU  = 65000
	maxWindow  = 4096
	// defaultMaxWindow: 1024 packets take 2.3 MB of a receiver's 4 MiB.
	defaultWindow    = 256
	defaultMaxWindow = 1024
	defaultToken     = 3000 * time.Millisecond
	defaultCoeff     = 650 * time.Millisecond
	defaultRetries   = 4
)

// WithDefaults fills in what is zero.
func (c Config) WithDefaults() Config {
	duration := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	number := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	duration(&c.TokenCoefficient, defaultCoeff)
	duration(&c.Token, defaultToken+time.Duration(max(c.Nodes-2, 0))*c.TokenCoefficient)
	number(&c.TokenRetransmitsBeforeLoss, defaultRetries)
	duration(&c.TokenRetransmit, c.Token*10/time.Duration(10*c.TokenRetransmitsBeforeLoss+2))
	duration(&c.Hold, c.TokenRetransmit*8/10-10*time.Millisecond)
	duration(&c.Join, 50*time.Millisecond)
	duration(&c.Consensus, c.Token*12/10)
	duration(&c.Merge, 200*time.Millisecond)
	duration(&c.MaxNetworkDelay, 50*time.Millisecond)
	number(&c.FailRecvConst, 2500)
	number(&c.SeqnoUnchangedConst, 30)
	number(&c.MissCountConst, 5)
	if c.WindowSize == 0 {
		number(&c.MaxWindow, defaultMaxWindow)
		c.WindowSize = min(defaultWindow, c.MaxWindow)
	}
	number(&c.MaxWindow, c.WindowSize)
	number(&c.MaxMessages, 64)
	number(&c.NetMTU, 1500)
	number(&c.MaxPacketBytes, wire.MaxPacketBytes)
	number(&c.MaxNetMTU, c.NetMTU)
	return c
}

// Heartbeat is, with the defaults filled in, after which time without the token it counts as
// lost; not ok: after Token, as nobody wants less or it would not be less.
func (c Config) Heartbeat() (d time.Duration, ok bool) {
	if f := c.HeartbeatFailuresAllowed; f > 0 && time.Duration(f) <= c.Token/c.TokenRetransmit {
		d = time.Duration(f)*c.TokenRetransmit + c.MaxNetworkDelay
	}
	return d, 0 < d && d < c.Token
}

// Validate checks a configuration with its defaults filled in.
func (c Config) Validate() error {
	if c.Node == 0 {
		return fmt.Errorf("totem: nodeid must not be 0")
	}
	for _, t := range []struct {
		name string
		d    time.Duration
		min  time.Duration
	}{
		{"token", c.Token, minTimeout},
		{"token_retransmit", c.TokenRetransmit, time.Millisecond},
		{"hold", c.Hold, time.Millisecond},
		{"join", c.Join, time.Millisecond},
		{"consensus", c.Consensus, minTimeout},
		{"merge", c.Merge, time.Millisecond},
	} {
		if t.d < t.min {
			return fmt.Errorf("totem: %s is %v, must be at least %v (times follow from token, 126ms at the least)",
				t.name, t.d, t.min)
		}
	}
	if c.Consensus < c.Token {
		return fmt.Errorf("totem: consensus (%v) must not be shorter than token (%v)", c.Consensus, c.Token)
	}
	for _, n := range []struct {
		name     string
		v        int
		min, max int
	}{
		{"fail_recv_const", c.FailRecvConst, 1, 1 << 30},
		{"seqno_unchanged_const", c.SeqnoUnchangedConst, 1, 1 << 30},
		{"miss_count_const", c.MissCountConst, 1, 255},
		{"window_size", c.WindowSize, 1, maxWindow},
		{"max_messages", c.MaxMessages, 1, maxWindow},
		{"largest window_size", c.MaxWindow, c.WindowSize, maxWindow},
		{"netmtu", c.NetMTU, minNetMTU, maxNetMTU},
		{"largest netmtu", c.MaxNetMTU, c.NetMTU, maxNetMTU},
	} {
		if n.v < n.min || n.v > n.max {
			return fmt.Errorf("totem: %s is %d, must be %d to %d", n.name, n.v, n.min, n.max)
		}
	}
	return nil
}
