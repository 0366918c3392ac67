package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/setup"
)

// newSetupCommand returns "setup": the configuration of this host's broker, and the service.
func newSetupCommand() *cobra.Command {
	c := setup.Choice{Config: config.DefaultFile, RingConfig: config.RingFiles[0]}
	var dry, firewall, enable bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Write the configuration for this host's network, open its firewall, start the service",
		Long: "Write qpidd.conf and corosync.conf for this host's network, open the firewall for the broker, and\n" +
			"enable and start the service. At a terminal it asks for what is not given. Run again it changes\n" +
			"nothing; all else in qpidd.conf stays as it is, and so does a corosync.conf of somebody else's.",
		Example: "  qpid-cluster setup --cluster-name orders --cluster-size 3\n" +
			"  qpid-cluster setup --node 192.168.5.1 --node 192.168.5.2 --node 192.168.5.3",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if in, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(in.Fd())) {
				if err := question(cmd, &c); err != nil {
					return err
				}
			}
			p, err := setup.Make(c)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			p.Show(out)
			if len(p.Files) == 0 {
				fmt.Fprintln(out, "the configuration is as it is to be")
			}
			if dry {
				return nil
			}
			if err := p.Write(); err != nil {
				return err
			}
			return begin(out, &c, firewall, enable, len(p.Files) > 0)
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.ClusterName, "cluster-name", "qpidd", "`NAME` of the cluster")
	f.IntVar(&c.ClusterSize, "cluster-size", 0, "how many members it has; 0: it is not said")
	f.StringVar(&c.BindNetAddr, "bindnetaddr", "", "`ADDRESS` of the ring's network (default: the default route's interface's)")
	f.StringArrayVar(&c.Nodes, "node", nil, "`ADDRESS` of a member, for networks without multicast (repeat it for all, this host too)")
	f.IntVar(&c.Port, "port", 5672, "TCP `PORT` for clients")
	f.IntVar(&c.McastPort, "mcastport", 5405, "UDP `PORT` of the ring")
	f.IntVar(&c.MeshPort, "mesh-port", 5405, "TCP `PORT` for connections among members")
	f.StringVar(&c.Config, "config", c.Config, "`FILE` to write the broker's configuration to")
	f.StringVar(&c.RingConfig, "ring-config", c.RingConfig, "`FILE` to write the ring's configuration to")
	f.BoolVar(&dry, "dry-run", false, "show what would change, and change nothing")
	f.BoolVar(&firewall, "open-firewall", true, "open what other rules of the firewall drop")
	f.BoolVar(&enable, "enable", true, "enable and start the service")
	return cmd
}

// question asks for what was not given. An empty answer takes what is offered.
func question(cmd *cobra.Command, c *setup.Choice) error {
	in := bufio.NewReader(cmd.InOrStdin())
	ask := func(flag, text, offered string) (string, error) {
		if cmd.Flags().Changed(flag) {
			return offered, nil
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%s [%s]: ", text, offered)
		line, err := in.ReadString('\n')
		if err != nil && err != io.EOF {
			return "", err
		}
		if line = strings.TrimSpace(line); line == "" {
			return offered, nil
		}
		return line, nil
	}
	var err error
	if c.ClusterName, err = ask("cluster-name", "Name of the cluster", c.ClusterName); err != nil {
		return err
	}
	size, err := ask("cluster-size", "How many members it has, 0 if that is not known", strconv.Itoa(c.ClusterSize))
	if err != nil {
		return err
	}
	if c.ClusterSize, err = strconv.Atoi(size); err != nil {
		return fmt.Errorf("%q is no number of members", size)
	}
	c.BindNetAddr, err = ask("bindnetaddr", "Network of the ring, empty for that of the default route", c.BindNetAddr)
	return err
}

// begin opens the firewall and starts the service, again if its configuration has changed.
func begin(w io.Writer, c *setup.Choice, firewall, enable, changed bool) error {
	if firewall {
		var list []doctor.Finding
		for _, f := range doctor.Examine(doctor.Patient{Config: c.Config, Options: []string{"--ring-config=" + c.RingConfig}}) {
			if f.Check == "firewall" {
				list = append(list, f)
			}
		}
		mend(w, list)
	}
	if _, err := os.Stat("/run/systemd/system"); !enable || err != nil {
		return nil
	}
	start := "start"
	if changed {
		start = "restart"
	}
	for _, line := range [][]string{{"enable", "--quiet", "qpidd.service"}, {start, "qpidd.service"}} {
		if out, err := exec.Command("systemctl", line...).CombinedOutput(); err != nil {
			return fmt.Errorf("cannot start the service: %w: %s; journalctl -u qpidd says why", err, out)
		}
	}
	fmt.Fprintln(w, "qpidd.service is enabled and runs; qpid-cluster doctor tells whether all is well")
	return nil
}
