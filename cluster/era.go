package cluster

import (
	"encoding/binary"
	"hash/fnv"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// An era is a time in which the same members took part. Its tag is like no other's, and stands
// with the index in every record: histories that both have a tag are the same up to where the
// shorter of them leaves that era.
type era struct {
	tag  uint64
	from broker.Index
}

// Eras kept, and told to others: how far back a member may lag and still be sent only what it
// lacks.
const (
	maxEras  = 64
	toldEras = 16
)

// How an era begins, which decides what becomes of consumers and of what is not durable.
const (
	eraMembers uint64 = iota // members came or went
	eraAnew                  // nothing was ordered for all of them for a time
	eraRevived               // all had been down
)

func (n *Node) tag() journal.View {
	if len(n.eras) == 0 {
		return 0
	}
	return journal.View(n.eras[len(n.eras)-1].tag)
}

func (id viewID) tag(from broker.Index) uint64 {
	h := fnv.New64a()
	var b [28]byte
	binary.LittleEndian.PutUint32(b[:], id.rep)
	binary.LittleEndian.PutUint64(b[4:], id.seq)
	binary.LittleEndian.PutUint64(b[12:], id.hash)
	binary.LittleEndian.PutUint64(b[20:], uint64(from))
	h.Write(b[:])
	return h.Sum64()
}

func (w *controlWriter) eras(list []era) {
	w.Uint(uint64(len(list)))
	for _, e := range list {
		w.Uint(e.tag)
		w.Uint(uint64(e.from))
	}
}

func (r *controlReader) eras() (list []era) {
	for k := r.UintTo(maxEras); k > 0 && r.Err == nil; k-- {
		list = append(list, era{r.Uint(), broker.Index(r.Uint())})
	}
	return list
}

func (w *controlWriter) uuid(id journal.UUID) { w.Bytes = append(w.Bytes, id[:]...) }

// bits packs flags, the first one lowest.
func bits(flags ...bool) (v uint64) {
	for i, f := range flags {
		if f {
			v |= 1 << i
		}
	}
	return v
}

// shared is up to which index of theirs, which ends at index, the history is also this
// member's; 0 is not known.
func (n *Node) shared(theirs []era, index broker.Index) broker.Index {
	for i := len(theirs) - 1; i >= 0; i-- {
		end := index
		if i+1 < len(theirs) {
			end = theirs[i+1].from - 1
		}
		for k := range n.eras {
			if n.eras[k] != theirs[i] {
				continue
			}
			own := n.index
			if k+1 < len(n.eras) {
				own = n.eras[k+1].from - 1
			}
			return min(end, own)
		}
	}
	return 0
}

// logEra begins an era, in the journal too.
func (n *Node) logEra(at viewID, how uint64) {
	n.eras = append(n.eras, era{at.tag(n.epoch), n.epoch})
	if len(n.eras) > maxEras {
		n.eras = append(n.eras[:0], n.eras[1:]...)
	}
	old := n.stores
	n.stores = map[broker.MemberID]journal.UUID{}
	for _, m := range n.electorate {
		n.stores[m] = old[m]
		if h := n.view.hello(m); h != nil {
			n.stores[m] = h.store
		}
	}
	n.disk.members(n)
	n.newPace()
	if n.log.Durable() {
		n.append(n.eraEntry(how))
	}
}

// append puts an entry of this member's own into the journal, at the index that was reached.
func (n *Node) append(entry []byte) {
	if _, err := (*records)(n).Append(n.index, true, entry); err != nil {
		panic("cluster: no memory for an entry: " + err.Error())
	}
	n.disk.urgent = true
}

func (n *Node) eraEntry(how uint64) []byte {
	w := newControl(controlEra)
	w.Uint(how)
	w.Bytes = append(w.Bytes, n.id[:]...)
	n.putEra(w)
	return w.End()
}

// putEra writes who takes part, and how they are found.
func (n *Node) putEra(w *controlWriter) {
	w.Uint(uint64(n.epoch))
	w.eras(n.eras)
	w.members(n.electorate)
	for _, m := range n.electorate {
		w.uuid(n.stores[m])
		url := ""
		if h := n.view.hello(m); h != nil {
			url = h.url
		}
		w.Text(url)
	}
	w.Uint(uint64(n.expected))
}

func (n *Node) readEra(r *controlReader) {
	n.epoch = broker.Index(r.Uint())
	n.eras = r.eras()
	n.electorate = r.members()
	n.stores, n.disk.urls = map[broker.MemberID]journal.UUID{}, map[broker.MemberID]string{}
	for _, m := range n.electorate {
		n.stores[m] = journal.UUID(r.id())
		n.disk.urls[m] = string(r.TextTo(maxAddressText))
	}
	n.expected = int(r.UintTo(1<<31 - 1))
}
