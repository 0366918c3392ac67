package privileged

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

// TestMulticastCeases has a network stop passing multicasts in the midst of work, as one does with
// IGMP snooping and no querier a few minutes after brokers have started. The work goes on, nobody
// is thrown out, and the log says what is the matter. Who is cut off meanwhile comes back, too.
func TestMulticastCeases(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync has nothing of the kind")
	}
	const minority = 2 // whose consumers' last acknowledgements would be lost when it is cut off
	w := harness.NewNetwork(t, 3, ethernet)
	c := harness.StartAcross(t, w, "--token=2s") // nobody is to leave but by the cut
	s := load.NewStage(t, c)
	everywhere(s, minority)
	s.Await(t, "load on every host", 1000, 1000, 0)
	w.Deafen(w.Hosts...)
	s.Await(t, "load without multicast", 3000, 3000, 0)
	told := false
	for i := range c.Brokers {
		text := c.LogText(i)
		told = told || strings.Contains(text, "by unicast, too") && strings.Contains(text, "IGMP snooping")
		if strings.Contains(text, "member left") {
			t.Errorf("broker %d saw a member leave", i)
		}
	}
	if !told {
		t.Error("no broker says that multicast does not pass")
	}
	w.Hosts[minority].Isolate()
	c.AwaitLog(minority, 1, "no quorum")
	w.Hosts[minority].Rejoin()
	c.AwaitLog(minority, 2, "joined cluster")
	s.Await(t, "load after a cut", 2000, 2000, 0)
	w.Hear()
	s.Settle(t)
}

// TestNoMulticast has a network pass no multicast at all. Where the nodes are known, from a
// nodelist, they find each other nevertheless, and one that cannot hear the others says so.
func TestNoMulticast(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync has nothing of the kind")
	}
	for _, deaf := range []int{3, 1} {
		t.Run(fmt.Sprintf("%d of 3 hosts are deaf", deaf), func(t *testing.T) {
			w := harness.NewNetwork(t, 3, ethernet)
			nodes := ""
			for i, h := range w.Hosts {
				nodes += fmt.Sprintf("\tnode {\n\t\tring0_addr: %s\n\t\tnodeid: %d\n\t}\n", h.IP, i+1)
			}
			file := filepath.Join(t.TempDir(), "corosync.conf")
			text := "totem {\n\tversion: 2\n\tcluster_name: west\n\ttransport: udp\n\ttoken: 1000\n\tinterface {\n\t\tmcastaddr: 239.255.78.3\n\t}\n}\nnodelist {\n" + nodes + "}\n"
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			w.Deafen(w.Hosts[:deaf]...)
			c := harness.StartAcross(t, w, "--ring-config="+file)
			s := load.NewStage(t, c)
			everywhere(s, nobody)
			s.Await(t, "load on every host", 1000, 1000, 0)
			if deaf == 1 {
				c.AwaitLog(0, 1, "do not reach this node")
			}
			s.Settle(t)
		})
	}
}
