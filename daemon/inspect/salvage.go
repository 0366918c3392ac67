package inspect

import (
	"errors"
	"fmt"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/broker/session"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// node is a member that recovers what is in files, and looks at what entries say.
func (j *Journal) node(files journal.Files, d journal.Disk, id journal.UUID) *cluster.Node {
	memory := disk.Memory{}
	return cluster.New(cluster.Config{
		Self: 1, Alone: true, Memory: memory, Disk: d, Files: files, Store: id, PagingBytes: pagingBytes,
		Broker: broker.Config{Memory: memory, Shards: 1, Headers: session.HeaderValue, Rewrite: session.Deaths{}.Rewrite, Unix: time.Now().Unix()},
	}, &cluster.Alone{})
}

// withoutMessages gives up messages that the checkpoint knows of and that cannot be read, if nothing else is
// wrong: a broker starts with that, and ends when they are wanted. It is nil if that is not the case.
func (j *Journal) withoutMessages(r *Report) (*Plan, error) {
	c := r.Newest()
	if c == nil || c.Damaged || r.Recovery != "" || r.Store == "" {
		return nil, nil
	}
	p := &Plan{salvage: true}
	for _, g := range r.Segments {
		if g.damaged {
			return nil, nil
		}
		for _, x := range g.Runs {
			if x.Damaged && x.Number > c.Run {
				return nil, nil
			}
			if x.Damaged {
				p.blocks = append(p.blocks, block{g.File, x.Offset, make([]byte, journal.RunHeadBytes)})
				p.Steps = append(p.Steps, fmt.Sprintf("give up run %d, at %d of %s", x.Number, x.Offset, g.File))
			}
		}
	}
	for _, x := range r.Problems {
		if x.head && !x.Harmless {
			p.blocks = append(p.blocks, block{x.File, x.Offset, make([]byte, journal.RunHeadBytes)})
			p.Steps = append(p.Steps, fmt.Sprintf("give up the run at %d of %s", x.Offset, x.File))
		}
	}
	if len(p.blocks) == 0 {
		return nil, nil
	}
	n := j.node(&changed{j.files, p}, idle{}, j.storeID(r))
	if _, err := n.Recover(1); err != nil {
		return nil, err
	}
	lost, err := n.Salvage(1)
	if err != nil {
		return nil, err
	}
	for _, m := range lost {
		p.Discards = append(p.Discards, fmt.Sprintf("message %d of queue %s, %d bytes with its head", m.Index, m.Queue, m.Bytes))
	}
	p.Steps = append(p.Steps, "move what can be read of the messages beside it, and write a checkpoint without the others")
	return p, nil
}

// salvageTime is how long the disk may take for that, beyond reading.
const salvageTime = 10 * time.Minute

// salvage does it, as a broker would that ends.
func (j *Journal) salvage() error {
	if err := errors.Join(j.lock.Close(), j.files.(*directory).close()); err != nil {
		return err
	}
	j.lock = nothing{}
	ends := make(chan *journal.Op, 1024)
	d, err := disk.Open(j.Dir, disk.Options{Done: func(op *journal.Op) { ends <- op }})
	if err != nil {
		return err
	}
	defer d.Close()
	id := journal.UUID{}
	if j.Store != nil {
		id = j.Store.Store
	}
	began := time.Now()
	now := func() time.Duration { return time.Since(began) + 1 }
	n := j.node(d, d, id)
	if _, err := n.Recover(now()); err != nil {
		return err
	}
	if _, err := n.Salvage(now()); err != nil {
		return err
	}
	for {
		n.Tick(now())
		for n.Flush(now()) {
		}
		n.Ready()
		n.Done()
		if over, well := n.Saved(); over && !well {
			return fmt.Errorf("the checkpoint could not be written")
		} else if over {
			return nil
		}
		wait := max(n.Next()-now(), time.Millisecond)
		select {
		case op := <-ends:
			op.Finish()
		case <-time.After(wait):
		}
		if now() > salvageTime {
			return fmt.Errorf("the disk does not take the checkpoint within %v: is it full?", salvageTime)
		}
	}
}

// nothing is a lock that is held elsewhere.
type nothing struct{}

func (nothing) Close() error { return nil }
