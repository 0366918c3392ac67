package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
)

// run runs a command with something typed.
func run(cmd *cobra.Command, input string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	err := cmd.Execute()
	return out.String(), err
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	if _, err := run(newStoreCommand(), "", dir); err == nil {
		t.Error("an empty directory has a store")
	}
	s, err := store.Open(dir, false, func(b []byte) { b[0] = 1 })
	if err != nil {
		t.Fatal(err)
	}
	s.Cluster[0] = 2
	if err := s.Save(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		input, args, want string
		fails             bool
	}{
		{args: "", want: "incorrect number of arguments", fails: true},
		{args: "DIR", want: "status: dirty\ncluster-id: 02000000-0000-0000-0000-000000000000\nshutdown_id: 00000000-"},
		{args: "-d DIR", want: "status: dirty\n"},
		{args: "-c DIR", want: "status: clean\n"},
		{args: "DIR/journal", want: "status: clean\n"},
		{args: "--mark-clean --clear DIR", want: "none of the others can be", fails: true},
		{args: "--clear DIR", input: "n\n", want: "Operation canceled", fails: true},
		{args: "--clear DIR", input: "", want: "Operation canceled", fails: true},
		{args: "DIR", want: "status: clean\n"},
		{args: "--clear DIR", input: "y\n", want: "was cleared: 0 files"},
		{args: "DIR", want: "there is no store", fails: true},
	} {
		out, err := run(newStoreCommand(), step.input, strings.Fields(strings.ReplaceAll(step.args, "DIR", dir))...)
		text := out
		if err != nil {
			text += err.Error()
		}
		if (err != nil) != step.fails || !strings.Contains(text, step.want) {
			t.Errorf("%s: %q, %v", step.args, out, err)
		}
	}
}
