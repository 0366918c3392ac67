package interop

import (
	"fmt"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestTuned: corosync and ours with joins that are put off and a heartbeat, which is shorter than the
// token's timeout: nobody takes an idle ring's token for lost, and the ring goes on without one that dies.
func TestTuned(t *testing.T) {
	l := newLab(t)
	l.totem += "\n\tsend_join: 40\n\theartbeat_failures_allowed: 3\n\tmax_network_delay: 100\n\tcancel_token_hold_on_retransmit: yes"
	list := l.mixed([]int{2, 3}, 1, 2, 3)
	exchange(t, exchangeLimit, burstMessages, list...)
	said := list[1].said()
	harness.Always(t, 4*time.Second, "the ring stays as it is", func() error {
		if text := list[1].since(said); text != "" {
			return fmt.Errorf("a member says %s", text)
		}
		return nil
	})
	list[2].kill()
	for _, p := range list[:2] {
		p.awaitView(viewLimit, 1, 2)
	}
	exchange(t, exchangeLimit, burstMessages, list[:2]...)
}
