package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// Builds of our own broker against each other, for who wants to know what a change is worth:
// a cluster of each, all up at once and measured in turn. Nothing is kept.

type buildOptions struct {
	compareOptions
	Sizes []int
	Rates []float64
}

func buildsCommand() *cobra.Command {
	o := buildOptions{compareOptions: compareOptions{
		turns: turns{5, 3 * time.Second, time.Second}, common: common{Dir: "/dev/shm"}, AckEvery: load.Defaults().AckEvery,
	}}
	c := &cobra.Command{
		Use:     "builds NAME=BINARY[,VARIABLE=VALUE...] ...",
		Short:   "Builds of our broker against each other",
		Example: "  go run ./perf/bench builds old=/tmp/qpidd new=bin/qpidd gc=bin/qpidd,GOGC=400 --rates 200,1000",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			o.Systems = args
			return o.run(c.Context())
		},
	}
	f := c.Flags()
	f.IntSliceVar(&o.Sizes, "sizes", []int{256}, "closed loops with bodies of so many bytes")
	f.Float64SliceVar(&o.Rates, "rates", nil, "open loops of so many messages a second, of 256 bytes")
	o.turns.flags(f)
	return c
}

func (o *buildOptions) run(ctx context.Context) error {
	for _, size := range o.Sizes {
		o.chosen = append(o.chosen, cell{Name: fmt.Sprintf("throughput %d B", size), Size: size})
	}
	for _, rate := range o.Rates {
		o.chosen = append(o.chosen, cell{Name: fmt.Sprintf("latency at %.0f/s", rate), Size: 256, Rate: rate})
	}
	return inDirectory(o.Dir, func(dir string) error {
		res, err := o.compare(ctx, dir)
		if err != nil {
			return err
		}
		res.print(os.Stdout)
		return nil
	})
}

// startBuild starts a cluster of a build, such as name=binary,GOGC=400.
func startBuild(ctx context.Context, p peers.Options, text string) (*system, error) {
	name, rest, _ := strings.Cut(text, "=")
	env := strings.Split(rest, ",")
	p.Binary, p.Env = env[0], env[1:]
	c, err := peers.StartQpidd(ctx, p)
	return &system{name: name, protocol: load.AMQP091, cluster: c}, err
}
