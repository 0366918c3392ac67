package broker

import "time"

// Lost is a message whose record cannot be read.
type Lost struct {
	Queue string
	Index Index
	Bytes uint32
}

// Salvage moves messages, as save has it: to where their records are now, or, if they are lost, out of their
// queues. Nobody is served meanwhile.
func (b *Broker) Salvage(now time.Duration, save func(Ref) (to Ref, saved bool, err error)) (lost []Lost, err error) {
	for _, q := range b.order {
		for pos := q.head; pos < q.tail; pos++ {
			if pos = max(pos, q.head); pos == q.tail { // what was taken out may have been the first
				break
			}
			m := q.at(pos)
			if m.state == slotGone {
				continue
			}
			to, saved, err := save(m.ref)
			switch {
			case err != nil:
				return lost, err
			case !saved:
				lost = append(lost, Lost{q.name, m.index, m.ref.Length})
				q.shard.take(q, pos)
			case to != m.ref:
				b.log.Retain(to, 1)
				b.log.Drop(m.ref)
				q.own(pos).ref = to
			}
		}
	}
	b.settled(now)
	return lost, nil
}

// ID is the id of a queue; 0 is that there is none.
func (b *Broker) ID(queue string) QueueID {
	if q := b.queues[queue]; q != nil {
		return q.id
	}
	return 0
}
