package daemon

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/manage/metrics"
	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
	"github.com/qpidd-cluster/qpidd-cluster/ring/link"
)

// serveMetrics answers who asks for the broker's figures at the address of --metrics-listen, if there is one.
func (b *Broker) serveMetrics() error {
	at := b.opts.MetricsListen
	if at == "" {
		return nil
	}
	if !strings.Contains(at, ":") {
		at = ":" + at
	}
	l, err := listenTCP(at)
	if err != nil {
		return fmt.Errorf("cannot listen for metrics at %s: %w; give another --metrics-listen=[ADDRESS:]PORT, or none", at, err)
	}
	b.metrics = metrics.Serve(l, b.measure)
	b.netLog.Log(context.Background(), logging.Notice, fmt.Sprintf("metrics are at http://%s/metrics", l.Addr()))
	return nil
}

// figures are what the engine's goroutine alone knows.
type figures struct {
	status   cluster.Status
	queues   int
	messages int
	held     bool
	members  int
	ring     cpg.Stats
	link     link.Stats
	own      *ownRing // nil: stand-alone, or corosync carries the ring
}

// look takes the engine's figures, on its goroutine.
func (b *Broker) look() (f figures) {
	f.status = b.engine.node.Status()
	f.held = b.engine.held
	if state := b.engine.node.Broker(); state != nil {
		f.queues, f.messages = state.Totals()
	}
	if own, ok := b.provider.(*ownRing); ok {
		f.own, f.ring, f.link = own, own.Stats(), own.link.Stats()
		f.members = len(own.RingMembers())
	}
	return f
}

// measure puts the broker's figures on a page.
func (b *Broker) measure(ctx context.Context, p *metrics.Page) error {
	got := make(chan figures, 1)
	b.engine.tell(message{kind: msgDo, do: func(time.Duration) { got <- b.look() }})
	var f figures
	select {
	case f = <-got:
	case <-b.stopped:
		return errEnding
	case <-ctx.Done():
		return fmt.Errorf("the broker is too busy to answer: %w", ctx.Err())
	}
	b.putBroker(p, &f)
	putProcess(p)
	if f.own != nil {
		putRing(p, &f)
		b.putKernel(p)
		putTimes(p, f.own.times.Counted(b.datapath))
	}
	b.putLimit(p)
	b.putAcceptors(p)
	return nil
}

func (b *Broker) putBroker(p *metrics.Page, f *figures) {
	b.mu.Lock()
	clients := b.clients
	b.mu.Unlock()
	p.Gauge("qpidd_info", "The broker's version.").Add(1, "version", Version, "cluster", b.opts.ClusterName)
	p.Gauge("qpidd_connections", "Client connections.").Add(float64(clients))
	p.Gauge("qpidd_queues", "Queues, of the cluster.").Add(float64(f.queues))
	p.Gauge("qpidd_messages", "Messages in queues, of the cluster.").Add(float64(f.messages))
	state := p.Gauge("qpidd_state", "1 for the state that this member is in.")
	for s := cluster.Joining; s <= cluster.Frozen; s++ {
		is := 0.0
		if s == f.status.State {
			is = 1
		}
		state.Add(is, "state", s.String())
	}
	p.Gauge("qpidd_members", "Members of the cluster, those that are joining included.").Add(float64(len(f.status.Members)))
	p.Counter("qpidd_entries_total", "Entries of the cluster's history.").Add(float64(f.status.Index))
	l := &f.status.Log
	p.Counter("qpidd_log_records_total", "Records that the log took.").Add(float64(l.Records))
	p.Counter("qpidd_log_appended_bytes_total", "Bytes of them.").Add(float64(l.Appended))
	p.Gauge("qpidd_log_live_records", "Records that are referred to.").Add(float64(l.Live))
	p.Gauge("qpidd_log_live_bytes", "Bytes of them.").Add(float64(l.LiveBytes))
	p.Gauge("qpidd_log_memory_bytes", "Memory of the log, for messages.").Add(float64(l.MemoryBytes))
	p.Gauge("qpidd_memory_limit_bytes", "What messages may take of memory.").Add(float64(b.memoryLimit()))
	held := 0.0
	if f.held {
		held = 1
	}
	p.Gauge("qpidd_publishers_held", "1 while publishers are held, for a member's disk has to catch up.").Add(held)
	p.Gauge("qpidd_journal_bytes", "The journal on disk, segments that are ready for use included.").Add(float64(l.DiskBytes))
	p.Counter("qpidd_journal_written_bytes_total", "Bytes written to the journal.").Add(float64(l.WrittenBytes))
}

// putProcess has the names that Prometheus' own clients give such figures.
func putProcess(p *metrics.Page) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) == nil {
		p.Counter("process_cpu_seconds_total", "CPU time, of user and system.").Add(time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds())
	}
	if resident, ok := residentBytes(); ok {
		p.Gauge("process_resident_memory_bytes", "Resident memory.").Add(float64(resident))
	}
	p.Gauge("go_goroutines", "Goroutines.").Add(float64(runtime.NumGoroutine()))
}

func residentBytes() (n int64, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, false
	}
	if list := strings.Fields(string(text)); len(list) > 1 {
		n, err = strconv.ParseInt(list[1], 10, 64)
		return n * int64(os.Getpagesize()), err == nil
	}
	return 0, false
}

func putRing(p *metrics.Page, f *figures) {
	t, l := &f.ring.Totem, &f.link
	p.Gauge("qpidd_ring_members", "Members of the ring.").Add(float64(f.members))
	p.Gauge("qpidd_ring_datapath", "1 for the way of the ring's packets.").Add(1, "datapath", l.Datapath)
	tokens := p.Counter("qpidd_ring_tokens_total", "Visits of the token, by who made them.")
	tokens.Add(float64(t.Tokens-t.Passed), "by", "member")
	tokens.Add(float64(t.Passed), "by", "kernel")
	for _, x := range []struct {
		name, help string
		n          uint64
	}{
		{"token_repeats", "Tokens that were sent again, for none came.", t.TokenRepeats},
		{"token_losses", "Tokens that were lost.", t.TokenLosses},
		{"gathers", "Times that members were gathered for a ring.", t.Gathers},
		{"rings", "Rings that this member was in.", t.Rings},
		{"multicasts", "Packets that this member multicast.", t.Packets},
		{"delivered", "Packets that were delivered.", t.Delivered},
		{"retransmits", "Packets that this member multicast again for others.", t.Retransmitted},
		{"requests", "Packets that this member asked others for.", t.Requested},
		{"duplicates", "Packets that this member had.", t.Duplicates},
		{"messages", "Messages that the group was sent.", f.ring.Messages},
		{"message_bytes", "Bytes of them.", f.ring.Bytes},
	} {
		p.Counter("qpidd_ring_"+x.name+"_total", x.help).Add(float64(x.n))
	}
	packets := p.Counter("qpidd_ring_packets_total", "Packets of the link.")
	packets.Add(float64(l.Sent), "direction", "sent")
	packets.Add(float64(l.Received), "direction", "received")
	bytes := p.Counter("qpidd_ring_bytes_total", "Bytes of them.")
	bytes.Add(float64(l.SentBytes), "direction", "sent")
	bytes.Add(float64(l.ReceivedBytes), "direction", "received")
	dropped := p.Counter("qpidd_ring_dropped_total", "Packets that the link dropped, or could not send.")
	for _, x := range []struct {
		cause string
		n     uint64
	}{
		{"foreign", l.Foreign}, {"unlisted", l.Unlisted}, {"not authentic", l.NotAuthentic}, {"replayed", l.Replayed},
		{"truncated", l.Truncated}, {"send error", l.SendErrors}, {"no address", l.NoAddress},
	} {
		dropped.Add(float64(x.n), "cause", x.cause)
	}
}

// putKernel puts what the programs in the kernel have counted.
func (b *Broker) putKernel(p *metrics.Page) {
	if hook, list := b.datapath.Counts(); list != nil {
		f := p.Counter("qpidd_ring_guard_packets_total", "Packets to the ring's port, as the guard judged them.")
		for _, n := range list {
			f.Add(float64(n.Packets), "hook", hook, "cause", n.Cause.String(), "dropped", strconv.FormatBool(n.Cause.Dropped()))
		}
	}
	if n, hook, ok := b.datapath.Passed(); ok {
		p.Counter("qpidd_ring_token_passes_total", "Tokens that the kernel passed on, as far as this member has heard.").Add(float64(n), "hook", hook)
	}
}

func (b *Broker) putLimit(p *metrics.Page) {
	if b.limit == nil {
		return
	}
	n, err := b.limit.Counts()
	if err != nil {
		return // it is about to end
	}
	f := p.Counter("qpidd_connection_attempts_total", "Connections that clients began, by what --connection-rate made of them.")
	f.Add(float64(n.Let), "result", "let in")
	f.Add(float64(n.Refused), "result", "refused")
}

func (b *Broker) putAcceptors(p *metrics.Page) {
	if len(b.spreads) == 0 {
		return
	}
	f := p.Counter("qpidd_acceptor_connections_total", "Connections that each acceptor of an address was given.")
	for _, s := range b.spreads {
		if s.turns == nil {
			continue // the kernel spreads them, and does not tell
		}
		counts, err := s.turns.Counts()
		if err != nil {
			continue // it is about to end
		}
		for i, g := range counts {
			f.Add(float64(g.Connections), "at", s.at.String(), "acceptor", strconv.Itoa(i))
		}
	}
}

func putTimes(p *metrics.Page, t datapath.Counted) {
	p.Histogram("qpidd_ring_rotation_seconds", "From one token to the next.").Times(t.Rotation)
	hop := p.Histogram("qpidd_ring_hop_seconds", "From when a token came in until it was sent on, by who did.")
	hop.Times(t.Member, "by", "member")
	hop.Times(t.Kernel, "by", "kernel")
	p.Histogram("qpidd_ring_token_wait_seconds", "From when a token came in until this member read it.").Times(t.Waiting)
	most := p.Gauge("qpidd_ring_longest_seconds", "The longest of these times.")
	most.Add(t.Rotation.Most.Seconds(), "of", "rotation")
	most.Add(t.Member.Most.Seconds(), "of", "hop by member")
	most.Add(t.Kernel.Most.Seconds(), "of", "hop by kernel")
	most.Add(t.Waiting.Most.Seconds(), "of", "token wait")
}
