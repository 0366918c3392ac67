package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/load"
)

func short(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts brokers")
	}
}

// TestReadme types what the README says, with other ports.
func TestReadme(t *testing.T) {
	short(t)
	c := harness.Start(t, 0)
	for range 3 {
		b := c.Place()
		b.Port, b.Log = harness.FreePort(t), "cluster0.log"
		r := c.Command(nil, fmt.Sprintf("-p%d", b.Port), "--cluster-name=MY_CLUSTER", "--log-output=cluster0.log", "-d", "--no-data-dir", "--auth=no").Run(t)
		if r.Status != 0 || r.Stdout != "" || r.Stderr != "" {
			t.Fatalf("%+v", r)
		}
		c.Adopt(b)
		if n := len(ask(t, b).Members); n != len(c.Brokers) {
			t.Errorf("the command has returned, and the cluster has %d members, not %d", n, len(c.Brokers))
		}
	}
	text := harness.Command{Program: "qpid-cluster", Arguments: []string{"localhost:" + strconv.Itoa(c.Brokers[1].Port)}}
	r := text.Run(t)
	for _, want := range []string{"Cluster Name: MY_CLUSTER", "Cluster Status: ACTIVE", "Cluster Size: 3", fmt.Sprintf("URL=amqp:tcp:127.0.0.1:%d", c.Brokers[2].Port)} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("no %q in\n%s%s", want, r.Stdout, r.Stderr)
		}
	}
	log := c.LogText(0)
	for _, b := range c.Brokers {
		if !strings.Contains(log, fmt.Sprintf("Listening on TCP/TCP6 port %d\n", b.Port)) {
			t.Errorf("the log that they share does not tell of port %d", b.Port)
		}
	}
	for _, b := range c.Brokers {
		check := c.Command(nil, "-c", fmt.Sprintf("-p%d", b.Port)).Run(t)
		if strings.TrimSpace(check.Stdout) != strconv.Itoa(b.Pid) || check.Status != 0 {
			t.Errorf("-c: %+v, the process id is %d", check, b.Pid)
		}
		if r := c.Command(nil, "-q", fmt.Sprintf("-p%d", b.Port)).Run(t); r.Status != 0 || r.Stdout+r.Stderr != "" {
			t.Errorf("-q: %+v", r)
		}
		if _, err := os.Stat(c.PidFile(b)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the pid file after -q: %v", err)
		}
		if state := processState(b.Pid); !strings.Contains("ZX", state) {
			t.Errorf("process %d lives on after -q", b.Pid)
		}
		b.Pid = 0
		for _, option := range []string{"-c", "-q"} {
			r := c.Command(nil, option, fmt.Sprintf("-p%d", b.Port)).Run(t)
			if r.Status == 0 || len(r.Lines()) != 1 || !strings.Contains(r.Stderr, "no daemon runs on port") {
				t.Errorf("%s without a daemon: %+v", option, r)
			}
		}
	}
	if n := strings.Count(c.LogText(0), "clean=true"); n < 3 {
		t.Errorf("%d members were seen to leave cleanly: two see the first go, one the second", n)
	}
}

// processState is the letter that ps shows, empty for a process that is not there.
func processState(pid int) string {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	state, _, _ := strings.Cut(after, " ")
	return state
}

// status is what qpid-cluster --json prints.
type status struct {
	Name, ID, Status string
	Size             int
	Members          []struct{ ID, URL, State string }
	Datapath         string `json:"ring_datapath"`
	Times            []any  `json:"ring_times"` // there once the token has gone round
}

// ask runs qpid-cluster --json.
func ask(t *testing.T, b *harness.Broker) *status {
	t.Helper()
	command := harness.Command{Program: "qpid-cluster", Arguments: []string{b.Address(), "--json"}, Host: b.Host}
	r := command.Run(t)
	if r.Status != 0 {
		t.Fatalf("qpid-cluster: %s", r.Stderr)
	}
	var s status
	d := json.NewDecoder(strings.NewReader(r.Stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("%v in %s", err, r.Stdout)
	}
	return &s
}

// TestStatus looks at every field of qpid-cluster --json.
func TestStatus(t *testing.T) {
	short(t)
	c := harness.Start(t, 2)
	for _, b := range c.Brokers {
		s := ask(t, b)
		if s.Name != c.Name || s.Status != "ACTIVE" || s.Size != 2 || len(s.Members) != 2 || len(s.ID) != 36 {
			t.Errorf("broker %d: %+v", b.Index, s)
		}
		urls := map[string]bool{}
		for _, m := range s.Members {
			urls[m.URL] = true
			if m.State != "active" || !strings.Contains(m.ID, ":") {
				t.Errorf("member %+v", m)
			}
		}
		for _, other := range c.Brokers {
			if !urls["amqp:tcp:"+other.Address()] {
				t.Errorf("%s is not among %v", other.Address(), urls)
			}
		}
	}
	r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))}}).Run(t)
	if r.Status == 0 || len(r.Lines()) != 1 {
		t.Errorf("where nobody listens: %+v", r)
	}
}

// TestStalePidFile kills a broker and starts it again: what it left does not disturb.
func TestStalePidFile(t *testing.T) {
	short(t)
	c := harness.Start(t, 1)
	b := c.Brokers[0]
	old := b.Pid
	c.Kill(0)
	if _, err := os.Stat(c.PidFile(b)); err != nil {
		t.Fatal(err)
	}
	// A killed process keeps its lock until the kernel has taken it apart.
	limit := time.Now().Add(10 * time.Second)
	for {
		r := c.Command(nil, "-c", fmt.Sprintf("-p%d", b.Port)).Run(t)
		if r.Status != 0 && strings.Contains(r.Stderr, "is left over") {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("-c after a kill: %+v", r)
		}
	}
	c.Restart(0)
	if b.Pid == old {
		t.Errorf("the pid file still holds %d", old)
	}
	if r := c.Command(nil, "-c", fmt.Sprintf("-p%d", b.Port)).Run(t); strings.TrimSpace(r.Stdout) != strconv.Itoa(b.Pid) {
		t.Errorf("-c: %+v, and the process id is %d", r, b.Pid)
	}
}

// TestCleanLeave shuts a broker down under load: the others hear of it, and hardly notice.
func TestCleanLeave(t *testing.T) {
	short(t)
	// A busy machine takes its time; a leave that went wrong costs the token timeout, of 3 s.
	const most = 1500 * time.Millisecond
	c := harness.Start(t, 3)
	s := load.NewStage(t, c)
	s.Ledger.Handovers = true
	s.RunOnce(s.Consuming, 0, s.Consume100("holder", true))
	s.Run(s.Publishing, 1, s.Publish091("old"))
	s.Run(s.Publishing, 2, s.Publish100("new"))
	s.Run(s.Publishing, 0, s.Publish091("moves"))
	s.Await(t, "load", 1000, 0, 50)
	s.RunOnce(s.Consuming, 1, s.Consume091("taker", false))
	s.Await(t, "load", 0, 500, 0)
	s.Ledger.Watch()
	c.Stop(0)
	s.Await(t, "load without broker 0", 1500, 1500, 0)
	gaps := s.Ledger.Gaps()
	t.Logf("longest time without a confirm: %v", gaps)
	if gaps["old"] > most || gaps["new"] > most {
		t.Errorf("publishers on the others had to wait %v", gaps)
	}
	for i := 1; i < 3; i++ {
		c.AwaitLog(i, 1, "clean=true")
		if strings.Contains(c.LogText(i), "clean=false") {
			t.Errorf("broker %d saw somebody leave who did not say so", i)
		}
	}
	s.Settle(t)
	c.Stop(1) // and then there is one: who left cleanly is not expected to come back
	if err := (clients.GoAMQP{}).Declare(t.Context(), c.Brokers[2].Port, "alone"); err != nil {
		t.Error(err)
	}
}

// TestStandAlone has a broker without a cluster's name.
func TestStandAlone(t *testing.T) {
	short(t)
	c := harness.Start(t, 1, "--cluster-name=")
	s := load.NewStage(t, c)
	s.Run(s.Publishing, 0, s.Publish091("old"))
	s.Run(s.Publishing, 0, s.Publish100("new"))
	s.Await(t, "messages are queued", 1000, 0, 0)
	s.RunOnce(s.Consuming, 0, s.Consume091("consumer", false))
	s.RunOnce(s.Consuming, 0, s.Consume100("receiver", false))
	s.Settle(t)
	r := (&harness.Command{Program: "qpid-cluster", Arguments: []string{c.Brokers[0].Address()}}).Run(t)
	if r.Status == 0 || !strings.Contains(r.Stderr, "is in no cluster") {
		t.Errorf("qpid-cluster: %+v", r)
	}
	c.Stop(0)
}

// TestWait starts a daemon that cannot become a member: the command gives up when it was told
// to, and leaves no process behind.
func TestWait(t *testing.T) {
	short(t)
	c := harness.Start(t, 0)
	port := harness.FreePort(t)
	started := time.Now()
	r := c.Command(nil, fmt.Sprintf("-p%d", port), "--cluster-name="+c.Name, "--cluster-size=3", "--log-output=log", "-d", "--wait=1", "--no-data-dir", "--auth=no").Run(t)
	if r.Status == 0 || len(r.Lines()) != 1 || !strings.Contains(r.Stderr, "--wait") || time.Since(started) > 10*time.Second {
		t.Errorf("after %v: %+v", time.Since(started), r)
	}
	harness.Eventually(t, load.Patience, "nobody listens", func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return nil
		}
		return errors.Join(errors.New("somebody does"), conn.Close())
	})
}
