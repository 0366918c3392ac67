package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Options are what the broker can be told. Defaults are qpidd's where qpidd has the option.
type Options struct {
	ConfigFile string

	Port       int
	Interfaces []string

	DataDir   string
	NoDataDir bool
	StoreDir  string // empty: nothing is stored
	Sync      string
	Truncate  YesNo

	Auth      YesNo
	UsersFile string

	ClusterName string
	ClusterURL  string
	ClusterSize int
	Provider    string // of the ring
	RingConfig  string
	BindNetAddr string
	McastAddr   string
	McastPort   int
	Datapath    string
	RingGuard   string
	TokenPass   YesNo
	MeshPort    int
	Token       time.Duration
	Firewall    string

	MaxConnections int
	ConnectionRate int // of a source, a second
	Acceptors      int // for each address
	MaxNegotiate   int // milliseconds
	MaxFrame       int
	MaxMessage     int64
	MemoryLimit    Bytes
	WorkerThreads  int
	TCPNoDelay     YesNo
	MetricsListen  string // empty: nowhere

	Daemon  bool
	Check   bool
	Quit    bool
	Wait    int // seconds
	PidDir  string
	PidFile string

	Log Log

	CPUProfile string
	Version    bool

	given     map[string]bool
	effective map[string]string // values as texts, by the options' names
}

// Given tells whether an option was given at all, be it its default.
func (o *Options) Given(name string) bool { return o.given[name] }

// Log are the options of the log.
type Log struct {
	Trace     bool
	Enable    []string
	Disable   []string
	Outputs   []string
	ToFile    string
	ToStderr  YesNo
	ToStdout  YesNo
	ToJournal YesNo
	Time      YesNo
	Level     YesNo
	Category  YesNo
	HiRes     YesNo
	Prefix    string
}

// OnStderr tells whether the log goes to stderr.
func (l *Log) OnStderr() bool {
	return bool(l.ToStderr) || slices.Contains(l.Outputs, "stderr") ||
		len(l.Outputs) == 0 && l.ToFile == "" && !bool(l.ToStdout) && !bool(l.ToJournal)
}

// DefaultFile is read if it is there and --config does not name another.
const DefaultFile = "/etc/qpid/qpidd.conf"

// RingFiles are read if --ring-config is not given: the first that is there.
var RingFiles = []string{"/etc/corosync/corosync.conf", "/etc/corosync.conf", "/etc/ais/openais.conf"}

// What a publisher of a durable message waits for.
const (
	SyncMajority = "majority" // the disks of a majority
	SyncAll      = "all"      // every member's disk
	SyncLocal    = "local"    // the disk of the member it publishes to
	SyncNone     = "none"     // no disk
)

// Providers of the ring.
const (
	Totem    = "totem"
	Corosync = "corosync"
)

// What is done about the host's firewall.
const (
	FirewallAuto     = "auto"
	FirewallCheck    = "check"
	FirewallOff      = "off"
	FirewallRequired = "required"
)

// FirewallModes are all of them.
var FirewallModes = []string{FirewallAuto, FirewallRequired, FirewallCheck, FirewallOff}

// The ways of the ring's packets, and the places of a guard before them.
const (
	DatapathAuto   = "auto"
	DatapathUDP    = "udp"
	DatapathPacket = "packet"
	DatapathXDP    = "xdp"

	GuardOff     = "off"
	GuardNative  = "xdp"
	GuardGeneric = "xdp-generic"
	GuardTC      = "tc"
)

var (
	datapaths = []string{DatapathAuto, DatapathUDP, DatapathPacket, DatapathXDP}
	guards    = []string{GuardOff, GuardNative, GuardGeneric, GuardTC}
)

// maxThreads is more than a host has cores for; with many more the process does nothing but look after them.
const maxThreads = 4096

// MaxClusterName is the longest name of a group: CPG_MAX_NAME_LENGTH less its terminator.
const MaxClusterName = 127

// MaxAcceptors is how many sockets may listen at an address.
const MaxAcceptors = 64

// flags makes the flag set that fills o.
func (o *Options) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet("qpidd", pflag.ContinueOnError)
	f.SortFlags = false
	f.Usage = func() {}
	f.StringVar(&o.ConfigFile, "config", DefaultFile, "`FILE` to read options from, name=value in each line")
	toggle(f, &o.Version, "version", "v", "print the version and exit")

	f.IntVarP(&o.Port, "port", "p", 5672, "`PORT` to listen on; 0 picks a free one and prints it")
	f.StringArrayVar(&o.Interfaces, "interface", nil, "listen on this `ADDRESS` or interface only (may be repeated)")
	f.StringVar(&o.DataDir, "data-dir", "", "`DIR` for the lock file and what has to survive a restart")
	toggle(f, &o.NoDataDir, "no-data-dir", "", "keep nothing on disk, but what goes to --store-dir if that is given")
	f.StringVar(&o.StoreDir, "store-dir", "", "`DIR` for durable queues and messages (default: the data directory)")
	f.StringVar(&o.Sync, "sync", SyncMajority, "`DISKS` that have a durable message before its publisher is answered: majority of the members, all, local, or none")
	yesNo(f, &o.Truncate, "truncate", "discard all that the store holds, and begin with an empty one")
	o.Auth = true
	yesNo(f, &o.Auth, "auth", "clients have to authenticate")
	f.StringVar(&o.UsersFile, "users-file", "", "`FILE` with the users (default DATA-DIR/users, else /etc/qpid/qpidd.users)")

	f.StringVar(&o.ClusterName, "cluster-name", "", "`NAME` of the cluster to join or found; none: stand-alone")
	f.StringVar(&o.ClusterURL, "cluster-url", "", "`URL` that clients are given for this member (default: its addresses)")
	f.IntVar(&o.ClusterSize, "cluster-size", 0, "votes expected: wait for as many members to form a cluster, go on with a majority of them")
	f.StringVar(&o.Provider, "ring-provider", Totem, "`PROVIDER` of the ring: totem, our own, or corosync, the one that runs on this host")
	f.StringVar(&o.RingConfig, "ring-config", "", "`FILE` that says how the ring is set up, a corosync.conf or openais.conf; options override it; "+
		"empty: none (default: the first there is of "+strings.Join(RingFiles, ", ")+")")
	f.StringVar(&o.BindNetAddr, "bindnetaddr", "", "`ADDRESS` of the ring's interface, or of its network (default: the ring configuration's, else the default route's interface)")
	f.StringVar(&o.McastAddr, "mcastaddr", "", "multicast `GROUP` of the ring (default: the ring configuration's, else from the cluster's name)")
	f.IntVar(&o.McastPort, "mcastport", 5405, "UDP `PORT` of the ring")
	f.IntVar(&o.MeshPort, "mesh-port", 0, "TCP `PORT` that other members connect to; 0 is any free one")
	f.StringVar(&o.Datapath, "ring-datapath", DatapathAuto, "`WAY` of the ring's packets: udp, packet (AF_PACKET), xdp (AF_XDP), or auto: what costs least where it is measured")
	f.StringVar(&o.RingGuard, "ring-guard", GuardOff, "`PLACE` where what is none of the ring's packets is dropped: off, xdp (by the driver), xdp-generic or tc")
	yesNo(f, &o.TokenPass, "ring-token-pass", "the kernel passes the ring's token on while this member has nothing to say")
	f.DurationVar(&o.Token, "token", 0, "token timeout of the ring (default: the ring configuration's, else 3s, more with many members)")
	f.StringVar(&o.Firewall, "firewall", FirewallAuto, "`MODE` for the host's firewall: auto guards the ring's ports, required does not start where it cannot, check only looks what other rules drop, off does neither")

	f.IntVar(&o.MaxConnections, "max-connections", 500, "most client connections; 0 is no limit")
	f.IntVar(&o.ConnectionRate, "connection-rate", 0, "most new connections a second from one address, or IPv6 network of 64 bits; the kernel drops what is beyond; 0 is no limit")
	f.IntVar(&o.Acceptors, "acceptors", 1, "sockets that listen for clients at each address, of which each gets a connection in turn; not of sockets that the service manager passes")
	f.IntVar(&o.MaxNegotiate, "max-negotiate-time", 10000, "`MS` that a client has to open its connection")
	f.IntVar(&o.MaxFrame, "max-frame-size", 128<<10, "largest AMQP frame in bytes")
	f.Int64Var(&o.MaxMessage, "max-message-size", 128<<20, "largest message in bytes")
	f.Var(&o.MemoryLimit, "memory-limit", "most `BYTES` of memory that messages may take; beyond, they go to the store, or publishers are refused (default: 60% of memory)")
	f.IntVar(&o.WorkerThreads, "worker-threads", 0, "threads that run Go code (default: one for each core)")
	o.TCPNoDelay = true
	yesNo(f, &o.TCPNoDelay, "tcp-nodelay", "send small packets at once")
	f.StringVar(&o.MetricsListen, "metrics-listen", "", "`[ADDRESS:]PORT` where figures are shown to Prometheus, at http://…/metrics, to anyone; none: nowhere")

	toggle(f, &o.Daemon, "daemon", "d", "run as a daemon: return once the broker listens and is a member")
	toggle(f, &o.Check, "check", "c", "print the process id of the daemon of this port; exit 1 if there is none")
	toggle(f, &o.Quit, "quit", "q", "tell the daemon of this port to shut down")
	f.IntVarP(&o.Wait, "wait", "w", 60, "`SECONDS` to wait for --daemon and --quit")
	f.StringVar(&o.PidDir, "pid-dir", "", "`DIR` of the daemon's pid file (default /run/qpidd, else ~/.qpidd)")
	f.StringVar(&o.PidFile, "pidfile", "", "`FILE` to keep the process id in")
	f.StringVar(&o.CPUProfile, "cpu-profile", "", "write a CPU profile to this `FILE`, for go tool pprof")
	o.Log.flags(f)
	return f
}

func (l *Log) flags(f *pflag.FlagSet) {
	toggle(f, &l.Trace, "trace", "t", "log everything: --log-enable trace+")
	f.StringArrayVar(&l.Enable, "log-enable", []string{"notice+"}, "`RULE` LEVEL[+-][:CATEGORY] to log (may be repeated)")
	f.StringArrayVar(&l.Disable, "log-disable", nil, "`RULE` LEVEL[+-][:CATEGORY] not to log (may be repeated)")
	f.StringArrayVar(&l.Outputs, "log-output", nil, "stderr, stdout, journald or a `FILE` (may be repeated)")
	f.StringVar(&l.ToFile, "log-to-file", "", "log to this `FILE`")
	l.Time, l.Level, l.Category = true, true, true
	yesNo(f, &l.ToStderr, "log-to-stderr", "log to stderr (default when nothing else is named)")
	yesNo(f, &l.ToStdout, "log-to-stdout", "log to stdout")
	yesNo(f, &l.ToJournal, "log-to-journald", "log to the system's journal")
	yesNo(f, &l.Time, "log-time", "lines tell the time")
	yesNo(f, &l.Level, "log-level", "lines tell the level")
	yesNo(f, &l.Category, "log-category", "lines tell the category")
	yesNo(f, &l.HiRes, "log-hires-timestamp", "lines tell the time to the nanosecond")
	f.StringVar(&l.Prefix, "log-prefix", "", "put this in front of each line")
}

// YesNo is a switch that may be given as yes, no, true, false, on, off, 1 or 0.
type YesNo bool

func yesNo(f *pflag.FlagSet, v *YesNo, name, usage string) {
	f.Var(v, name, usage)
	f.Lookup(name).NoOptDefVal = "yes"
}

// Set reads a switch.
func (v *YesNo) Set(s string) error {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1", "y":
		*v = true
	case "no", "false", "off", "0", "n":
		*v = false
	default:
		return fmt.Errorf("%q is neither yes nor no", s)
	}
	return nil
}

func (v *YesNo) String() string {
	if *v {
		return "yes"
	}
	return "no"
}

// Type is what help calls a switch.
func (v *YesNo) Type() string { return "yes|no" }

// toggled is a switch that is off, and that alone, without a value, turns on. In a file or in the
// environment it has a value, which may be any that a YesNo has.
type toggled bool

func toggle(f *pflag.FlagSet, v *bool, name, shorthand, usage string) {
	f.VarP((*toggled)(v), name, shorthand, usage)
	f.Lookup(name).NoOptDefVal = "true"
}

// Set reads a switch.
func (v *toggled) Set(s string) error { return (*YesNo)(v).Set(s) }

func (v *toggled) String() string { return strconv.FormatBool(bool(*v)) }

// Type has help show no value.
func (v *toggled) Type() string { return "bool" }

// Bytes is a size, which may end in k, M or G.
type Bytes int64

// Set reads a size.
func (v *Bytes) Set(s string) error {
	var n float64
	var unit string
	if _, err := fmt.Sscanf(s+" ", "%g%s", &n, &unit); err != nil && unit == "" {
		if _, err := fmt.Sscanf(s, "%g", &n); err != nil {
			return fmt.Errorf("%q is no size: a number of bytes, or with k, M or G", s)
		}
	}
	scale := map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
	by, ok := scale[strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(unit), "b"), "i")]
	if !ok || n < 0 || n*by > 1<<62 {
		return fmt.Errorf("%q is no size: a number of bytes, or with k, M or G", s)
	}
	*v = Bytes(n * by)
	return nil
}

func (v *Bytes) String() string { return fmt.Sprint(int64(*v)) }

// Type is what help calls a size.
func (v *Bytes) Type() string { return "bytes" }
