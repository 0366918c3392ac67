package faulty

import (
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Crash is a loss of power: what was under way is forgotten, and so is, in part, what was not
// flushed. What is left is on the disk for good, which then works again.
func (d *Disk) Crash() {
	waiting := d.waiting
	d.waiting = nil
	d.err = nil
	d.failAt, d.loseAt = 0, 0
	for i, t := range waiting {
		first := !slices.ContainsFunc(waiting[:i], func(o *task) bool { return lane(o.op.Kind) == lane(t.op.Kind) })
		d.interrupt(t.op, first)
	}
	for _, name := range d.names() {
		f := d.files[name]
		if !f.lasting && d.choose(2) == 0 {
			delete(d.files, name)
			continue
		}
		f.lose(d)
		f.lasting, f.failed = true, nil
	}
}

// interrupt does what may have been done of an operation that was under way. Of those that are
// done one after the other only the first can have been begun.
func (d *Disk) interrupt(op *journal.Op, first bool) {
	f := d.files[op.File]
	switch {
	case op.Kind == journal.OpWrite && f != nil:
		f.write(write{op.Offset, slices.Clone(op.Data)})
	case op.Kind == journal.OpCreate && first && f == nil && d.room(op.Size) && d.choose(2) == 1:
		_ = d.create(op, nil) // cannot fail now
	case op.Kind == journal.OpAppend && first && (f != nil || op.Offset == 0):
		if op.Offset == 0 {
			f = &file{}
			d.files[op.File] = f
		}
		f.write(write{op.Offset, slices.Clone(op.Data)})
	case op.Kind == journal.OpCommit && first && f != nil && f.failed == nil && d.choose(2) == 1:
		d.rename(f, op.File, op.To)
	case op.Kind == journal.OpRemove && first && f != nil && d.choose(2) == 1:
		delete(d.files, op.File)
	}
}

// Clone is a copy of the disk with options of its own, and the same operations waiting: a test may
// crash the copy and go on with the original.
func (d *Disk) Clone(o Options) *Disk {
	c := *d
	c.o = o
	c.waiting = slices.Clone(d.waiting)
	c.files = make(map[string]*file, len(d.files))
	for name, f := range d.files {
		c.files[name] = f.clone()
	}
	return &c
}
