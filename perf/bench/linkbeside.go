package main

import (
	"context"
	"fmt"
	"io"
	gonet "net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/bpf"
	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// besideFigures are of what else goes over the ring's interface, as a login: TCP connections to a host, while a
// guard is attached and taken away by turns. What comes of a connection depends on where the scheduler puts
// its ends, which is a matter of seconds, so each turn is compared with the one before it.
type besideFigures struct {
	Guard       string  `json:"guard"`
	Without     tcp     `json:"without"`
	With        tcp     `json:"with"`
	StreamShare float64 `json:"throughput_share"`
	EchoShare   float64 `json:"echo_share"` // without, of with

	without, with []tcp
}

// tcp is what two connections gave in a turn: bytes a second one way, and how long a few bytes take to the
// other host and back.
type tcp struct {
	Bytes float64 `json:"bytes_per_s"`
	Echo  float64 `json:"echo_p50_us"`
}

const (
	besideTurns = 8
	echoes      = 300
	echoBytes   = 64
	streamTurn  = 150 * time.Millisecond
	// wantBeside is how much of throughput and latency is left to others at the worst.
	wantBeside = 0.9
)

// besides are the guards that are measured.
var besides = []struct {
	name string
	hook bpf.Hook
}{{"tc", bpf.TC}, {"generic", bpf.Generic}, {"native", bpf.Native}}

// beside measures each guard once.
func (o *linkOptions) beside(ctx context.Context, _ string, res *linkResults) error {
	if res.Beside == nil {
		res.Beside = make([]besideFigures, len(besides))
	}
	for i, x := range besides {
		res.Beside[i].Guard = x.name
		if err := res.Beside[i].measure(ctx, x.hook); err != nil {
			return fmt.Errorf("TCP beside a guard %s: %w", x.name, err)
		}
	}
	return nil
}

func (f *besideFigures) measure(ctx context.Context, hook bpf.Hook) error {
	net := network(2)
	defer net.Close()
	echo, err := serve(ctx, net, func(c gonet.Conn) { _, _ = io.CopyBuffer(c, c, make([]byte, echoBytes)) })
	if err != nil {
		return err
	}
	defer echo.Close()
	var received atomic.Int64
	stream, err := serve(ctx, net, func(c gonet.Conn) {
		b := make([]byte, 256<<10)
		for n, err := c.Read(b); err == nil; n, err = c.Read(b) {
			received.Add(int64(n))
		}
	})
	if err != nil {
		return err
	}
	defer stream.Close()
	for range besideTurns {
		without, err := turn(echo, stream, &received)
		if err != nil {
			return err
		}
		g, err := guardOn(net.Hosts[1], hook)
		if err != nil {
			return err
		}
		with, err := turn(echo, stream, &received)
		g.Close()
		if err != nil {
			return err
		}
		f.without, f.with = append(f.without, without), append(f.with, with)
	}
	return nil
}

// turn measures each connection for a moment.
func turn(echo, stream gonet.Conn, received *atomic.Int64) (t tcp, err error) {
	b := make([]byte, echoBytes)
	var list []float64
	for range echoes {
		begin := time.Now()
		if _, err := echo.Write(b); err != nil {
			return t, err
		}
		if _, err := io.ReadFull(echo, b); err != nil {
			return t, err
		}
		list = append(list, float64(time.Since(begin).Nanoseconds())/1e3)
	}
	t.Echo = middle(list)
	block := make([]byte, 256<<10)
	begin, before := time.Now(), received.Load()
	for time.Since(begin) < streamTurn {
		if _, err := stream.Write(block); err != nil {
			return t, err
		}
	}
	t.Bytes = float64(received.Load()-before) / time.Since(begin).Seconds()
	return t, nil
}

// guardOn puts a guard before a host's ring.
func guardOn(h *netlab.Host, hook bpf.Hook) (g *bpf.Guard, err error) {
	done := make(chan struct{})
	go h.Within(func(bad error) {
		defer close(done)
		var i *gonet.Interface
		if err = bad; err == nil {
			i, err = gonet.InterfaceByName("eth0")
		}
		if err == nil {
			g, err = bpf.Attach(bpf.Config{Interface: i.Index, Hook: hook, Drop: true, Longest: linkBytes,
				Group: netip.MustParseAddr("239.255.78.2"), Own: netip.AddrPortFrom(netip.MustParseAddr(h.IP), 5405)})
		}
	})
	<-done
	return g, err
}

// serve has the second host of a network serve one connection, and the first make it.
func serve(ctx context.Context, net *netlab.Network, do func(gonet.Conn)) (gonet.Conn, error) {
	listening := make(chan gonet.Listener, 1)
	failed := make(chan error, 1)
	go net.Hosts[1].Within(func(err error) {
		var l gonet.Listener
		if err == nil {
			l, err = gonet.Listen("tcp", net.Hosts[1].IP+":0")
		}
		if err != nil {
			failed <- err
			return
		}
		listening <- l
		if c, err := l.Accept(); err == nil {
			do(c)
			_ = c.Close()
		}
		_ = l.Close()
	})
	select {
	case err := <-failed:
		return nil, err
	case l := <-listening:
		c, err := net.Hosts[0].Dial(ctx, l.Addr().String())
		if err != nil {
			_ = l.Close()
		}
		return c, err
	}
}

func (r *linkResults) besideTargets() {
	for i := range r.Beside {
		f := &r.Beside[i]
		f.Without, f.With = middleTCP(f.without), middleTCP(f.with)
		var stream, echo []float64
		for k := range f.with {
			stream = append(stream, f.with[k].Bytes/f.without[k].Bytes)
			echo = append(echo, f.without[k].Echo/f.with[k].Echo)
		}
		f.StreamShare, f.EchoShare = middle(stream), middle(echo)
		throughput := "TCP beside the ring, throughput with guard " + f.Guard + ", of that without"
		latency := "TCP beside the ring, echo without a guard, of that with guard " + f.Guard
		if f.Guard != "tc" {
			// For any program on XDP veth and the kernel behind it copy or cut up aggregates, of which a card has none.
			r.Targets = append(r.Targets, target{throughput, f.StreamShare, "recorded", true}, target{latency, f.EchoShare, "recorded", true})
			continue
		}
		r.atLeast(throughput, f.StreamShare, wantBeside)
		r.atLeast(latency, f.EchoShare, wantBeside)
	}
}

func middleTCP(list []tcp) tcp {
	of := func(get func(tcp) float64) float64 {
		var values []float64
		for _, t := range list {
			values = append(values, get(t))
		}
		return middle(values)
	}
	return tcp{of(func(t tcp) float64 { return t.Bytes }), of(func(t tcp) float64 { return t.Echo })}
}

func (r *linkResults) printBeside(w io.Writer) {
	fmt.Fprintf(w, "%-34s %12s %12s\n", "TCP beside the ring", "MB/s", "echo p50 us")
	for _, f := range r.Beside {
		for _, x := range []struct {
			name string
			tcp
		}{{"without", f.Without}, {"guard " + f.Guard, f.With}} {
			fmt.Fprintf(w, "%-34s %12.0f %12.1f\n", x.name, x.Bytes/1e6, x.Echo)
		}
	}
	fmt.Fprintln(w)
}
