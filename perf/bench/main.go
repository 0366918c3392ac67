// Bench runs the benchmarks whose results are kept in perf/results.
//
//	go run ./perf/bench cluster       three members against RabbitMQ and NATS
//	go run ./perf/bench failover      what clients notice of a kill -9
//	go run ./perf/bench join          what clients notice when a member joins
//	go run ./perf/bench memory        what a million queued messages cost
//	go run ./perf/bench standalone    one broker without a cluster
//	go run ./perf/bench link          the ring's datapaths (root)
//	go run ./perf/bench journal       the journal against fio
//	go run ./perf/bench ring          our ring against corosync's (root)
//	go run ./perf/bench token         rings whose token the kernel passes on (root)
//	go run ./perf/bench builds        builds of our own broker against each other
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "bench",
		Short:         "Run the benchmarks whose results are kept in perf/results",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(clusterCommand(), failoverCommand(), joinCommand(), memoryCommand(), standaloneCommand(), journalCommand(), buildsCommand(), ringCommand(), linkCommand(), tokenCommand(), floorCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
