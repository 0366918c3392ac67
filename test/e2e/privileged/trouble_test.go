package privileged

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestTwins gives two hosts the same node id. Both say so, with the other's address.
func TestTwins(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("corosync has the node ids")
	}
	w := harness.NewNetwork(t, 2, ethernet)
	file := filepath.Join(t.TempDir(), "corosync.conf")
	text := "totem {\n\tversion: 2\n\tsecauth: off\n\ttransport: udp\n\tnodeid: 7\n\tinterface {\n\t\tmcastaddr: 239.255.78.4\n\t}\n}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := harness.StartAcross(t, w, "--ring-config="+file)
	for i := range c.Brokers {
		c.AwaitLog(i, 1, "another node has the node id of this one, 7")
		c.AwaitLog(i, 1, "have come from "+w.Hosts[1-i].IP)
	}
}

// TestTwoClusters has two clusters share a multicast address and port. Both work, and each says
// that the other is there.
func TestTwoClusters(t *testing.T) {
	if harness.OnCorosync() {
		t.Skip("clusters on one corosync share its ring")
	}
	w := harness.NewNetwork(t, 2, ethernet)
	c := harness.StartAcross(t, w, "--mcastaddr=239.255.78.5")
	other := c.AddOn(w.Hosts[0], "--cluster-name=west")
	c.AwaitLog(0, 1, `has no broker of cluster "`+c.Name+`", but members of group "west"`)
	c.AwaitLog(other.Index, 2, `has no broker of cluster "west", but members of group "`+c.Name+`"`)
	c.AwaitLog(0, 1, "give each cluster a --mcastport or --mcastaddr of its own")
}
