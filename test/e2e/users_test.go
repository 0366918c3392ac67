package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestUsers adds, changes and deletes a user of running brokers, and tries each time who may
// connect.
func TestUsers(t *testing.T) {
	short(t)
	u, c := clients.NewUsers(t)
	alice, wrong, again := clients.Login{User: "alice", Password: "one"}, clients.Login{User: "alice", Password: "won"}, clients.Login{User: "alice", Password: "two"}
	for _, client := range clients.Go() {
		clients.Refused(t, c, client.As(alice))
	}
	u.Must("one\n", "add", "alice")
	for _, client := range clients.Go() {
		clients.Accepted(t, c, client.As(alice))
		clients.Refused(t, c, client.As(wrong))
		clients.Refused(t, c, client.As(clients.Login{User: "bob", Password: "one"}))
		clients.Refused(t, c, client) // guest, or anonymous
	}
	show := func(who string) *harness.Result {
		command := harness.Command{Program: "qpid-cluster", Arguments: []string{fmt.Sprintf("%slocalhost:%d", who, c.Brokers[0].Port)}}
		return command.Run(t)
	}
	if r := show("alice:one@"); r.Status != 0 || !strings.Contains(r.Stdout, "Cluster Size: 2") {
		t.Errorf("qpid-cluster as alice: %+v", r)
	}
	for _, who := range []string{"", "alice:won@"} {
		if r := show(who); r.Status == 0 || len(r.Lines()) != 1 || !strings.Contains(r.Stderr, "user:password@") {
			t.Errorf("qpid-cluster as %q: %+v", who, r)
		}
	}
	for _, who := range []string{"alice", "bob"} {
		c.AwaitLog(0, 1, fmt.Sprintf("[Security] warning user %q: authentication failed: unknown user or wrong password client=", who))
	}
	if r := u.Run("one\n", "add", "alice"); r.Status == 0 || len(r.Lines()) != 1 {
		t.Errorf("alice was added twice: %+v", r)
	}
	u.Must("two\n", "passwd", "alice")
	for _, client := range clients.Go() {
		clients.Accepted(t, c, client.As(again))
		clients.Refused(t, c, client.As(alice))
	}
	if list := u.Must("", "list"); list != "alice\n" {
		t.Errorf("the list is %q", list)
	}
	u.Must("", "delete", "alice")
	for _, client := range clients.Go() {
		clients.Refused(t, c, client.As(again))
	}
	if list := u.Must("", "list"); list != "" {
		t.Errorf("the list is %q", list)
	}
}

// TestScram authenticates with SCRAM-SHA-256. None of the clients at hand knows it with AMQP
// (Debian's Proton is built without Cyrus SASL), so this is a client's handshake by hand, with
// somebody else's SCRAM.
func TestScram(t *testing.T) {
	short(t)
	u, c := clients.NewUsers(t)
	u.Must("secret\n", "add", "alice")
	clients.Accepted(t, c, (clients.GoAMQP{}).As(clients.Login{User: "alice", Password: "secret"}))
	// A client that has not said that it knows better is refused by closing the socket.
	const tune, closed = 30, 0
	for password, want := range map[string]uint16{"secret": tune, "Secret": closed} {
		if got := scramLogin(t, c.Brokers[1], "alice", password); got != want {
			t.Errorf("with the password %s the broker answers with connection method %d, not %d", password, got, want)
		}
	}
	if got := scramLogin(t, c.Brokers[0], "bob", "secret"); got != closed {
		t.Errorf("somebody unknown gets connection method %d", got)
	}
}

// scramLogin opens an AMQP 0-9-1 connection as far as the first method after authentication.
func scramLogin(t *testing.T, b *harness.Broker, user, password string) (method uint16) {
	t.Helper()
	client, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	talk := client.NewConversation()
	conn, err := b.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	say := func(b []byte) {
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	long := func(s string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
	}
	say([]byte("AMQP\x00\x00\x09\x01"))
	if start := method091(t, conn); !strings.Contains(string(start), "SCRAM-SHA-256") {
		t.Fatalf("SCRAM-SHA-256 is not offered: %q", start)
	}
	first, err := talk.Step("")
	if err != nil {
		t.Fatal(err)
	}
	say(frame091(1, 0, []byte("\x00\x0a\x00\x0b\x00\x00\x00\x00\x0dSCRAM-SHA-256"+long(first)+"\x05en_US")))
	for {
		m := method091(t, conn)
		if m == nil {
			return 0
		}
		const secure = 20
		if method = binary.BigEndian.Uint16(m[2:]); method != secure {
			return method
		}
		answer, err := talk.Step(string(m[8:]))
		if err != nil {
			t.Fatalf("%v: the broker said %q", err, m[8:])
		}
		say(frame091(1, 0, []byte("\x00\x0a\x00\x15"+long(answer))))
	}
}

// method091 reads a method of channel 0, nil if there is none.
func method091(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	var head [7]byte
	if _, err := io.ReadFull(conn, head[:]); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
	if _, err := io.ReadFull(conn, payload); err != nil {
		t.Fatal(err)
	}
	return payload[:len(payload)-1]
}
