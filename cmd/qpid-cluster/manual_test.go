package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestManual: qpid-cluster(1) has every command and every flag.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/qpid-cluster.1")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\-`, "-")
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !strings.Contains(page, c.Name()) {
			t.Errorf("command %s is not in it", c.CommandPath())
		}
		flag := func(f *pflag.Flag) {
			if !strings.Contains(page, "--"+f.Name) {
				t.Errorf("%s --%s is not in it", c.CommandPath(), f.Name)
			}
		}
		c.LocalFlags().VisitAll(flag)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newCommand())
}
