package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

// leastBurst is how many connections a source may make at once, however low its rate is: a client
// opens some, and one behind address translation is several.
const leastBurst = 16

// limitConnections puts the limit of --connection-rate before the interfaces at which clients come in.
// Where that cannot be the broker goes on without.
func (b *Broker) limitConnections(log *slog.Logger) {
	rate := b.opts.ConnectionRate
	if rate == 0 {
		return
	}
	cfg := bpf.ConnectionConfig{PerSecond: rate, Burst: max(rate, leastBurst)}
	var names []string
	for _, i := range b.clientInterfaces() {
		cfg.Interfaces, names = append(cfg.Interfaces, i.Index), append(names, i.Name)
	}
	for _, l := range b.listener {
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		if len(cfg.Ports) == 0 || cfg.Ports[len(cfg.Ports)-1] != port {
			cfg.Ports = append(cfg.Ports, port)
		}
	}
	limit, err := bpf.LimitConnections(cfg)
	if err != nil {
		log.Warn("--connection-rate has no effect: " + err.Error())
		return
	}
	b.limit, b.limitAt = limit, names
	log.Log(context.Background(), logging.Notice, fmt.Sprintf("a source may make %d connections a second, and %d at once, over %v", rate, cfg.Burst, names))
}

// limitAgain puts the limit before the ring's interface when that was made again, if it was there.
func (b *Broker) limitAgain(index int) {
	i, err := net.InterfaceByIndex(index)
	if b.limit == nil || err != nil || !slices.Contains(b.limitAt, i.Name) {
		return // or it has gone again
	}
	if err := b.limit.Attach(index); err != nil {
		b.netLog.Warn(fmt.Sprintf("--connection-rate has no effect any more on %s: %v", i.Name, err))
	}
}

// clientInterfaces are those that have an address that is listened on, but for the loopback.
func (b *Broker) clientInterfaces() (list []net.Interface) {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range all {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone
		}
		if b.listensOn(addrs) {
			list = append(list, i)
		}
	}
	return list
}

func (b *Broker) listensOn(addrs []net.Addr) bool {
	for _, l := range b.listener {
		at := l.Addr().(*net.TCPAddr).IP
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && (at.IsUnspecified() || at.Equal(p.Addr().AsSlice())) {
				return true
			}
		}
	}
	return false
}

// limited is what the limit has done, in words; empty: there is none.
func (b *Broker) limited() string {
	if b.limit == nil {
		return ""
	}
	n, err := b.limit.Counts()
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("let in %d, refused %d", n.Let, n.Refused)
	if n.Refused > 0 {
		text += ", the last from " + n.Last.String()
	}
	return text
}
