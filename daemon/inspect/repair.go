package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
)

// Plan is what a repair does. It was tried on a copy in memory: with it a broker recovers.
type Plan struct {
	Steps    []string `json:"steps"`
	Discards []string `json:"discards"` // what is lost for good, in words; none: nothing is
	blocks   []block
	remove   []string
	salvage  bool            // what can be read is moved, and a checkpoint written without the rest
	identity *store.Identity // nil: it is there
}

// block is a block of a file that gets other bytes.
type block struct {
	file   string
	offset int64
	bytes  []byte
}

// ErrHealthy says that there is nothing to repair.
var ErrHealthy = errors.New("there is nothing to repair")

// ErrBeyond ends what cannot be repaired.
var ErrBeyond = errors.New("it cannot be repaired: put the directory back from a backup; or clear the store (qpid-cluster store DIR --clear), and if the broker is in a cluster it gets everything from the others")

// Plan looks for a repair of what a deep scan has found.
func (j *Journal) Plan(r *Report) (*Plan, error) {
	if r.Healthy() {
		return nil, ErrHealthy
	}
	if j.lost != nil {
		return j.withIdentity(r)
	}
	if p, err := j.withoutMessages(r); p != nil || err != nil {
		return p, err
	}
	for _, try := range []func(*Report) *Plan{j.withoutCheckpoint, j.withHeader, j.cut} {
		p := try(r)
		if p == nil {
			continue
		}
		after, err := (&Journal{Dir: j.Dir, Store: j.Store, files: &changed{j.files, p}}).Scan(Options{Deep: true})
		if err != nil {
			return nil, err
		}
		if after.Healthy() {
			return p, nil
		}
	}
	return nil, ErrBeyond
}

// withIdentity says again whose the journal is, as it does itself, and repairs what else there is.
func (j *Journal) withIdentity(r *Report) (*Plan, error) {
	var other *store.FormatError
	if errors.As(j.lost, &other) {
		return nil, other
	}
	id := &store.Identity{Store: j.storeID(r)}
	if id.Store == (journal.UUID{}) {
		return nil, ErrBeyond
	}
	if r.Cluster != "" {
		var err error
		if id.Cluster, err = store.ParseUUID(r.Cluster); err != nil {
			return nil, fmt.Errorf("cluster-id: %w", err)
		}
	}
	known := &Journal{Dir: j.Dir, Store: id, files: j.files}
	after, err := known.Scan(Options{Deep: true})
	if err != nil {
		return nil, err
	}
	p, err := known.Plan(after)
	if errors.Is(err, ErrHealthy) {
		p, err = &Plan{}, nil
	}
	if err != nil {
		return nil, err
	}
	p.identity = id
	p.Steps = slices.Insert(p.Steps, 0, fmt.Sprintf("write the file %s again: store-id %s, cluster-id %s", store.IdentityName, id.Store, id.Cluster))
	return p, nil
}

// withoutCheckpoint leaves a damaged checkpoint out, if the runs tell everything from the first on.
func (j *Journal) withoutCheckpoint(r *Report) *Plan {
	c := r.Newest()
	if c == nil || !c.Damaged || !slices.ContainsFunc(r.Segments, func(g *Segment) bool { return g.FirstRun == 1 }) {
		return nil
	}
	return &Plan{Steps: []string{"remove " + c.File + ", which the runs from the first on make up for"}, remove: []string{c.File}}
}

// withHeader writes the header of a segment again, whose runs tell what was in it.
func (j *Journal) withHeader(r *Report) *Plan {
	p := &Plan{}
	for _, g := range r.Segments {
		if !g.damaged || len(g.Runs) == 0 {
			continue
		}
		head := make([]byte, journal.RunHeadBytes)
		if _, err := j.files.ReadAt(g.File, head, g.Runs[0].Offset); err != nil {
			return nil
		}
		first, _ := journal.ParseRunHeader(head)
		h := journal.SegmentHeader{Store: j.storeID(r), Number: first.Segment, Bytes: uint64(g.Bytes), Run: first.Run, After: first.Run - 1}
		if j.Store != nil {
			h.Cluster = j.Store.Cluster
		}
		p.Steps = append(p.Steps, fmt.Sprintf("write the header of %s again: segment %d, from run %d on", g.File, h.Number, h.Run))
		p.blocks = append(p.blocks, block{g.File, 0, h.Append(nil)})
	}
	if len(p.blocks) == 0 {
		return nil
	}
	return p
}

// cut keeps the runs up to the first that is not there, and discards those behind it.
func (j *Journal) cut(r *Report) *Plan {
	last := uint64(0)
	if c := r.Newest(); c != nil {
		if c.Damaged {
			return nil
		}
		last = c.Run
	}
	from := last
	for _, x := range counting(r, from) {
		if x.Damaged || x.Number != last+1 && (x.Number != x.segment.FirstRun || x.segment.After != last) {
			break
		}
		last = x.Number
	}
	p := &Plan{Steps: []string{fmt.Sprintf("keep everything up to run %d", last)}}
	lost := map[string]*sum{}
	runs, unreadable := 0, 0
	for _, g := range r.Segments {
		for _, x := range g.Runs {
			if x.Number <= last {
				continue
			}
			runs++
			p.blocks = append(p.blocks, block{g.File, x.Offset, make([]byte, journal.BlockBytes)})
			if x.Damaged {
				unreadable++
			}
			lost = add(lost, x.kinds)
		}
		if g.damaged && g.Bytes >= journal.BlockBytes || g.FirstRun > last {
			p.blocks = append(p.blocks, block{g.File, 0, make([]byte, journal.BlockBytes)})
			p.Steps = append(p.Steps, "free "+g.File+" for use")
		}
	}
	if j.notes() { // it may name one that is given up
		p.remove = append(p.remove, journal.NewestName)
	}
	j.lengthen(r, p)
	for _, x := range r.Problems {
		if _, segment := journal.SegmentFile(x.File); segment && !x.Harmless && x.Offset%journal.BlockBytes == 0 && x.Offset > 0 && x.head {
			p.blocks = append(p.blocks, block{x.File, x.Offset, make([]byte, journal.BlockBytes)})
		}
	}
	p.Steps = append(p.Steps, fmt.Sprintf("discard the %d runs that are there behind it, %d of which cannot be read", runs, unreadable))
	for _, k := range slices.Sorted(maps.Keys(lost)) {
		p.Discards = append(p.Discards, fmt.Sprintf("%d entries of kind %s, %d bytes", lost[k].count, k, lost[k].bytes))
	}
	if unreadable > 0 || runs == 0 {
		p.Discards = append(p.Discards, fmt.Sprintf("what cannot be read any more behind run %d", last))
	}
	return p
}

// notes tells whether there is a file that says which segment is the newest.
func (j *Journal) notes() bool {
	list, err := j.files.List()
	return err == nil && slices.ContainsFunc(list, func(f journal.FileInfo) bool { return f.Name == journal.NewestName })
}

// lengthen gives files that were cut short their length again, with zeros from the last whole block on.
func (j *Journal) lengthen(r *Report, p *Plan) {
	for _, g := range r.Segments {
		if g.made > g.Bytes {
			p.Steps = append(p.Steps, fmt.Sprintf("fill %s up to its %d bytes", g.File, g.made))
			whole := g.Bytes &^ (journal.BlockBytes - 1)
			p.blocks = append(p.blocks, block{g.File, whole, make([]byte, g.made-whole)})
		}
	}
}

// counted is a run that recovery goes through.
type counted struct {
	*Run
	segment *Segment
}

// counting lists the runs behind the checkpoint, but those that a later life of the broker has
// declared void, in their order.
func counting(r *Report, from uint64) (list []counted) {
	for _, g := range r.Segments {
		for _, x := range g.Runs {
			void := slices.ContainsFunc(r.Segments, func(o *Segment) bool {
				return o.Number > g.Number && o.After != journal.Based && o.After+1 < o.FirstRun && x.Number > o.After
			})
			if x.Number > from && !void {
				list = append(list, counted{x, g})
			}
		}
	}
	slices.SortFunc(list, func(a, b counted) int { return cmp.Compare(a.Number, b.Number) })
	return list
}

func add(to, from map[string]*sum) map[string]*sum {
	for k, s := range from {
		if to[k] == nil {
			to[k] = &sum{}
		}
		to[k].count += s.count
		to[k].bytes += s.bytes
	}
	return to
}

// Do does what the plan says, and has it survive a loss of power.
func (j *Journal) Do(p *Plan) error {
	for _, b := range p.blocks {
		if err := j.overwrite(b); err != nil {
			return fmt.Errorf("the repair is not complete: %w", err)
		}
	}
	for _, name := range p.remove {
		if err := os.Remove(filepath.Join(j.Dir, name)); err != nil {
			return fmt.Errorf("the repair is not complete: %w", err)
		}
	}
	if p.identity != nil {
		j.Store = p.identity
	}
	if p.salvage {
		if err := j.salvage(); err != nil {
			return fmt.Errorf("the repair is not complete: %w", err)
		}
	}
	if p.identity != nil {
		if err := (&store.Store{Identity: *p.identity, Journal: j.Dir}).Save(); err != nil {
			return fmt.Errorf("the repair is not complete: %w", err)
		}
	}
	d, err := os.Open(j.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (j *Journal) overwrite(b block) error {
	f, err := os.OpenFile(filepath.Join(j.Dir, b.file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b.bytes, b.offset)
	return errors.Join(err, f.Sync(), f.Close())
}

// changed is files as they would be after a plan.
type changed struct {
	journal.Files
	plan *Plan
}

// List leaves out what the plan removes, and knows what it makes longer.
func (c *changed) List() ([]journal.FileInfo, error) {
	list, err := c.Files.List()
	list = slices.DeleteFunc(list, func(f journal.FileInfo) bool { return slices.Contains(c.plan.remove, f.Name) })
	for i := range list {
		for _, b := range c.plan.blocks {
			if b.file == list[i].Name {
				list[i].Size = max(list[i].Size, b.offset+int64(len(b.bytes)))
			}
		}
	}
	return list, err
}

// ReadAt reads what the plan would write where it would.
func (c *changed) ReadAt(name string, b []byte, offset int64) (int, error) {
	n, err := c.Files.ReadAt(name, b, offset)
	for _, x := range c.plan.blocks {
		from, to := max(offset, x.offset), min(offset+int64(len(b)), x.offset+int64(len(x.bytes)))
		if x.file != name || from >= to {
			continue
		}
		copy(b[from-offset:to-offset], x.bytes[from-x.offset:])
		if n = max(n, int(to-offset)); n == len(b) {
			err = nil
		}
	}
	return n, err
}
