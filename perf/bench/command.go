package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// benchCommand is the command of one benchmark.
func benchCommand(name, short string, run func(context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return run(c.Context()) },
	}
}

// turns is how often and how long things are measured that are compared.
type turns struct {
	Rounds   int
	Duration time.Duration
	WarmUp   time.Duration
}

func (t *turns) flags(f *pflag.FlagSet) {
	f.IntVar(&t.Rounds, "rounds", t.Rounds, "how often everything is measured, by turns")
	f.DurationVar(&t.Duration, "duration", t.Duration, "how long each time")
	f.DurationVar(&t.WarmUp, "warm-up", t.WarmUp, "how long to run before that")
}

// output is the file that the results go to.
type output string

func (o *output) flag(f *pflag.FlagSet) {
	f.StringVar((*string)(o), "output", string(*o), "where the results go; empty is nowhere")
}

// keep shows results, and writes them.
func (o output) keep(res interface{ print(io.Writer) }, to io.Writer) error {
	res.print(to)
	if o == "" {
		return nil
	}
	return keep(string(o), res)
}

// common is which broker is measured, where its files go, and where the results.
type common struct {
	Binary string
	Dir    string
	Output output
}

func (o *common) flags(f *pflag.FlagSet, files string) {
	f.StringVar(&o.Binary, "qpidd", o.Binary, "the broker of this tree")
	f.StringVar(&o.Dir, "dir", o.Dir, "where "+files+" go")
	o.Output.flag(f)
}
