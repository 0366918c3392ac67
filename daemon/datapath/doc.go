// Package datapath chooses how the ring's packets go: by UDP sockets, or past them by AF_PACKET or
// AF_XDP.
//
//	c := datapath.New(options.Datapath, options.RingGuard, say)
//	c.Configure(&linkConfig)           // before link.Open
//	l, err := link.Open(linkConfig)
//	c.Opened(l)                        // puts the guard before it, and says what was chosen
//	c.Status()                         // for people
//	c.Close()
//
// What is best depends on the interface, so with auto the cost of sending is measured (measure.go), in
// 200 ms at most. What receiving costs nobody can measure who has no partner; so another datapath than
// udp has to be better by far to be taken, and udp is what is used where there is any doubt.
package datapath
