// Package group makes of what corosync's closed process groups deliver what package cluster
// expects of a ring: views of which all members know who came along, and messages of which it is
// known when every member holds them. corosync delivers in agreed order only, so members tell one
// another. It is pure; package corosync moves the bytes.
//
//	m := group.New(cfg)
//	m.Configuration(now, members, left)  // what corosync delivers, in its order
//	m.Totem(now, ring, nodes)
//	m.Message(now, from, one, two)
//	m.Tick(now)                          // at Next at the latest
//	for head, data, ok := m.Front(); ok && corosync takes it; … { m.Sent(now) }
//	r := m.Ready(); … views, messages, what is safe
//
// Views. corosync says who is in the group and which ring it is on, not who has delivered the
// same. So after each change every member multicasts a flush: the view it comes from and a sum over
// what it has delivered there. When all flushes of a state are in, which is at the same place of
// the order for everybody, the view begins; those whose flushes agree with ours came along.
// Application messages that are delivered in between belong to the new view; nobody sends any
// while flushes are awaited. (corosync's own word for it is not relied upon: when the ring changes
// twice before its services have synchronised, it forgets who was missing from the first.)
//
// Safe. Each message says how many of the view's its sender has delivered, and a member that has
// nothing to say and was delivered something of another's multicasts a report with that number: the
// next one when the last has come back, so that there is one a rotation at most however much is
// sent. What all have is safe.
//
// A member that is stopped or stuck cannot be told from a busy one by corosync, which keeps its
// messages for it. It would keep everything from becoming safe. So members that wait for one too
// long while the ring turns expel it, by a message: at its place in the order all others go on
// without it, and it sees it there too when it wakes up.
//
// The bytes of the messages (all numbers little endian):
//
//	0 mark u8 = 0xC7  1 version u8 = 1  2 kind u8  3 zero u8  4 sequence u32  8 view u64  16 have u64
//	data     1  then the bytes; sequence counts the sender's, so that a loss would be noticed
//	report   2  nothing
//	flush    3  then sum u64, state u64, the number of expelled members u32, node u32 and pid u32 of each
//	expel    4  then node u32, pid u32
package group
