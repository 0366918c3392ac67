package bpf

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// holding is what a member has: everything of a ring up to a place.
type holding struct {
	rep  uint32
	seq  uint64
	aru  uint32
	said bool
}

// mapHeld maps the memory in which the program reads what the member has.
func (g *Guard) mapHeld() (err error) {
	m := g.collection.Maps[xdpMapHeld]
	if m.Flags()&unix.BPF_F_MMAPABLE == 0 {
		return nil
	}
	if g.memory, err = unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("bpf: mmap: %w", err)
	}
	g.held = (*xdpHeld)(unsafe.Pointer(&g.memory[0]))
	return nil
}

func (g *Guard) unmapHeld() {
	if g.memory != nil {
		_ = unix.Munmap(g.memory) // it was mapped
		g.memory, g.held, g.ring = nil, nil, holding{}
	}
}

// Hold tells the program which ring the member is in, in operation, and up to which place it has
// everything. The program drops what the member has, and of other rings what is too much. It belongs
// to one goroutine, with Release and Close.
func (g *Guard) Hold(rep uint32, seq uint64, aru uint32) {
	now := holding{rep, seq, aru, true}
	if g.held == nil || now == g.ring {
		return
	}
	same := g.ring.said && g.ring.rep == rep && g.ring.seq == seq
	g.ring = now
	if same {
		atomic.StoreUint32(&g.held.Rings[g.slot].Aru, aru)
		return
	}
	// One that nobody looks at, which those see whole that see its number.
	g.slot = (g.slot + 1) % len(g.held.Rings)
	r := &g.held.Rings[g.slot]
	r.Rep, r.Seq, r.Aru = rep, seq, aru
	atomic.StoreUint32(&g.held.Current, uint32(g.slot)+1)
}

// Release takes that back, before the member sends anything for another ring.
func (g *Guard) Release() {
	if g.held == nil || !g.ring.said {
		return
	}
	g.ring.said = false
	atomic.StoreUint32(&g.held.Current, 0)
}
