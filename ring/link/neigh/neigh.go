package neigh

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/frame"
)

// Device is what the interface is like.
type Device struct {
	Name     string
	MAC      frame.MAC
	MTU      int
	Queues   int  // to receive
	Up       bool // and with a carrier
	Ethernet bool
	Loopback bool
	Gone     bool // it was removed
}

// Table is what the kernel knows of the neighbours on one interface.
type Table struct {
	index   int
	device  Device
	fd      int
	buffer  []byte
	entries map[netip.Addr]entry
	routes  map[netip.Addr]netip.Addr // next hops; invalid: not over this interface
	changes uint64
}

type entry struct {
	mac   frame.MAC
	known bool
	fresh bool      // confirmed, or needing no confirmation
	asked time.Time // when the kernel was last left to ask
}

// maxEntries bounds the tables: a network may have more neighbours than a ring has members.
const maxEntries = 1024

// confirmInterval is how often the kernel gets a packet to send to a neighbour whose address
// nothing has confirmed.
const confirmInterval = time.Second

// confirmed are the states of a neighbour that need no asking.
const confirmed = netlink.NUD_REACHABLE | netlink.NUD_PERMANENT | netlink.NUD_NOARP

// groups are what the kernel is to tell of.
const groups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_NEIGH-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1)

// messageBytes holds what the kernel puts into one message: a page, or for dumps 32 KiB.
const messageBytes = 32 << 10

// Open makes a table for an interface.
func Open(index int) (*Table, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("neigh: socket", err)
	}
	t := &Table{index: index, fd: fd, buffer: make([]byte, messageBytes)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		t.Close()
		return nil, os.NewSyscallError("neigh: bind", err)
	}
	if err := t.reload(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// FD is to be polled for reading.
func (t *Table) FD() int { return t.fd }

// Close ends it.
func (t *Table) Close() { _ = unix.Close(t.fd) } // nothing was written

// Device is what the interface is like now.
func (t *Table) Device() Device { return t.device }

// Changes counts what may have changed an answer of Way's or Device's.
func (t *Table) Changes() uint64 { return t.changes }

// Move makes it the table of another interface.
func (t *Table) Move(index int) error {
	t.index = index
	return t.reload()
}

// reload asks for everything.
func (t *Table) reload() error {
	t.changes++
	t.entries, t.routes = map[netip.Addr]entry{}, map[netip.Addr]netip.Addr{}
	l, err := netlink.LinkByIndex(t.index)
	if err != nil {
		return fmt.Errorf("neigh: interface %d: %w", t.index, err)
	}
	t.look(l)
	list, err := netlink.NeighList(t.index, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("neigh: neighbours: %w", err)
	}
	for i := range list {
		t.note(&list[i], false)
	}
	return nil
}

func (t *Table) look(l netlink.Link) {
	a := l.Attrs()
	d := Device{Name: a.Name, MTU: a.MTU, Queues: max(a.NumRxQueues, 1), Ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
		Loopback: a.EncapType == "loopback"}
	if d.Ethernet {
		d.MAC = frame.MAC(a.HardwareAddr)
	}
	d.Up = a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0
	t.device = d
}

// note takes a neighbour, or that it is gone.
func (t *Table) note(n *netlink.Neigh, gone bool) {
	ip, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.LinkIndex != t.index {
		return
	}
	ip = ip.Unmap()
	e := entry{fresh: n.State&confirmed != 0, asked: t.entries[ip].asked}
	usable := n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 && n.State != netlink.NUD_NONE
	if len(n.HardwareAddr) == 6 && usable && !gone {
		e.mac, e.known = frame.MAC(n.HardwareAddr), true
	}
	old, had := t.entries[ip]
	if !had && len(t.entries) >= maxEntries || had && old == e {
		return
	}
	if e.known {
		t.entries[ip] = e
	} else {
		delete(t.entries, ip)
	}
	if old.mac != e.mac || old.known != e.known {
		t.changes++
	}
}

// Read takes what the kernel has told. It never waits.
func (t *Table) Read() {
	for {
		n, _, err := unix.Recvfrom(t.fd, t.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			// Some of it was lost (ENOBUFS), so all is asked for again. That fails if the interface
			// is gone.
			if t.reload() != nil {
				t.device.Up = false
			}
			return
		}
		list, err := syscall.ParseNetlinkMessage(t.buffer[:n])
		if err != nil {
			continue // not the kernel's
		}
		for i := range list {
			t.message(list[i].Header.Type, list[i].Data)
		}
	}
}

func (t *Table) message(kind uint16, data []byte) {
	switch kind {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		if n, err := netlink.NeighDeserialize(data); err == nil {
			t.note(n, kind == unix.RTM_DELNEIGH)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		clear(t.routes)
		t.changes++
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if len(data) < unix.SizeofIfInfomsg || data[0] != unix.AF_UNSPEC {
			return // of a bridge's port, which says less
		}
		l, err := netlink.LinkDeserialize(&unix.NlMsghdr{Type: kind}, data)
		if err != nil || l.Attrs().Index != t.index {
			return
		}
		before := t.device
		if t.look(l); kind == unix.RTM_DELLINK {
			t.device.Up, t.device.Gone = false, true
		}
		if before != t.device {
			t.changes++
		}
	}
}

// Way is the Ethernet address to which a packet for an address goes. It is not ok where none is
// known, or where it is time that the kernel sees to it that it is still right.
func (t *Table) Way(to netip.Addr, now time.Time) (mac frame.MAC, ok bool) {
	hop := t.hop(to.Unmap())
	e, found := t.entries[hop]
	if !found || !e.known {
		return mac, false
	}
	if !e.fresh && now.Sub(e.asked) >= confirmInterval {
		e.asked = now
		t.entries[hop] = e
		return mac, false
	}
	return e.mac, true
}

// hop is the neighbour by which the kernel's routes reach an address; invalid if they do not over
// this interface.
func (t *Table) hop(to netip.Addr) netip.Addr {
	if h, known := t.routes[to]; known {
		return h
	}
	if len(t.routes) >= maxEntries {
		clear(t.routes)
	}
	hop := netip.Addr{}
	// An error is an address that no route leads to.
	if list, err := netlink.RouteGet(to.AsSlice()); err == nil && len(list) > 0 && list[0].LinkIndex == t.index {
		hop = to
		if gw, ok := netip.AddrFromSlice(list[0].Gw); ok {
			hop = gw.Unmap()
		}
	}
	t.routes[to] = hop
	return hop
}
