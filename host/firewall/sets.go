package firewall

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// elements are those of a set, in the order of their keys.
type elements struct {
	list     []nftables.SetElement
	interval bool
	keyBytes int
}

// set reads a set once.
func (w *walk) set(name string) (*elements, error) {
	if e := w.sets[name]; e != nil {
		return e, nil
	}
	s, err := w.conn.GetSetByName(w.table, name)
	if err != nil {
		return nil, err
	}
	list, err := w.conn.GetSetElements(s)
	if err != nil {
		return nil, err
	}
	list = list[:min(len(list), maxSetElements)]
	slices.SortStableFunc(list, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
	e := &elements{list: list, interval: s.Interval, keyBytes: int(s.KeyType.Bytes)}
	if len(list) > 0 {
		e.keyBytes = len(list[0].Key)
	}
	w.sets[name] = e
	return e, nil
}

// find returns the element that holds a key.
func (e *elements) find(key []byte) *nftables.SetElement {
	var last *nftables.SetElement
	for i := range e.list {
		x := &e.list[i]
		switch {
		case len(x.KeyEnd) > 0: // of a concatenation: each part has its range
			if within(key, x.Key, x.KeyEnd) {
				return x
			}
		case !e.interval:
			if bytes.Equal(x.Key, key) {
				return x
			}
		case bytes.Compare(x.Key, key) <= 0:
			// An interval goes from a key to the next, which may only end it. Where one begins
			// as another ends, the one that begins counts.
			if x.IntervalEnd && last != nil && bytes.Equal(last.Key, x.Key) {
				continue
			}
			last = x
		}
	}
	if last != nil && last.IntervalEnd {
		return nil
	}
	return last
}

// within compares the parts of a concatenation, which are padded to four bytes; longer ones, of
// IPv6, compare alike where the first bytes differ.
func within(key, from, to []byte) bool {
	for i := 0; i+4 <= len(key) && i+4 <= len(from) && i+4 <= len(to); i += 4 {
		k, f, t := key[i:i+4], from[i:i+4], to[i:i+4]
		if bytes.Compare(k, f) < 0 || bytes.Compare(k, t) > 0 {
			return false
		}
	}
	return true
}

// lookup tells whether a register's value is in a set. Of a map of verdicts it takes the verdict.
func (s *state) lookup(e *expr.Lookup) (match, error) {
	set, err := s.set(e.SetName)
	if err != nil {
		return no, err
	}
	key, known := s.read(e.SourceRegister, set.keyBytes)
	if !known {
		if e.IsDestRegSet {
			s.forget(e.DestRegister)
		}
		return maybe, nil
	}
	x := set.find(key)
	switch {
	case !e.IsDestRegSet:
		return when((x != nil) != e.Invert), nil
	case x == nil:
		return no, nil
	case e.DestRegister == unix.NFT_REG_VERDICT:
		s.verdict = verdictOf(x.Val)
		return when(s.verdict != nil), nil
	}
	s.load(e.DestRegister, x.Val)
	return yes, nil
}

// verdictOf reads a verdict as netlink has it: attributes of 16-bit length and type, padded to four
// bytes, with the code and the chain that it leads to.
func verdictOf(b []byte) *expr.Verdict {
	const code, chain, header = 1, 2, 4
	var v *expr.Verdict
	for len(b) >= header {
		n := int(binary.NativeEndian.Uint16(b))
		if n < header || n > len(b) {
			return v
		}
		data := b[header:n]
		switch kind := binary.NativeEndian.Uint16(b[2:]); {
		case kind == code && len(data) == 4:
			v = &expr.Verdict{Kind: expr.VerdictKind(int32(binary.BigEndian.Uint32(data)))}
		case kind == chain && v != nil:
			v.Chain = string(bytes.TrimRight(data, "\x00"))
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return v
}
