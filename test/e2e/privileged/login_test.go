package privileged

import (
	"testing"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/clients"
	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// TestEveryClientLogsIn has each client connect with a right and a wrong password.
func TestEveryClientLogsIn(t *testing.T) {
	harness.Privileged(t)
	u, c := clients.NewUsers(t)
	u.Must("secret\n", "add", "alice")
	for _, client := range clients.Available(t) {
		t.Run(client.Name(), func(t *testing.T) {
			clients.Accepted(t, c, client.As(clients.Login{User: "alice", Password: "secret"}))
			clients.Refused(t, c, client.As(clients.Login{User: "alice", Password: "Secret"}))
			clients.Refused(t, c, client.As(clients.Login{User: "bob", Password: "secret"}))
		})
	}
}
