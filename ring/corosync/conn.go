package corosync

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Where libqb has its sockets if they are to be files: where its own build system puts them, and
// where Debian does.
const forceFile = "/etc/libqb/force-filesystem-sockets"

var socketDirectories = []string{"/var/run", "/tmp"}

// requestBytes is the largest request and event, as corosync and its own library have it.
const requestBytes = 1 << 20

// maxUnread is how many requests may wait in the buffer. Each has a byte on the socket, and the
// kernel holds some 270 of those: a request whose byte finds no room would make corosync wait
// for it once it has taken the request.
const maxUnread = 64

// How long corosync may take over the handshake, and how often a wait looks whether it is alive.
const (
	handshakeLimit = 5 * time.Second
	aliveEvery     = 100 * time.Millisecond
)

// conn is a connection to one of corosync's services. It belongs to one goroutine.
type conn struct {
	fd       int
	request  *buffer
	response *buffer
	event    *buffer
	wake     [512]byte
}

// socketAddresses are the places where a service may listen, the likelier first. libqb looks at
// forceFile when a process starts; corosync may have been started before it was made.
func socketAddresses(service string) (list []string) {
	for _, d := range socketDirectories {
		list = append(list, filepath.Join(d, service))
	}
	abstract := "@" + service
	if _, err := os.Stat(forceFile); err == nil {
		return append(list, abstract)
	}
	return append([]string{abstract}, list...)
}

// connect connects to a service and shares its buffers.
func connect(service string) (*conn, error) {
	var first error
	for _, at := range socketAddresses(service) {
		fd, err := dial(at)
		if err == nil {
			return handshake(fd)
		}
		if first == nil || errors.Is(err, unix.EACCES) {
			first = err
		}
	}
	return nil, &AbsentError{cause: first}
}

// dial connects to a socket; @ in front is an abstract one's name. libqb pads the name of an
// abstract socket with zeros to the end of the sockaddr, one byte more than package unix allows.
func dial(at string) (int, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	raw := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	for i := range len(at) { // shorter than a path can be: services have short names
		raw.Path[i] = int8(at[i])
	}
	size := int(unsafe.Offsetof(raw.Path)) + len(at) + 1
	if at[0] == '@' {
		raw.Path[0], size = 0, unix.SizeofSockaddrUnix
	}
	_, _, failure := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&raw)), uintptr(size))
	if failure != 0 {
		unix.Close(fd)
		return -1, fmt.Errorf("socket %s: %w", at, failure)
	}
	return fd, nil
}

// handshake says who we are and opens the buffers that corosync offers.
func handshake(fd int) (*conn, error) {
	c := &conn{fd: fd}
	if err := c.open(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) open() error {
	// Anybody may listen where corosync does not.
	peer, err := unix.GetsockoptUcred(c.fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return &AbsentError{cause: err}
	}
	if peer.Uid != 0 && int(peer.Uid) != os.Geteuid() {
		return &AbsentError{cause: fmt.Errorf("process %d of user %s has its socket", peer.Pid, userName(int(peer.Uid)))}
	}
	// With the credentials attached by hand corosync has them whenever it accepts.
	self := unix.UnixCredentials(&unix.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())})
	if err := unix.Sendmsg(c.fd, appendConnect(nil), self, nil, unix.MSG_NOSIGNAL); err != nil {
		return &AbsentError{cause: fmt.Errorf("handshake: %w", err)}
	}
	answer, err := c.readAnswer()
	if err != nil {
		return &AbsentError{cause: fmt.Errorf("handshake: %w", err)}
	}
	offer, err := parseOffer(answer)
	if err != nil {
		return err
	}
	if c.request, err = openBuffer(offer.request); err != nil {
		return err
	}
	if c.response, err = openBuffer(offer.response); err != nil {
		return err
	}
	c.event, err = openBuffer(offer.event)
	return err
}

// readAnswer reads what corosync says to our first message.
func (c *conn) readAnswer() ([]byte, error) {
	answer := make([]byte, offerBytes)
	end := time.Now().Add(handshakeLimit)
	for have := 0; have < len(answer); {
		n, err := unix.Read(c.fd, answer[have:])
		switch {
		case n > 0:
			have += n
		case err == nil:
			return nil, unix.ECONNRESET
		case err == unix.EAGAIN && time.Now().Before(end):
			if _, err := c.poll(unix.POLLIN, aliveEvery); err != nil {
				return nil, err
			}
		case err == unix.EAGAIN:
			return nil, errTimedOut
		case err != unix.EINTR:
			return nil, err
		}
	}
	return answer, nil
}

// poll waits for the socket.
func (c *conn) poll(events int16, limit time.Duration) (int16, error) {
	p := []unix.PollFd{{Fd: int32(c.fd), Events: events}}
	_, err := unix.Poll(p, int(limit.Milliseconds()))
	if err == unix.EINTR {
		err = nil
	}
	return p[0].Revents, err
}

// hangUp closes the socket, which would stay readable once corosync has closed its end.
func (c *conn) hangUp() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

func (c *conn) close() {
	for _, b := range []*buffer{c.request, c.response, c.event} {
		if b != nil {
			b.close()
		}
	}
	c.hangUp()
}

// send gives corosync one request. It returns errBusy if corosync takes none now.
func (c *conn) send(parts ...[]byte) error {
	switch {
	case c.fd < 0 || c.request.references() != 2:
		return ErrGone
	case c.request.flow() != 0 || c.request.unread.value() >= maxUnread || !c.request.write(parts...):
		return errBusy
	}
	one := [1]byte{1}
	for {
		n, err := unix.SendmsgN(c.fd, one[:], nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case n == 1:
			return nil
		case err == unix.EAGAIN:
			// It has to go out: corosync waits for it once it has taken the request.
			if re, _ := c.poll(unix.POLLOUT, aliveEvery); re&(unix.POLLHUP|unix.POLLERR) != 0 {
				return ErrGone
			}
		case err != unix.EINTR:
			return ErrGone
		}
	}
}

// call sends a request and waits for the answer to it, for at most limit.
func (c *conn) call(limit time.Duration, parts ...[]byte) (answer []byte, err error) {
	end := time.Now().Add(limit)
	for err = c.send(parts...); err == errBusy && time.Now().Before(end); err = c.send(parts...) {
		if re, _ := c.poll(0, time.Millisecond); re&(unix.POLLHUP|unix.POLLERR) != 0 {
			return nil, ErrGone
		}
	}
	if err != nil {
		return nil, err
	}
	for {
		switch c.response.unread.take(min(aliveEvery, time.Until(end))) {
		case nil:
			one, two, err := c.response.read()
			answer = append(append([]byte(nil), one...), two...)
			c.response.release()
			return answer, err
		default:
			if re, _ := c.poll(0, 0); re&(unix.POLLHUP|unix.POLLERR) != 0 {
				return nil, ErrGone
			}
			if time.Now().After(end) {
				return nil, errTimedOut
			}
		}
	}
}

// hush reads the bytes that announce events, so that the socket is readable again only when
// there are new ones: they say nothing, the events are counted in their buffer.
func (c *conn) hush() error {
	for {
		n, err := unix.Read(c.fd, c.wake[:])
		switch {
		case n == len(c.wake) || err == unix.EINTR:
		case n > 0 || err == unix.EAGAIN:
			return nil
		default:
			return ErrGone
		}
	}
}

// next gives the next event in one or two pieces, valid until release; none if there is none.
func (c *conn) next() (one, two []byte, err error) {
	if !c.event.unread.tryTake() {
		return nil, nil, nil
	}
	return c.event.read()
}
