// Package neigh tells where on its Ethernet an IP address is to be found, as the kernel knows it:
// its routes and its neighbours (ARP, NDP), heard of by netlink.
//
//	t, err := neigh.Open(interfaceIndex)
//	poll t.FD() for reading, then t.Read()
//	mac, ok := t.Way(address)   // not ok: have the kernel send, and it will find out
//
// It asks nobody by itself. A packet that a socket of the kernel's sends makes the kernel ask, and
// check anew what it has not heard confirmed for long; so a caller lets one go that way whenever Way
// says so, which of a silent neighbour is once a second.
package neigh
