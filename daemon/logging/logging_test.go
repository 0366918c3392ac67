package logging

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
)

func TestRules(t *testing.T) {
	for _, c := range []struct {
		enable, disable []string
		level           slog.Level
		category        string
		want            bool
	}{
		{[]string{"notice+"}, nil, Notice, "Broker", true},
		{[]string{"notice+"}, nil, Info, "Broker", false},
		{[]string{"notice+", "debug+:Cluster"}, nil, Debug, "Cluster", true},
		{[]string{"notice+", "debug+:cluster"}, nil, Debug, "Broker", false},
		{[]string{"info"}, nil, Error, "Broker", false},
		{[]string{"info-"}, nil, Trace, "Broker", true},
		{[]string{"trace+"}, []string{"warning-:Network"}, Info, "Network", false},
		{[]string{"trace+"}, []string{"warning-:Network"}, Error, "Network", true},
	} {
		r, err := parseRules(config.Log{Enable: c.enable, Disable: c.disable})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.enabled(c.level, c.category); got != c.want {
			t.Errorf("%v %v: %v of %s is logged: %v", c.enable, c.disable, c.level, c.category, got)
		}
	}
	for _, s := range []string{"loud+", "info:Kitchen", ""} {
		if _, err := parseRules(config.Log{Enable: []string{s}}); err == nil {
			t.Errorf("%q is taken for a rule", s)
		}
	}
}

func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := Open(config.Log{Enable: []string{"info+"}, Outputs: []string{path}, Time: true, Level: true, Category: true})
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC) }
	b := l.For("Broker")
	b.Log(context.Background(), Notice, "hello", "port", 5672)
	b.With("client", "a\nb").Warn("forged\nline")
	b.Debug("not this")
	l.Close()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "2031-02-03 04:05:06 [Broker] notice hello port=5672\n2031-02-03 04:05:06 [Broker] warning forged?line client=a?b\n"
	if string(got) != want {
		t.Errorf("%q", got)
	}
}

func TestLogFileThatCannotBeWritten(t *testing.T) {
	_, err := Open(config.Log{ToFile: filepath.Join(t.TempDir(), "no", "such", "dir")})
	if err == nil || !strings.Contains(err.Error(), "--log-output") {
		t.Errorf("%v", err)
	}
}
