package exam

import (
	"encoding/json"
	"net/netip"
)

// Magic is what a doctor says in place of a member's magic. The rest of the hello is zeros.
const (
	Magic      = "QPDEXAM1"
	HelloBytes = 32
)

// Facts is what a broker says of itself.
type Facts struct {
	Host    string `json:"host"`
	Version string `json:"version"`
	Member  string `json:"member"` // node id and process id
	Node    uint32 `json:"node"`
	// Cluster is its name, and ClusterID which of that name it is.
	Cluster   string `json:"cluster"`
	ClusterID string `json:"cluster_id"`
	State     string `json:"state"`
	Ring      *Ring  `json:"ring,omitempty"`  // nil: it is corosync's
	Store     *Store `json:"store,omitempty"` // nil: nothing is stored
	Members   []Peer `json:"members"`         // of its view
}

// Ring is what members have to have in common, and where one is.
type Ring struct {
	Address    netip.AddrPort `json:"address"`
	Transport  string         `json:"transport"`
	Everyone   string         `json:"everyone"` // where what is for everyone goes
	Port       uint16         `json:"port"`
	NetMTU     int            `json:"netmtu"`
	Token      int64          `json:"token_ms"`
	Consensus  int64          `json:"consensus_ms"`
	Protection string         `json:"protection"` // "none", or how packets are protected
	Key        string         `json:"key"`        // Sum of the key
	// Deaf are nodes whose multicasts do not come, by what the ring has seen.
	Deaf []netip.AddrPort `json:"deaf,omitempty"`
}

// Store is what a broker keeps.
type Store struct {
	Cluster string `json:"cluster_id"`
	Journal uint32 `json:"journal"` // the version of its format
}

// Peer is another member, as one sees it.
type Peer struct {
	Member string `json:"member"`
	Mesh   string `json:"mesh"`
	State  string `json:"state"`
}

// The questions.
const (
	askClock    = "clock"
	askFacts    = "facts"
	askProbe    = "probe"
	askHeard    = "heard"
	askFindings = "findings"
)

type question struct {
	Ask   string `json:"ask"`
	Nonce uint64 `json:"nonce,omitempty"`
}

type answer struct {
	Error    string          `json:"error,omitempty"`
	Clock    int64           `json:"clock,omitempty"` // nanoseconds of Unix time
	Facts    *Facts          `json:"facts,omitempty"`
	Everyone []uint32        `json:"everyone,omitempty"`
	Alone    []uint32        `json:"alone,omitempty"`
	Findings json.RawMessage `json:"findings,omitempty"`
}
