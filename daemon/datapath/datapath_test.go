package datapath

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

func TestPick(t *testing.T) {
	none := errors.New("it cannot be had")
	udp := Figures{Name: "udp", CPU: 400, PerPacket: 400}
	for want, list := range map[string][]Figures{
		"udp: nothing else was measured":                                   {udp, {Name: "packet", Err: none}, {Name: "xdp", Err: none}},
		"udp: nothing is cheaper by a quarter":                             {udp, {Name: "packet", CPU: 350, PerPacket: 350}},
		"udp: the interface cuts aggregates itself, which serves udp best": {udp, {Name: "packet", CPU: 100, PerPacket: 100, Cuts: true}},
		"packet: it takes 25 % of the CPU that udp takes":                  {udp, {Name: "packet", CPU: 100, PerPacket: 100}, {Name: "xdp", CPU: 200, PerPacket: 200}},
		"xdp: it takes 50 % of the CPU that udp takes":                     {udp, {Name: "packet", CPU: 100, PerPacket: 100, Cuts: true}, {Name: "xdp", CPU: 200, PerPacket: 200}},
	} {
		name, why := Pick(list)
		if got := name + ": " + why; got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	// Less CPU, and slower all the same: it waits.
	if name, _ := Pick([]Figures{udp, {Name: "xdp", CPU: 100, PerPacket: 500}}); name != "udp" {
		t.Error(name)
	}
}

// TestMeasureLoopback: there is only udp, and it is measured within the time that it may take.
func TestMeasureLoopback(t *testing.T) {
	begin := time.Now()
	_, list, err := Probe("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if f := list[0]; f.Err != nil || f.CPU <= 0 || f.Packets < probeBatch {
		t.Errorf("%+v", f)
	}
	for _, f := range list[1:] {
		if f.Err == nil {
			t.Errorf("%s was measured on the loopback: %+v", f.Name, f)
		}
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestAutoOnLoopback: nothing is sent there, udp is used, and it says so.
func TestAutoOnLoopback(t *testing.T) {
	at, _, err := Probe("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	c := New(config.DatapathAuto, config.GuardOff, func(_ bool, text string) { said = append(said, text) })
	cfg := link.Config{Address: at.Address, Interface: at.Interface, Group: link.MulticastAddr(t.Name(), false, 0), Port: 15423}
	c.Configure(&cfg)
	l, err := link.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c.Opened(l)
	defer c.Close()
	if len(said) != 1 || !strings.HasPrefix(said[0], "the ring's datapath is udp") {
		t.Errorf("it said %q", said)
	}
}

// TestZeroCopy: the kernel tells, and of the loopback it is that there is none.
func TestZeroCopy(t *testing.T) {
	if _, err := netlink.GenlFamilyGet(netdevFamily); err != nil {
		t.Skipf("the kernel does not tell: %v", err)
	}
	if has, err := zeroCopy(1); has || err != nil {
		t.Errorf("%v, %v", has, err)
	}
}

// TestVLANs: those of an interface are found among all links, and whether tags are taken off is asked of
// the driver; the loopback's has none.
func TestVLANs(t *testing.T) {
	all := []netlink.Link{
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 2, Name: "eth0"}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 3, Name: "eth0.5", ParentIndex: 2}, VlanId: 5},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 4, Name: "eth1.5", ParentIndex: 7}, VlanId: 5},
		&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Index: 5, Name: "virtual", ParentIndex: 2}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 6, Name: "storage", ParentIndex: 2}, VlanId: 9},
	}
	if got := strings.Join(vlansOn(2, all), " "); got != "eth0.5 storage" {
		t.Errorf("on eth0 there are %q", got)
	}
	if stripsTags("lo") {
		t.Error("the loopback has tags to take off")
	}
	if err := tagsHidden(1); err != nil {
		t.Error(err)
	}
}
