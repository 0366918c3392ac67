package corosync

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// What goes wrong with corosync, in the words under which people look for it: those of the
// clustered qpidd, and then what to do.

// ErrGone says that corosync ended the connection: it died, was stopped or threw us out.
var ErrGone = errors.New("Disconnected from cluster: corosync has gone away; start it again (systemctl start corosync), its log tells why it went")

var (
	errBusy      = errors.New("corosync takes no messages now")
	errNotShared = errors.New("Failed to initialize CPG: not supported (19): corosync.conf has system { qb_ipc_type: socket }; remove it or set it to shm")
)

// AbsentError says that no corosync answers on this host.
type AbsentError struct{ cause error }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("Failed to initialize CPG: cannot connect to corosync: %v; is corosync running? "+
		"systemctl start corosync, or choose --ring-provider=totem, which needs none", e.cause)
}

func (e *AbsentError) Unwrap() error { return e.cause }

// DeniedError says that corosync does not admit the user and group we run as.
type DeniedError struct{}

// Error says the rule to add.
func (*DeniedError) Error() string {
	uid, gid := os.Geteuid(), os.Getegid()
	return fmt.Sprintf("Failed to initialize CPG: access denied (11): corosync does not admit user %s, group %s; "+
		"make /etc/corosync/uidgid.d/qpidd with \"uidgid { uid: %s gid: %s }\", each brace and setting on a line of its own, "+
		"then corosync-cfgtool -R, or restart corosync", userName(uid), groupName(gid), userName(uid), groupName(gid))
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(uid)
}

func groupName(gid int) string {
	if g, err := user.LookupGroupId(strconv.Itoa(gid)); err == nil {
		return g.Name
	}
	return strconv.Itoa(gid)
}

// refusal is what corosync means by the error with which it ends a handshake.
func refusal(e syscall.Errno) error {
	switch e {
	case syscall.EACCES:
		return &DeniedError{}
	case syscall.EAGAIN:
		return statusTryAgain
	case syscall.EMFILE:
		return errors.New("Failed to initialize CPG: no resources (18): corosync has no file descriptors left; raise LimitNOFILE of its service")
	}
	return fmt.Errorf("Failed to initialize CPG: library (2): corosync refuses the connection: %w; its log tells why", e)
}

// status is how corosync answers a request: cs_error_t.
type status uint32

const (
	statusOK       status = 1
	statusTryAgain status = 6
	statusNotExist status = 12
	statusExist    status = 14
)

var statusNames = map[status]string{
	2: "library", 3: "version", 4: "init", 5: "timeout", 6: "try again", 7: "invalid param", 8: "no memory",
	9: "bad handle", 10: "busy", 11: "access denied", 12: "not exist", 13: "name too long", 14: "exist",
	15: "no space", 16: "interrupted", 17: "name not found", 18: "no resources", 19: "not supported",
	26: "too big", 30: "too many groups", 100: "security",
}

func (s status) Error() string {
	if n := statusNames[s]; n != "" {
		return fmt.Sprintf("%s (%d)", n, uint32(s))
	}
	return fmt.Sprintf("unknown cpg error (%d)", uint32(s))
}
