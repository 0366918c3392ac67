package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/users"
)

// SystemUsersFile holds the users of a broker without a data directory.
const SystemUsersFile = "/etc/qpid/qpidd.users"

// UsersPath is the file with the users of a broker with these options.
func UsersPath(o *config.Options) string {
	switch {
	case o.UsersFile != "":
		return o.UsersFile
	case o.DataDir != "":
		return filepath.Join(o.DataDir, "users")
	}
	return SystemUsersFile
}

// openUsers reads the users file. A broker without users starts all the same: it says which
// command adds the first one, and reads the file again when that has happened.
func (b *Broker) openUsers(log *slog.Logger) (*users.File, error) {
	path := UsersPath(b.opts)
	f, err := users.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = users.Create(path); err == nil {
			f, err = users.Open(path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the users: %w", err)
	}
	f.Unreadable = func(err error) {
		log.Warn("the users have changed and cannot be read, so those from before stay in force: " + err.Error())
	}
	if f.Len() == 0 {
		log.Warn(fmt.Sprintf("%s --users-file %s, or start with --auth=no", noUsers, path))
	}
	return f, nil
}

const noUsers = "there are no users, so no client can connect: add one with qpid-cluster user add NAME"

// wantsUsers says, as the end of a status, that somebody is to add one; else it is empty.
func (b *Broker) wantsUsers() string {
	f, ok := b.session.Users.(*users.File)
	if !ok || f.Len() > 0 {
		return ""
	}
	_ = f.Reload() // who connects is told what is wrong with the file, and so is the log
	if f.Len() > 0 {
		return ""
	}
	return "; " + noUsers
}
