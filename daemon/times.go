package daemon

import (
	"encoding/json"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
	"github.com/qpidd-cluster/qpidd-cluster/manage/metrics"
)

// timing is one of the times as clients are told of it.
type timing struct {
	What string        `json:"what"`
	N    uint64        `json:"count"`
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
}

// timesText is the token's times for clients; empty: there are none yet.
func timesText(x *datapath.Counted) string {
	var list []timing
	for _, of := range []struct {
		what  string
		times *metrics.Times
	}{{"rotation", &x.Rotation}, {"hop, this member", &x.Member}, {"hop, kernel", &x.Kernel}, {"waiting to be read", &x.Waiting}} {
		if n := of.times.Count(); n > 0 {
			list = append(list, timing{of.what, n, of.times.Quantile(0.5), of.times.Quantile(0.99), of.times.Most})
		}
	}
	if list == nil {
		return ""
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic("daemon: " + err.Error()) // it is made of numbers
	}
	return string(b)
}
