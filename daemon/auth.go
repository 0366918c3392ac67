package daemon

import (
	"errors"
	"log/slog"

	"github.com/qpidd-cluster/qpidd-cluster/broker/session"
)

func (b *Broker) openUsers(log *slog.Logger) (session.Users, error) {
	return nil, errors.New("pending")
}
