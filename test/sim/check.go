package sim

import (
	"slices"
	"strconv"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
)

// check knows what clients were told, and holds the cluster to it.
type check struct {
	w     *world
	acked []string        // publishes acknowledged
	done  map[string]bool // messages that a consumer has accepted
	fresh map[string]bool // messages that a consumer has got as new
	free  map[string]bool // messages that one has released, which does not count as a delivery
	// consumers counts those that ever subscribed to a queue; last is the number that the
	// only one of them got last of each publisher and queue.
	consumers map[string]int
	last      map[string]int
	steps     int
	refused   map[string]bool // publishes that a full queue has refused
}

// acknowledged: every active member of the view has the message by now.
func (k *check) acknowledged(m *member, body string) {
	k.acked = append(k.acked, body)
	if m.node.State() != cluster.Active {
		k.w.t.Fatalf("seed %d: member %d acknowledges while %v", k.w.seed, m.slot+1, m.node.State())
	}
}

// accepted: a consumer is done with the message. It may come again only as redelivered, if
// the acceptance was lost with its member.
func (k *check) accepted(body string) {
	k.w.logf("%s accepted", body)
	k.done[body] = true
}

// released: the message may come again as if it were new.
func (k *check) released(body string) { k.free[body] = true }

// delivered checks that what was delivered does not come again as if it were new, and that a
// consumer that has always been its queue's only one gets each publisher's messages in order.
// With others beside it a message may have been on its way to one of them first.
func (k *check) delivered(c *client, body string, again bool) {
	k.w.logf("%d: %s delivered to %d, again %v", c.m.slot+1, body, c.id, again)
	if !counts(body) {
		return
	}
	if k.refused[body] {
		k.w.t.Fatalf("seed %d: %s was refused and is there: %s", k.w.seed, body, c.m.node.Broker().Describe(body[:2]))
	}
	if k.done[body] && !again {
		k.w.t.Fatalf("seed %d: %s was accepted and is delivered as if it were new: %s", k.w.seed, body, c.m.node.Broker().Describe(body[:2]))
	}
	if k.fresh[body] && !again && !k.free[body] {
		k.w.t.Fatalf("seed %d: %s was delivered before and is delivered as if it were new: %s", k.w.seed, body, c.m.node.Broker().Describe(body[:2]))
	}
	k.fresh[body] = k.fresh[body] || !again
	queue, _, _ := strings.Cut(body, "/")
	if k.consumers[queue] != 1 {
		return
	}
	if again || k.free[body] {
		return
	}
	i := strings.LastIndexByte(body, '/')
	from := body[:i]
	number, err := strconv.Atoi(body[i+1:])
	if err != nil {
		k.w.t.Fatalf("seed %d: a message was delivered as %q", k.w.seed, body)
	}
	if number <= k.last[from] {
		k.w.t.Fatalf("seed %d: member %d: %s delivered after number %d of the same publisher", k.w.seed, c.m.slot+1, body, k.last[from])
	}
	k.last[from] = number
}

// step is looked at after everything that happens.
func (k *check) step() {
	k.steps++
	var active []*member
	for _, m := range k.w.members {
		if m != nil && m.node.State() == cluster.Active {
			active = append(active, m)
		}
	}
	type position struct {
		id    cluster.ID
		index broker.Index
	}
	chains := map[position]*member{}
	for _, m := range active {
		i, chain := m.node.Position()
		p := position{m.node.ID(), i}
		o := chains[p]
		if o == nil {
			chains[p] = m
			continue
		}
		if !k.together(m, o) {
			continue
		}
		if _, other := o.node.Position(); other != chain {
			k.w.t.Fatalf("seed %d: members %d and %d have different histories up to index %d", k.w.seed, o.slot+1, m.slot+1, i)
		}
		if k.steps%64 == 0 && m.node.Broker().Hash() != o.node.Broker().Hash() {
			k.w.t.Fatalf("seed %d: members %d and %d have different states at index %d:\n%s\n%s", k.w.seed, o.slot+1, m.slot+1, i,
				o.node.Broker().Describe("q0"), m.node.Broker().Describe("q0"))
		}
	}
	if k.steps%8 == 0 {
		k.holders(active)
	}
}

// together tells whether two members are in the same view: one that is cut off and has not
// noticed may differ by what only it has delivered, and one that has said goodbye knows the view
// that is without it.
func (k *check) together(a, b *member) bool {
	return slices.Equal(a.view, b.view) && slices.Contains(a.view, a.id) && slices.Contains(a.view, b.id) && k.w.reaches(a.slot, b.slot)
}

// holders checks that no two clients of members in one view hold the same message.
func (k *check) holders(active []*member) {
	for i, m := range active {
		held := map[place]*client{}
		for _, o := range active[i:] {
			if o != m && !k.together(m, o) {
				continue
			}
			for _, c := range o.clients {
				for at, h := range c.held {
					if other := held[at]; other != nil {
						k.w.t.Fatalf("seed %d: %s is held by clients of members %d and %d", k.w.seed, h.body, other.m.slot+1, o.slot+1)
					}
					held[at] = c
				}
			}
		}
	}
}

// final checks what is left when everything has come to rest and been consumed.
func (k *check) final(got map[string]bool) {
	for _, body := range k.acked {
		if !got[body] && !k.done[body] {
			k.w.t.Fatalf("seed %d: %s was acknowledged and is lost", k.w.seed, body)
		}
	}
}
