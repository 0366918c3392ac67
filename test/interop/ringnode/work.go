package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/ring/cpg"
)

// The first byte of a message.
const (
	kindStart = 's' // and the number of ends to wait for
	kindData  = 'd'
	kindEnd   = 'e'
)

// maxData is the longest message of a burst.
const maxData = 200_000

// work is what is to be sent, and what was delivered since the last start.
type work struct {
	queue [][]byte      // that has no room yet
	left  int           // of a burst; below 0: a flood
	every time.Duration // between messages; 0: none
	last  time.Time
	made  int
	rand  *rand.Rand

	ends      int // to come
	count     int
	order     hash.Hash64
	sent, own hash.Hash64
}

func (w *work) start() {
	w.rand = rand.New(rand.NewPCG(0, 0))
	w.order, w.sent, w.own = fnv.New64a(), fnv.New64a(), fnv.New64a()
	w.count = 0
}

// trickleEvery is the pause between the messages of a trickle.
const trickleEvery = 20 * time.Millisecond

func (w *work) begin(count int, every time.Duration, seed uint64) {
	w.left, w.every, w.made, w.rand = count, every, 0, rand.New(rand.NewPCG(seed, 0))
}

// commander does what standard input says.
type commander struct {
	input []byte // commands that have not come whole
	eof   bool
	work  work
	leave func()
}

// commands reads standard input.
func (n *commander) commands() error {
	var b [4096]byte
	for !n.eof {
		k, err := unix.Read(0, b[:])
		if err == unix.EAGAIN || err == unix.EINTR {
			break
		}
		n.eof = k <= 0
		n.input = append(n.input, b[:max(k, 0)]...)
	}
	for {
		line, rest, whole := bytes.Cut(n.input, []byte("\n"))
		if !whole {
			return nil
		}
		if err := n.command(string(line)); err != nil {
			return err
		}
		n.input = rest
	}
}

func (n *commander) command(line string) error {
	var count, ends, size int
	var seed uint64
	w := &n.work
	switch {
	case line == "leave":
		n.leave()
	case scan(line, "start %d", &ends):
		w.queue = append(w.queue, []byte{kindStart, byte(ends)})
	case scan(line, "burst %d %d", &count, &seed):
		w.begin(count, 0, seed)
	case scan(line, "huge %d", &size):
		w.queue = append(w.queue, w.fill(size))
	case scan(line, "flood %d", &seed):
		w.begin(-1, 0, seed)
	case scan(line, "trickle %d", &seed):
		w.begin(-1, trickleEvery, seed)
	default:
		return fmt.Errorf("unknown command %q", line)
	}
	return nil
}

func scan(line, format string, to ...any) bool {
	_, err := fmt.Sscanf(line, format, to...)
	return err == nil
}

// maxSends bounds a turn: one that is alone never lacks room.
const maxSends = 64

// send multicasts what there is room for. It reports whether there is more to do at once.
func (w *work) send(multicast func(...[]byte) error) (more bool) {
	for range maxSends {
		if len(w.queue) == 0 && !w.next() {
			return false
		}
		if multicast(w.queue[0]) != nil {
			return false // no room; or we have left
		}
		w.queue = w.queue[1:]
	}
	return true
}

// next makes the next message of a burst.
func (w *work) next() bool {
	if w.every > 0 {
		if time.Since(w.last) < w.every {
			return false
		}
		w.last = time.Now()
	}
	switch {
	case w.left == 0:
		return false
	case w.left == 1:
		w.queue = append(w.queue, w.data(), []byte{kindEnd})
	default:
		w.queue = append(w.queue, w.data())
	}
	if w.left > 0 {
		w.left--
	}
	w.made++
	return true
}

// data is the shortest message, the longest, and then any: small ones are as frequent as
// large ones on a logarithmic scale.
func (w *work) data() []byte {
	size := 1
	switch w.made {
	case 0:
	case 1:
		size = maxData
	default:
		size = min(1+w.rand.IntN(1<<(1+w.rand.IntN(18))), maxData)
	}
	return w.fill(size)
}

// fill makes a message.
func (w *work) fill(size int) []byte {
	b := make([]byte, size)
	x := w.rand.Uint64() | 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	b[0] = kindData
	if w.sent != nil {
		w.sent.Write(b)
	}
	return b
}

// take looks at a message at its place in the order.
func (w *work) take(from cpg.Member, ours bool, data []byte) {
	switch {
	case len(data) == 2 && data[0] == kindStart:
		w.start()
		w.ends = int(data[1])
		fmt.Println("started")
		return
	case w.order == nil:
		return
	}
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(from.Node))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(data)))
	w.order.Write(head[:])
	w.order.Write(data)
	w.count++
	if data[0] == kindData {
		if ours {
			w.own.Write(data)
		}
		return
	}
	if w.ends--; w.ends == 0 {
		own := "own"
		if w.own.Sum64() != w.sent.Sum64() {
			own = "own-differs"
		}
		fmt.Printf("report %d %016x %s\n", w.count, w.order.Sum64(), own)
	}
}
