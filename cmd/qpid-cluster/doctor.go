package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/doctor"
)

// newDoctorCommand returns "doctor": what keeps this host from being a member, and how it is mended.
func newDoctorCommand() *cobra.Command {
	var p doctor.Patient
	var asJSON, fix, all bool
	var members []string
	c := &cobra.Command{
		Use:   "doctor [-- BROKER-OPTION…]",
		Short: "Find out what keeps this host from being a member",
		Long: "Find out what keeps this host from being a member of its cluster: configuration, network,\n" +
			"firewall, ports, files, users, service, SELinux, clock. Each check says what it has seen and,\n" +
			"where something is wrong, what mends it. The exit status is 1 if a check has found an error.\n\n" +
			"With --all every member of the running cluster examines its own host, too, and members are\n" +
			"compared: names, versions, settings of the ring, clocks. Each sends probes to the ring's group\n" +
			"and port, and it is named what does not get through, and in which direction.",
		Example: "  qpid-cluster doctor\n  qpid-cluster doctor --fix\n  qpid-cluster doctor --json --config /etc/qpid/qpidd-east.conf\n  qpid-cluster doctor --all --member broker3",
		RunE: func(cmd *cobra.Command, args []string) error {
			p.Options = args
			if !cmd.Flags().Changed("config") && !doctor.Installed() {
				p.Config = "" // as of a broker that is started by hand: read if it is there
			}
			var list []doctor.Finding
			if all || len(members) > 0 {
				list = doctor.ExamineAll(p, members)
			} else {
				list = doctor.Examine(p)
			}
			out := cmd.OutOrStdout()
			if fix {
				if mend(cmd.ErrOrStderr(), list) > 0 {
					list = doctor.Examine(p)
				}
			}
			if asJSON {
				e := json.NewEncoder(out)
				e.SetIndent("", "  ")
				if err := e.Encode(list); err != nil {
					return err
				}
			} else {
				tell(out, list)
			}
			return sick(list)
		},
	}
	f := c.Flags()
	f.StringVar(&p.Config, "config", config.DefaultFile, "the broker's configuration `FILE`")
	f.DurationVar(&p.Listen, "listen", 2*time.Second, "how long to listen for packets of the ring; 0: not at all")
	f.BoolVar(&asJSON, "json", false, "print a list of objects with member, check, verdict, evidence, fix and safe")
	f.BoolVar(&fix, "fix", false, "show and run the fixes that are safe, and look again")
	f.BoolVar(&all, "all", false, "examine all members, and compare them")
	f.StringArrayVar(&members, "member", nil, "examine, too, the broker of `HOST[:MESH-PORT]`, which those that are known have not found; implies --all")
	c.MarkFlagsMutuallyExclusive("all", "fix")
	c.MarkFlagsMutuallyExclusive("member", "fix")
	return c
}

// sick is an error if a check has found one.
func sick(list []doctor.Finding) error {
	n := 0
	for i := range list {
		if list[i].Verdict == doctor.Error {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 error was found")
	}
	return fmt.Errorf("%d errors were found", n)
}

func tell(w io.Writer, list []doctor.Finding) {
	member := ""
	for i := range list {
		f := &list[i]
		if f.Member != member {
			member = f.Member
			fmt.Fprintf(w, "\n%s:\n", printable(member))
		}
		fmt.Fprintf(w, "%-8s %s: %s\n", f.Verdict, f.Check, printable(f.Evidence))
		if f.Fix != "" && f.Verdict != doctor.OK {
			fmt.Fprintf(w, "         fix: %s\n", printable(f.Fix))
		}
	}
}

// printable has nothing that a terminal would obey: some of it is what other hosts say.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}

// mend runs what is safe, after showing it, and returns how much there was.
func mend(w io.Writer, list []doctor.Finding) (ran int) {
	for i := range list {
		f := &list[i]
		if !f.Safe || f.Verdict == doctor.OK {
			continue
		}
		fmt.Fprintf(w, "%s: %s\nrunning: %s\n", f.Check, f.Evidence, f.Fix)
		ran++
		if out, err := doctor.Mend(f); err != nil {
			fmt.Fprintf(w, "it failed: %v: %s\n", err, out)
		}
	}
	return ran
}
