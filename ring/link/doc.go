// Package link is how ring packets reach the network: over UDP, unicast for the token, and for
// what is for everyone as Config.Transport says.
//
//	l, err := link.Open(link.Config{Address: addr, Group: group, Port: 5405})
//	poll l.FDs() for reading, then
//	n := l.Recv(packets)      // until it returns 0
//	m.Step(now, packets[i]); packets[i].Release()
//	l.Send(m.Ready().Send)
//	wait := l.Tick()          // and call it again no later, unless wait is 0
//
// A link belongs to one goroutine and never blocks for long. It hands out a token only after
// all multicasts that arrived before it, or the machine would ask for packets that lie in the
// next socket.
//
// With transport udp there are two sockets:
//
//	token socket      address:port, or a port of the kernel's choice if another member on
//	                  this host has that one; receives tokens, sends everything
//	multicast socket  group:port, shared by all members on the host; only receives
//
// As everything comes from the token socket, where a packet came from is where its sender's
// tokens go; unicast addresses are learned this way from packets that their sender wrote
// itself (a multicast may be somebody else's repetition). A corosync peer sends from its port
// minus one and listens on its port.
//
// Where multicast may not pass, some of what is for everyone goes to each node by unicast, too
// (fallback.go); Trouble tells what a link has seen of that, and of other things that people have to
// put right.
//
// With udpu there is one, which both sends and receives, and what is for everyone goes to the
// peers one by one. Their addresses are configured, and nobody else is heard.
//
// With knet there is one likewise, and ring packets travel in packets of package knet.
//
// Batches: sendmmsg and recvmmsg; packets of one size that follow each other go to the kernel
// as one buffer (UDP_SEGMENT, Linux 4.18) and come back as one (UDP_GRO, Linux 5.0). Where a
// kernel or an interface lacks these, packets go one by one; Stats names what is used.
//
// A Path (path.go, packages packet and xdp) carries packets of udp and udpu past these sockets, which
// stay and do what a path leaves to them.
package link
