package host

import "net/netip"

// Network is the network of an address of this host, as its interface has it.
func Network(a netip.Addr) (n netip.Prefix, known bool) {
	list, err := addresses()
	if err != nil {
		return n, false
	}
	for i := range list {
		if list[i].prefix.Addr() == a.Unmap() {
			return list[i].prefix.Masked(), true
		}
	}
	return n, false
}
