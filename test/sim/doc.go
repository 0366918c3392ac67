// Package sim runs whole clusters under one seed: ring, log, broker and clients, on a network
// that loses, repeats, delays and reorders packets and falls apart, with members that crash
// and start again. After every step it checks what the cluster promises (check.go):
//
//   - members with the same history have it in the same order, and the same state;
//   - what was acknowledged is held by all active members of the view, and never lost while
//     some member that was active lives;
//   - no message has two holders;
//   - consumers get the messages of a publisher in the order in which it published them.
//
// A failure prints its seed; SEED=n replays it, SEEDS=n runs so many,
// FIRST=n from there on. make sim-nightly runs very many, and those of ring/ringtest.
package sim
