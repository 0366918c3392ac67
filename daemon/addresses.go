package daemon

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
)

// listenAddresses are those that the values of --interface stand for: each is an address, a name of
// this host, or that of an interface, which has addresses. Without any it is all there are.
func listenAddresses(values []string) (list []string, err error) {
	if len(values) == 0 {
		return []string{""}, nil
	}
	for _, v := range values {
		addrs, err := addressesOf(v)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

func addressesOf(value string) (list []string, err error) {
	host, _, _ := strings.Cut(value, "%") // an address of IPv6 may have a zone
	if net.ParseIP(host) != nil {
		return []string{value}, nil
	}
	i, err := net.InterfaceByName(value)
	if err != nil {
		if list, err = net.LookupHost(value); err == nil {
			return list, nil
		}
		return nil, fmt.Errorf("--interface %s is no address and no interface of this host; it has %s", value, interfaceNames())
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil, fmt.Errorf("--interface %s: %w", value, err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		switch {
		case !ok:
		case n.IP.To4() == nil && n.IP.IsLinkLocalUnicast():
			list = append(list, n.IP.String()+"%"+i.Name)
		default:
			list = append(list, n.IP.String())
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("--interface %s has no address to listen on: give it one, or listen elsewhere", value)
	}
	return list, nil
}

func interfaceNames() string {
	all, err := net.Interfaces()
	if err != nil {
		return "none that can be listed: " + err.Error()
	}
	var names []string
	for i := range all {
		names = append(names, all[i].Name)
	}
	return strings.Join(names, ", ")
}

// listenError says what to do where a port cannot be listened on.
func listenError(addr string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("cannot listen on port %d: %w; --interface %s is no address of this host", port, err, addr)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("cannot listen on port %d: %w; give another --port, or the right to this one (CAP_NET_BIND_SERVICE below 1024)", port, err)
	}
	return fmt.Errorf("cannot listen on port %d: %w; is another broker running? Give another --port, or 0 for a free one", port, err)
}
