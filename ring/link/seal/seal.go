package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

const (
	magic         = "QPS1"
	instanceBytes = 12
	headerBytes   = len(magic) + instanceBytes + 8
	tagBytes      = 16
	keyBytes      = 32
	// Overhead is what a sealed packet is longer by.
	Overhead = headerBytes + tagBytes

	purpose = "qpidd-cluster ring packets 1"
)

// Instance names one process's run.
type Instance [instanceBytes]byte

// NewInstance makes one of when the process began and six random bytes.
func NewInstance(start time.Time, random [6]byte) (i Instance) {
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(start.UnixMilli()))
	copy(i[:6], ms[2:])
	copy(i[6:], random[:])
	return i
}

func (i Instance) after(o Instance) bool { return string(i[:6]) > string(o[:6]) }

// newKey is an instance's.
func newKey(secret []byte, cluster string, from netip.AddrPort, i Instance) (cipher.AEAD, error) {
	a := from.Addr().As16()
	info := binary.BigEndian.AppendUint16([]byte(purpose+"\x00"+cluster+"\x00"+string(a[:])), from.Port())
	key, err := hkdf.Key(sha256.New, secret, i[:], string(info), keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// nonce fits a counter.
func putNonce(b *[12]byte, counter uint64) { binary.BigEndian.PutUint64(b[4:], counter) }

// Sealer seals one instance's packets.
type Sealer struct {
	aead    cipher.AEAD
	header  [headerBytes]byte
	nonce   [12]byte
	counter uint64
}

// NewSealer makes a sealer. Self is where others see packets come from.
func NewSealer(secret []byte, cluster string, self netip.AddrPort, i Instance) (*Sealer, error) {
	aead, err := newKey(secret, cluster, self, i)
	if err != nil {
		return nil, err
	}
	s := &Sealer{aead: aead}
	copy(s.header[:], magic)
	copy(s.header[len(magic):], i[:])
	return s, nil
}

// Seal appends a packet, sealed, to dst.
func (s *Sealer) Seal(dst, packet []byte) []byte {
	s.counter++
	if s.counter == 0 {
		panic("seal: the counter has turned over") // in thousands of years
	}
	binary.BigEndian.PutUint64(s.header[headerBytes-8:], s.counter)
	putNonce(&s.nonce, s.counter)
	dst = append(dst, s.header[:]...)
	return s.aead.Seal(dst, s.nonce[:], packet, s.header[:])
}

// What Open refuses.
var (
	ErrForeign      = errors.New("they are not encrypted, or by other means")
	ErrNotAuthentic = errors.New("they are not authentic: made with another key or cluster_name, or from another address than they come from")
	ErrReplayed     = errors.New("they have been here before")
	ErrOld          = errors.New("they are from an earlier run of their sender, or its clock was set back; in that case they are taken after a minute")
)

// Opener opens the packets of all senders.
type Opener struct {
	secret  []byte
	cluster string
	senders map[netip.AddrPort]*sender
	nonce   [12]byte
}

// sender is what is known of the sender at an address.
type sender struct {
	instance Instance
	aead     cipher.AEAD
	window   window
	heard    time.Duration
}

const (
	// ForgetAfter is how long a sender is silent before an earlier instance of it is taken.
	ForgetAfter = time.Minute
	// maxSenders is twice the members of a ring; the one that was silent longest makes place.
	maxSenders = 768
)

// NewOpener makes an opener.
func NewOpener(secret []byte, cluster string) *Opener {
	return &Opener{secret: secret, cluster: cluster, senders: map[netip.AddrPort]*sender{}}
}

// Open gives what is sealed in a packet, in its memory.
func (o *Opener) Open(now time.Duration, from netip.AddrPort, b []byte) ([]byte, error) {
	if len(b) < Overhead || string(b[:len(magic)]) != magic {
		return nil, ErrForeign
	}
	i := Instance(b[len(magic):])
	counter := binary.BigEndian.Uint64(b[headerBytes-8:])
	s := o.senders[from]
	known := s != nil && s.instance == i
	switch {
	case known && !s.window.fresh(counter):
		return nil, ErrReplayed
	case !known && s != nil && !i.after(s.instance) && now-s.heard < ForgetAfter:
		return nil, ErrOld
	case !known:
		aead, err := newKey(o.secret, o.cluster, from, i)
		if err != nil {
			return nil, err
		}
		s = &sender{instance: i, aead: aead}
	}
	putNonce(&o.nonce, counter)
	sealed := b[headerBytes:]
	packet, err := s.aead.Open(sealed[:0], o.nonce[:], sealed, b[:headerBytes])
	if err != nil {
		return nil, ErrNotAuthentic
	}
	// Only what is authentic changes what is known.
	if !known {
		o.makePlace(from)
		o.senders[from] = s
	}
	s.window.mark(counter)
	s.heard = now
	return packet, nil
}

func (o *Opener) makePlace(from netip.AddrPort) {
	if _, found := o.senders[from]; found || len(o.senders) < maxSenders {
		return
	}
	var silent netip.AddrPort
	for a, s := range o.senders {
		if p := o.senders[silent]; p == nil || s.heard < p.heard {
			silent = a
		}
	}
	delete(o.senders, silent)
}

// window is which counters have been seen, up to so many behind the highest: more than lie in
// the receive buffer of a socket, which a token overtakes that came in through another one.
type window struct {
	highest uint64
	seen    [windowPlaces / 64]uint64
}

const windowPlaces = 16384

func (w *window) fresh(n uint64) bool {
	switch {
	case n > w.highest:
		return true
	case n == 0 || w.highest-n >= windowPlaces:
		return false
	}
	return w.seen[n%windowPlaces/64]&(1<<(n%64)) == 0
}

func (w *window) mark(n uint64) {
	if n > w.highest {
		if n-w.highest >= windowPlaces {
			clear(w.seen[:])
		} else {
			for i := w.highest + 1; i <= n; i++ {
				w.seen[i%windowPlaces/64] &^= 1 << (i % 64)
			}
		}
		w.highest = n
	}
	w.seen[n%windowPlaces/64] |= 1 << (n % 64)
}
