// Package corosync puts a broker on the corosync that runs on its host, as a client of its closed
// process groups, in place of a ring of its own. It speaks the protocol of libqb's IPC, version 1
// and 2, on 64-bit machines with glibc; docs/corosync-ipc.md describes its bytes, and "section n"
// in comments means there.
//
//	r, err := corosync.Open(cfg)
//	for {
//		wait for r.FD() or next
//		for more := true; more; {
//			more = r.Receive(now)
//			for _, e := range r.Ready().Events { message or view }
//			r.Release()
//		}
//		r.Multicast(a, b, c)   // one message of three parts, copied
//		next = r.Tick(now)     // sends, too
//		if r.Err() != nil { … }
//	}
//
// The pieces, from the outside in:
//
//	Ring          the group as package daemon wants it: views, messages, what is safe
//	group.Machine how members find that out over what corosync delivers; pure
//	Client        requests and events of the CPG service
//	conn          socket, credentials, three ring buffers in shared memory
//	buffer        one of them, with its semaphore
//
// Messages are not copied on their way in: they point into the memory that corosync wrote them to.
//
// A process may be in one group. Whom corosync admits is up to its uidgid rules. Brokers that
// have a ring of their own and brokers on a corosync do not form a cluster with one another: the
// former know what is safe from the token, which corosync does not show.
package corosync
