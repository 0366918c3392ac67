package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
)

// The stand-alone benchmark: one broker without a cluster, against one node of RabbitMQ with a
// classic queue. Nothing is asked of it; it shows what a client's connection costs without the
// ring.

func standaloneCells() []cell {
	return []cell{
		{Name: "0-9-1, 256 B", Protocol: load.AMQP091, Size: 256},
		{Name: "0-9-1, 1 KiB", Protocol: load.AMQP091, Size: 1024},
		{Name: "1.0, 256 B", Protocol: load.AMQP100, Size: 256},
		{Name: "1.0, 1 KiB", Protocol: load.AMQP100, Size: 1024},
	}
}

func standaloneCommand() *cobra.Command {
	o := compareOptions{
		Systems: []string{qpidd, rabbitmq}, Rounds: 3, Duration: 3 * time.Second, WarmUp: time.Second,
		Binary: "bin/qpidd", Dir: "/dev/shm", Output: "perf/results/standalone.json",
		AckEvery: load.Defaults().AckEvery, alone: true,
	}
	c := &cobra.Command{
		Use:   "standalone",
		Short: "One broker without a cluster, against RabbitMQ with a classic queue",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	o.flags(c.Flags())
	return c
}
