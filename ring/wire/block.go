package wire

import "time"

// Block is a piece of memory that packets point into. One goroutine owns a block and all its
// references, so the count is a plain int. Who keeps a packet past the call that handed it
// over retains its block; at the last release the block goes back to its pool.
type Block struct {
	Data []byte
	refs int
	pool *Pool
}

// NewBlock wraps memory that no pool wants back. It starts with one reference.
func NewBlock(data []byte) *Block { return &Block{Data: data, refs: 1} }

// Retain adds a reference.
func (b *Block) Retain() {
	if b.refs <= 0 {
		panic("wire: Retain of a released block")
	}
	b.refs++
}

// Release drops a reference.
func (b *Block) Release() {
	b.refs--
	if b.refs > 0 {
		return
	}
	if b.refs < 0 {
		panic("wire: Release of a released block")
	}
	poison(b.Data)
	if b.pool != nil {
		b.pool.put(b)
	}
}

// Refs is the number of references, for tests and for owners that reuse a block in place
// while they are its only holder.
func (b *Block) Refs() int { return b.refs }

// Pool keeps released blocks of one size for the next use. It belongs to one goroutine.
type Pool struct {
	size  int
	limit int
	free  []*Block
	live  int
}

// NewPool makes a pool of blocks of size bytes that keeps at most limit of them unused.
func NewPool(size, limit int) *Pool {
	return &Pool{size: size, limit: limit, free: make([]*Block, 0, limit)}
}

// Get returns a block with one reference.
func (p *Pool) Get() *Block {
	p.live++
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		b.refs = 1
		return b
	}
	return &Block{Data: make([]byte, p.size), refs: 1, pool: p}
}

// Live is the number of blocks that somebody holds.
func (p *Pool) Live() int { return p.live }

func (p *Pool) put(b *Block) {
	p.live--
	if len(p.free) < p.limit {
		p.free = append(p.free, b)
	}
}

// Packet is one received ring message. Data points into Block. A nil Block means that the
// memory is the receiver's to keep and is never reused.
type Packet struct {
	Data  []byte
	Block *Block
	// Arrived is the time of day, since 1970, at which the kernel had it; 0: nobody has looked.
	Arrived time.Duration
}

// Retain keeps the packet's memory.
func (p Packet) Retain() {
	if p.Block != nil {
		p.Block.Retain()
	}
}

// Release gives the packet's memory up.
func (p Packet) Release() {
	if p.Block != nil {
		p.Block.Release()
	}
}

// Datagram is one ring message to send. Datagrams that follow each other in memory follow
// each other in Data too, so that a link can hand several to the kernel as one buffer.
type Datagram struct {
	To   NodeID // 0: multicast; else unicast to that node
	Data []byte
}
