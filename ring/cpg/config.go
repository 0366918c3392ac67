package cpg

import (
	"errors"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/pack"
	"github.com/qpidd-cluster/qpidd-cluster/ring/totem"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Config is what a process must know to join its group.
type Config struct {
	Totem totem.Config
	Group string // 1 to 127 bytes
	PID   uint32

	// Votes and ExpectedVotes are announced to corosync's votequorum. Zero votes: nothing is
	// announced, and corosync counts this node as having none.
	Votes         uint32
	ExpectedVotes uint32
	// AllowDownscale: a leave is announced to votequorum, too, which expects fewer votes from then on.
	AllowDownscale bool

	// ConfigVersion is that of the configuration, which nodes compare when they first meet; 0:
	// this one does not.
	ConfigVersion uint64

	// QueueBytes limits what Multicast queues, headers included; 0 means 4 MiB.
	QueueBytes int
}

const (
	defaultQueueBytes = 4 << 20
	minQueueBytes     = 64 << 10
	// controlReserve is room in the queue that only procjoin, procleave and the nodeinfo of a leave use.
	controlReserve = 1 << 10
	// syncQueueBytes holds one round of synchronisation: service_build, config_version,
	// downlist, joinlist, two nodeinfos and a barrier for each of at most 128 services, 12 KiB in all.
	syncQueueBytes = 64 << 10
	// maxPump bounds the visits of a ring of one in one call.
	maxPump = 64
	// headerBytes is what a message to the group carries in front of its data.
	headerBytes = wire.ServiceGroupBytes + wire.CPGMcastBytes
)

// MaxMessage is the longest message that Multicast takes.
const MaxMessage = pack.MaxMessageBytes - headerBytes

// What Multicast refuses.
var (
	ErrFull    = pack.ErrFull
	ErrTooLong = pack.ErrTooLong
	ErrLeft    = errors.New("ring: the group has been left")
)

// Validate checks the configuration.
func (c Config) Validate() error {
	if n := len(c.Group); n < 1 || n > wire.MaxGroupName {
		return fmt.Errorf("ring: group name %q has %d bytes, must have 1 to %d", c.Group, n, wire.MaxGroupName)
	}
	if c.QueueBytes != 0 && c.QueueBytes < minQueueBytes {
		return fmt.Errorf("ring: send queue of %d bytes, must be at least %d", c.QueueBytes, minQueueBytes)
	}
	return c.Totem.WithDefaults().Validate()
}

// Stats counts what happened, by cause.
type Stats struct {
	Totem totem.Stats
	// Application and Sync count what could not be taken apart on the two streams.
	Application, Sync pack.Counters

	Messages    uint64 // delivered to the group
	Bytes       uint64
	Views       uint64
	Syncs       uint64 // synchronisations begun
	Stuck       uint64 // that did not end, so that the ring was formed anew
	OtherGroups uint64 // messages of groups that are not ours
	NoMember    uint64 // messages to our group from processes that are not in it
	Malformed   uint64 // messages whose fields do not fit
	Unknown     uint64 // messages of services we do not have
}

// leavePatience is how long our procleave may take before we leave without it.
func (c Config) leavePatience() time.Duration { return c.Totem.WithDefaults().Token / 4 }
