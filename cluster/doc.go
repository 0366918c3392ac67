// Package cluster joins broker, ring and journal: it gives every entry its index, knows who
// takes part and whether that is a quorum, brings joiners up to date, and tells clients when
// what they asked for is safe. It is pure.
//
//	n := cluster.New(cfg, group)             // group: the ring, or Alone
//	n.View(now, v); n.Message(now, …)        // what the group delivers, in its order
//	n.Requests(now, conn, r); n.Mesh(…)      // what clients and other members say
//	n.Tick(now)                              // when Next is due
//	n.Flush(now)                             // after a batch of those
//	n.Safe(number)                           // what the group knows every member to hold
//	r := n.Ready(); …; n.Done()              // answers, mesh messages, events
//
// A member's life:
//
//	Joining ──form────────────────────────────▶ Active ◀──quorum again──┐
//	   │                                          │ ▲                   │
//	   └─state received─▶ CatchingUp ─announced───┘ └──quorum lost──▶ Frozen
//	   ▲                                                                │
//	   └───────── the cluster went on without this member ──────────────┘
//
// After each view everybody says what it holds (hello); when all have, each member comes to
// the same decision about whose history counts and who sends it to whom. Entries travel as a
// stream for each member, cut into group messages (stream.go); control entries stand aside.
//
// Not here: what entries mean (package broker), sockets and clocks (package daemon).
package cluster
