package daemon

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
)

// listenTCP listens for plain TCP. Go would have multipath TCP, of which nobody here makes use, and
// whose connections SELinux takes for the kernel's own before Linux 6.4: it kept the broker from
// reading them.
func listenTCP(addr string) (net.Listener, error) {
	var c net.ListenConfig
	c.SetMultipathTCP(false)
	return c.Listen(context.Background(), "tcp", addr)
}

// acceptPause is waited after an error of accept that may pass, as the want of a file
// descriptor does.
const acceptPause = 100 * time.Millisecond

// accept lets clients in while this broker is a member.
func (b *Broker) accept(l net.Listener) {
	select {
	case <-b.member:
	case <-b.stopped:
		return
	}
	for {
		sock, err := l.Accept()
		if err != nil {
			if b.isClosing() {
				return
			}
			b.netLog.Warn("cannot accept a connection: " + err.Error())
			t := time.NewTimer(acceptPause)
			<-t.C
			continue
		}
		b.admit(sock)
	}
}

func (b *Broker) isClosing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closing
}

func (b *Broker) admit(sock net.Conn) {
	s := b.status.Load()
	b.mu.Lock()
	full := b.opts.MaxConnections > 0 && b.clients >= b.opts.MaxConnections
	if b.closing || full || s == nil || s.State != cluster.Active && s.State != cluster.Frozen {
		b.mu.Unlock()
		sock.Close()
		if full {
			b.netLog.Warn(fmt.Sprintf("connection refused: %d clients are connected, raise --max-connections for more", b.opts.MaxConnections), "client", sock.RemoteAddr())
		}
		return
	}
	b.lastID++
	b.clients++
	c := newClient(b.engine, b.lastID, sock, &b.session, b.netLog, b.forget)
	b.wg.Add(1)
	b.mu.Unlock()
	if tcp, ok := sock.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(bool(b.opts.TCPNoDelay)) // an optimisation: nothing depends on it
	}
	go func() {
		defer b.wg.Done()
		c.serve()
	}()
}

// forget takes note of a client's end, and of one that was not let in.
func (b *Broker) forget(c *client) {
	c.mu.Lock()
	denied := c.sess.Denied()
	c.mu.Unlock()
	if denied != nil {
		b.securityLog.Warn(denied.Error(), "client", c.sock.RemoteAddr())
	}
	b.mu.Lock()
	b.clients--
	b.mu.Unlock()
}

// Stop disconnects the clients, leaves the cluster and ends the broker.
func (b *Broker) Stop() {
	b.mu.Lock()
	b.closing = true
	b.mu.Unlock()
	for _, l := range b.listener {
		l.Close()
	}
	b.engine.tell(message{kind: msgDo, do: func(time.Duration) { b.engine.part() }})
	b.await(func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.clients == 0
	}, lingerTime+time.Second)
	b.saveStore()
	if b.engine.ring != nil {
		b.engine.call(func(now time.Duration) { b.provider.leave(now) })
		b.await(func() (left bool) {
			b.engine.call(func(time.Duration) { left = b.provider.left() })
			return left
		}, 2*time.Second)
	}
	b.engine.call(func(time.Duration) { b.engine.stop = true })
	<-b.stopped
	b.release()
	b.wg.Wait()
}

// await looks again and again whether something is so, for at most limit.
func (b *Broker) await(so func() bool, limit time.Duration) {
	end := time.Now().Add(limit)
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for !so() && time.Now().Before(end) {
		<-t.C
	}
}

// release gives back what Start took.
func (b *Broker) release() {
	for _, l := range b.listener {
		l.Close()
	}
	if b.metrics != nil {
		b.metrics.Close()
	}
	if g := b.guard.Swap(nil); g != nil {
		g.close()
	}
	if b.mesh != nil {
		b.mesh.close()
	}
	if b.provider != nil {
		b.provider.close()
	}
	if b.datapath != nil {
		b.datapath.Close()
	}
	if b.limit != nil {
		b.limit.Close()
	}
	for _, s := range b.spreads {
		s.close()
	}
	b.closeStore()
	if b.lock != nil {
		b.lock.Close()
	}
}

// lockFile opens a file that only one process can have open this way.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is locked by another process", path)
	}
	return f, nil
}

// hosts lists the members' addresses, for clients to fail over to.
func (b *Broker) hosts() (list []string) {
	s := b.status.Load()
	if s == nil {
		return nil
	}
	for _, m := range s.Members {
		if m.State == cluster.Active && m.URL != "" {
			list = append(list, m.URL)
		}
	}
	return list
}

// properties are what clients are told of the cluster when they connect: qpid-cluster shows
// them.
func (b *Broker) properties() [][2]string {
	s := b.status.Load()
	if s == nil || b.opts.ClusterName == "" {
		return nil
	}
	list := [][2]string{
		{"qpid.cluster-name", b.opts.ClusterName},
		{"qpid.cluster-id", s.ID.String()},
		{"qpid.cluster-status", strings.ToUpper(s.State.String())},
	}
	if b.datapath != nil {
		list = append(list, [2]string{"qpid.ring-datapath", b.datapath.Status()}, [2]string{"qpid.ring-guard", b.datapath.Guard()},
			[2]string{"qpid.ring-token", b.datapath.Passes()})
	}
	if own, ok := b.provider.(*ownRing); ok {
		times := own.times.Counted(b.datapath)
		list = append(list, [2]string{"qpid.ring-times", timesText(&times)})
	}
	if text := b.limited(); text != "" {
		list = append(list, [2]string{"qpid.connection-limit", text})
	}
	if text := b.spreading(); text != "" {
		list = append(list, [2]string{"qpid.acceptors", text})
	}
	for i, m := range s.Members {
		list = append(list, [2]string{fmt.Sprintf("qpid.cluster-member-%d", i),
			fmt.Sprintf("%d:%d|%s|amqp:tcp:%s", m.ID>>32, uint32(m.ID), m.State, m.URL)})
	}
	return list
}

// memoryLimit is what messages may take: as asked, else three fifths of what there is.
func (b *Broker) memoryLimit() int64 {
	if b.opts.MemoryLimit > 0 {
		return int64(b.opts.MemoryLimit)
	}
	return availableMemory() * 3 / 5
}

// availableMemory is the machine's memory, or what its control group leaves of it.
func availableMemory() int64 {
	total := int64(4 << 30)
	if f, err := os.Open("/proc/meminfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			var kb int64
			if n, _ := fmt.Sscanf(s.Text(), "MemTotal: %d kB", &kb); n == 1 {
				total = kb << 10
			}
		}
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if v, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && v < total {
			total = v
		}
	}
	return total
}
