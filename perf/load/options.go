package load

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Protocols that can be spoken.
const (
	AMQP091 = "amqp091"
	AMQP100 = "amqp100"
	NATS    = "nats" // JetStream
)

// Limits of options.
const (
	minPayloadBytes = 32
	maxPayloadBytes = 64 << 20
	maxEnds         = 1024 // producers, and consumers
	maxGaps         = 1024
)

// Options are what to do.
type Options struct {
	Protocol     string
	ProducerURLs []string // taken in turn, one connection a producer
	ConsumerURLs []string
	DeclareURL   string // where the queue is declared; empty is the first of the consumers

	Queue     string
	Prefix100 string // what AMQP 1.0 wants before a queue's name: /amq/queue/ for RabbitMQ 3
	QueueType string // classic or quorum; for JetStream one replica or three
	Durable   bool   // queue and messages; for JetStream a file
	Declare   bool   // declare the queue, empty, before, and delete it afterwards

	Producers int
	Consumers int
	Size      int     // bytes of a body
	Rate      float64 // messages a second of all producers; 0 is a closed loop
	InFlight  int     // most unconfirmed messages of a producer
	Prefetch  int     // most unsettled messages of a consumer
	AckEvery  int     // settle so many at once, where the protocol can

	Count    uint64        // messages of all producers, after which they end; 0 is until the time is over
	WarmUp   time.Duration // not measured
	Duration time.Duration // measured
	Drain    time.Duration // how long consumers may stay silent after the last message was sent

	// Reconnect goes on with the next URL when a connection fails; else the run does.
	Reconnect bool
	// Gaps is how many of the longest times between confirmations, and between deliveries, are
	// reported.
	Gaps int
	// Started is called when the clock starts, if not nil.
	Started func()
	// Backlog, if not nil, is called when all that was sent is confirmed. Consumers connect only
	// after it has returned.
	Backlog func(ctx context.Context) error
	// Progress is called each second, if not nil.
	Progress func(Progress)
}

// Progress is one second of a run.
type Progress struct {
	Elapsed   time.Duration
	Confirmed uint64 // in this second
	Consumed  uint64
	Failures  uint64 // connections lost so far
}

// Defaults are options that only want URLs.
func Defaults() Options {
	return Options{
		Protocol:  AMQP091,
		Queue:     "qpid-perf",
		QueueType: "quorum",
		Durable:   true,
		Declare:   true,
		Producers: 1,
		Consumers: 1,
		Size:      256,
		InFlight:  256,
		Prefetch:  1024,
		AckEvery:  64,
		WarmUp:    2 * time.Second,
		Duration:  10 * time.Second,
		Drain:     5 * time.Second,
	}
}

// Validate tells what is wrong with o.
func (o *Options) Validate() error {
	switch {
	case !slices.Contains([]string{AMQP091, AMQP100, NATS}, o.Protocol):
		return fmt.Errorf("protocol %q: use %s, %s or %s", o.Protocol, AMQP091, AMQP100, NATS)
	case o.QueueType != "classic" && o.QueueType != "quorum":
		return fmt.Errorf("queue type %q: use classic or quorum", o.QueueType)
	case o.Producers > 0 && len(o.ProducerURLs) == 0, o.Consumers > 0 && len(o.ConsumerURLs) == 0:
		return errors.New("no URL to connect to: give --url, or --producer-url and --consumer-url")
	case o.Producers < 0 || o.Producers > maxEnds || o.Consumers < 0 || o.Consumers > maxEnds:
		return fmt.Errorf("%d producers, %d consumers: 0 to %d of each", o.Producers, o.Consumers, maxEnds)
	case o.Producers+o.Consumers == 0:
		return errors.New("neither producers nor consumers")
	case o.Size < minPayloadBytes || o.Size > maxPayloadBytes:
		return fmt.Errorf("size %d: %d to %d bytes", o.Size, minPayloadBytes, maxPayloadBytes)
	case o.InFlight < 1 || o.Prefetch < 1 || o.AckEvery < 1 || o.AckEvery > o.Prefetch:
		return fmt.Errorf("in flight %d, prefetch %d, ack every %d: from 1, and no more acknowledged at once than prefetched",
			o.InFlight, o.Prefetch, o.AckEvery)
	case o.Count > 0 && o.Count < uint64(o.Producers):
		return fmt.Errorf("%d messages are too few for %d producers", o.Count, o.Producers)
	case o.Gaps < 0 || o.Gaps > maxGaps:
		return fmt.Errorf("%d gaps: 0 to %d", o.Gaps, maxGaps)
	case o.Rate < 0 || o.Duration <= 0 || o.WarmUp < 0:
		return errors.New("rate, duration and warm-up cannot be negative, and duration not zero")
	}
	return nil
}

func newRunID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}
