package link

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/ring/link/seal"
	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// sealed protects the packets of a link.
type sealed struct {
	sealer *seal.Sealer
	opener *seal.Opener
	begin  time.Time
	out    []wire.Datagram
	arena  []byte
}

// sealedBytes is how much is sealed before it is sent: a batch of full buffers, and room for a
// packet of the greatest length beyond.
const sealedBytes = 512 << 10

func newSealed(c *Crypto, own *sockaddr) (*sealed, error) {
	var random [6]byte
	_, _ = rand.Read(random[:]) // it does not fail, but ends the program
	s := &sealed{begin: time.Now(), opener: seal.NewOpener(c.Key, c.Cluster), arena: make([]byte, 0, sealedBytes+wire.MaxPacketBytes)}
	var err error
	s.sealer, err = seal.NewSealer(c.Key, c.Cluster, own.addrPort(), seal.NewInstance(s.begin, random))
	return s, err
}

// seal protects as many datagrams as there is room for. They lie behind each other, as those
// did, so that the kernel can cut them out of one buffer.
func (s *sealed) seal(datagrams []wire.Datagram) []wire.Datagram {
	clear(s.out)
	s.out, s.arena = s.out[:0], s.arena[:0]
	for _, d := range datagrams {
		if len(s.arena)+len(d.Data)+seal.Overhead > cap(s.arena) {
			break
		}
		at := len(s.arena)
		s.arena = s.sealer.Seal(s.arena, d.Data)
		s.out = append(s.out, wire.Datagram{To: d.To, Data: s.arena[at:len(s.arena):len(s.arena)]})
	}
	return s.out
}

// open gives what a packet protects.
func (u *UDP) open(data []byte, from *sockaddr) ([]byte, bool) {
	data, err := u.sealed.opener.Open(time.Since(u.sealed.begin), from.addrPort(), data)
	if err == nil {
		return data, true
	}
	if errors.Is(err, seal.ErrReplayed) || errors.Is(err, seal.ErrOld) {
		u.stats.Replayed++
	} else {
		u.stats.NotAuthentic++
	}
	u.reports.refused(err.Error(), from)
	return nil, false
}
