package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestDownscale: of members of ours that leave corosync expects no vote any more, where allow_downscale is
// set; of one that dies it still does.
func TestDownscale(t *testing.T) {
	l := newLab(t)
	l.quorum = "expected_votes: 1\n\tallow_downscale: 1"
	corosync := l.corosync(1)
	corosync.awaitView(viewLimit, 1)
	two, three := l.ringnode(2, 0), l.ringnode(3, 0)
	corosync.awaitView(viewLimit, 1, 2, 3)
	shows := func(total, expected, quorum int) {
		t.Helper()
		harness.Eventually(t, viewLimit, fmt.Sprintf("%d of %d votes, %d needed", total, expected, quorum), func() error {
			out := strings.ReplaceAll(l.ask(1, "corosync-quorumtool", "-s"), " ", "")
			for _, want := range []string{fmt.Sprintf("Totalvotes:%d", total), fmt.Sprintf("Expectedvotes:%d", expected), fmt.Sprintf("Quorum:%d", quorum)} {
				if !strings.Contains(out, want) {
					return fmt.Errorf("no %s in\n%s", want, out)
				}
			}
			return nil
		})
	}
	shows(3, 3, 2)
	three.say("leave")
	corosync.awaitView(viewLimit, 1, 2)
	shows(2, 2, 2)
	three = l.ringnode(3, 1<<20)
	for _, p := range []*process{corosync, two, three} {
		p.awaitView(viewLimit, 1, 2, 3)
	}
	shows(3, 3, 2)
	three.kill()
	corosync.awaitView(viewLimit, 1, 2)
	shows(2, 3, 2)
}
