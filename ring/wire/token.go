package wire

const (
	tokenBytes = 57
	rtrBytes   = ringIDBytes + 4
	// MaxTokenBytes is the longest token. Corosync copies its own, which has no marks, into
	// 1500 bytes.
	MaxTokenBytes = tokenBytes + MaxRetransmit*rtrBytes + extensionBytes + marksBytes + markBytes*MaxMarked
)

// Request asks whoever holds a packet to multicast it again.
type Request struct {
	Ring RingID
	Seq  Seq
}

// Token is the right to multicast, passed from member to member (section 2.3).
type Token struct {
	From     NodeID
	Target   NodeID // encoded only
	Seq      Seq    // the highest place assigned on this ring
	TokenSeq Seq    // grows by one at every hop
	Aru      Seq    // every member has everything up to here
	AruAddr  NodeID // who holds Aru down; 0 for nobody
	Ring     RingID
	Backlog  uint32 // packets queued at all members
	FCC      uint32 // packets multicast in the last rotation
	Retrans  bool   // in recovery: somebody has messages of the old ring to send
	Marks    Marks  // empty where not all members understand them

	requests [MaxRetransmit]Request
	count    int
}

// Requests is the retransmission list, valid until the token changes.
func (t *Token) Requests() []Request { return t.requests[:t.count] }

// Full reports whether no further request fits.
func (t *Token) Full() bool { return t.count == MaxRetransmit }

// Add appends a request. The token must not be full.
func (t *Token) Add(r Request) {
	t.requests[t.count] = r
	t.count++
}

// Keep cuts the request list to its first n entries.
func (t *Token) Keep(n int) { t.count = n }

// Decode fills t from a packet, and reuses the marks' memory. On an error t is not to be used.
func (t *Token) Decode(b []byte) error {
	h, err := parse(b, TypeToken, tokenBytes)
	if err != nil {
		return err
	}
	if h.Node == 0 {
		return ErrNode
	}
	o := h.Order
	n := int32(o.Uint32(b[53:]))
	if n < 0 || n > MaxRetransmit {
		return ErrCount
	}
	if len(b) < tokenBytes+int(n)*rtrBytes {
		return ErrShort
	}
	t.From = h.Node
	t.Seq = Seq(o.Uint32(b[13:]))
	t.TokenSeq = Seq(o.Uint32(b[17:]))
	t.Aru = Seq(o.Uint32(b[21:]))
	t.AruAddr = NodeID(o.Uint32(b[25:]))
	t.Ring = o.ringID(b[29:])
	t.Backlog = o.Uint32(b[41:])
	t.FCC = o.Uint32(b[45:])
	t.Retrans = o.Uint32(b[49:]) != 0
	t.count = int(n)
	for i := range t.requests[:n] {
		at := b[tokenBytes+i*rtrBytes:]
		t.requests[i] = Request{Ring: o.ringID(at), Seq: Seq(o.Uint32(at[ringIDBytes:]))}
	}
	t.Marks.decode(o, b[tokenBytes+int(n)*rtrBytes:])
	return nil
}

// Append encodes t behind b.
func (t *Token) Append(b []byte) []byte {
	b = appendHeader(b, TypeToken, encapsulatedNone, t.From, t.Target)
	b = appendUint32(b, uint32(t.Seq))
	b = appendUint32(b, uint32(t.TokenSeq))
	b = appendUint32(b, uint32(t.Aru))
	b = appendUint32(b, uint32(t.AruAddr))
	b = appendRingID(b, t.Ring)
	b = appendUint32(b, t.Backlog)
	b = appendUint32(b, t.FCC)
	var retrans uint32
	if t.Retrans {
		retrans = 1
	}
	b = appendUint32(b, retrans)
	b = appendUint32(b, uint32(t.count))
	for _, r := range t.Requests() {
		b = appendRingID(b, r.Ring)
		b = appendUint32(b, uint32(r.Seq))
	}
	return t.Marks.append(b)
}
