package clients

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qpidd-cluster/qpidd-cluster/test/e2e/harness"
)

// loginLimit is how long a broker may take to see that its users file has changed, and more.
const loginLimit = 10 * time.Second

// Users is the users file of a cluster, changed as a person would.
type Users struct {
	File string
	t    testing.TB
}

// NewUsers makes a users file without users, and starts two brokers that authenticate.
func NewUsers(t testing.TB) (*Users, *harness.Cluster) {
	t.Helper()
	u := &Users{t: t, File: filepath.Join(t.TempDir(), "users")}
	return u, harness.Start(t, 2, "--auth=yes", "--users-file="+u.File)
}

// Run runs qpid-cluster user.
func (u *Users) Run(input string, arguments ...string) *harness.Result {
	u.t.Helper()
	c := harness.Command{
		Program: "qpid-cluster", Arguments: append([]string{"user", "--users-file", u.File}, arguments...), Input: input,
	}
	return c.Run(u.t)
}

// Must is Run for what has to succeed.
func (u *Users) Must(input string, arguments ...string) string {
	u.t.Helper()
	r := u.Run(input, arguments...)
	if r.Status != 0 {
		u.t.Fatalf("qpid-cluster user %s: %s", strings.Join(arguments, " "), r.Stderr)
	}
	return r.Stdout
}

// Accepted waits until both brokers accept a client, and Refused until neither does.
func Accepted(t testing.TB, c *harness.Cluster, client Client) {
	t.Helper()
	for _, b := range c.Brokers {
		harness.Eventually(t, loginLimit, client.Name()+" is accepted", func() error {
			return client.Declare(t.Context(), b.Port, "login")
		})
	}
}

// Refused is the opposite of Accepted.
func Refused(t testing.TB, c *harness.Cluster, client Client) {
	t.Helper()
	for _, b := range c.Brokers {
		harness.Eventually(t, loginLimit, client.Name()+" is refused", func() error {
			if err := client.Declare(t.Context(), b.Port, "login"); err == nil {
				return errAccepted
			}
			return nil
		})
	}
}

var errAccepted = errors.New("it is accepted")
