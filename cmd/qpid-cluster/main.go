// Command qpid-cluster shows a cluster and looks after its users and its stores.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/daemon"
)

func main() {
	name, cmd := "qpid-cluster", newCommand()
	if filepath.Base(os.Args[0]) == storeName {
		name, cmd = storeName, newStoreCommand()
		cmd.Use = storeName + " DATADIR"
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
	}
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, name+": "+err.Error())
		os.Exit(1)
	}
}

// group makes a command that has only others below it show them, and refuse any that is none of them: a
// script is not to take a misspelt "verify" for one that found nothing.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	return c
}

// newCommand returns qpid-cluster with all its commands.
func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "qpid-cluster [host:port]",
		Short: "Shows a cluster: its name, status, size and members",
		Long: `Qpid-cluster asks a broker about its cluster: by default the one on localhost:5672.

A broker that authenticates its clients wants a user: qpid-cluster user:password@host:port.`,
		Example: "  qpid-cluster\n  qpid-cluster guest:secret@broker1:5672 --json\n  qpid-cluster user add alice",
		Args:    cobra.MaximumNArgs(1), SilenceUsage: true, SilenceErrors: true,
		Version: daemon.Version,
	}
	asJSON := root.Flags().Bool("json", false, "print an object with name, status, size and members")
	timeout := root.Flags().Duration("timeout", defaultTimeout, "how long the broker may take to answer")
	root.RunE = func(cmd *cobra.Command, args []string) error {
		at := "localhost:5672"
		if len(args) == 1 {
			at = args[0]
		}
		return show(cmd.OutOrStdout(), at, *asJSON, *timeout)
	}
	root.AddCommand(newUserCommand(), newRingCommand(), newStoreCommand(), newJournalCommand())
	root.AddCommand(newDoctorCommand(), newSetupCommand())
	return root
}
