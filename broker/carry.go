package broker

// What lives long keeps memory, and room on the disk, that is otherwise dead. When the log is
// fragmented, messages are moved out of such places, some at a time.

// carrier goes through the messages.
type carrier struct {
	queue int    // in the order of queues; what is deleted meanwhile has others passed over
	pos   uint64 // in that
	// moved is what was carried so far, by index, as a record may be in several queues. A reference
	// to each keeps it there until the carrier is through.
	moved map[Index]Ref
	done  []Ref // to be let go of
}

// Carrying tells whether a pass has begun and is not over.
func (b *Broker) Carrying() bool {
	c := &b.carrier
	return c.moved != nil || len(c.done) > 0
}

// Carry looks at so many messages, between runs, and moves those that are worth it. It returns whether
// it can go on at once: a record that is not in memory is asked for, and Arrived follows.
func (b *Broker) Carry(messages int) (more bool, err error) {
	c := &b.carrier
	for ; len(c.done) > 0 && messages > 0; messages-- {
		b.log.Drop(c.done[len(c.done)-1])
		c.done = c.done[:len(c.done)-1]
	}
	if messages == 0 {
		return true, nil
	}
	if c.moved == nil {
		c.moved = map[Index]Ref{}
	}
	for ; c.queue < len(b.order); c.queue++ {
		q := b.order[c.queue]
		for c.pos = max(c.pos, q.head); c.pos < q.tail; c.pos++ {
			if messages == 0 {
				return true, nil
			}
			messages--
			if there, err := b.carry(q); err != nil || !there {
				return false, err
			}
		}
		c.pos = 0
	}
	for _, ref := range c.moved {
		c.done = append(c.done, ref)
	}
	c.moved, c.queue = nil, 0
	return len(c.done) > 0, nil
}

// carry moves the message that the carrier is at, unless its record has to be fetched first.
func (b *Broker) carry(q *Queue) (there bool, err error) {
	c := &b.carrier
	m := q.at(c.pos)
	if m.state == slotGone {
		return true, nil
	}
	to, known := c.moved[m.index]
	if !known {
		if !b.log.Sparse(m.ref) {
			return true, nil
		}
		if !b.log.Resident(m.ref) {
			b.log.Fetch(m.ref)
			return false, nil
		}
		if to, err = b.log.Carry(m.ref); err != nil {
			return false, err
		}
		b.log.Retain(to, 1)
		c.moved[m.index] = to
	}
	if m.ref == to {
		return true, nil
	}
	b.log.Retain(to, 1)
	b.log.Drop(m.ref)
	q.own(c.pos).ref = to
	return true, nil
}

// endCarrying lets go of what the carrier keeps.
func (b *Broker) endCarrying() {
	c := &b.carrier
	for _, ref := range c.moved { // the order does not matter
		b.log.Drop(ref)
	}
	for _, ref := range c.done {
		b.log.Drop(ref)
	}
	*c = carrier{}
}
