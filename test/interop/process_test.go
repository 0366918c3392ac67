package interop

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// process is a member of the group: a ringnode or a cpgnode.
type process struct {
	host  int
	name  string
	t     testing.TB
	cmd   *exec.Cmd
	input io.WriteCloser
	ended chan struct{}

	mu    sync.Mutex
	lines []string
	seen  int // lines that were awaited and what came before them
}

// start runs a program whose output is read line by line. It is killed with the test.
func start(t testing.TB, host int, name string, line ...string) *process {
	t.Helper()
	p := &process{host: host, name: name, t: t, cmd: exec.Command(line[0], line[1:]...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.input, p.cmd.Stderr = input, p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(output)
	t.Cleanup(p.kill)
	return p
}

func (p *process) read(output io.Reader) {
	begin := time.Now()
	lines := bufio.NewScanner(output)
	said := func(line string) {
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
		if testing.Verbose() {
			fmt.Printf("%6.3f %s: %s\n", time.Since(begin).Seconds(), p.name, line)
		}
	}
	for lines.Scan() {
		said(lines.Text())
	}
	_ = p.cmd.Wait() // most are killed
	said("ended: " + p.cmd.ProcessState.String())
	close(p.ended)
}

// text is all that it said, and since what it said from a line on.
func (p *process) text() string { return p.since(0) }

func (p *process) since(line int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[line:], "\n")
}

// said is how many lines it has said.
func (p *process) said() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// last is the last line that begins with words.
func (p *process) last(words string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range slices.Backward(p.lines) {
		if strings.HasPrefix(line, words) {
			return line
		}
	}
	return ""
}

// say sends a command.
func (p *process) say(format string, arguments ...any) {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.input, format+"\n", arguments...); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// await waits for a line that begins with words, after those awaited before.
func (p *process) await(limit time.Duration, words string) string {
	p.t.Helper()
	return p.awaitLine(limit, words, func(line string) bool {
		return line == words || strings.HasPrefix(line, words+" ")
	})
}

// awaitView waits until the group has just these members.
func (p *process) awaitView(limit time.Duration, nodes ...int) {
	p.t.Helper()
	want := []string{"view"}
	for _, n := range nodes {
		want = append(want, fmt.Sprint(n))
	}
	slices.Sort(want)
	p.awaitLine(limit, fmt.Sprintf("view of %v", nodes), func(line string) bool {
		got := strings.Fields(line)
		slices.Sort(got)
		return slices.Equal(got, want)
	})
}

func (p *process) awaitLine(limit time.Duration, what string, is func(string) bool) (found string) {
	p.t.Helper()
	harness.Eventually(p.t, limit, p.name+": "+what, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := slices.IndexFunc(p.lines[p.seen:], is); i >= 0 {
			found = p.lines[p.seen+i]
			p.seen += i + 1
			return nil
		}
		return fmt.Errorf("it said, from the line awaited last: %q", p.lines[max(0, p.seen-1):])
	})
	return found
}

// exchange has senders multicast bursts at once, and compares what all of them were
// delivered. Others may multicast too.
func exchange(t testing.TB, limit time.Duration, count int, senders ...*process) {
	t.Helper()
	senders[0].say("start %d", len(senders))
	for _, p := range senders {
		p.await(startLimit, "started")
	}
	burst(t, limit, count, senders...)
}

func burst(t testing.TB, limit time.Duration, count int, senders ...*process) {
	t.Helper()
	for _, p := range senders {
		p.say("burst %d %d", count, time.Now().UnixNano())
	}
	report := senders[0].await(limit, "report")
	if !strings.HasSuffix(report, " own") {
		t.Errorf("%s did not get its own messages as it sent them: %s", senders[0].name, report)
	}
	for _, p := range senders[1:] {
		if other := p.await(limit, "report"); other != report {
			t.Errorf("deliveries differ:\n%s: %s\n%s: %s", senders[0].name, report, p.name, other)
		}
	}
	var delivered int
	if _, _ = fmt.Sscanf(report, "report %d", &delivered); delivered < len(senders)*(count+1) {
		t.Errorf("%d messages delivered, at least %d were sent", delivered, len(senders)*(count+1))
	}
}

// drain ends what processes multicast without an end, and waits until all of it is delivered: behind
// it comes the end of a burst.
func drain(limit time.Duration, senders ...*process) {
	senders[0].t.Helper()
	senders[0].say("start %d", len(senders))
	for _, p := range senders {
		p.await(startLimit, "started")
	}
	for _, p := range senders {
		p.say("burst 1 1")
	}
	for _, p := range senders {
		p.await(limit, "report")
	}
}
