package session

import (
	"crypto/sha256"
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/amqp/amqp091"
	"github.com/xdg-go/scram"
)

// scramUsers knows alice by the keys that SCRAM stores.
type scramUsers struct {
	oneUser
	keys scram.StoredCredentials
}

func (u scramUsers) Scram(user string) (salt, storedKey, serverKey []byte, iterations int, ok bool) {
	return []byte(u.keys.Salt), u.keys.StoredKey, u.keys.ServerKey, u.keys.Iters, user == "alice"
}

// lastMethod is the last method that was written.
func lastMethod(t *testing.T, c *Conn) amqp091.Method {
	t.Helper()
	var m amqp091.Method
	for out := concat(c.Output().Vectors(nil)); len(out) > 0; {
		f, n, _, err := amqp091.ReadFrame(out, 1<<20)
		if n == 0 {
			t.Fatal(err)
		}
		id, arguments, _ := f.Method()
		m = amqp091.NewMethod(id)
		if err := m.Decode(append([]byte(nil), arguments...)); err != nil {
			t.Fatal(err)
		}
		out = out[n:]
	}
	c.Output().Reset()
	return m
}

func TestScram091(t *testing.T) {
	for password, want := range map[string]amqp091.MethodID{
		"secret": amqp091.ConnectionTuneID, "wrong": amqp091.ConnectionCloseID,
	} {
		good, err := scram.HashGeneratorFcn(sha256.New).NewClient("alice", "secret", "")
		must(t, err)
		keys, err := good.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "some salt", Iters: 4096})
		must(t, err)
		cfg := config091()
		cfg.Users = scramUsers{keys: keys}
		c := NewConn(cfg, 7, 0)
		feedAll(t, c, []byte("AMQP\x00\x00\x09\x01"))
		client, err := scram.HashGeneratorFcn(sha256.New).NewClient("alice", password, "")
		must(t, err)
		talk := client.NewConversation()
		first, err := talk.Step("")
		must(t, err)
		caps, at := amqp091.BeginTable(nil, "capabilities")
		caps = amqp091.End(amqp091.AppendBool(caps, "authentication_failure_close", true), at)
		m := &amqp091.ConnectionStartOk{ClientProperties: caps, Mechanism: []byte("SCRAM-SHA-256"), Response: []byte(first)}
		c.Output().Reset()
		feedAll(t, c, m.Append(nil, 0))
		for {
			secure, ok := lastMethod(t, c).(*amqp091.ConnectionSecure)
			if !ok {
				t.Fatalf("%s: no challenge", password)
			}
			response, err := talk.Step(string(secure.Challenge))
			must(t, err)
			feedAll(t, c, (&amqp091.ConnectionSecureOk{Response: []byte(response)}).Append(nil, 0))
			if talk.Done() || password == "wrong" {
				break
			}
		}
		if got := lastMethod(t, c); got.ID() != want {
			t.Errorf("%s: %v, want %v", password, got.ID(), want)
		}
	}
}
