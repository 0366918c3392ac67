package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/datapath"
)

func newRingCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "ring [host:port]",
		Short: "Shows how a broker's ring packets go, what was dropped before it and before its clients' port, and the token's times",
		Args:  cobra.MaximumNArgs(1),
	}
	asJSON := c.Flags().Bool("json", false, "print an object, with times in nanoseconds")
	timeout := c.Flags().Duration("timeout", defaultTimeout, "how long the broker may take to answer")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		at := "localhost:5672"
		if len(args) == 1 {
			at = args[0]
		}
		s, err := ask(at, *timeout)
		if err != nil {
			return err
		}
		if *asJSON && s.Datapath != "" {
			return printJSON(cmd.OutOrStdout(), s)
		}
		return showRing(cmd.OutOrStdout(), s)
	}
	c.AddCommand(newProbeCommand())
	return c
}

func showRing(w io.Writer, s *status) error {
	if s.Datapath == "" {
		return fmt.Errorf("the broker's ring is not its own: corosync carries it")
	}
	guard := s.Guard
	if guard == "" {
		guard = "off"
	}
	fmt.Fprintf(w, "Datapath: %s\n   Guard: %s\n", s.Datapath, guard)
	if s.Token != "" {
		fmt.Fprintf(w, "   Token: %s\n", s.Token)
	}
	label := "   Times:"
	for _, t := range s.Times {
		fmt.Fprintf(w, "%s %-18s p50 %s, p99 %s, longest %s, of %d\n", label, t.What, rounded(t.P50), rounded(t.P99), rounded(t.Max), t.N)
		label = "         "
	}
	if s.Limit != "" {
		fmt.Fprintf(w, " Clients: %s\n", s.Limit)
	}
	if s.Acceptors != "" {
		fmt.Fprintf(w, "Acceptors: %s\n", s.Acceptors)
	}
	return nil
}

// rounded is a time to three digits or so.
func rounded(d time.Duration) time.Duration {
	unit := time.Nanosecond
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit)
}

func newProbeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "probe",
		Short: "Measures what sending over each datapath costs on this host",
		Long: `Probe sends some thousand packets to a multicast group, at a port at which nobody listens, by each way
there is, and tells what each packet cost. It is what a broker with --ring-datapath=auto does at its
start, and tries AF_XDP even where it has to copy. Attaching a program may take the interface down for
a second with some drivers: not on a host whose ring is at work.`,
		Args: cobra.NoArgs,
	}
	bindnetaddr := c.Flags().String("bindnetaddr", "", "`ADDRESS` of the ring's interface, or of its network (default: the default route's interface)")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		at, list, err := datapath.Probe(*bindnetaddr)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s of %s, a packet of %d bytes:\n", at.Address, at.Interface, list[0].Bytes)
		for _, f := range list {
			if f.Err != nil {
				fmt.Fprintf(w, "  %-8s %v\n", f.Name, f.Err)
				continue
			}
			fmt.Fprintf(w, "  %-8s %6.2f µs, CPU %6.2f µs  %s\n", f.Name, micros(f.PerPacket), micros(f.CPU), f.Detail)
		}
		name, why := datapath.Pick(list)
		_, err = fmt.Fprintf(w, "auto would take %s: %s\n", name, why)
		return err
	}
	return c
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
