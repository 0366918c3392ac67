package bpf

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
)

const (
	syn, ack = 0x02, 0x10
	amqp     = 5672
)

// segment is a frame with a header of TCP.
func segment(from, to netip.AddrPort, flags byte) []byte {
	tcp := make([]byte, 20-8) // datagram writes the ports, and a length and checksum in place of a number
	tcp[4], tcp[5] = 0x50, flags
	b := datagram(from, to, tcp)
	if from.Addr().Is4() {
		b[14+9] = 6
	} else {
		b[14+6] = 6
	}
	return b
}

// limited is a limit of so many at once and one a second.
func limited(t *testing.T, burst int) (let func(frame []byte) bool, l *ConnectionLimit) {
	t.Helper()
	privileged(t)
	l, err := loadLimit(ConnectionConfig{Ports: []uint16{amqp, 5671}, PerSecond: 1, Burst: burst})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return func(frame []byte) bool {
		got, err := l.program.Run(&ebpf.RunOptions{Data: frame})
		if err != nil {
			t.Fatal(err)
		}
		return got == tcxNext
	}, l
}

func TestConnectionsBeyondTheRate(t *testing.T) {
	const burst = 5
	for _, x := range []struct{ client, other, near, broker string }{
		{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.1"},
		{"fd00:0:0:1::2", "fd00:0:0:2::2", "fd00:0:0:3::2", "fd00::1"},
	} {
		let, l := limited(t, burst)
		from := func(ip string, port int) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(port))
		}
		for i := range 3 * burst {
			if got := let(segment(from(x.client, 40000+i), from(x.broker, amqp), syn)); got != (i < burst) {
				t.Errorf("%s: connection %d: let in is %v", x.client, i+1, got)
			}
		}
		for what, frame := range map[string][]byte{
			"from another":         segment(from(x.other, 40000), from(x.broker, amqp), syn),
			"at another port":      segment(from(x.client, 40000), from(x.broker, 22), syn),
			"an established one's": segment(from(x.client, 40000), from(x.broker, amqp), ack),
			"an answer":            segment(from(x.client, 40000), from(x.broker, amqp), syn|ack),
			"no TCP":               datagram(from(x.client, 40000), from(x.broker, amqp), make([]byte, 40)),
		} {
			if !let(frame) {
				t.Errorf("%s: %s is refused", x.client, what)
			}
		}
		if let(segment(from(x.client, 1), from(x.broker, 5671), syn)) {
			t.Errorf("%s: there is a limit for each port", x.client)
		}
		n, err := l.Counts()
		if err != nil {
			t.Fatal(err)
		}
		want := netip.MustParseAddr(x.client)
		if want.Is6() {
			want = netip.MustParsePrefix(x.client + "/64").Masked().Addr()
		}
		if n != (ConnectionCounts{Let: burst + 1, Refused: 2*burst + 1, Last: want}) {
			t.Errorf("%s: counted are %+v", x.client, n)
		}
	}
}

// TestNeighboursOfANetwork: all addresses of an IPv6 network of 64 bits are one source.
func TestNeighboursOfANetwork(t *testing.T) {
	let, _ := limited(t, 1)
	to := netip.MustParseAddrPort("[fd00::1]:5672")
	if !let(segment(netip.MustParseAddrPort("[fd00:0:0:1::2]:1"), to, syn)) {
		t.Error("the first is refused")
	}
	if let(segment(netip.MustParseAddrPort("[fd00:0:0:1::3]:1"), to, syn)) {
		t.Error("its neighbour is let in")
	}
}

// TestRateComesBack: a source that waits is let in again.
func TestRateComesBack(t *testing.T) {
	privileged(t)
	l, err := loadLimit(ConnectionConfig{Ports: []uint16{amqp}, PerSecond: 1000, Burst: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	frame := segment(netip.MustParseAddrPort("10.0.0.2:1"), netip.MustParseAddrPort("10.0.0.1:5672"), syn)
	refused, again := false, false
	for range 1 << 20 { // a call takes about a microsecond, and the limit is a millisecond
		got, err := l.program.Run(&ebpf.RunOptions{Data: frame})
		if err != nil {
			t.Fatal(err)
		}
		refused = refused || got == tcxDrop
		if again = refused && got == tcxNext; again {
			break
		}
	}
	if !refused || !again {
		t.Errorf("refused is %v, and let in again %v", refused, again)
	}
}
