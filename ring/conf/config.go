package conf

import (
	"fmt"
	"net/netip"
	"time"
)

// Config is what a file says, with corosync's defaults where it says nothing.
type Config struct {
	File       string
	Totem      Totem
	Interfaces []Interface // by link
	Nodes      []Node      // in the order of the file
	Quorum     Quorum
	Logging    Logging
	UIDs, GIDs []string // who may use corosync's libraries: numbers or names

	lines map[string]int
}

// Transport is how packets travel.
type Transport string

// Transports.
const (
	UDP  Transport = "udp"  // multicast or broadcast
	UDPU Transport = "udpu" // unicast to every node
	KNET Transport = "knet" // Kronosnet: several links, encryption
)

// Totem is the section of the same name, without its interfaces.
type Totem struct {
	Version          int
	ClusterName      string
	ConfigVersion    uint64
	Transport        Transport
	NodeID           uint32 // of this node, in files without a nodelist
	ClearNodeHighBit bool
	Crypto           Crypto
	LinkMode         string // passive, active or rr
	NetMTU           int
	IPVersion        string // ipv4, ipv6, ipv4-6 or ipv6-4: what names are resolved to
	BlockUnlistedIPs bool

	// As given. What is zero is derived from others: see Config.Times.
	Token, TokenRetransmit, Hold, Consensus time.Duration
	TokenCoefficient                        time.Duration // for each node above two
	TokenRetransmitsBeforeLoss              int
	TokenWarning                            int // percent of Token
	Join, SendJoin, Merge, Downcheck        time.Duration

	FailRecvConst               int
	SeqnoUnchangedConst         int
	HeartbeatFailuresAllowed    int
	MaxNetworkDelay             time.Duration
	WindowSize                  int
	MaxMessages                 int
	MissCountConst              int
	CancelTokenHoldOnRetransmit bool

	KnetPMTUDInterval        time.Duration
	KnetMTU                  int
	KnetCompressionModel     string
	KnetCompressionThreshold int
	KnetCompressionLevel     int
}

// Interface is one link of the ring. Older files call it a ring.
type Interface struct {
	Link        int
	BindNetAddr netip.Addr // invalid: not given
	Broadcast   bool
	McastAddr   netip.Addr // invalid: not given
	McastPort   uint16
	TTL         int
	Members     []string // addresses, in the older form of udpu

	KnetTransport     string // udp or sctp
	KnetLinkPriority  int
	KnetPingInterval  time.Duration // zero: from the token's timeout, and so the next
	KnetPingTimeout   time.Duration
	KnetPingPrecision int
	KnetPongCount     int

	ring bool // numbered by ringnumber
}

// MaxLinks is how many links a node can have.
const MaxLinks = 8

// Node is one of the nodelist. Addresses may be host names.
type Node struct {
	ID    uint32 // 0: made of the IPv4 address
	Name  string
	Addrs [MaxLinks]string // ring0_addr to ring7_addr
	Votes int
}

// Quorum is the section of the same name. Without a Provider nothing of it counts.
type Quorum struct {
	Provider              string
	ExpectedVotes         int // 0: the sum of the nodelist's
	Votes                 int // of this node, in files without a nodelist
	TwoNode               bool
	WaitForAll            bool // if not given, as TwoNode
	LastManStanding       bool
	LastManStandingWindow time.Duration
	AutoTieBreaker        bool
	AutoTieBreakerNode    string // lowest, highest, or node ids with spaces between
	AllowDownscale        bool
	ExpectedVotesTracking bool
	Device                *Device // nil: none
}

// Device is a quorum device: a vote from outside the cluster.
type Device struct {
	Model       string
	Timeout     time.Duration
	SyncTimeout time.Duration
	Votes       int // 0: not given
	MasterWins  bool
}

// Logging is what corosync is to log, and where to.
type Logging struct {
	Logger
	Timestamp    string // off, on or hires
	FileLine     bool
	FunctionName bool
	Blackbox     bool
	Subsystems   []Logger
}

// Logger is what is said of one subsystem, or of all.
type Logger struct {
	Subsys          string
	ToStderr        bool
	ToLogfile       bool
	ToSyslog        bool
	Logfile         string
	LogfilePriority string
	SyslogFacility  string
	SyslogPriority  string
	Debug           string // off, on or trace
}

// DefaultPort is mcastport of link 0; each further link has the next.
const DefaultPort = 5405

// DefaultTokenWarning is token_warning, in percent.
const DefaultTokenWarning = 75

const defaultToken = 3000 * time.Millisecond

func defaults(file string) *Config {
	return &Config{
		File: file,
		Totem: Totem{
			Crypto:   Crypto{Model: "nss", Cipher: "none", Hash: "none", KeyFile: DefaultKeyFile},
			LinkMode: "passive", BlockUnlistedIPs: true,
			Token: defaultToken, TokenCoefficient: 650 * time.Millisecond,
			TokenRetransmitsBeforeLoss: 4, TokenWarning: DefaultTokenWarning,
			Join: 50 * time.Millisecond, Merge: 200 * time.Millisecond, Downcheck: time.Second,
			FailRecvConst: 2500, SeqnoUnchangedConst: 30, MaxNetworkDelay: 50 * time.Millisecond,
			WindowSize: 50, MaxMessages: 17, MissCountConst: 5,
			KnetPMTUDInterval: 30 * time.Second, KnetCompressionModel: "none", KnetCompressionThreshold: 100,
		},
		Quorum:  Quorum{Votes: 1, LastManStandingWindow: 10 * time.Second, AutoTieBreakerNode: "lowest"},
		Logging: Logging{Logger: defaultLogger(), Timestamp: "hires", Blackbox: true},
		lines:   map[string]int{},
	}
}

func defaultLogger() Logger {
	return Logger{ToStderr: true, ToSyslog: true, LogfilePriority: "info", SyslogFacility: "daemon", SyslogPriority: "info", Debug: "off"}
}

func defaultDevice() *Device {
	return &Device{Timeout: 10 * time.Second, SyncTimeout: 30 * time.Second}
}

func defaultInterface() Interface {
	return Interface{TTL: 1, KnetTransport: "udp", KnetLinkPriority: 1, KnetPingPrecision: 2048, KnetPongCount: 2}
}

// Given tells whether the file has a directive, by its path: totem.token,
// totem.interface.0.ttl, nodelist.node.2.nodeid.
func (c *Config) Given(path string) bool { return c.lines[path] != 0 }

// Where says where a directive or a section stands, as file:line.
func (c *Config) Where(path string) string {
	if n := c.lines[path]; n != 0 {
		return fmt.Sprintf("%s:%d", c.File, n)
	}
	return c.File
}

// Interface is that of a link, with corosync's defaults if the file has none.
func (c *Config) Interface(link int) Interface {
	for _, i := range c.Interfaces {
		if i.Link == link {
			return i
		}
	}
	i := defaultInterface()
	i.Link, i.McastPort = link, DefaultPort+uint16(link)
	return i
}

// Times are the timers of totem, each with its value.
type Times struct {
	Token, TokenRetransmit, Hold, Join, Consensus, Merge time.Duration
}

// Times derives the timers as corosync does, in whole milliseconds. If token is not zero, it
// stands for what the file says of the token's timeout and of the coefficient.
func (c *Config) Times(token time.Duration) Times {
	t := &c.Totem
	d := Times{Token: t.Token, TokenRetransmit: t.TokenRetransmit, Hold: t.Hold, Join: t.Join, Consensus: t.Consensus, Merge: t.Merge}
	if token != 0 {
		d.Token = token
	} else if n := len(c.Nodes); n > 2 {
		d.Token += time.Duration(n-2) * t.TokenCoefficient
	}
	whole := func(d time.Duration) time.Duration { return d.Truncate(time.Millisecond) }
	if d.TokenRetransmit == 0 {
		d.TokenRetransmit = whole(d.Token * 10 / time.Duration(10*t.TokenRetransmitsBeforeLoss+2))
	}
	if d.Hold == 0 {
		d.Hold = whole(d.TokenRetransmit*8/10) - 10*time.Millisecond
	}
	// corosync.conf(5) asks for 1.2 times the token's timeout at the least. Corosync takes less,
	// and many an example has it, but then members give up others that have only just lost the
	// token; the ring refuses it.
	if d.Consensus < d.Token {
		d.Consensus = whole(d.Token * 12 / 10)
	}
	return d
}

// ExpectedVotes is how many votes there are in all, the local node's being one of them; 0 if
// the file asks for no quorum. A device's are not counted.
func (c *Config) ExpectedVotes() int {
	if c.Quorum.Provider == "" {
		return 0
	}
	if c.Quorum.ExpectedVotes != 0 {
		return c.Quorum.ExpectedVotes
	}
	sum := 0
	for _, n := range c.Nodes {
		sum += n.Votes
	}
	return sum
}
