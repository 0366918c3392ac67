package privileged

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// on runs a command on a host.
func on(t *testing.T, h *harness.Host, command string) string {
	t.Helper()
	line := h.Line("sh", "-c", command)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// TestFirewall lets two hosts of three be members. The third gets to the clients' port, and not
// to the members'. The table is put back when somebody flushes the rules, follows who is a
// member, and goes with the broker.
func TestFirewall(t *testing.T) {
	harness.OwnRing(t, "its ports are corosync's")
	w := harness.NewNetwork(t, 3, ethernet)
	file := filepath.Join(t.TempDir(), "corosync.conf")
	text := fmt.Sprintf("totem {\n\tversion: 2\n\tsecauth: off\n\ttransport: udpu\n}\nnodelist {\n\tnode {\n\t\tring0_addr: %s\n\t}\n\tnode {\n\t\tring0_addr: %s\n\t}\n}\n", w.Hosts[0].IP, w.Hosts[1].IP)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := harness.Start(t, 0, "--ring-config="+file, "--mesh-port=5406")
	c.AddOn(w.Hosts[0])
	c.AddOn(w.Hosts[1])
	table := fmt.Sprintf("qpidd-%d", c.Brokers[0].Port)
	list := func() string { return on(t, w.Hosts[0], "nft list table inet "+table) }
	dial := func(h *harness.Host, port int) error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		conn, err := h.Dial(ctx, net.JoinHostPort(w.Hosts[0].IP, strconv.Itoa(port)))
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial(w.Hosts[1], 5406); err != nil {
		t.Errorf("a member is kept out: %v", err)
	}
	if err := dial(w.Hosts[2], c.Brokers[0].Port); err != nil {
		t.Errorf("a client is kept out: %v", err)
	}
	if err := dial(w.Hosts[2], 5406); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "timeout") {
		t.Errorf("who is no member gets to the members' port: %v", err)
	}
	harness.Eventually(t, 10*time.Second, "its packets are counted", func() error {
		if strings.Contains(list(), "counter packets 0 bytes 0 drop") {
			return errors.New(list())
		}
		return nil
	})
	on(t, w.Hosts[0], "nft flush ruleset")
	harness.Eventually(t, 10*time.Second, "the table is put back", func() error {
		if all := on(t, w.Hosts[0], "nft list ruleset"); !strings.Contains(all, table) || !strings.Contains(all, w.Hosts[1].IP) {
			return errors.New(all)
		}
		return nil
	})
	c.AwaitLog(0, 1, "it is put back")
	c.Stop(0)
	if all := on(t, w.Hosts[0], "nft list ruleset"); strings.Contains(all, "qpidd") {
		t.Errorf("the broker has left its rules: %s", all)
	}
}

// TestObstacles has other rules drop what the broker is to get. It says so, and the commands that it
// names let the two find each other.
func TestObstacles(t *testing.T) {
	harness.OwnRing(t, "its ports are corosync's")
	for _, mode := range []string{"auto", "check"} {
		t.Run(mode, func(t *testing.T) {
			w := harness.NewNetwork(t, 2, ethernet)
			on(t, w.Hosts[1], "nft 'table inet mine { chain input { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; ip protocol icmp accept; }; }'")
			c := harness.Start(t, 0, "--mesh-port=5406", "--firewall="+mode)
			c.AddOn(w.Hosts[0])
			b := c.AddOn(w.Hosts[1])
			c.AwaitLog(1, 3, "open it with: nft insert rule inet mine input")
			for _, protocol := range []string{"udp", "tcp"} {
				for line := range strings.Lines(c.LogText(1)) {
					if _, command, found := strings.Cut(line, "open it with: "); found && strings.Contains(command, protocol) {
						on(t, w.Hosts[1], strings.TrimSpace(command))
					}
				}
			}
			harness.Eventually(t, 30*time.Second, "they find each other", func() error {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				conn, err := w.Hosts[0].Dial(ctx, b.Address())
				if err != nil {
					return err
				}
				conn.Close()
				if !strings.Contains(c.LogText(0)+c.LogText(1), "has joined cluster") {
					return errors.New("each is alone")
				}
				return nil
			})
			if all := on(t, w.Hosts[1], "nft list ruleset"); strings.Contains(all, "qpidd") != (mode == "auto") {
				t.Error(all)
			}
		})
	}
}
