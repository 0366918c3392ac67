package firewall

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch hears of every change of the host's rules, and looks a moment after the last of several.
type Watch struct {
	file *os.File
	over chan struct{}
}

const (
	settle     = 20 * time.Millisecond // what belongs together comes at once
	settleMost = 200 * time.Millisecond
)

// NewWatch has look called after changes, until Close.
func NewWatch(look func()) (*Watch, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("firewall: netlink: %w", err)
	}
	w := &Watch{file: os.NewFile(uintptr(fd), "nftables"), over: make(chan struct{})}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)}); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("firewall: cannot hear of changes: %w", err)
	}
	go w.run(look)
	return w, nil
}

// run reads until the file is closed. What a message says does not matter, nor that some were
// lost: that there was one does.
func (w *Watch) run(look func()) {
	defer close(w.over)
	b := make([]byte, 64<<10)
	heard := func(limit time.Time) (more bool) {
		if w.file.SetReadDeadline(limit) != nil {
			return false
		}
		_, err := w.file.Read(b)
		return err == nil || errors.Is(err, unix.ENOBUFS)
	}
	for heard(time.Time{}) {
		for end := time.Now().Add(settleMost); time.Now().Before(end) && heard(time.Now().Add(settle)); {
		}
		look()
	}
}

// Close waits until look has returned.
func (w *Watch) Close() {
	w.file.Close()
	<-w.over
}
