package daemon

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/ringconf"
)

// outdated makes of a newer config_version that another node has what this member ends with. Corosync ends
// in any case. A member that has the cluster's state does not: it was here first, only alone, and the other,
// which is not told of the state any more, would found another cluster.
func (b *Broker) outdated(ring *ringconf.Setup, log *slog.Logger) func(newest uint64) error {
	return func(newest uint64) error {
		text := fmt.Sprintf("%s: config_version is %d, and another node's is %d: this ring configuration is out of date; put the same one on every node",
			ring.ConfigVersionAt, ring.ConfigVersion, newest)
		if b.engine.node.State() == cluster.Joining {
			return config.Wrong(errors.New(text + ", and start this broker again"))
		}
		log.Error(text + ", and start this broker again when others have the cluster's state; until then it goes on, as it has it")
		return nil
	}
}
