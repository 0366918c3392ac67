package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/store"
)

func TestJournal(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, false, func(b []byte) { b[0] = 1 })
	if err != nil {
		t.Fatal(err)
	}
	step := func(input, args, want string, fails bool) {
		t.Helper()
		out, err := run(newJournalCommand(), input, strings.Fields(strings.ReplaceAll(args, "DIR", dir))...)
		text := out
		if err != nil {
			text += err.Error()
		}
		if (err != nil) != fails || !strings.Contains(text, want) {
			t.Errorf("%s: %q, %v, want %q", args, out, err, want)
		}
	}
	step("", "ls DIR/none", "no such file", true)
	step("", "verfy DIR", "unknown command", true)
	step("", "", "Available Commands", false)
	step("", "verify DIR", "0 segments", false)
	step("", "repair DIR", "nothing to repair", false)
	segment := filepath.Join(s.Journal, "00000001.segment")
	if err := os.WriteFile(segment, []byte(strings.Repeat("x", 8192)), 0o600); err != nil {
		t.Fatal(err)
	}
	step("", "ls DIR", "00000001.segment: offset 0: the segment's header is damaged", false)
	step("", "verify DIR --json", `"what": "the segment's header is damaged`, true)
	step("", "dump DIR", "header is damaged", false)
	step("n\n", "repair DIR", "Operation canceled", true)
	step("", "repair DIR --json", `"free 00000001.segment for use"`, true)
	if b, err := os.ReadFile(segment); err != nil || b[0] != 'x' {
		t.Errorf("it was changed before anybody said yes: %v", err)
	}
	step("yes\n", "repair DIR", "repaired", false)
	step("", "verify DIR", "1 segments, 0 runs", false)
}
