// Qpid-perf puts load on a message broker and measures it; see package load.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "qpid-perf:", err)
		os.Exit(1)
	}
}

const long = `Qpid-perf sends messages to a queue and takes them out again, with the client
libraries that applications use, and prints how many went through a second and how
long they took until confirmed and until consumed.

Without --rate the loop is closed: each producer keeps --in-flight messages
unconfirmed. With --rate it is open: messages are due at fixed times, and latency
counts from when a message was due.

It works with any broker that speaks the protocol. The queue is deleted and declared
anew first, unless --declare=false.`

const example = `  qpid-perf --url amqp://localhost
  qpid-perf --producer-url amqp://a --consumer-url amqp://b --consumer-url amqp://c --consumers 2
  qpid-perf --protocol nats --url nats://localhost:4222 --size 1024 --json
  qpid-perf --protocol amqp100 --url amqp://localhost --rate 200 --duration 30s`

func command() *cobra.Command {
	o := load.Defaults()
	var urls []string
	var asJSON, progress bool
	c := &cobra.Command{
		Use:           "qpid-perf",
		Short:         "Put load on a message broker and measure it",
		Long:          long,
		Example:       example,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(o.ProducerURLs) == 0 {
				o.ProducerURLs = urls
			}
			if len(o.ConsumerURLs) == 0 {
				o.ConsumerURLs = urls
			}
			if !c.Flags().Changed("queue-type") {
				o.QueueType = queueType(&o)
			}
			if progress || !c.Flags().Changed("progress") && isTerminal() {
				o.Progress = printProgress
			}
			report, err := load.Run(c.Context(), o)
			if err != nil {
				return err
			}
			return print(c, report, asJSON)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&o.Protocol, "protocol", o.Protocol, "amqp091, amqp100 or nats (JetStream)")
	f.StringArrayVar(&urls, "url", nil, "broker for producers and consumers; repeat it for several, taken in turn")
	f.StringArrayVar(&o.ProducerURLs, "producer-url", nil, "broker for producers only")
	f.StringArrayVar(&o.ConsumerURLs, "consumer-url", nil, "broker for consumers only")
	f.IntVar(&o.Producers, "producers", o.Producers, "how many, each on a connection of its own")
	f.IntVar(&o.Consumers, "consumers", o.Consumers, "how many, each on a connection of its own")
	f.IntVar(&o.Size, "size", o.Size, "bytes of a message's body")
	f.Float64Var(&o.Rate, "rate", o.Rate, "messages a second in all; 0 is as fast as --in-flight allows")
	f.IntVar(&o.InFlight, "in-flight", o.InFlight, "most unconfirmed messages of a producer")
	f.DurationVar(&o.Duration, "duration", o.Duration, "how long to measure")
	f.DurationVar(&o.WarmUp, "warm-up", o.WarmUp, "how long to run before that")
	f.DurationVar(&o.Drain, "drain", o.Drain, "how long consumers may be silent at the end before what is missing is lost")
	f.StringVar(&o.Queue, "queue", o.Queue, "queue, or stream")
	f.StringVar(&o.Prefix100, "prefix", o.Prefix100, "amqp100: goes before the queue's name; /amq/queue/ for RabbitMQ 3")
	f.StringVar(&o.QueueType, "queue-type", o.QueueType, "classic or quorum, sent as x-queue-type, without --durable classic; nats: one replica or three")
	f.BoolVar(&o.Durable, "durable", o.Durable, "durable queue and messages")
	f.BoolVar(&o.Declare, "declare", o.Declare, "declare the queue before, and delete it afterwards")
	f.IntVar(&o.Prefetch, "prefetch", o.Prefetch, "most unsettled messages of a consumer")
	f.IntVar(&o.AckEvery, "ack-every", o.AckEvery, "acknowledge so many at once, where the protocol can")
	f.BoolVar(&o.Reconnect, "reconnect", o.Reconnect, "go on with the next URL when a connection is lost")
	f.BoolVar(&asJSON, "json", false, "print the result as JSON")
	f.BoolVar(&progress, "progress", false, "print a line each second also where stderr is no terminal")
	return c
}

// queueType is that of who names none: a quorum queue has to be durable.
func queueType(o *load.Options) string {
	if !o.Durable && o.Protocol != load.NATS {
		return "classic"
	}
	return o.QueueType
}

func print(c *cobra.Command, report *load.Report, asJSON bool) error {
	if !asJSON {
		report.Write(c.OutOrStdout())
		return nil
	}
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(report)
}

func printProgress(p load.Progress) {
	fmt.Fprintf(os.Stderr, "%4.0f s  confirmed %8d/s  consumed %8d/s", p.Elapsed.Seconds(), p.Confirmed, p.Consumed)
	if p.Failures > 0 {
		fmt.Fprintf(os.Stderr, "  connections lost %d", p.Failures)
	}
	fmt.Fprintln(os.Stderr)
}

func isTerminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return err == nil
}
