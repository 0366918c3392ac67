package wire

// The messages by which members find each other and agree who is in the next ring.

const (
	joinBytes        = 33
	commitBytes      = 41
	commitSlotBytes  = ringIDBytes + 12
	mergeDetectBytes = 29
	holdCancelBytes  = 25
)

// Join says whom its sender wants in the next ring and whom it takes for dead (section 2.7).
// Decode reuses the lists.
type Join struct {
	Node    NodeID // the sender, or 0: the sender leaves
	From    NodeID
	RingSeq uint64
	Proc    []NodeID
	Failed  []NodeID
}

// Leave reports whether the sender says goodbye.
func (j *Join) Leave() bool { return j.Node == 0 }

// Decode fills j from a packet.
func (j *Join) Decode(b []byte) error {
	h, err := parse(b, TypeJoin, joinBytes)
	if err != nil {
		return err
	}
	o := h.Order
	p, f := o.Uint32(b[17:]), o.Uint32(b[21:])
	if p > MaxMembers || f > MaxMembers {
		return ErrCount
	}
	if len(b) < joinBytes+4*int(p+f) {
		return ErrShort
	}
	j.Node = h.Node
	j.From = NodeID(o.Uint32(b[13:]))
	if j.From == 0 {
		return ErrNode
	}
	j.RingSeq = o.Uint64(b[25:])
	j.Proc = o.appendNodes(j.Proc[:0], b[joinBytes:], int(p))
	j.Failed = o.appendNodes(j.Failed[:0], b[joinBytes+4*p:], int(f))
	return nil
}

func (o Order) appendNodes(dst []NodeID, b []byte, n int) []NodeID {
	for i := range n {
		dst = append(dst, NodeID(o.Uint32(b[4*i:])))
	}
	return dst
}

// Bytes is the length of j encoded.
func (j *Join) Bytes() int { return joinBytes + 4*(len(j.Proc)+len(j.Failed)) }

// Append encodes j behind b.
func (j *Join) Append(b []byte) []byte {
	b = appendHeader(b, TypeJoin, encapsulatedNone, j.Node, 0)
	b = appendUint32(b, uint32(j.From))
	b = appendUint32(b, uint32(len(j.Proc)))
	b = appendUint32(b, uint32(len(j.Failed)))
	b = appendUint64(b, j.RingSeq)
	for _, n := range j.Proc {
		b = appendUint32(b, uint32(n))
	}
	for _, n := range j.Failed {
		b = appendUint32(b, uint32(n))
	}
	return b
}

// Slot is what one member of the new ring tells the others about its old one.
type Slot struct {
	Ring      RingID // the old ring
	Aru       Seq
	Delivered Seq
	Received  bool // it has every message of the old ring that it has heard of
}

// Commit is the token that forms a ring: it goes round twice, to collect a slot from every
// member and to show all slots to all (section 2.8). Decode reuses the lists.
type Commit struct {
	From     NodeID
	Target   NodeID // encoded only
	TokenSeq Seq
	Ring     RingID // the new ring
	Index    int    // slots filled so far
	Members  []NodeID
	Slots    []Slot // as long as Members
	// Announced are the members that understand more than the protocol. One that does not takes
	// away those before it.
	Announced []Announcement
}

// Decode fills c from a packet.
func (c *Commit) Decode(b []byte) error {
	h, err := parse(b, TypeCommit, commitBytes)
	if err != nil {
		return err
	}
	if h.Node == 0 {
		return ErrNode
	}
	o := h.Order
	index, n := o.Uint32(b[33:]), o.Uint32(b[37:])
	if n == 0 || n > MaxMembers || index > n {
		return ErrCount
	}
	if len(b) < commitBytes+int(n)*(4+commitSlotBytes) {
		return ErrShort
	}
	c.From = h.Node
	c.TokenSeq = Seq(o.Uint32(b[13:]))
	c.Ring = o.ringID(b[17:])
	c.Index = int(index)
	c.Members = o.appendNodes(c.Members[:0], b[commitBytes:], int(n))
	c.Slots = c.Slots[:0]
	for i := range int(n) {
		s := b[commitBytes+4*int(n)+i*commitSlotBytes:]
		c.Slots = append(c.Slots, Slot{
			Ring:      o.ringID(s),
			Aru:       Seq(o.Uint32(s[12:])),
			Delivered: Seq(o.Uint32(s[16:])),
			Received:  o.Uint32(s[20:]) != 0,
		})
	}
	c.Announced = o.announcements(c.Announced[:0], b[commitBytes+int(n)*(4+commitSlotBytes):])
	return nil
}

// Bytes is the length of c encoded.
func (c *Commit) Bytes() int {
	n := commitBytes + len(c.Members)*(4+commitSlotBytes)
	if len(c.Announced) > 0 {
		n += extensionBytes + len(c.Announced)*announcementBytes
	}
	return n
}

// Append encodes c behind b.
func (c *Commit) Append(b []byte) []byte {
	b = appendHeader(b, TypeCommit, encapsulatedNone, c.From, c.Target)
	b = appendUint32(b, uint32(c.TokenSeq))
	b = appendRingID(b, c.Ring)
	b = appendUint32(b, 0) // retrans_flg, always 0
	b = appendUint32(b, uint32(c.Index))
	b = appendUint32(b, uint32(len(c.Members)))
	for _, n := range c.Members {
		b = appendUint32(b, uint32(n))
	}
	for _, s := range c.Slots {
		b = appendRingID(b, s.Ring)
		b = appendUint32(b, uint32(s.Aru))
		b = appendUint32(b, uint32(s.Delivered))
		var received uint32
		if s.Received {
			received = 1
		}
		b = appendUint32(b, received)
	}
	return appendAnnouncements(b, c.Announced)
}

// MergeDetect lets two rings on one network find each other (section 2.5).
type MergeDetect struct {
	Node NodeID
	From NodeID
	Ring RingID
}

// ParseMergeDetect reads a MergeDetect.
func ParseMergeDetect(b []byte) (MergeDetect, error) {
	h, err := parse(b, TypeMergeDetect, mergeDetectBytes)
	if err != nil {
		return MergeDetect{}, err
	}
	m := MergeDetect{
		Node: h.Node, From: NodeID(h.Order.Uint32(b[13:])), Ring: h.Order.ringID(b[17:]),
	}
	if m.Node == 0 || m.From == 0 {
		return MergeDetect{}, ErrNode
	}
	return m, nil
}

// Bytes is the length of m encoded.
func (m MergeDetect) Bytes() int { return mergeDetectBytes }

// Append encodes m behind b.
func (m MergeDetect) Append(b []byte) []byte {
	b = appendHeader(b, TypeMergeDetect, encapsulatedNone, m.Node, 0)
	b = appendUint32(b, uint32(m.From))
	return appendRingID(b, m.Ring)
}

// HoldCancel asks the representative to let a held token go (section 2.6).
type HoldCancel struct {
	Node NodeID
	Ring RingID
}

// ParseHoldCancel reads a HoldCancel.
func ParseHoldCancel(b []byte) (HoldCancel, error) {
	h, err := parse(b, TypeHoldCancel, holdCancelBytes)
	if err != nil {
		return HoldCancel{}, err
	}
	if h.Node == 0 {
		return HoldCancel{}, ErrNode
	}
	return HoldCancel{Node: h.Node, Ring: h.Order.ringID(b[13:])}, nil
}

// Append encodes c behind b.
func (c HoldCancel) Append(b []byte) []byte {
	return appendRingID(appendHeader(b, TypeHoldCancel, encapsulatedNone, c.Node, 0), c.Ring)
}
