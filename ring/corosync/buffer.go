package corosync

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The header of a ring buffer, a file of its own (section 3).
const (
	pathBytes      = 4096
	writeAt        = 0
	readAt         = 4
	wordsAt        = 8
	dataPathAt     = 12 + pathBytes
	referencesAt   = dataPathAt + pathBytes
	semaphoreAt    = referencesAt + 4
	flowAt         = semaphoreAt + semaphoreBytes
	bufferHeader   = flowAt + 4
	wordBytes      = 4
	chunkWords     = 2                            // length and mark in front of the data
	chunkMargin    = (chunkWords + 1) * wordBytes // beyond the data, that has to be free
	maxBufferBytes = 64 << 20
)

// Marks of a chunk.
const (
	markReady   = 0xA1A1A1A1
	markWriting = 0xA110CED0
	markTaken   = 0xD0D0D0D0
)

var (
	errBufferLayout = errors.New("the layout of corosync's shared memory is not the known one: libqb 1 or 2 with glibc, 64 bits")
	errNoChunk      = errors.New("corosync's ring buffer holds no chunk where one was announced")
)

// buffer is one ring buffer that is shared with corosync: chunks that one side writes and the
// other takes. It is mapped once, so a chunk can be in two pieces.
type buffer struct {
	header []byte
	data   []byte
	words  uint32
	unread semaphore // counts the chunks that nobody has begun to read
	next   uint32    // the word at which the next chunk to be read begins; the ones before are not released
	taken  int       // chunks read and not released
}

// openBuffer maps a ring buffer that corosync has made. name is the header's file, less its ending.
func openBuffer(name string) (*buffer, error) {
	if strconv.IntSize != 64 {
		return nil, errBufferLayout
	}
	b := &buffer{}
	var err error
	if b.header, err = mapFile(name + "-header"); err != nil {
		return nil, err
	}
	if len(b.header) < bufferHeader {
		b.close()
		return nil, errBufferLayout
	}
	path, _, _ := bytes.Cut(b.header[dataPathAt:dataPathAt+pathBytes], []byte{0})
	if b.data, err = mapFile(string(path)); err != nil {
		b.close()
		return nil, err
	}
	b.words = b.load(wordsAt)
	if uint64(b.words)*wordBytes != uint64(len(b.data)) || b.load(readAt) >= b.words || b.load(writeAt) >= b.words {
		b.close()
		return nil, errBufferLayout
	}
	b.unread = semaphore{(*uint64)(unsafe.Pointer(&b.header[semaphoreAt]))}
	b.next = b.load(readAt)
	atomic.AddUint32(b.word(referencesAt), 1)
	return b, nil
}

func mapFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open corosync's shared memory %s: %w", path, err)
	}
	defer unix.Close(fd)
	var s unix.Stat_t
	if err := unix.Fstat(fd, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.Size < wordBytes || s.Size > maxBufferBytes {
		return nil, errBufferLayout
	}
	m, err := unix.Mmap(fd, 0, int(s.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("cannot map %s: %w", path, err)
	}
	return m, nil
}

// close unmaps. corosync removes the files.
func (b *buffer) close() {
	if b.data != nil {
		atomic.AddUint32(b.word(referencesAt), ^uint32(0))
		_ = unix.Munmap(b.data) // what was mapped can be unmapped
	}
	_ = unix.Munmap(b.header)
	b.data, b.header = nil, nil
}

// word is a word of the header, and dataWord one of the data, for atomic access.
func (b *buffer) word(at int) *uint32 { return (*uint32)(unsafe.Pointer(&b.header[at])) }

func (b *buffer) dataWord(index uint32) *uint32 {
	return (*uint32)(unsafe.Pointer(&b.data[index%b.words*wordBytes]))
}

func (b *buffer) load(at int) uint32 { return atomic.LoadUint32(b.word(at)) }

// references counts the sides that have the buffer open: 2, unless corosync is closing it.
func (b *buffer) references() uint32 { return b.load(referencesAt) }

// flow is what corosync says of the requests it takes: 0 goes, 1 and 2 stop.
func (b *buffer) flow() uint32 { return b.load(flowAt) }

// step is the word after a chunk of so many bytes.
func (b *buffer) step(index uint32, size int) uint32 {
	return (index + chunkWords + uint32((size+wordBytes-1)/wordBytes)) % b.words
}

// free is the room for a chunk's data and the margin.
func (b *buffer) free() int {
	w, r := b.load(writeAt), b.load(readAt)
	switch {
	case w > r:
		return int(r-w+b.words-1) * wordBytes
	case w < r:
		return int(r-w-1) * wordBytes
	case b.unread.value() > 0:
		return 0
	}
	return int(b.words) * wordBytes
}

// write puts one chunk, given in parts. It returns false if there is no room.
func (b *buffer) write(parts ...[]byte) bool {
	size := 0
	for _, p := range parts {
		size += len(p)
	}
	if b.free() < size+chunkMargin {
		return false
	}
	at := b.load(writeAt)
	atomic.StoreUint32(b.dataWord(at), 0)
	atomic.StoreUint32(b.dataWord(at+1), markWriting)
	to := int((at+chunkWords)%b.words) * wordBytes
	for _, p := range parts {
		n := copy(b.data[to:], p)
		copy(b.data, p[n:])
		to = (to + len(p)) % len(b.data)
	}
	binary.NativeEndian.PutUint32(b.data[at*wordBytes:], uint32(size))
	atomic.StoreUint32(b.word(writeAt), b.step(at, size))
	atomic.StoreUint32(b.dataWord(at+1), markReady)
	b.unread.post()
	return true
}

// read gives the next chunk in one or two pieces, which stay valid until it is released. The
// semaphore must have been taken.
func (b *buffer) read() (one, two []byte, err error) {
	if atomic.LoadUint32(b.dataWord(b.next+1)) != markReady {
		return nil, nil, errNoChunk
	}
	size := int(atomic.LoadUint32(b.dataWord(b.next)))
	if size+chunkMargin > len(b.data) {
		return nil, nil, errNoChunk
	}
	from := int((b.next+chunkWords)%b.words) * wordBytes
	end := min(from+size, len(b.data))
	one, two = b.data[from:end:end], b.data[:size-(end-from)]
	b.next = b.step(b.next, size)
	b.taken++
	return one, two, nil
}

// release gives the chunks that were read back to corosync.
func (b *buffer) release() {
	for ; b.taken > 0; b.taken-- {
		at := b.load(readAt)
		size := int(atomic.LoadUint32(b.dataWord(at)))
		atomic.StoreUint32(b.dataWord(at), 0)
		atomic.StoreUint32(b.dataWord(at+1), markTaken)
		atomic.StoreUint32(b.word(readAt), b.step(at, size))
	}
}
