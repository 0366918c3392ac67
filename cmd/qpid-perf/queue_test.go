package main

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
)

// TestQueueType: --durable=false alone makes a queue that brokers allow.
func TestQueueType(t *testing.T) {
	for _, c := range []struct {
		protocol string
		durable  bool
		want     string
	}{{load.AMQP091, true, "quorum"}, {load.AMQP091, false, "classic"}, {load.AMQP100, false, "classic"}, {load.NATS, false, "quorum"}} {
		o := load.Defaults()
		o.Protocol, o.Durable = c.protocol, c.durable
		if got := queueType(&o); got != c.want {
			t.Errorf("%s, durable %v: %s, expected %s", c.protocol, c.durable, got, c.want)
		}
	}
}
