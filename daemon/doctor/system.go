package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/daemon"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/users"
)

const serviceUser = "qpidd"

// Installed tells whether the service is on this host: its broker reads /etc/qpid/qpidd.conf in any case,
// and runs as a user of its own.
func Installed() bool {
	for _, dir := range []string{"/usr/lib", "/lib", "/etc"} {
		if _, err := os.Stat(filepath.Join(dir, "systemd/system/qpidd.service")); err == nil {
			return true
		}
	}
	return false
}

// account is whom the broker runs as: the service's user, or, if it examines itself, its own.
func (h *host) account() (*user.User, error) {
	if h.Inside {
		return &user.User{Uid: strconv.Itoa(os.Geteuid()), Gid: strconv.Itoa(os.Getegid())}, nil
	}
	return user.Lookup(serviceUser)
}

// identity: the user that the service runs as, and what it has to read.
func (h *host) identity() (list []Finding) {
	u, err := h.account()
	if err != nil && h.Config == "" {
		return fine("no service is installed: a broker that is started by hand is of who starts it")
	}
	if err != nil {
		return safely(Error, "there is no user qpidd, which the service runs as", "systemd-sysusers")
	}
	files := []string{h.Config}
	if h.Config == "" {
		files[0] = config.DefaultFile
	}
	if h.ring != nil {
		files = append(files, config.RingFiles...)
	}
	for _, name := range files {
		i, err := os.Stat(name)
		if err != nil {
			continue
		}
		if !readable(i, u) {
			list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("%s (%s) cannot be read by user qpidd", name, owner(i)),
				Fix: fmt.Sprintf("chgrp qpidd %s && chmod g+r %[1]s", name), Safe: true})
		}
		if i.Mode().Perm()&0o002 != 0 {
			list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("%s (%s) can be changed by anybody", name, owner(i)),
				Fix: "chmod o-w " + name, Safe: true})
		}
	}
	if len(list) == 0 {
		return fine("user %s is there, and can read what it has to", name(uid(u)))
	}
	return list
}

// owner shows whose a file is, and what may be done with it.
func owner(i os.FileInfo) string {
	who := "?"
	if s, ok := i.Sys().(*syscall.Stat_t); ok {
		who = name(s.Uid)
	}
	return fmt.Sprintf("%s, %04o", who, i.Mode().Perm())
}

func name(uid uint32) string {
	id := strconv.Itoa(int(uid))
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func uid(u *user.User) uint32 {
	n, _ := strconv.ParseUint(u.Uid, 10, 32) // Linux has no others
	return uint32(n)
}

// readable goes by owner, group and others, as the kernel does.
func readable(i os.FileInfo, u *user.User) bool {
	s, ok := i.Sys().(*syscall.Stat_t)
	mode := i.Mode().Perm()
	switch {
	case !ok:
		return true
	case strconv.Itoa(int(s.Uid)) == u.Uid:
		return mode&0o400 != 0
	case strconv.Itoa(int(s.Gid)) == u.Gid:
		return mode&0o040 != 0
	}
	return mode&0o004 != 0
}

// systemDataDir is where the service keeps its data.
const systemDataDir = "/var/lib/qpidd"

// dataDir is the service's, or, of a broker that is configured otherwise, that.
func (h *host) dataDir() string {
	if h.options != nil && (h.Inside || h.options.Given("data-dir")) {
		return h.options.DataDir
	}
	return systemDataDir
}

// dataDirectory: it belongs to the service.
func (h *host) dataDirectory() []Finding {
	if h.options != nil && h.options.NoDataDir {
		return fine("there is none")
	}
	dir := h.dataDir()
	i, err := os.Stat(dir)
	if os.IsNotExist(err) {
		return fine("%s is not there yet: the service makes it", dir)
	}
	if err != nil {
		return one(Error, err.Error(), "")
	}
	u, err := h.account()
	if err != nil {
		return one(Unknown, "there is no user qpidd", "")
	}
	if s, ok := i.Sys().(*syscall.Stat_t); ok && strconv.Itoa(int(s.Uid)) != u.Uid {
		return safely(Error, fmt.Sprintf("%s is not qpidd's (%s)", dir, owner(i)), fmt.Sprintf("chown -R qpidd:qpidd %s", dir))
	}
	if i.Mode().Perm()&0o007 != 0 {
		return safely(Warning, fmt.Sprintf("%s can be looked into by anybody (%s)", dir, owner(i)), "chmod o-rwx "+dir)
	}
	if unix.Access(dir, unix.W_OK) == unix.EROFS {
		return one(Error, dir+" is on a file system that is read-only", "remount it, or give another data-dir")
	}
	return fine("%s (%s)", dir, owner(i))
}

// Space that is too little to start with, and so little that it will not last.
const (
	leastSpace = 64 << 20
	goodSpace  = 1 << 30
)

// diskSpace: room for what is kept.
func (h *host) diskSpace() (list []Finding) {
	dirs := []string{h.dataDir(), "/var/log"}
	if dir := h.storeDir(); dir != "" && dir != dirs[0] {
		dirs = append(dirs, dir)
	}
	var texts []string
	for _, dir := range dirs {
		for dir != "/" { // of what is not there yet the nearest that is
			if _, err := os.Stat(dir); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			list = append(list, Finding{Verdict: Unknown, Evidence: dir + ": " + err.Error()})
			continue
		}
		free := uint64(s.Bsize) * s.Bavail
		text := fmt.Sprintf("%s has %d MiB left", dir, free>>20)
		switch {
		case free < leastSpace:
			list = append(list, Finding{Verdict: Error, Evidence: text, Fix: "make room there, or give another directory in qpidd.conf"})
		case free < goodSpace:
			list = append(list, Finding{Verdict: Warning, Evidence: text, Fix: "make room there, or give another directory in qpidd.conf"})
		}
		texts = append(texts, text)
	}
	if len(list) == 0 {
		return fine("%s", strings.Join(texts, ", "))
	}
	return list
}

// users: somebody who may connect.
func (h *host) users() []Finding {
	if h.options == nil {
		return one(Unknown, "the configuration has a mistake", "")
	}
	if !bool(h.options.Auth) {
		return one(Warning, "auth=no: anybody who reaches the port can do everything", "take auth=no out of qpidd.conf, and qpid-cluster user add NAME")
	}
	path := h.options.UsersFile
	if path == "" {
		path = daemon.UsersPath(&config.Options{DataDir: h.dataDir()})
	}
	f, err := users.Open(path)
	switch {
	case os.IsPermission(err):
		return one(Unknown, err.Error(), "run it as root")
	case err != nil && !os.IsNotExist(err) && !strings.Contains(err.Error(), "no such file"):
		return one(Error, err.Error(), "correct it, or move it away and add users anew")
	case err != nil || f.Len() == 0:
		return one(Warning, "there are no users, so no client can connect", "qpid-cluster user add NAME --users-file "+path)
	}
	if u, err := h.account(); err == nil {
		if i, err := os.Stat(path); err == nil && !readable(i, u) {
			return safely(Error, fmt.Sprintf("%s (%s) cannot be read by user qpidd", path, owner(i)), "chown qpidd:qpidd "+path)
		}
	}
	return fine("%d in %s", f.Len(), path)
}

// service: that systemd runs it, and will again after a restart of the host.
func (h *host) service() (list []Finding) {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return fine("systemd does not run here")
	}
	say := func(arguments ...string) string {
		out, _ := exec.Command("systemctl", arguments...).Output() // its status is no more than the word
		return strings.TrimSpace(string(out))
	}
	enabled := say("is-enabled", "qpidd.service")
	switch state := say("is-active", "qpidd.service"); {
	case enabled == "" || enabled == "not-found":
		return one(Error, "there is no qpidd.service", "install the package qpidd-cluster")
	case state == "failed":
		list = append(list, Finding{Verdict: Error, Evidence: "qpidd.service has failed: " + say("show", "--value", "-p", "Result", "qpidd.service"),
			Fix: "journalctl -u qpidd -n 20 says why"})
	case state != "active":
		list = append(list, Finding{Verdict: Warning, Evidence: "qpidd.service is " + state, Fix: "systemctl start qpidd", Safe: true})
	}
	if enabled != "enabled" && !strings.HasPrefix(enabled, "enabled-") {
		list = append(list, Finding{Verdict: Warning, Evidence: "qpidd.service does not start with the host (" + enabled + ")", Fix: "systemctl enable qpidd", Safe: true})
	}
	if len(list) == 0 {
		return fine("it runs: %s", say("show", "--value", "-p", "StatusText", "qpidd.service"))
	}
	return list
}

// timeError is TIME_ERROR of adjtimex(2).
const timeError = 5

// clock: one that somebody sets. Members do not compare clocks, but people compare their logs.
func (h *host) clock() []Finding {
	var t unix.Timex
	state, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &t)
	if err != nil {
		return one(Unknown, "adjtimex: "+err.Error(), "")
	}
	if state == timeError || t.Status&unix.STA_UNSYNC != 0 {
		return one(Warning, "nobody sets this host's clock, so its logs cannot be compared with those of others, and expiry of messages differs",
			"timedatectl set-ntp true, with systemd-timesyncd or chrony installed")
	}
	return fine("it is set, to %d µs", t.Maxerror)
}

// Enough for the clients that are allowed by default, and for the ring's packets of a rotation.
const (
	filesBeside = 128
	enoughRmem  = 4 << 20
)

// limits: of the kernel.
func (h *host) limits() (list []Finding) {
	if n := number("/proc/sys/net/core/rmem_max"); n >= 0 && n < enoughRmem {
		list = append(list, Finding{Verdict: Warning, Safe: true,
			Evidence: fmt.Sprintf("net.core.rmem_max is %d: a broker without CAP_NET_ADMIN gets no larger receive buffer, and loses packets under load", n),
			Fix:      fmt.Sprintf("sysctl -w net.core.rmem_max=%d && echo net.core.rmem_max=%[1]d >/etc/sysctl.d/60-qpidd.conf", enoughRmem)})
	}
	if h.options != nil {
		want := h.options.MaxConnections + filesBeside
		if n := number("/proc/sys/fs/nr_open"); n > 0 && n < want {
			list = append(list, Finding{Verdict: Error, Evidence: fmt.Sprintf("fs.nr_open is %d, and --max-connections %d takes %d files", n, h.options.MaxConnections, want),
				Fix: fmt.Sprintf("sysctl -w fs.nr_open=%d, or a lower max-connections", want)})
		}
	}
	if len(list) == 0 {
		return fine("receive buffers and files are enough")
	}
	return list
}

// clusterSize: two members without a size cannot tell a death from a cut.
func (h *host) clusterSize() []Finding {
	if h.ring == nil {
		return h.noRing()
	}
	if h.ring.Quorum.Expected == 0 {
		return one(Warning, "neither cluster-size nor quorum says how many members there are: of two, the one with the higher node id stops when the other's host dies, and a network that parts while members start makes two clusters",
			"cluster-size=N in qpidd.conf, the same on every host; three members or more")
	}
	return fine("%d votes are expected", h.ring.Quorum.Expected)
}

// kernel: what it offers.
func (h *host) kernel() []Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return one(Unknown, "uname: "+err.Error(), "")
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return one(Unknown, "kernel "+release, "")
	}
	const gsoMajor, groMajor = 4<<8 | 18, 5 << 8
	text := "kernel " + release
	switch v := major<<8 | minor; {
	case v < gsoMajor:
		return one(Warning, text+" has neither UDP_SEGMENT (4.18) nor UDP_GRO (5.0): the ring takes a system call for each packet", "a newer kernel")
	case v < groMajor:
		return one(Warning, text+" has no UDP_GRO (5.0): the ring takes more CPU", "a newer kernel")
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err == nil {
		text += ", with BTF for the kernel assist"
	}
	return fine("%s", text)
}
