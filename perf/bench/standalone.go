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
		Systems: []string{qpidd, rabbitmq}, turns: turns{3, 3 * time.Second, time.Second},
		common:   common{Binary: "bin/qpidd", Dir: "/dev/shm", Output: "perf/results/standalone.json"},
		AckEvery: load.Defaults().AckEvery, alone: true,
	}
	c := benchCommand("standalone", "One broker without a cluster, against RabbitMQ with a classic queue", o.run)
	o.compareFlags(c.Flags())
	return c
}
