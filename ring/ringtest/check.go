package ringtest

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Checker watches nodes and collects where one of them broke a promise of the ring:
//
//   - numbers count up by one, a sender's messages come in the order it sent them, our own
//     come all and once;
//   - members that deliver the same two messages in one view do so in the same order;
//   - members that go from one view to the next together have delivered the same messages in
//     it (virtual synchrony), and each tells that the other came along;
//   - a message that was told safe is delivered by all that came along, unless they crash.
//
// Messages must be made by Message.
type Checker struct {
	Faults []string
	lives  []*life
	byName map[cpg.Member]*life
}

// life is one process from its start to its crash, leave or the end of the run.
type life struct {
	who     cpg.Member
	stages  []stage
	place   map[id]spot
	last    map[cpg.Member]uint64
	order   []id // by number, from 1
	sent    uint64
	safe    uint64
	safeAt  []int // the stage in which the message of a number was first told safe
	crashed bool
}

// stage is a view and what was delivered in it.
type stage struct {
	view *cpg.View
	key  string
	msgs []id
}

type id struct {
	from cpg.Member
	n    uint64
}

type spot struct{ stage, index int }

// NewChecker makes a Checker.
func NewChecker() *Checker { return &Checker{byName: map[cpg.Member]*life{}} }

func (c *Checker) fault(l *life, format string, args ...any) {
	if len(c.Faults) < 20 {
		c.Faults = append(c.Faults, fmt.Sprintf("%v: ", l.who)+fmt.Sprintf(format, args...))
	}
}

func (c *Checker) life(who cpg.Member) *life {
	l := c.byName[who]
	if l == nil {
		l = &life{who: who, place: map[id]spot{}, last: map[cpg.Member]uint64{}}
		c.byName[who] = l
		c.lives = append(c.lives, l)
	}
	return l
}

const messageHeader = 20

// Message makes the next message of a process, size bytes long or as short as may be. Call
// Sent if it was accepted.
func (c *Checker) Message(who cpg.Member, size int) []byte {
	b := make([]byte, max(size, messageHeader))
	binary.BigEndian.PutUint32(b, uint32(who.Node))
	binary.BigEndian.PutUint32(b[4:], who.PID)
	binary.BigEndian.PutUint64(b[8:], c.life(who).sent+1)
	binary.BigEndian.PutUint32(b[16:], uint32(len(b)))
	for i := messageHeader; i < len(b); i++ {
		b[i] = byte(i) ^ b[15]
	}
	return b
}

// Sent notes that the last message of who was accepted.
func (c *Checker) Sent(who cpg.Member) { c.life(who).sent++ }

// Crashed notes that who will not do anything any more.
func (c *Checker) Crashed(who cpg.Member) { c.life(who).crashed = true }

// Use is for Node.Use.
func (c *Checker) Use(n *Node, r *cpg.Ready) {
	l := c.life(n.Machine.Self())
	for i := range r.Events {
		e := &r.Events[i]
		if e.View != nil {
			c.onView(l, e.View)
		} else {
			c.onMessage(l, e)
		}
	}
	switch {
	case r.Safe < l.safe:
		c.fault(l, "safe went back from %d to %d", l.safe, r.Safe)
	case r.Safe > uint64(len(l.order)):
		c.fault(l, "safe %d is beyond the %d delivered", r.Safe, len(l.order))
	}
	for l.safe < min(r.Safe, uint64(len(l.order))) {
		l.safe++
		l.safeAt = append(l.safeAt, len(l.stages)-1)
	}
}

func (c *Checker) onView(l *life, v *cpg.View) {
	if len(v.Members) != len(v.Transitional)+len(v.Joined) {
		c.fault(l, "view %v: members are not the transitional and the joined", v)
	}
	// Who comes into the group and leaves it again in one ring brings the same view twice, to all in it.
	key := fmt.Sprint(v.Ring, v.Members)
	for l.find(key) >= 0 {
		key += "'"
	}
	l.stages = append(l.stages, stage{view: v, key: key})
}

func (c *Checker) onMessage(l *life, e *cpg.Event) {
	b := slices.Concat(e.Parts...)
	m, ok := decode(b)
	if !ok {
		c.fault(l, "message %d is damaged", e.Number)
		return
	}
	if len(l.stages) == 0 {
		c.fault(l, "message %v before any view", m)
		return
	}
	s := &l.stages[len(l.stages)-1]
	switch {
	case e.Number != uint64(len(l.order))+1:
		c.fault(l, "number %d after %d messages", e.Number, len(l.order))
	case e.From != m.from:
		c.fault(l, "message of %v comes from %v", m.from, e.From)
	case !slices.Contains(s.view.Members, m.from):
		c.fault(l, "message of %v, who is not in the view %v", m.from, s.view.Members)
	case m.n <= l.last[m.from]:
		c.fault(l, "message %v after %d", m, l.last[m.from])
	case m.from == l.who && m.n != l.last[m.from]+1:
		c.fault(l, "own message %v after %d", m, l.last[m.from])
	}
	l.last[m.from] = m.n
	l.place[m] = spot{len(l.stages) - 1, len(s.msgs)}
	s.msgs = append(s.msgs, m)
	l.order = append(l.order, m)
}

func decode(b []byte) (id, bool) {
	if len(b) < messageHeader || int(binary.BigEndian.Uint32(b[16:])) != len(b) {
		return id{}, false
	}
	for i := messageHeader; i < len(b); i++ {
		if b[i] != byte(i)^b[15] {
			return id{}, false
		}
	}
	who := cpg.Member{PID: binary.BigEndian.Uint32(b[4:])}
	who.Node = wire.NodeID(binary.BigEndian.Uint32(b))
	return id{who, binary.BigEndian.Uint64(b[8:])}, true
}

// Finish compares all lives. Those that are not crashed must have had the time to deliver
// everything.
func (c *Checker) Finish() {
	for _, l := range c.lives {
		if !l.crashed && l.last[l.who] != l.sent {
			c.fault(l, "sent %d messages, delivered %d of them", l.sent, l.last[l.who])
		}
		for _, o := range c.lives {
			if o != l {
				c.compareOrder(l, o)
			}
		}
		for i := 1; i < len(l.stages); i++ {
			c.compareTransition(l, i)
		}
		c.checkSafe(l)
	}
}

// compareOrder: messages that both delivered in one view are in the same order. Who goes on from a
// ring without the other may lack the place in it at which a process left the group, and deliver
// what it sent behind that place in the view before.
func (c *Checker) compareOrder(l, o *life) {
	for i := range l.stages {
		s := &l.stages[i]
		j := o.find(s.key)
		if j < 0 {
			continue
		}
		before := -1
		for _, m := range s.msgs {
			at, ok := o.place[m]
			if !ok {
				continue
			}
			if at.stage != j {
				if o.stages[at.stage].view.Ring == s.view.Ring && (l.goesWithout(o.who, i) || o.goesWithout(l.who, at.stage)) {
					continue
				}
				c.fault(l, "message %v came in view %s, at %v in view %s", m, s.key, o.who, o.stages[at.stage].key)
				return
			}
			if at.index <= before {
				c.fault(l, "message %v is in another place of view %s at %v", m, s.key, o.who)
				return
			}
			before = at.index
		}
	}
}

// goesWithout tells whether l goes on from the ring of a stage without who.
func (l *life) goesWithout(who cpg.Member, stage int) bool {
	for _, s := range l.stages[stage+1:] {
		if s.view.Ring != l.stages[stage].view.Ring {
			return !slices.Contains(s.view.Transitional, who)
		}
	}
	return l.crashed
}

func (l *life) find(key string) int {
	return slices.IndexFunc(l.stages, func(s stage) bool { return s.key == key })
}

// compareTransition: who came along to stage i delivered the same in the stage before.
func (c *Checker) compareTransition(l *life, i int) {
	was, is := &l.stages[i-1], &l.stages[i]
	if !slices.Contains(is.view.Members, l.who) {
		return // our own leave
	}
	for _, who := range is.view.Transitional {
		o := c.byName[who]
		if o == nil {
			c.fault(l, "unknown member %v in view %s", who, is.key)
			return
		}
		j := o.find(is.key)
		switch {
		case j < 0:
			// The ring may have broken before o knew that all had synchronised. Then it does
			// not come along from there either.
			onward := i+1 == len(l.stages) && !l.crashed ||
				i+1 < len(l.stages) && slices.Contains(l.stages[i+1].view.Transitional, who)
			if !o.crashed && onward {
				c.fault(l, "%v never saw view %s, into which it came along", who, is.key)
			}
		case j == 0 || o.stages[j-1].key != was.key:
			c.fault(l, "%v did not come to view %s from %s", who, is.key, was.key)
		case !slices.Contains(o.stages[j].view.Transitional, l.who):
			c.fault(l, "%v does not know that we came along to view %s", who, is.key)
		case !slices.Equal(o.stages[j-1].msgs, was.msgs):
			c.fault(l, "%v delivered %d messages in view %s, we %d", who, len(o.stages[j-1].msgs), was.key, len(was.msgs))
		}
	}
}

// checkSafe: what we were told is safe, everybody that was with us then has.
func (c *Checker) checkSafe(l *life) {
	for k, stage := range l.safeAt {
		m := l.order[k]
		from := l.place[m].stage
		for _, who := range l.stages[from].view.Members {
			o := c.byName[who]
			if o == nil || o.crashed || !l.with(who, from, stage) {
				continue
			}
			if _, ok := o.place[m]; !ok {
				c.fault(l, "message %v was safe in view %s, but %v never delivered it",
					m, l.stages[stage].key, who)
				return
			}
		}
	}
}

// with reports whether who came along from one stage to another.
func (l *life) with(who cpg.Member, from, to int) bool {
	for i := from + 1; i <= to; i++ {
		if !slices.Contains(l.stages[i].view.Transitional, who) {
			return false
		}
	}
	return true
}
