package frame

import "net/netip"

// Ways are the templates of the destinations of one sender, made when they are first used. A
// destination whose Ethernet address has changed gets a new one.
type Ways struct {
	from   netip.AddrPort
	source MAC
	group  netip.AddrPort
	ttl    uint8 // to the group
	all    map[netip.AddrPort]*way
}

type way struct {
	template *Template
	to       MAC
}

// maxWays bounds them: a ring has 384 members at the most, each with one address or two.
const maxWays = 1024

// unicastTTL is Linux's default.
const unicastTTL = 64

// NewWays begins with none. group may be invalid.
func NewWays(from, group netip.AddrPort, ttl uint8) *Ways {
	return &Ways{from: from, group: group, ttl: ttl, all: map[netip.AddrPort]*way{}}
}

// Group tells whether an address is the group's.
func (w *Ways) Group(to netip.AddrPort) bool { return to == w.group }

// To is the template for a destination that has an Ethernet address, as the sender has.
func (w *Ways) To(to netip.AddrPort, source, destination MAC) *Template {
	if source != w.source {
		w.source = source
		clear(w.all)
	}
	x := w.all[to]
	if x != nil && x.to == destination {
		return x.template
	}
	ttl := uint8(unicastTTL)
	if w.Group(to) {
		ttl = w.ttl
	}
	if len(w.all) >= maxWays {
		clear(w.all)
	}
	x = &way{to: destination, template: NewTemplate(Route{Source: source, Destination: destination, From: w.from, To: to, TTL: ttl})}
	w.all[to] = x
	return x.template
}
