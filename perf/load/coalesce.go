package load

import (
	"net"
	"sync"
	"time"
)

// maxUnwritten is how many bytes a coalescing connection takes before Write waits.
const maxUnwritten = 1 << 20

// coalescing is a connection whose writes return at once and reach the socket together, as
// many as there are whenever it is ready for more. RabbitMQ's client makes a system call for
// each message otherwise, which would be most of what is measured here; the client of NATS
// has the like built in. A closed loop uses it, an open one does not: it costs a wake-up.
type coalescing struct {
	net.Conn
	mu      sync.Mutex
	changed sync.Cond
	pending []byte
	err     error
}

func coalesce(c net.Conn) net.Conn {
	k := &coalescing{Conn: c}
	k.changed.L = &k.mu
	go k.write()
	return k
}

func (k *coalescing) Write(b []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.pending) > maxUnwritten && k.err == nil {
		k.changed.Wait()
	}
	if k.err != nil {
		return 0, k.err
	}
	k.pending = append(k.pending, b...)
	k.changed.Broadcast()
	return len(b), nil
}

func (k *coalescing) write() {
	var batch []byte
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		for len(k.pending) == 0 && k.err == nil {
			k.changed.Wait()
		}
		if k.err != nil {
			return
		}
		batch, k.pending = k.pending, batch[:0]
		k.mu.Unlock()
		_, err := k.Conn.Write(batch)
		k.mu.Lock()
		if k.err == nil {
			k.err = err
		}
		k.changed.Broadcast()
	}
}

func (k *coalescing) Close() error {
	k.mu.Lock()
	if k.err == nil {
		k.err = net.ErrClosed
	}
	k.changed.Broadcast()
	k.mu.Unlock()
	return k.Conn.Close()
}

// dialLimit is how long a connection may take to be made.
const dialLimit = 10 * time.Second

func dialCoalescing(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, dialLimit)
	if err != nil {
		return nil, err
	}
	return coalesce(c), nil
}
