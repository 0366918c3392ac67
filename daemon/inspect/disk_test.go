package inspect

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/broker"
	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
	"github.com/qpidd-cluster/qpidd-cluster/journal"
	"github.com/qpidd-cluster/qpidd-cluster/journal/disk"
)

// TestOnDisk writes a journal with the real disk, damages it, repairs it, and goes on with it.
func TestOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, false, func(b []byte) { b[0] = 9 })
	if err != nil {
		t.Fatal(err)
	}
	life := func(bodies ...int) int { return lifeOn(t, dir, s, bodies...) }
	life(100, 200000, 300)
	if n := life(400); n != 3 {
		t.Fatalf("%d runs were recovered", n)
	}
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	r, err := j.Scan(Options{Deep: true})
	if err != nil || !r.Healthy() {
		t.Fatalf("%v %+v", err, r)
	}
	if _, err := disk.Open(s.Journal, disk.Options{Done: func(*journal.Op) {}}); err == nil {
		t.Error("it can be opened while it is looked at")
	}
	first := slices.IndexFunc(r.Segments, func(g *Segment) bool { return g.Number == 1 })
	damage(t, filepath.Join(s.Journal, r.Segments[first].File), r.Segments[first].Runs[2].Offset+1000)
	if r, err = j.Scan(Options{Deep: true}); err != nil || r.Healthy() || r.Recovery == "" {
		t.Fatalf("%v %+v", err, r)
	}
	p, err := j.Plan(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Do(p); err != nil {
		t.Fatal(err)
	}
	if r, err = j.Scan(Options{Deep: true}); err != nil || !r.Healthy() {
		t.Fatalf("%v %+v", err, r)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if n := life(500); n != 1 {
		t.Errorf("%d runs were recovered after the repair", n)
	}
}

func damage(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0]++
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// lifeOn is a life of a journal on a real disk, in which messages are appended. It returns how many runs it has
// recovered.
func lifeOn(t *testing.T, dir string, s *store.Store, bodies ...int) int {
	t.Helper()
	ends := make(chan *journal.Op, 64)
	d, err := disk.Open(s.Journal, disk.Options{Done: func(op *journal.Op) { ends <- op }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a journal in use: %v", err)
	}
	log := journal.New(journal.Config{Memory: disk.Memory{}, Disk: d, Files: d, Store: s.Store, SegmentBytes: segmentBytes})
	r, err := log.Recover(reader{})
	if err != nil {
		t.Fatal(err)
	}
	log.Prepare(0)
	last := log.Mark()
	for _, n := range bodies {
		space, err := log.Begin(n, journal.Durable)
		if err != nil {
			t.Fatal(err)
		}
		last++
		log.Commit(space, 1, last)
		for log.Sync(1, true); log.Mark() < last; log.Sync(1, true) {
			(<-ends).Finish()
			log.Prepare(0)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for len(ends) > 0 {
		(<-ends).Finish()
	}
	log.Close()
	return r.Runs
}

// TestIdentityIsMadeAnew has a store lose, in whole or in part, what says whose it is: verify finds it, and
// repair makes it anew with nothing lost. That of another version it leaves alone.
func TestIdentityIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, false, func(b []byte) { b[0] = 9 })
	if err != nil {
		t.Fatal(err)
	}
	lifeOn(t, dir, s, 100, 200, 300)
	path := filepath.Join(s.Journal, store.IdentityName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for what, left := range map[string]string{"nothing": "", "half": string(whole[:len(whole)/2]), "no file": "-",
		"another version": strings.Replace(string(whole), "format: 1", "format: 2", 1)} {
		t.Run(what, func(t *testing.T) {
			err := os.WriteFile(path, []byte(left), 0o640)
			if left == "-" {
				err = os.Remove(path)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Open(dir, false, nil); err == nil || !strings.Contains(err.Error(), "repair") != (what == "another version") {
				t.Errorf("a broker would be told %v", err)
			}
			j, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			r, err := j.Scan(Options{Deep: true})
			if err != nil || r.Healthy() || r.Problems[0].File != store.IdentityName {
				t.Fatalf("%v %+v", err, r)
			}
			p, err := j.Plan(r)
			if what == "another version" {
				if err == nil || !strings.Contains(err.Error(), "has version 2") {
					t.Errorf("it would be repaired: %v", err)
				}
				return
			}
			if err != nil || len(p.Discards) > 0 {
				t.Fatalf("%v %+v", err, p)
			}
			if err := j.Do(p); err != nil {
				t.Fatal(err)
			}
			again, err := store.Open(dir, false, nil)
			if err != nil || again.Identity != s.Identity {
				t.Errorf("%v %+v, it was %+v", err, again, s)
			}
		})
	}
}

// TestOneMessageIsGivenUp damages one message of a broker's state, and repairs it: the others are there, and
// verify finds nothing any more.
func TestOneMessageIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, false, func(b []byte) { b[0] = 9 })
	if err != nil {
		t.Fatal(err)
	}
	const messages = 500
	fill(t, s, messages)
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	r, err := j.Scan(Options{Deep: true, Apply: true})
	if err != nil || !r.Healthy() || r.Messages != messages {
		t.Fatalf("%v %+v", err, r)
	}
	for _, g := range r.Segments {
		for _, x := range g.Runs {
			if x.Entries > messages/2 {
				damage(t, filepath.Join(s.Journal, g.File), x.Offset+int64(x.Bytes/2))
			}
		}
	}
	if r, err = j.Scan(Options{Deep: true}); err != nil || r.Healthy() {
		t.Fatalf("%v %+v", err, r)
	}
	p, err := j.Plan(r)
	if err != nil || len(p.Discards) != 1 || !strings.Contains(p.Discards[0], "of queue q") {
		t.Fatalf("%v %+v", err, p)
	}
	if err := j.Do(p); err != nil {
		t.Fatal(err)
	}
	if r, err = j.Scan(Options{Deep: true, Apply: true}); err != nil || !r.Healthy() || r.Messages != messages-1 {
		t.Fatalf("%v %+v", err, r)
	}
}

// fill has a broker's store hold a queue with so many messages, and a checkpoint of it.
func fill(t *testing.T, s *store.Store, messages int) {
	t.Helper()
	ends := make(chan *journal.Op, 1024)
	d, err := disk.Open(s.Journal, disk.Options{Done: func(op *journal.Op) { ends <- op }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	order := &cluster.Alone{}
	n := cluster.New(cluster.Config{Self: 1, ClusterID: cluster.ID{5}, Alone: true, FormDelay: 1, Memory: disk.Memory{}, Disk: d, Files: d, Store: s.Store,
		Broker: broker.Config{Shards: 1}}, order)
	if _, err := n.Recover(1); err != nil {
		t.Fatal(err)
	}
	n.View(1, &cluster.View{RingRep: 1, RingSeq: 1, Members: []broker.MemberID{1}, Came: []broker.MemberID{1}})
	n.Connect(1)
	number, asked, ended := uint64(0), false, false
	for now := time.Duration(2); ; now += time.Millisecond {
		n.Tick(now)
		n.Flush(now)
		for b := order.Next(); b != nil; b = order.Next() {
			number++
			n.Message(now, number, 1, [][]byte{b})
			order.Used(b)
		}
		n.Flush(now)
		n.Safe(number)
		if n.State() == cluster.Active && !asked {
			asked = true
			var r broker.Requests
			r.QueueDeclare(&broker.QueueDeclare{Conn: 1, Name: "q", Options: broker.QueueOptions{Durable: true}})
			for range messages {
				r.Publish(&broker.Publish{Conn: 1, Flags: broker.FlagDurable, Format: broker.FormatAMQP091, Key: []byte("q"), Body: make([]byte, 300)})
			}
			n.Requests(now, 1, &r)
		}
		if depth, _ := n.Broker().Depth("q"); depth == messages && !ended {
			ended = true
			n.Leave()
		}
		n.Ready()
		n.Done()
		if over, well := n.Saved(); ended && over {
			if !well {
				t.Fatal("it is not saved")
			}
			return
		}
		select {
		case op := <-ends:
			op.Finish()
		default:
		}
	}
}
