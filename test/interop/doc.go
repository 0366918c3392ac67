// Package interop proves that the ring speaks with corosync: rings of Debian's corosync 3.1
// and of our own machines, on hosts that are network namespaces joined by a bridge. Nothing
// reaches the host's own interfaces or its corosync, whose service need not run.
//
// On each host is one process of a group:
//
//	ringnode           ours: a cpg machine and a link, and nothing else
//	testdata/cpgnode.c a client of libcpg, on a host where corosync runs
//
// Both take the same commands on standard input and say the same on standard output:
//
//	start n            multicast a start; who delivers it forgets what was before and awaits
//	                   the end of n bursts
//	burst count seed   multicast so many messages of 1 B to 200 kB, then an end
//	flood seed         multicast messages without an end
//	leave              leave the group, and with ringnode the ring, and exit
//
//	view node…         the group's members from here on
//	left node reason   and who went, with corosync's number for the reason
//	started            the start was delivered
//	report count hash  after the last end: how many messages came since the start, and a hash
//	                   over their senders, lengths and bytes in the order of delivery; then
//	                   "own" or "own-differs": whether ours came as they were sent
//
// Equal reports are the proof: each process delivered the same messages in the same order.
//
// It takes root, and the packages corosync, libcpg-dev, gcc, iproute2, nftables and ethtool.
package interop
