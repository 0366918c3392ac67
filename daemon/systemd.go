package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/qpidd-cluster/qpidd-cluster/cluster"
	"github.com/qpidd-cluster/qpidd-cluster/daemon/config"
	"github.com/qpidd-cluster/qpidd-cluster/host"
)

// Service tells the service manager how the broker is, if one has started this process and
// wants to know: when it is ready, what it does, and, for its watchdog, that the engine turns.
type Service struct {
	broker *Broker
	status atomic.Pointer[string]
	ready  atomic.Bool
	news   chan struct{} // status has changed
	turned chan struct{} // the engine has gone round since it was asked
	said   string        // the status that was told last
	watch  time.Duration // how often the watchdog is fed; 0: there is none
}

// readyPatience is how long the service manager waits for a broker that waits for other members.
// Then it is told that the broker runs, and on what it waits: nothing is wrong with this
// service, and what is ordered behind it must not hang on other hosts.
const readyPatience = 20 * time.Second

// Serve begins to tell the service manager of a broker. The broker is ready with its membership.
func Serve(b *Broker) *Service {
	s := &Service{broker: b, news: make(chan struct{}, 1), turned: make(chan struct{}, 1)}
	if every, err := sd.SdWatchdogEnabled(false); err != nil {
		b.log.Warn("the service manager's watchdog is not fed: " + err.Error())
	} else {
		s.watch = every / 3 // so that one late turn is not the end
	}
	b.service.Store(s)
	go s.run()
	return s
}

// run speaks for as long as the engine runs.
func (s *Service) run() {
	member := s.broker.Member()
	patience := time.NewTimer(readyPatience)
	defer patience.Stop()
	look := time.NewTicker(lookAtUsers)
	defer look.Stop()
	var feed <-chan time.Time
	if s.watch > 0 {
		t := time.NewTicker(s.watch)
		defer t.Stop()
		feed = t.C
	}
	for {
		select {
		case <-member:
			member = nil
			s.begin()
		case <-patience.C:
			s.begin()
		case <-s.news:
			s.tell()
		case <-look.C:
			s.tell()
		case <-feed:
			s.broker.engine.tell(message{kind: msgDo, do: func(time.Duration) { poke(s.turned) }})
		case <-s.turned:
			s.say(sd.SdNotifyWatchdog)
		case <-s.broker.stopped:
			return
		}
	}
}

// begin tells that the broker is ready.
func (s *Service) begin() {
	if !s.ready.Swap(true) {
		s.say(sd.SdNotifyReady)
		s.tell()
	}
}

// poke leaves word in a channel, unless there is some already.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// say sends lines. Without a service manager there is nobody to tell, which is no error; one
// that does not listen cannot be helped.
func (s *Service) say(lines ...string) {
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
	_, _ = sd.SdNotify(false, strings.Join(lines, "\n"))
}

// lookAtUsers is how often the status follows that the first user was added.
const lookAtUsers = 5 * time.Second

// tell says what the broker does, for systemctl status, if that is news.
func (s *Service) tell() {
	t := s.status.Load()
	if t == nil {
		return
	}
	if text := *t + s.broker.wantsUsers(); text != s.said {
		s.said = text
		s.say("STATUS=" + text)
	}
}

// Reload tells that the configuration is being read again, while do does it.
func (s *Service) Reload(do func()) {
	if !s.ready.Load() {
		do()
		return
	}
	var now unix.Timespec
	// The clock is there on every Linux; without the time the manager would only not wait.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	s.say(sd.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000))
	do()
	s.say(sd.SdNotifyReady)
}

// Stopping tells that the broker shuts down.
func (s *Service) Stopping() { s.say(sd.SdNotifyStopping) }

// event takes what has happened in the cluster, on the engine.
func (s *Service) event(name string, st *cluster.Status) {
	text := "serving clients, stand-alone"
	if name != "" {
		text = fmt.Sprintf("%s in cluster %s of %d", strings.ToLower(st.State.String()), name, len(st.Members))
	}
	if st.State == cluster.Frozen {
		text += ": no quorum, so nothing is accepted until other members are back"
	}
	s.status.Store(&text)
	poke(s.news)
}

// inherited are the listening TCP sockets that the service manager has opened for this process.
// They stay open while it is restarted, so that clients wait in place of being refused.
func inherited() (list []net.Listener, err error) {
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f) // which works on a copy
		f.Close()
		if err != nil {
			return list, fmt.Errorf("cannot use the socket %s that the service manager passes: %w; qpidd.socket may have nothing but ListenStream= with ports or addresses", f.Name(), err)
		}
		list = append(list, l)
		if _, tcp := l.Addr().(*net.TCPAddr); !tcp {
			return list, fmt.Errorf("the socket %s that the service manager passes is no TCP socket but %s; qpidd.socket may have nothing but ListenStream= with ports or addresses", f.Name(), l.Addr().Network())
		}
	}
	return list, nil
}

// The statuses to exit with where no restart mends it, by their names in sysexits.h and systemd. The
// units do not restart upon them.
const (
	ExitPermission    = 77 // EX_NOPERM: a capability, a file's mode or a policy denies what the broker needs
	ExitConfiguration = 78 // EX_CONFIG: a mistake in the configuration
)

// ExitStatus is the status to exit with upon an error.
func ExitStatus(err error) int {
	if f := new(failure); errors.As(err, &f) {
		return f.status
	}
	if mistake := new(config.Mistake); errors.As(err, &mistake) {
		return ExitConfiguration
	}
	if errors.Is(err, fs.ErrPermission) {
		return ExitPermission
	}
	return 1
}

// relinquish gives up the capabilities that only setting up takes. The network's administration
// stays: the firewall follows the members, and the ring's interface is given back in the end.
func (b *Broker) relinquish() error { return host.DropCapabilities(unix.CAP_NET_ADMIN) }
