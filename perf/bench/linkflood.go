package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/internal/netlab"
)

// flood is a ring that is flooded, with a guard or none. Elsewhere the same flood goes to a group that nobody
// has joined: it takes the machine's processors all the same, which the ring's members share with who
// floods them, and is what the others are compared with. With a guard and elsewhere it costs what a guard
// costs those packets that are none of its business.
type flood struct {
	Guard     string
	Elsewhere bool
	Rate      int
}

const (
	// calmRate is what a processor of the machine can send beside the ring.
	calmRate = 100000
	// mostRate is what is tried. A flood that cannot be so fast takes a processor, whatever it meets.
	mostRate   = 1000000
	floodBytes = 100
	// wantFlooded is how much of its throughput a guarded ring keeps.
	wantFlooded = 0.8
)

var floods = func() (list []flood) {
	for _, rate := range []int{calmRate, mostRate} {
		list = append(list, flood{"", true, rate}, flood{"tc", true, rate}, flood{"", false, rate}, flood{"generic", false, rate}, flood{"tc", false, rate})
	}
	return list
}()

func (x flood) String() string {
	text := linkPath{"udp", x.Guard}.String() + fmt.Sprintf(", %d k", x.Rate/1000)
	if x.Elsewhere {
		text += " elsewhere"
	}
	return text
}

// flooded measures a ring while a further host sends what is no ring's to its group and port.
func (o *linkOptions) flooded(ctx context.Context, program string, x flood) (f linkFigures, err error) {
	net := network(ringHosts + 1)
	defer net.Close()
	to := "239.255.78.2" // the ring's
	if x.Elsewhere {
		to = "239.255.99.9"
	}
	p, err := flooder(net, program, to).run(ctx, ringHosts, "1", "foreign", strconv.Itoa(floodBytes), "0", nanoseconds(2*o.WarmUp+o.Duration+floodBefore), strconv.Itoa(x.Rate))
	if err != nil {
		return f, err
	}
	defer p.stop()
	if err := o.on(ctx, net, program, linkPath{"udp", x.Guard}, ringHosts, "flood", &f); err != nil {
		return f, err
	}
	f.Path = x.String()
	if err := p.finish(); err != nil {
		return f, err
	}
	var sent struct{ Messages, Nanoseconds float64 }
	if err := json.Unmarshal([]byte(p.end), &sent); err != nil {
		return f, err
	}
	f.Flood = sent.Messages / sent.Nanoseconds * 1e9
	f.FloodCPU = float64(p.cpu.Microseconds()) / sent.Messages
	return f, nil
}

// floodBefore is how much longer than the measurement a flood lasts, for the ring to form in.
const floodBefore = 2 * time.Second

func flooder(net *netlab.Network, program, group string) *ringSystem {
	s := ourSystem(net, program)
	s.line = func(host int) []string {
		return net.Hosts[host].Line(program, "-address", net.Hosts[host].IP, "-mcastaddr", group)
	}
	return s
}

// floodTargets compares each with the flood elsewhere of the same round. Throughput is what is asked for; the
// CPU of the ring's members for a message says the same where the machine has other things to do, too.
func (r *linkResults) floodTargets() {
	for _, x := range floods {
		if x.Elsewhere && x.Guard == "" {
			continue
		}
		calm := r.runs["flood "+flood{"", true, x.Rate}.String()]
		var share, cpu []float64
		for i, f := range r.runs["flood "+x.String()] {
			share, cpu = append(share, f.PerSecond/calm[i].PerSecond), append(cpu, calm[i].cpu()/f.cpu())
		}
		what := " under a flood, of that under one elsewhere, " + x.String()
		if x.Elsewhere || x.Guard == "" {
			r.Targets = append(r.Targets, target{"throughput" + what, middle(share), "recorded", true},
				target{"messages for the same CPU" + what, middle(cpu), "recorded", true})
			continue
		}
		r.atLeast("throughput"+what, middle(share), wantFlooded)
		r.atLeast("messages for the same CPU"+what, middle(cpu), wantFlooded)
	}
}
