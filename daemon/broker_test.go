package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startBroker(t *testing.T, args ...string) *Broker {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	o, err := config.Load(append([]string{"--config=/dev/null", "--ring-config=", "-p0", "--interface=127.0.0.1", "--log-output=" + log}, args...), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := logging.Open(o.Log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	b, err := Start(o, l)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Member():
	case <-time.After(20 * time.Second):
		t.Fatal("not a member")
	}
	return b
}

func dial(t *testing.T, b *Broker) *amqp091.Channel {
	t.Helper()
	c, err := amqp091.Dial(fmt.Sprintf("amqp://127.0.0.1:%d/", b.Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestAloneAndInACluster does the same job with a broker that is alone and with one that is
// the first of a cluster: it is the same code, and nothing is left when it has stopped.
func TestAloneAndInACluster(t *testing.T) {
	for name, args := range map[string][]string{
		"alone":   {"--no-data-dir", "--auth=no"},
		"cluster": {"--no-data-dir", "--auth=no", "--cluster-name=" + t.Name(), "--bindnetaddr=127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			b := startBroker(t, args...)
			work(t, dial(t, b))
			b.Stop()
			// The client's own connection and the log file close with the test.
			if after := descriptors(t); after > before+4 {
				t.Errorf("%d descriptors before, %d after", before, after)
			}
		})
	}
}

func work(t *testing.T, ch *amqp091.Channel) {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	in, err := ch.Consume("q", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		c, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Body: []byte(fmt.Sprint(i))})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := c.WaitContext(t.Context()); !ok || err != nil {
			t.Fatalf("message %d: %v, %v", i, ok, err)
		}
		m := <-in
		if string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
		if err := m.Ack(false); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMemoryLimitRefusesPublishers(t *testing.T) {
	b := startBroker(t, "--no-data-dir", "--auth=no", "--memory-limit=8M")
	defer b.Stop()
	ch := dial(t, b)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	publish := func() bool {
		c, err := ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{Body: make([]byte, 100000)})
		if err != nil {
			t.Fatal(err)
		}
		ok, err := c.WaitContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	taken := 0
	for publish() {
		if taken++; taken > 200 {
			t.Fatal("20 MB were taken where 8 may be")
		}
	}
	// Who does not wait for confirms is told too.
	careless := dial(t, b)
	closed := careless.NotifyClose(make(chan *amqp091.Error, 1))
	if err := careless.Publish("", "q", false, false, amqp091.Publishing{Body: make([]byte, 100000)}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-closed:
		if err == nil || err.Code != amqp091.ResourceError || !strings.Contains(err.Reason, "--memory-limit") {
			t.Errorf("closed with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a message was dropped and nobody told")
	}
	if _, err := ch.QueuePurge("q", false); err != nil {
		t.Fatal(err)
	}
	if !publish() {
		t.Error("still refused after the queue was emptied")
	}
}

func TestTooManyConnections(t *testing.T) {
	b := startBroker(t, "--no-data-dir", "--auth=no", "--max-connections=1")
	defer b.Stop()
	dial(t, b)
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("one too many: %v, want it closed", err)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	held, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	port := fmt.Sprint(busy.Addr().(*net.TCPAddr).Port)
	damaged := t.TempDir()
	startBroker(t, "--data-dir", damaged, "--auth=no").Stop()
	if err := os.WriteFile(filepath.Join(damaged, "journal", "newest"), []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-p", port, "--no-data-dir", "--auth=no"}, "--port"},
		{[]string{"--data-dir", dir, "--auth=no"}, "--data-dir"},
		{[]string{"--no-data-dir", "--auth=no", "--cluster-name=x", "--bindnetaddr=203.0.113.9"}, "use one of: lo"},
		{[]string{"--no-data-dir", "--auth=no", "--cluster-name=x", "--bindnetaddr=127.0.0.1", "--mcastaddr=ff15::1"}, "of different families"},
		{[]string{"--no-data-dir", "--auth=no", "--cluster-name=x", "--bindnetaddr=127.0.0.1", "--token=1ms"}, "token"},
		{[]string{"--data-dir", damaged, "--auth=no"}, "qpid-cluster journal repair " + damaged},
		{[]string{"--data-dir", damaged, "--auth=no", "--cluster-name=x", "--bindnetaddr=127.0.0.1"}, "qpid-cluster store " + damaged + " --clear"},
	} {
		o, err := config.Load(append([]string{"--config=/dev/null", "--ring-config=", "-p0", "--interface=127.0.0.1"}, c.args...), nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := logging.Open(config.Log{Enable: []string{"critical"}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := Start(o, l)
		if err == nil {
			b.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: %v, want one line with %q", c.args, err, c.want)
		}
	}
}

// TestStopTellsClients sees that clients hear why they are disconnected.
func TestStopTellsClients(t *testing.T) {
	b := startBroker(t, "--no-data-dir", "--auth=no")
	ch := dial(t, b)
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	b.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case err := <-closed:
		if err == nil || err.Code != amqp091.ConnectionForced || !strings.Contains(err.Reason, "shutting down") {
			t.Errorf("%v", err)
		}
	case <-ctx.Done():
		t.Error("the client was not told")
	}
}

// TestStopWaitsForNobody sees that a client of which the engine hears only when the others have been
// disconnected does not keep the broker from ending.
func TestStopWaitsForNobody(t *testing.T) {
	b := startBroker(t, "--no-data-dir", "--auth=no")
	b.engine.call(func(time.Duration) { b.engine.part() })
	sock, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	if err := sock.SetReadDeadline(time.Now().Add(2 * lingerTime)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(sock); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the client was not disconnected")
	}
	b.Stop()
}
