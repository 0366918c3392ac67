// Package ringtest is a network for tests: hosts with a virtual clock, whose packets are
// lost, repeated, delayed and reordered under a seed, and that can be cut off from each
// other. The same seed gives the same run.
//
//	net := ringtest.New(seed)
//	net.Attach(id, host)           // anything with Receive and Wake
//	net.Partition(a, b)            // Heal undoes it
//	net.Run(5 * time.Second)
//
// Node (node.go) is a host with a ring machine on it; Checker (check.go) watches nodes and
// says where one of them broke a promise of the ring.
package ringtest
