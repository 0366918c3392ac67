package corosync

import (
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// semaphore is a process-shared semaphore of glibc on a 64-bit machine, as sem_init makes it:
// one word of 64 bits, the value in its lower half and the number of waiters in the upper.
// The futex is the half with the value.
type semaphore struct{ word *uint64 }

const (
	semaphoreBytes = 32 // of which glibc uses the first 16
	oneWaiter      = 1 << 32
	valueMask      = oneWaiter - 1

	futexWait = 0 // linux/futex.h
	futexWake = 1
)

var errTimedOut = errors.New("corosync did not answer in time")

// value is how often the semaphore can be taken without waiting.
func (s semaphore) value() uint32 { return uint32(atomic.LoadUint64(s.word) & valueMask) }

// post adds one and wakes whoever waits for it.
func (s semaphore) post() {
	if atomic.AddUint64(s.word, 1)>>32 > 0 {
		s.futex(futexWake, 1, nil)
	}
}

// tryTake takes one if there is one.
func (s semaphore) tryTake() bool {
	for {
		w := atomic.LoadUint64(s.word)
		if w&valueMask == 0 {
			return false
		}
		if atomic.CompareAndSwapUint64(s.word, w, w-1) {
			return true
		}
	}
}

// take waits for one for at most limit.
func (s semaphore) take(limit time.Duration) error {
	if s.tryTake() {
		return nil
	}
	atomic.AddUint64(s.word, oneWaiter)
	defer atomic.AddUint64(s.word, ^uint64(oneWaiter-1))
	for end := time.Now().Add(limit); ; {
		left := time.Until(end)
		if left <= 0 {
			return errTimedOut
		}
		t := unix.NsecToTimespec(int64(left))
		s.futex(futexWait, 0, &t)
		if s.tryTake() {
			return nil
		}
	}
}

// futex wakes or waits. What it returns does not matter: the caller looks at the value.
func (s semaphore) futex(op, value uintptr, limit *unix.Timespec) {
	at := unsafe.Pointer(s.word)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		at = unsafe.Add(at, 4) // big endian: the lower half comes second
	}
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(at), op, value, uintptr(unsafe.Pointer(limit)), 0, 0)
}
