package faulty

import (
	"fmt"
	"slices"
)

// sectorBytes is what a disk writes wholly or not at all.
const sectorBytes = 512

// file is what has been written to a file, and what of it survives a crash for certain.
type file struct {
	now, stable image
	pending     []write // done since stable
	lasting     bool    // its name survives
	failed      error   // of an append: then nothing can be committed
}

// write is some bytes at an offset.
type write struct {
	offset int64
	data   []byte
}

// image is the bytes of a file. Sectors that are not in it are zeros.
type image struct {
	size    int64
	sectors map[int64][]byte
}

func (m *image) write(w write) {
	if m.sectors == nil {
		m.sectors = map[int64][]byte{}
	}
	m.size = max(m.size, w.offset+int64(len(w.data)))
	for at, b := w.offset, w.data; len(b) > 0; {
		in := at % sectorBytes
		n := min(len(b), int(sectorBytes-in))
		s := make([]byte, sectorBytes) // never changed in place: copies of a disk share them
		copy(s, m.sectors[at/sectorBytes])
		copy(s[in:], b[:n])
		m.sectors[at/sectorBytes] = s
		at, b = at+int64(n), b[n:]
	}
}

func (m *image) read(offset int64, n int) []byte {
	b := make([]byte, n)
	for at := 0; at < n; {
		in := (offset + int64(at)) % sectorBytes
		k := min(n-at, int(sectorBytes-in))
		if s := m.sectors[(offset+int64(at))/sectorBytes]; s != nil {
			copy(b[at:at+k], s[in:])
		}
		at += k
	}
	return b
}

func (m *image) clone() image {
	c := image{size: m.size, sectors: make(map[int64][]byte, len(m.sectors))}
	for at, s := range m.sectors {
		c.sectors[at] = s
	}
	return c
}

func (f *file) write(w write) {
	f.now.write(w)
	f.pending = append(f.pending, w)
}

// settle makes all that was written stable.
func (f *file) settle() {
	for _, w := range f.pending {
		f.stable.write(w)
	}
	f.pending = nil
}

func (f *file) clone() *file {
	return &file{now: f.now.clone(), stable: f.stable.clone(), pending: slices.Clone(f.pending), lasting: f.lasting, failed: f.failed}
}

// lose leaves of the writes that are not stable what may be left.
func (f *file) lose(d *Disk) {
	list := f.pending
	if overlapping(list) { // and only then does their order matter
		for i := len(list) - 1; i > 0; i-- {
			j := d.choose(i + 1)
			list[i], list[j] = list[j], list[i]
		}
	}
	if !f.lasting {
		f.stable.size = int64(d.choose(int(f.now.size) + 1))
	}
	size := f.stable.size
	for _, w := range list {
		f.stable.write(write{w.offset, d.torn(w.data, f.stable.read(w.offset, len(w.data)))})
	}
	if !f.lasting {
		f.stable.truncate(size)
	}
	f.pending = nil
	f.now = f.stable.clone()
}

// truncate cuts what is beyond a size. A file that is written to anew there has zeros before it.
func (m *image) truncate(size int64) {
	m.size = size
	for at := range m.sectors {
		from := at * sectorBytes
		if from >= size {
			delete(m.sectors, at)
		} else if from+sectorBytes > size {
			m.sectors[at] = append(slices.Clone(m.sectors[at][:size-from]), make([]byte, from+sectorBytes-size)...)
		}
	}
}

func overlapping(list []write) bool {
	for i, a := range list {
		for _, b := range list[:i] {
			if a.offset < b.offset+int64(len(b.data)) && b.offset < a.offset+int64(len(a.data)) {
				return true
			}
		}
	}
	return false
}

// torn is what is left of data that was to replace old: some of its sectors.
func (d *Disk) torn(data, old []byte) []byte {
	b := slices.Clone(old)
	sectors := (len(data) + sectorBytes - 1) / sectorBytes
	take := func(i int) { copy(b[i*sectorBytes:min(len(b), (i+1)*sectorBytes)], data[i*sectorBytes:]) }
	kind := d.o.Tearing
	if kind == TearSectors { // which would hardly ever leave a whole one
		kind = Tearing(d.choose(3))
	}
	switch kind {
	case TearNone:
		if d.choose(2) == 1 {
			return slices.Clone(data)
		}
	case TearPrefix:
		for i := range d.choose(sectors + 1) {
			take(i)
		}
	default:
		for i := range sectors {
			if d.choose(2) == 1 {
				take(i)
			}
		}
	}
	return b
}

// Flip changes bits of what is on the disk, as if it had been so all the time.
func (d *Disk) Flip(name string, offset int64, bits byte) {
	f := d.files[name]
	if f == nil || offset < 0 || offset >= f.now.size {
		panic(fmt.Sprintf("faulty: there is nothing at %d of %s to change", offset, name))
	}
	f.settle()
	was := f.stable.read(offset, 1)[0]
	w := write{offset, []byte{was ^ bits}}
	f.stable.write(w)
	f.now.write(w)
}

// Truncate cuts a file, as somebody who repairs a file system may.
func (d *Disk) Truncate(name string, size int64) {
	f := d.files[name]
	f.settle()
	f.stable.truncate(size)
	f.now = f.stable.clone()
}

// Delete removes a file, as somebody may who should not.
func (d *Disk) Delete(name string) { delete(d.files, name) }
