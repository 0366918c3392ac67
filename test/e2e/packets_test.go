package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestForeignPackets sends the ring what is not for it, to its port and to its group, while
// the cluster works. Nobody leaves, and clients do not notice.
func TestForeignPackets(t *testing.T) {
	harness.OwnRing(t, "no broker has the ring's port")
	short(t)
	const count = 20000
	c := harness.Start(t, 3)
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("old"))
	s.Run(s.Publishing, 1, s.Publish100("new"))
	s.RunOnce(s.Consuming, 2, s.Consume091("consumer", false))
	s.Await(t, "load", 500, 500, 0)
	group := regexp.MustCompile(`group (\S+) port`).FindStringSubmatch(c.LogText(0))
	if group == nil {
		t.Fatal("the log does not tell the ring's group")
	}
	sock, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}) // and so multicast goes by loopback
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sock.Close() }()
	r := rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano())))
	s.Ledger.Watch()
	refused := 0
	for i := range count {
		to := net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.RingPort}
		if i%2 == 0 {
			to.IP = net.ParseIP(group[1])
		}
		if _, err := sock.WriteToUDP(foreign(r, i), &to); err != nil {
			refused++
			if refused > count/2 {
				t.Fatal(err)
			}
		}
	}
	s.Await(t, "load after it", 1000, 1000, 0)
	t.Logf("longest time without a confirm: %v", s.Ledger.Gaps())
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
	if n := len(ask(t, c.Brokers[0]).Members); n != 3 {
		t.Errorf("%d members are left", n)
	}
	s.Settle(t)
}

// foreign is garbage, a packet of a ring cut short, one of another program's, or one of
// another version.
func foreign(r *rand.Rand, i int) []byte {
	const self = wire.NodeID(77)
	join := wire.Join{From: self, RingSeq: 1 << 40, Proc: []wire.NodeID{self}}
	whole := join.Append(nil)
	switch i % 4 {
	case 0:
		b := make([]byte, r.IntN(1472))
		for k := range b {
			b[k] = byte(r.Uint32())
		}
		return b
	case 1:
		return whole[:r.IntN(len(whole))]
	case 2:
		b := slices.Clone(whole)
		b[r.IntN(2)] ^= byte(1 + r.IntN(255))
		return b
	default: // cut short, with something else behind
		n := 8 + r.IntN(len(whole)-8)
		b := slices.Clone(whole[:n])
		b[3] = byte(r.IntN(9)) // the type, if there is one of that number
		return b[:max(4, n-r.IntN(8))]
	}
}

// TestForeignConnections says to the members' port for one another what is not for it.
func TestForeignConnections(t *testing.T) {
	short(t)
	const count = 100
	c := harness.Start(t, 3)
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("old"))
	s.RunOnce(s.Consuming, 1, s.Consume100("consumer", false))
	s.Await(t, "load", 500, 500, 0)
	r := rand.New(rand.NewPCG(1, 2))
	var list []net.Conn
	for i := range count {
		for _, port := range c.Brokers[i%3].Listens(t) {
			if port == c.Brokers[i%3].Port {
				continue
			}
			conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, conn)
			hello := append([]byte("QPDMESH1"), make([]byte, 24+r.IntN(1000))...)
			for k := 8; k < len(hello); k++ {
				hello[k] = byte(r.Uint32())
			}
			said := [][]byte{nil, hello, hello[:r.IntN(32)], hello[8:]}[i%4]
			if _, err := conn.Write(said); err != nil {
				t.Log(err) // refused already
			}
		}
	}
	if len(list) < count {
		t.Errorf("%d connections to the members' ports were made, in %d attempts", len(list), count)
	}
	s.Await(t, "load during it", 1000, 1000, 0)
	for _, conn := range list {
		_ = conn.Close()
	}
	s.Await(t, "load after it", 500, 500, 0)
	s.Settle(t)
	for i := range c.Brokers {
		if strings.Contains(c.LogText(i), "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
}
