package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/qpidd-cluster/qpidd-cluster/perf/load"
	"github.com/qpidd-cluster/qpidd-cluster/perf/peers"
)

// profiled says whose clients are where, as in every cell.
var profiled = []string{"the producer's", "the consumer's", "without clients"}

// profile runs the first cell once more, on brokers of its own that write CPU profiles, and
// keeps what these say as text. What is compared is not profiled.
func (o *compareOptions) profile(ctx context.Context, dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	c, err := peers.StartQpidd(ctx, peers.Options{Dir: dir, Nodes: len(profiled), Binary: o.Binary,
		Args: []string{"--cpu-profile=" + filepath.Join(dir, "cpu%n")}})
	if err != nil {
		return err
	}
	cell := o.cells()[0]
	s := &system{name: qpidd, protocol: load.AMQP091, cluster: c}
	m, err := o.one(ctx, s, cell, 0)
	if err = errors.Join(err, c.Stop()); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "CPU profiles of the three brokers, %s, %.0f messages/s, commit %s.\n"+
		"Start and end of the brokers are in them.\n", cell.Name, m.throughput(), commit(o.Binary))
	for i, who := range profiled {
		fmt.Fprintf(&b, "\n%s, %s: %.2f us of CPU a message\n\n", m.Nodes[i].Name, who, m.Nodes[i].CPU)
		for _, order := range []string{"-flat", "-cum"} {
			text, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, "-nodecount=45",
				o.Binary, filepath.Join(dir, fmt.Sprintf("cpu%d", i+1))).Output()
			if err != nil {
				return fmt.Errorf("go tool pprof: %w", err)
			}
			b.Write(text)
			b.WriteByte('\n')
		}
	}
	return os.WriteFile(o.Profile, b.Bytes(), 0o644)
}
