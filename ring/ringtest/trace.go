package ringtest

import (
	"fmt"

	"github.com/qpidd-cluster/qpidd-cluster/ring/wire"
)

// Describe puts a ring packet into words, for traces and scripts.
func Describe(data []byte) string {
	h, err := wire.ParseHeader(data)
	if err != nil {
		return err.Error()
	}
	switch h.Type {
	case wire.TypeToken:
		var t wire.Token
		if err = t.Decode(data); err == nil {
			s := fmt.Sprintf("token ring=%v seq=%d token_seq=%d aru=%d/%v fcc=%d backlog=%d",
				t.Ring, t.Seq, t.TokenSeq, int32(t.Aru), t.AruAddr, int32(t.FCC), int32(t.Backlog))
			if t.Retrans {
				s += " retrans"
			}
			for _, r := range t.Requests() {
				s += fmt.Sprintf(" want=%d", r.Seq)
			}
			if k := &t.Marks; len(k.Received) > 0 {
				s += fmt.Sprintf(" keeper=%v quiet=%d received=%v", k.Keeper, k.Quiet, k.Received)
			}
			return s
		}
	case wire.TypeMcast:
		var m wire.Mcast
		if m, err = wire.ParseMcast(data); err == nil {
			if m.Recovery {
				return fmt.Sprintf("mcast ring=%v seq=%d from=%v recovery [%s]",
					m.Ring, m.Seq, m.From, Describe(m.Payload))
			}
			return fmt.Sprintf("mcast ring=%v seq=%d from=%v bytes=%d", m.Ring, m.Seq, m.From, len(m.Payload))
		}
	case wire.TypeJoin:
		var j wire.Join
		if err = j.Decode(data); err == nil {
			what := "join"
			if j.Leave() {
				what = "leave"
			}
			return fmt.Sprintf("%s from=%v ring_seq=%x proc=%v failed=%v",
				what, j.From, j.RingSeq, j.Proc, j.Failed)
		}
	case wire.TypeCommit:
		var c wire.Commit
		if err = c.Decode(data); err == nil {
			s := fmt.Sprintf("commit ring=%v index=%d members=%v", c.Ring, c.Index, c.Members)
			for i, slot := range c.Slots[:c.Index] {
				s += fmt.Sprintf(" %v:{%v aru=%d delivered=%d received=%v}",
					c.Members[i], slot.Ring, slot.Aru, slot.Delivered, slot.Received)
			}
			if len(c.Announced) > 0 {
				s += fmt.Sprintf(" announced=%v", c.Announced)
			}
			return s
		}
	case wire.TypeMergeDetect:
		var d wire.MergeDetect
		if d, err = wire.ParseMergeDetect(data); err == nil {
			return fmt.Sprintf("merge-detect from=%v ring=%v", d.From, d.Ring)
		}
	case wire.TypeHoldCancel:
		var c wire.HoldCancel
		if c, err = wire.ParseHoldCancel(data); err == nil {
			return fmt.Sprintf("hold-cancel from=%v ring=%v", c.Node, c.Ring)
		}
	}
	return fmt.Sprintf("%v: %v", h.Type, err)
}
