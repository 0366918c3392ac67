package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/inspect"
)

// errDamaged is how verify ends if something is wrong.
var errDamaged = errors.New("the journal is damaged: qpid-cluster journal repair DIR tells what can be done")

// newJournalCommand returns "journal" with its commands.
func newJournalCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "journal",
		Short: "Look at the journal of a broker that does not run, and repair it",
		Long: "Look at the journal in a broker's --store-dir, which is its --data-dir by default, and repair it.\n" +
			"The broker must not run.",
	})
	asJSON := cmd.PersistentFlags().Bool("json", false, "print JSON")
	ls := &cobra.Command{Use: "ls DIR", Short: "List segments and checkpoints", Args: cobra.ExactArgs(1)}
	runs := ls.Flags().Bool("runs", false, "list each segment's runs, too")
	ls.RunE = on(func(cmd *cobra.Command, j *inspect.Journal) error {
		r, err := j.Scan(inspect.Options{Progress: bar(cmd, "reading")})
		if err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		return list(cmd.OutOrStdout(), j, r, *runs)
	})
	dump := &cobra.Command{Use: "dump DIR", Short: "Print the entries", Args: cobra.ExactArgs(1)}
	segment := dump.Flags().String("segment", "", "only those of this `FILE`")
	dump.RunE = on(func(cmd *cobra.Command, j *inspect.Journal) error { return dumpEntries(cmd, j, *segment, *asJSON) })
	verify := &cobra.Command{Use: "verify DIR", Short: "Read everything, and check all checksums", Args: cobra.ExactArgs(1)}
	verify.RunE = on(func(cmd *cobra.Command, j *inspect.Journal) error { return verifyJournal(cmd, j, *asJSON) })
	repair := &cobra.Command{Use: "repair DIR", Short: "Say what would have to be discarded for a broker to start again, ask, and do it", Args: cobra.ExactArgs(1)}
	yes := repair.Flags().BoolP("yes", "y", false, "do not ask")
	repair.RunE = on(func(cmd *cobra.Command, j *inspect.Journal) error { return repairJournal(cmd, j, *yes, *asJSON) })
	cmd.AddCommand(ls, dump, verify, repair)
	return cmd
}

// on runs a command on the journal that it names.
func on(do func(*cobra.Command, *inspect.Journal) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) (err error) {
		j, err := inspect.Open(args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, j.Close()) }()
		return do(cmd, j)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func list(w io.Writer, j *inspect.Journal, r *inspect.Report, runs bool) error {
	if j.Store != nil {
		fmt.Fprintf(w, "store-id: %s  cluster-id: %s  %s\n", j.Store.Store, j.Store.Cluster, j.Store.Status())
	}
	t := tabwriter.NewWriter(w, 2, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "file\tsegment\tbytes\truns\tfrom run\tentries\tcarried\tused\tneeded\t")
	for _, g := range r.Segments {
		if g.Number == 0 {
			fmt.Fprintf(t, "%s\t-\t%d\t\t\t\t\t\t\t\n", g.File, g.Bytes)
			continue
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t\n", g.File, g.Number, g.Bytes, len(g.Runs), g.FirstRun, g.Entries, g.Carried,
			share(g.UsedBytes, g.Bytes), needed(r, g))
		for _, x := range g.Runs {
			if runs {
				fmt.Fprintf(t, "at %d\t\t%d\t\t%d\t%d\t\t\t\t\n", x.Offset, x.Bytes, x.Number, x.Entries)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, c := range r.Checkpoints {
		state := ""
		if c.Unfinished {
			state = ", never finished"
		}
		fmt.Fprintf(w, "%s: %d bytes, up to run %d and entry %d, %d extents, %s%s\n", c.File, c.Bytes, c.Run, c.Index, c.Extents,
			time.UnixMilli(c.Time).Format(time.DateTime), state)
	}
	if len(r.Checkpoints) > 0 {
		fmt.Fprintln(w, "needed: as the newest checkpoint has it; -: written since")
	}
	problems(w, r)
	return nil
}

// needed is which share of a segment the newest checkpoint needs, where it knows.
func needed(r *inspect.Report, g *inspect.Segment) string {
	if c := r.Newest(); c == nil || g.FirstRun > c.Run {
		return "-"
	}
	return share(g.LiveBytes, g.Bytes)
}

func share(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (100*part+whole-1)/whole)
}

func problems(w io.Writer, r *inspect.Report) {
	for _, p := range r.Problems {
		fmt.Fprintln(w, p)
	}
}

func dumpEntries(cmd *cobra.Command, j *inspect.Journal, segment string, asJSON bool) error {
	w := cmd.OutOrStdout()
	e := json.NewEncoder(w)
	var failed error
	r, err := j.Scan(inspect.Options{Deep: true, Entry: func(x *inspect.Entry) {
		switch {
		case failed != nil || segment != "" && x.Segment != segment:
		case asJSON:
			failed = e.Encode(x)
		default:
			_, failed = fmt.Fprintln(w, x)
		}
	}})
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	problems(cmd.ErrOrStderr(), r)
	return nil
}

func verifyJournal(cmd *cobra.Command, j *inspect.Journal, asJSON bool) error {
	r, err := j.Scan(inspect.Options{Deep: true, Apply: true, Progress: bar(cmd, "verifying")})
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if asJSON {
		err = printJSON(w, r)
	} else {
		problems(w, r)
		if r.Recovery != "" {
			fmt.Fprintln(w, "a broker does not start with it: "+r.Recovery)
		}
		runs, entries, used := 0, 0, int64(0)
		for _, g := range r.Segments {
			runs, entries, used = runs+len(g.Runs), entries+g.Entries+g.Carried, used+g.UsedBytes
		}
		_, err = fmt.Fprintf(w, "%d segments, %d runs, %d entries, %d bytes in use, %d checkpoints, %d runs that were never flushed; %d messages in queues\n",
			len(r.Segments), runs, entries, used, len(r.Checkpoints), r.Cut, r.Messages)
	}
	if err == nil && !r.Healthy() {
		err = errDamaged
	}
	return err
}

func repairJournal(cmd *cobra.Command, j *inspect.Journal, yes, asJSON bool) error {
	r, err := j.Scan(inspect.Options{Deep: true, Progress: bar(cmd, "verifying")})
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	problems(w, r)
	p, err := j.Plan(r)
	if errors.Is(err, inspect.ErrHealthy) {
		// What a whole file had in it is missed only where the entries are applied.
		applied, e := j.Scan(inspect.Options{Deep: true, Apply: true, Progress: bar(cmd, "recovering")})
		if e != nil {
			return e
		}
		if !applied.Healthy() {
			problems(w, applied)
			return inspect.ErrBeyond
		}
		_, err := fmt.Fprintln(w, err)
		return err
	}
	if err != nil {
		return err
	}
	if asJSON {
		if err := printJSON(w, p); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "To repair it:\n  %s\n", strings.Join(p.Steps, "\n  "))
		if len(p.Discards) > 0 {
			fmt.Fprintf(w, "This discards for good:\n  %s\n", strings.Join(p.Discards, "\n  "))
		} else {
			fmt.Fprintln(w, "Nothing is lost by it.")
		}
	}
	if err := confirm(cmd, "Do it?", yes); err != nil {
		return err
	}
	if err := j.Do(p); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, "repaired")
	return err
}

// barAfter is from how many bytes on work is shown, barEvery how often.
const (
	barAfter = 64 << 20
	barEvery = 100 * time.Millisecond
	barWidth = 40
)

// bar shows the progress of long work, if there is somebody to see it.
func bar(cmd *cobra.Command, what string) func(done, total int64) {
	f, ok := cmd.ErrOrStderr().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	var last time.Time
	return func(done, total int64) {
		if total < barAfter || done < total && time.Since(last) < barEvery {
			return
		}
		last = time.Now()
		full := int(barWidth * done / total)
		fmt.Fprintf(f, "\r%s [%s%s] %3d%% of %d MiB", what, strings.Repeat("#", full), strings.Repeat(" ", barWidth-full), 100*done/total, total>>20)
		if done == total {
			fmt.Fprint(f, "\r\x1b[K") // the line goes with the work
		}
	}
}
