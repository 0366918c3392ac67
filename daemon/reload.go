package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/logging"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/users"
)

// Reload has a running broker follow what load reads anew, as far as that can be: the log's
// options, with its files opened again, and the users. What else has changed is named in the log,
// and so is what is wrong; then all stays as it was.
func (b *Broker) Reload(load func() (*config.Options, error), l *logging.Log) {
	o, err := load()
	if err == nil {
		err = l.Reopen(o.Log)
	}
	if err != nil {
		b.log.Error("the configuration is not reloaded, that from before stays in force: " + err.Error())
		return
	}
	if f, ok := b.session.Users.(*users.File); ok {
		if err := f.Reload(); err != nil {
			f.Unreadable(err)
		}
	}
	// Both are compared as they were read: what Start has filled in since is not there.
	rest := slices.DeleteFunc(b.opts.Differing(o), func(name string) bool { return strings.HasPrefix(name, "log-") || name == "trace" })
	text := "configuration reloaded"
	if len(rest) > 0 {
		text = fmt.Sprintf("%s; a restart is needed for what has changed of: %s", text, strings.Join(rest, ", "))
	}
	b.log.Log(context.Background(), logging.Notice, text)
}
