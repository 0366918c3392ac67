package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// TestManual: qpid-perf(1) has every flag, with its default.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../packaging/man/qpid-perf.1")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\-`, "-")
	command().Flags().VisitAll(func(f *pflag.Flag) {
		_, after, found := strings.Cut(page, `.TP`+"\n"+`\fB--`+f.Name+`\fR`)
		entry, _, _ := strings.Cut(after, ".TP")
		if f.Name == "help" {
			return
		}
		said := !found || f.DefValue == "" || f.DefValue == "0" || f.DefValue == "false" || f.DefValue == "[]" || strings.Contains(entry, `\fB`+f.DefValue+`\fR`)
		if !found || !said {
			t.Errorf("--%s, by default %s, is not in it", f.Name, f.DefValue)
		}
	})
}
