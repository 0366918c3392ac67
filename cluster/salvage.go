package cluster

import (
	"errors"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// ErrOthers tells that a history is also others': they have what is damaged here, and would not know of
// what was given up.
var ErrOthers = errors.New("it is of a member of a cluster, and the others have what is damaged here: clear this store (qpid-cluster store DIR --clear), and the broker gets everything from them")

// Salvage gives up the messages that cannot be read, after Recover, and begins to write a checkpoint without
// them: when Saved, the journal is whole again. It is the last thing that a node is asked for.
func (n *Node) Salvage(now time.Duration) (lost []broker.Lost, err error) {
	n.now = now
	b := n.base
	if b == nil {
		return nil, nil
	}
	if len(b.electorate) > 1 {
		return nil, ErrOthers
	}
	damaged, err := n.log.Damaged()
	if err != nil {
		return nil, err
	}
	saved := map[broker.Ref]broker.Ref{} // a record may be in several queues
	n.setBroker(b.broker)
	lost, err = n.broker.Salvage(now, func(from broker.Ref) (to broker.Ref, ok bool, err error) {
		if damaged[from.Extent] == nil {
			return from, true, nil
		}
		if to, ok = saved[from]; ok {
			return to, true, nil
		}
		there, ok, err := n.log.Salvage(journal.Ref(from))
		if ok {
			to = broker.Ref(there)
			saved[from] = to
		}
		return to, ok, err
	})
	if err != nil {
		return lost, err
	}
	n.base = nil
	n.id, n.index, n.epoch, n.eras = b.id, b.index, b.epoch, b.eras
	n.electorate, n.stores, n.expected, n.disk.left = b.electorate, b.stores, b.expected, b.left
	n.disk.urgent = true
	n.log.Sync(n.milliseconds(now), false) // the checkpoint is of this time
	n.beginCheckpoint()
	n.state = Left
	return lost, nil
}
