package link

import (
	"time"

	"golang.org/x/sys/unix"
)

// The ring's interface may be removed and made again, as by a driver that is loaded anew, and have another
// index then. Sockets stay bound to their address, which comes back with it; what goes by the index is
// done again. Names are only for finding it: whoever renames it changes nothing.

// device is the interface that a link is on.
type device struct {
	name   string // the last one
	gone   bool
	looked time.Time
}

const (
	// lookEvery is how often the interface is looked for, by a system call, for which an idle member is woken.
	// While it is gone that is Config.Downcheck.
	lookEvery = 500 * time.Millisecond
	// lookLeast: where the member is awake anyway. When the interface is back tokens come at once, and
	// what is for everyone only after that, so the ring would take the member for deaf.
	lookLeast = 2 * time.Millisecond
)

// look sees whether the interface is there, and returns when that is due again.
func (u *UDP) look(now time.Time) time.Duration {
	if since := now.Sub(u.device.looked); since < lookLeast && u.device.gone {
		return u.cfg.Downcheck - since
	} else if since < lookLeast {
		return lookEvery - since
	}
	u.device.looked = now
	if name, ok := nameOf(u.token, u.ifindex); ok {
		u.device.name = name
		return lookEvery
	}
	if !u.device.gone {
		u.device.gone = true
		u.reports.say(true, "the ring's interface %s is gone; the ring goes on when it is back with the address %v", u.device.name, u.cfg.Address)
	}
	if index, ok := indexOf(u.token, u.device.name); ok {
		u.move(index)
	}
	return u.cfg.Downcheck
}

// nameOf is the name of an interface, asked by any socket; not ok: there is none.
func nameOf(fd, index int) (string, bool) {
	r, err := unix.NewIfreq("?") // to be filled in
	if err != nil {
		return "", false
	}
	r.SetUint32(uint32(index))
	err = unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r)
	return r.Name(), err == nil
}

// indexOf is the index of an interface.
func indexOf(fd int, name string) (int, bool) {
	r, err := unix.NewIfreq(name)
	if err != nil {
		return 0, false
	}
	err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r)
	return int(r.Uint32()), err == nil
}

// move goes to the interface of another index. What fails is tried again.
func (u *UDP) move(index int) {
	old := u.ifindex
	u.ifindex = index
	if u.mcast >= 0 {
		u.leaveGroup(old)
		if err := u.joinGroup(u.mcast); err != nil {
			u.ifindex = old
			return // it is not ready yet
		}
		if err := u.multicastOptions(u.token); err != nil {
			u.ifindex = old
			return
		}
	}
	u.device.gone = false
	u.reports.say(false, "the ring's interface %s is back", u.device.name)
	if u.on != nil {
		err := u.on.path.Move(u.place())
		if err == nil {
			err = u.shadow()
		}
		if err != nil {
			u.leavePath(err)
		}
	}
	if u.cfg.Moved != nil {
		u.cfg.Moved(u.place())
	}
}
