package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"syscall"

	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// keyFile is corosync's default for the key of a ring that is encrypted.
const keyFile = "/etc/corosync/authkey"

// inspect says what is wrong with whom the broker runs as, and with whom its files belong to. Nothing
// of it keeps the broker from starting: that others can change its configuration is for people to
// know and to mend.
func (b *Broker) inspect(log *slog.Logger) {
	if text := unconfined(); text != "" {
		log.Warn(text)
	}
	if text := lacking(b.opts); text != "" {
		log.Warn(text)
	}
	files := append([]string{b.opts.ConfigFile}, config.RingFiles...)
	if b.opts.RingConfig != "" {
		files = append(files, b.opts.RingConfig)
	}
	for _, name := range files {
		if text := changeable(name); text != "" {
			log.Warn(text)
		}
	}
	if !b.opts.NoDataDir {
		if text := changeable(b.opts.DataDir); text != "" {
			log.Warn(text)
		}
	}
	if i, err := os.Stat(keyFile); err == nil && i.Mode().Perm()&0o007 != 0 {
		log.Warn(fmt.Sprintf("%s has mode %04o: whoever reads the key can take part in the ring; chmod o-rwx %[1]s, and give it to group qpidd", keyFile, i.Mode().Perm()))
	}
}

// changeable says that others than root and the broker's user can change a file, or what is in a
// directory.
func changeable(name string) string {
	i, err := os.Stat(name)
	if err != nil || i.Mode()&os.ModeDevice != 0 {
		return "" // it is not there, or is /dev/null
	}
	if i.Mode().Perm()&0o002 != 0 && i.Mode()&os.ModeSticky == 0 {
		return fmt.Sprintf("%s has mode %04o: anybody can change what the broker does; chmod o-w %[1]s", name, i.Mode().Perm())
	}
	if s, ok := i.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Sprintf("%s belongs to user id %d, who can change what the broker does; chown root %[1]s, or start the broker as that user", name, s.Uid)
	}
	return ""
}

// Explain says of an error where its cause may be found that it does not know: in SELinux's policy, which
// denies as a file's mode does.
func Explain(err error) error {
	if errors.Is(err, fs.ErrPermission) && host.Enforcing() {
		return fmt.Errorf("%w; SELinux is enforcing, and shows what it denies by: ausearch -m avc -ts recent -c qpidd, or dmesg", err)
	}
	return err
}

// selinuxDomain is the broker's, by the policy module of the packages.
const selinuxDomain = "qpidd_t"

// unconfined says what is wrong with a broker that SELinux does not know for one: it may be kept
// from what it needs by rules for whoever started it, or from nothing.
func unconfined() string {
	if domain := host.Domain(); host.Enforcing() && domain != "" && domain != selinuxDomain {
		return fmt.Sprintf("SELinux is enforcing, and this broker runs in domain %s, not in %s: start it with systemctl start qpidd, with the package qpidd-cluster-selinux installed", domain, selinuxDomain)
	}
	return ""
}
