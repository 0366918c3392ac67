// Package totem is the Totem single ring protocol as corosync 3 runs it: members pass a
// token; who has it multicasts, each packet with the next place in the order; everybody
// delivers in that order. When a member dies, comes or cannot be heard, the others agree on a
// new ring and on what was delivered in the old one (extended virtual synchrony).
//
// It is a pure state machine: packets and the time go in, datagrams and events come out. It
// has no sockets, clocks, goroutines or locks, and the same input gives the same output.
//
//	out := totem.NewOutput()
//	m, err := totem.New(cfg, source, out, now)
//	for {
//		m.Step(now, packet)           // or Tick(now), Kick(now), Suspect(now, node)
//		for m.Pending() { m.Pump(now) } // packets to ourselves
//		send(out.Send)                // in order, before anything else is sent
//		use(out.Events)               // packets and configurations, in the one order
//		out.Reset()
//	}
//
// The caller owes it: Tick no later than the time Tick returned last, packets with their
// blocks alive during Step, and that what Output lists is used before Reset.
//
// States:
//
//	          join, foreign packet, token lost, Suspect
//	OPERATIONAL ------------------------------------> GATHER  joins until all agree
//	     ^                                              |
//	     |  all have all old messages                   |  commit token, first pass
//	 RECOVERY <-------------------------------------- COMMIT  everybody tells its old ring
//	             commit token, second pass
//
// Files: machine (entry and dispatch), gather, commit, recovery, install (the two
// configurations), token (a visit), request (retransmission), flow, frames, hold, marks, mcast, output,
// damper, dice, queue, timers, sets. "Section n" in comments means docs/ring-protocol.md.
//
// Departures from the protocol as corosync has it; none is visible to a peer as an error:
//   - Packets to ourselves do not touch the network (corosync loops them through sockets).
//   - A representative that holds the token sends from it at once; corosync lets it go round
//     once more first.
//   - A member that cannot get a held token asks for it again every Join interval.
//   - In Commit, a join of a future member that knows more than we ends the attempt at once;
//     corosync waits for the loss of the commit token.
//   - A join that waits for send_join does not keep the member from everything else meanwhile, and
//     tells what is known when it leaves; corosync sleeps. A leave does not wait.
//   - A join that tells nothing new does not make us gather anew and send ours again.
//   - Who agrees with the one that forms the ring tells it at once, and a join that made us
//     gather counts as its sender's consent if it says what we say then; corosync waits for
//     the next join.
//   - Delayed packets of an older ring from a member of this one are dropped; corosync forms
//     a new ring upon them. A member that really lives in an older ring is missed at the
//     latest when the token does not come back.
//   - Messages are released only by accepted tokens; corosync also counts repeated ones.
//   - When recovery fails, old messages recovered so far are kept, so that fewer differ
//     between those that completed it and those that did not.
//   - When recovery fails, the lists of the gathering before it are forgotten, as after a ring
//     that was installed; otherwise two halves that just parted can exclude each other again
//     and again.
//   - Who has shown since our ring began that it is in another is not believed any more as to who
//     of ours is dead; corosync goes by the node id, which one that starts anew has, too, and then
//     the living are failed one by one on the word of one who means their view of the dead.
//   - Who did not agree in time is given up only if it was silent, as long as anybody was; corosync
//     gives up on those who said something else at the same time.
//   - After several rings in quick succession a member rests for a join interval before it
//     takes others' packets as a cause for the next (damper.go).
//   - The pause check (corosync drops joins queued while the process slept) is left out:
//     stale joins are told by their ring number.
//   - Where all members announce that they understand it, the token has marks (marks.go).
//   - A ring that rests though packets are asked for counts its rotations for fail_recv_const as
//     if it did not; it rests in operation only, corosync in recovery, too.
//   - The heartbeat runs from where a member passes the token on, also one that has kept it, and ends
//     with the ring that it is for; corosync's does not run where a kept token is let go, and one
//     that was started before ends the gathering that a join began.
//   - A sender that has used up the window may still send one packet a visit.
package totem
