// Package cpg is closed process groups on the ring, as corosync 3 has them: a process joins a
// group by name, its messages reach all members of the group in one order, and everybody sees
// the members come and go at the same point of that order.
//
// A Machine is one process in one group. Like all pure parts it has no sockets, clocks,
// goroutines or locks:
//
//	m, err := cpg.New(cfg, now)
//	for {
//		m.Step(now, packet)        // each received datagram
//		next := m.Tick(now)        // no later than the time it returned last
//		m.Multicast(a, b, c)       // one message of three parts, copied
//		r := m.Ready()
//		if r.SaveRingSeq { save(r.RingSeq) }
//		send(r.Send)
//		for _, e := range r.Events { message or view }
//	}
//
// Ready hands out everything since it was called last; it stays valid until Ready is called
// again, whatever else is called between, so a caller may multicast while it walks the
// events. Packets are retained, not copied: their blocks return to the link when every member
// has the message and the Ready that showed it is over.
//
// After every change of the ring the members synchronise before application messages flow
// again (sync.go): they tell which processes they have, and wait for each other at barriers.
// Then the machine gives one View. A View's Transitional members are those that came along
// from the view before and have delivered the very same messages until here; all others are in
// Joined, also those that were away and have come back.
//
// Real corosync nodes may be in the ring and take part in the synchronisation; processes of
// theirs may be in the group. "Section n" in comments means docs/ring-protocol.md.
package cpg
