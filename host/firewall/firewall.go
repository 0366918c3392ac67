package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// Policy says who may reach which port.
type Policy struct {
	Table   string   // a name that no other broker of the host has
	Clients []uint16 // TCP ports that anybody may reach
	Ring    []uint16 // UDP ports for members
	Mesh    uint16   // a TCP port for members; 0: there is none
	// Networks are where members may come from that are not known yet.
	Networks []netip.Prefix
	Peers    []netip.Addr // members that are known
}

// maxPeers is more than a ring can have members.
const maxPeers = 1024

// sayEvery keeps the log readable while somebody changes the table again and again.
const sayEvery = time.Minute

// Firewall is a table that is in force.
type Firewall struct {
	say func(trouble bool, text string)

	mu     sync.Mutex
	policy Policy
	conn   *nftables.Conn
	closed bool
	said   time.Time // that it was put back

	watch *Watch
}

// Open puts the table in force, also if one of its name is left over. Say is told when somebody
// changes it.
func Open(p Policy, say func(trouble bool, text string)) (*Firewall, error) {
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, explain(err)
	}
	f := &Firewall{say: say, policy: p, conn: c}
	if err := f.apply(); err != nil {
		return nil, errors.Join(err, c.CloseLasting())
	}
	if f.watch, err = NewWatch(f.check); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// explain says what an error of the kernel's means.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) && permitted():
		return fmt.Errorf("firewall: %w, though this process may change it: another process owns the table (nft list tables shows the flag owner), or a policy denies it; end that process, or start with --firewall=off", err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("firewall: %w; it takes CAP_NET_ADMIN, which qpidd.service gives; or start with --firewall=off", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT):
		return fmt.Errorf("firewall: %w; this kernel has no nf_tables (modprobe nf_tables), start with --firewall=off", err)
	}
	return fmt.Errorf("firewall: %w", err)
}

// permitted tells whether this process has what changing the firewall takes.
func permitted() bool {
	c, err := host.Capabilities()
	return err == nil && c&(1<<unix.CAP_NET_ADMIN) != 0
}

// SetPeers replaces the members that are known.
func (f *Firewall) SetPeers(peers []netip.Addr) error {
	peers = slices.Clone(peers)
	slices.SortFunc(peers, netip.Addr.Compare)
	peers = slices.Compact(peers)
	peers = peers[:min(len(peers), maxPeers)]
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || slices.Equal(peers, f.policy.Peers) {
		return nil
	}
	f.policy.Peers = peers
	return f.apply()
}

// Close removes the table.
func (f *Firewall) Close() error {
	if f.watch != nil {
		f.watch.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	t := f.conn.AddTable(f.table()) // so that it is there to be removed
	f.conn.DelTable(t)
	if err := f.conn.Flush(); err != nil {
		return errors.Join(explain(err), f.conn.CloseLasting())
	}
	return f.conn.CloseLasting()
}

func (f *Firewall) table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: f.policy.Table}
}

// apply replaces the table in one transaction: there is no moment without it, or with half of it.
func (f *Firewall) apply() error {
	f.conn.AddTable(f.table())
	f.conn.DelTable(f.table())
	if err := f.policy.build(f.conn, f.conn.AddTable(f.table())); err != nil {
		return explain(err)
	}
	if err := f.conn.Flush(); err != nil {
		return explain(err)
	}
	return nil
}

// check looks whether the table is as it was made, and puts it back if not.
func (f *Firewall) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.intact() {
		return
	}
	if err := f.apply(); err != nil {
		f.say(true, fmt.Sprintf("somebody has changed table inet %s of the firewall, and it cannot be put back: %v", f.policy.Table, err))
		return
	}
	if now := time.Now(); now.Sub(f.said) > sayEvery {
		f.said = now
		f.say(true, fmt.Sprintf("somebody has removed or changed table inet %s of the firewall: it is put back; --firewall=off keeps the broker from having one", f.policy.Table))
	}
}

// intact tells whether the table has as many rules and elements as it is to have.
func (f *Firewall) intact() bool {
	t := f.table()
	for chain, want := range f.policy.sizes() {
		rules, err := f.conn.GetRules(t, &nftables.Chain{Name: chain, Table: t})
		if err != nil || len(rules) != want {
			return false
		}
	}
	for i, name := range []string{peers4, peers6} {
		elements, err := f.conn.GetSetElements(&nftables.Set{Table: t, Name: name})
		if err != nil || len(elements) != len(f.policy.keys(i == 0)) {
			return false
		}
	}
	list, err := f.conn.ListChainsOfTableFamily(t.Family)
	return err == nil && slices.ContainsFunc(list, func(c *nftables.Chain) bool {
		return c.Table.Name == t.Name && c.Name == inputChain && c.Hooknum != nil
	})
}
