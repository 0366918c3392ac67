package cluster

import (
	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// The two sides of a node that its broker sees.

// records is the log as the broker sees it.
type records Node

func (r *records) Bytes(f broker.Ref) []byte      { return r.log.Bytes(journal.Ref(f)) }
func (r *records) Retain(f broker.Ref, times int) { r.log.Retain(journal.Ref(f), times) }
func (r *records) Drop(f broker.Ref)              { r.log.Drop(journal.Ref(f)) }
func (r *records) Pin(f broker.Ref) broker.Pin    { return r.log.Pin(journal.Ref(f)) }

func (r *records) Resident(f broker.Ref) bool { return r.log.Resident(journal.Ref(f)) }
func (r *records) Fetch(f broker.Ref)         { r.log.Fetch(journal.Ref(f)) }

func (r *records) Sparse(f broker.Ref) bool { return r.log.Sparse(journal.Ref(f)) }

func (r *records) Carry(f broker.Ref) (broker.Ref, error) {
	ref, err := r.log.Carry(journal.Ref(f))
	return broker.Ref(ref), err
}

func (r *records) Append(i broker.Index, durable bool, parts ...[]byte) (broker.Ref, error) {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	class := journal.Transient
	if durable {
		class = journal.Durable
	}
	s, err := r.log.Begin(size, class)
	if err != nil {
		return broker.Ref{}, err
	}
	at := s.Bytes()
	for _, p := range parts {
		at = at[copy(at, p):]
	}
	return broker.Ref(r.log.Commit(s, (*Node)(r).tag(), journal.Index(i))), nil
}

// sink takes what the broker has produced.
type sink Node

// Propose takes entries. Nobody waits for a dequeue: what a consumer accepted is not handed out
// again in any case. Asking for the token for each would double what a lone message costs.
func (s *sink) Propose(entries []byte) {
	s.out = append(s.out, entries...)
	s.urgent = s.urgent || broker.Kind(entries[4]) != broker.KindDequeue
}
func (s *sink) Mesh(m []broker.MeshOut) {
	for i := range m {
		s.ready.Mesh = append(s.ready.Mesh, broker.MeshOut{To: m[i].To, Data: append([]byte{meshBroker}, m[i].Data...)})
	}
}

func (s *sink) Deliveries(list []broker.Delivery) {
	n := (*Node)(s)
	for i := range list {
		c := n.conns[list[i].Conn]
		if c == nil {
			list[i].Answer.Unpin()
			continue
		}
		c.answer(n, list[i].Answer)
		if list[i].Answer.Kind != broker.AnsDeliver {
			continue
		}
		c.outBytes += int64(len(list[i].Answer.Record)) + deliveryBytes
		if c.outBytes > blockBytes {
			c.port.Blocked = true
		}
	}
}

func (s *sink) Refusals(list []broker.Refusal) {
	n := (*Node)(s)
	for _, r := range list {
		c := n.conns[r.Conn]
		if c != nil && r.Number != 0 {
			c.result(r.Number, &broker.Result{Code: broker.Refused, Text: "the queue is full"}, nil, nil)
		}
		if !r.Of.Logged || !n.anyStore() {
			continue
		}
		id := broker.ConnID(0)
		if c != nil && r.Number != 0 {
			id = r.Conn
			c.refused = append(c.refused, r.Number)
		}
		n.out = broker.AppendRefused(n.out, id, r.Of)
		n.urgent = true
	}
}
