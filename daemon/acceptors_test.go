package daemon

import (
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/rabbitmq/amqp091-go"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

// TestAcceptors: each acceptor of each address serves clients, no other broker can take their port, and
// nothing is left of them.
func TestAcceptors(t *testing.T) {
	before := descriptors(t)
	b := startBroker(t, "--no-data-dir", "--auth=no", "--acceptors=3", "--interface=::1")
	if len(b.listener) != 6 {
		t.Fatalf("%d sockets listen", len(b.listener))
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		for range 9 {
			c, err := amqp091.Dial(fmt.Sprintf("amqp://%s:%d/", host, b.Port()))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	want := fmt.Sprintf("3 on 127.0.0.1:%d, in turn: 3 3 3; 3 on [::1]:%[1]d, in turn: 3 3 3", b.Port())
	if got := b.spreading(); got != want && !strings.Contains(got, "by hash") {
		t.Errorf("%q, not %q", got, want)
	}
	if l, err := listenSeveral(fmt.Sprintf("127.0.0.1:%d", b.Port()), 3); err == nil || len(l) > 0 {
		t.Error("the port can be listened on twice")
	}
	b.Stop()
	if after := descriptors(t); after > before+1 { // the log is open until the end of the test
		t.Errorf("%d descriptors were open before, %d are after", before, after)
	}
}

// TestAcceptorsWithoutBPF: where no program can be loaded the log says so, and all acceptors serve.
func TestAcceptorsWithoutBPF(t *testing.T) {
	var text strings.Builder
	b := &Broker{opts: &config.Options{Acceptors: 4, Interfaces: []string{"127.0.0.1"}}, netLog: slog.New(slog.NewTextHandler(&text, nil))}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: what it gives up the thread does not get again
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		err := unix.Capset(&header, &none[0])
		if err == nil {
			err = b.listen()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	served := make(chan int)
	for i, l := range b.listener {
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_ = c.Close()
				served <- i
			}
		}()
	}
	seen := map[int]bool{}
	for range 200 {
		c, err := net.Dial("tcp", b.listener[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		seen[<-served] = true
		_ = c.Close()
	}
	for _, l := range b.listener {
		_ = l.Close()
	}
	if len(seen) != 4 || !strings.Contains(b.spreading(), "by hash") {
		t.Errorf("%d acceptors have served: %s", len(seen), b.spreading())
	}
	if n := strings.Count(text.String(), "by their hash"); n != 1 || !strings.Contains(text.String(), "CAP_BPF") {
		t.Errorf("the log says %s", &text)
	}
}
