package broker

import "unsafe"

// Memory is where queues keep their slots, outside the Go heap: they hold no pointers, and a
// million of them are 40 MB that the collector would otherwise allow to double.
type Memory interface {
	Alloc(bytes int) ([]byte, error)
	Free(b []byte)
}

// chunkSlots is how many slots are allocated at a time: 40 KiB, ten pages, of which an almost
// empty queue touches one.
const chunkSlots = 1024

// chunk is a run of slots.
type chunk struct {
	slots  *[chunkSlots]slot
	mapped bool // from Memory, not from the heap
	users  *int // the queue and the snapshots that have it; nil: only the queue
}

// chunks gives chunks out and takes them back.
type chunks struct {
	memory Memory
	spare  []chunk
	mapped int
	closed bool // only what snapshots still have comes back
}

const (
	// spareChunks is how many empty chunks are kept: enough to fill and drain a queue without
	// asking for memory each time.
	spareChunks = 32
	// maxMapped leaves the process half of the mappings that Linux allows it (65,530), and
	// covers 32 million messages; more are on the heap.
	maxMapped = 32 << 10
)

func (c *chunks) get() chunk {
	if n := len(c.spare); n > 0 {
		k := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return k
	}
	if c.memory != nil && c.mapped < maxMapped {
		if b, err := c.memory.Alloc(int(unsafe.Sizeof([chunkSlots]slot{}))); err == nil {
			c.mapped++
			// Memory is page aligned, and slots have no pointers that a collector would miss.
			return chunk{slots: (*[chunkSlots]slot)(unsafe.Pointer(unsafe.SliceData(b))), mapped: true}
		}
	}
	return chunk{slots: new([chunkSlots]slot)}
}

func (c *chunks) put(k chunk) {
	if k.users != nil {
		if *k.users--; *k.users > 0 {
			return
		}
		k.users = nil
	}
	switch {
	case len(c.spare) < spareChunks && !c.closed:
		c.spare = append(c.spare, k)
	case k.mapped:
		c.mapped--
		c.memory.Free(unsafe.Slice((*byte)(unsafe.Pointer(k.slots)), unsafe.Sizeof(*k.slots)))
	}
}

// own makes a chunk the queue's alone, which is about to change what snapshots are of.
func (c *chunks) own(k *chunk) {
	if *k.users > 1 {
		fresh := c.get()
		*fresh.slots = *k.slots
		c.put(*k)
		*k = fresh
	}
	k.users = nil
}

// drop gives back what a queue that is gone holds.
func (c *chunks) drop(list []chunk) {
	for _, k := range list {
		c.put(k)
	}
}

// close gives back what is spare.
func (c *chunks) close() {
	list := c.spare
	c.spare, c.closed = nil, true
	for _, k := range list {
		if k.mapped {
			c.memory.Free(unsafe.Slice((*byte)(unsafe.Pointer(k.slots)), unsafe.Sizeof(*k.slots)))
		}
	}
}
