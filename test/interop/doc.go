// Package interop proves that the ring speaks with corosync: rings of Debian's corosync 3.1
// and of our own machines, on hosts that are network namespaces joined by a bridge. Nothing
// reaches the host's own interfaces or its corosync, whose service need not run.
//
// On each host is one process of a group:
//
//	ringnode           ours: a cpg machine and a link, and nothing else
//	ringnode -corosync ours as well: a client of the host's corosync, without libcpg
//	testdata/cpgnode.c a client of libcpg, on a host where corosync runs
//
// Both take the same commands on standard input and say the same on standard output:
//
//	start n            multicast a start; who delivers it forgets what was before and awaits
//	                   the end of n bursts
//	burst count seed   multicast so many messages of 1 B to 200 kB, then an end
//	huge bytes         multicast one message of that length
//	flood seed         multicast messages without an end, as fast as they are taken
//	trickle seed       multicast messages without an end, one every 20 ms
//	leave              leave the group, and with ringnode the ring, and exit
//
//	view node…         the group's members from here on
//	left node reason   and who went, with corosync's number for the reason
//	started            the start was delivered
//	outdated version   another node has a newer configuration, of that version; it leaves and exits
//	starving node      packets do not come to a node, and go to all by unicast, too, from now on
//	report count hash  after the last end: how many messages came since the start, and a hash
//	                   over their senders, lengths and bytes in the order of delivery; then
//	                   "own" or "own-differs": whether ours came as they were sent
//
// Equal reports are the proof: each process delivered the same messages in the same order.
//
// It takes root, and what test/e2e/install-clients installs: make test-privileged.
package interop
