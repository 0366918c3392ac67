package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
)

// storeName is what the original's command was called. Under that name we are that command.
const storeName = "qpid-cluster-store"

// newStoreCommand returns "store": whose a store is.
func newStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store DIR",
		Short: "Show whose store is in a broker's directory, or change that",
		Long: "Show whose store is in a broker's --store-dir, which is its --data-dir by default: the cluster\n" +
			"it belongs to, and whether the broker ended in order. The broker must not run to change it.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("incorrect number of arguments: give the broker's data directory, and nothing else")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolP("display", "d", false, "show the store's status, which is done anyway")
	mark := flags.BoolP("mark-clean", "c", false, "have the store recovered as it is, whatever other members have")
	empty := flags.Bool("clear", false, "discard all that the store holds")
	yes := flags.BoolP("yes", "y", false, "do not ask")
	cmd.MarkFlagsMutuallyExclusive("mark-clean", "clear")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch dir := args[0]; {
		case *empty:
			return clearStore(cmd, dir, *yes)
		case *mark:
			s, err := store.MarkClean(dir, func(b []byte) { _, _ = rand.Read(b) }) // never fails
			if err != nil {
				return err
			}
			return showStore(cmd.OutOrStdout(), s)
		default:
			s, err := store.Show(dir)
			if err != nil {
				return err
			}
			return showStore(cmd.OutOrStdout(), s)
		}
	}
	return cmd
}

func showStore(w io.Writer, s *store.Identity) error {
	_, err := fmt.Fprintf(w, "status: %s\ncluster-id: %s\nshutdown_id: %s\nstore-id: %s\n", s.Status(), s.Cluster, s.Shutdown, s.Store)
	return err
}

// clearStore says what there is, asks, and removes it.
func clearStore(cmd *cobra.Command, dir string, yes bool) error {
	journal, err := store.Find(dir)
	if err != nil {
		return err
	}
	if s, err := store.Show(dir); err == nil { // it may be damaged: then that is why
		if err := showStore(cmd.OutOrStdout(), s); err != nil {
			return err
		}
	}
	if err := confirm(cmd, "Discard all durable queues and messages in "+journal+"?", yes); err != nil {
		return err
	}
	note, err := store.Clear(dir)
	if err == nil {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), note)
	}
	return err
}

// errCanceled is the original's.
var errCanceled = errors.New("Operation canceled")

// confirm asks a person. Where none is, only --yes is an answer.
func confirm(cmd *cobra.Command, question string, yes bool) error {
	if yes {
		return nil
	}
	in := cmd.InOrStdin()
	if f, ok := in.(*os.File); ok && !term.IsTerminal(int(f.Fd())) {
		return errors.New("nothing was changed: there is no terminal to ask at; give --yes if you are sure")
	}
	if _, err := fmt.Fprint(cmd.ErrOrStderr(), question+" [y/N] "); err != nil {
		return err
	}
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errCanceled
}
