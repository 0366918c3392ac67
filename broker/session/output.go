package session

import "github.com/qpidd-cluster/qpidd-cluster/broker"

// copyBytes is up to where copying a body beats naming it: an iovec and a pin cost about
// as much as moving this many bytes.
const copyBytes = 4096

// Output collects bytes to be written: small ones are copied in, large bodies are named
// where they are, with the pin that keeps them there.
type Output struct {
	buf  []byte
	refs []outputRef
	size int
}

type outputRef struct {
	at   int // position in buf before which body belongs
	body []byte
	pin  broker.Pin
}

// Buffer is where small bytes are appended; give the result back with SetBuffer.
func (o *Output) Buffer() []byte { return o.buf }

// SetBuffer takes back what Buffer gave, longer by what was appended.
func (o *Output) SetBuffer(b []byte) {
	o.size += len(b) - len(o.buf)
	o.buf = b
}

// Append adds a copy of b.
func (o *Output) Append(b []byte) {
	o.buf = append(o.buf, b...)
	o.size += len(b)
}

// Body adds b, which pin keeps in place; it is unpinned when no longer needed, here at
// once if it was small enough to copy. A nil pin says that b stays in place until Reset.
// To name several parts of one record, pass its pin with the last part only.
func (o *Output) Body(b []byte, pin broker.Pin) {
	if len(b) <= copyBytes {
		o.Append(b)
		if pin != nil {
			o.unpinAfter(pin)
		}
		return
	}
	o.refs = append(o.refs, outputRef{at: len(o.buf), body: b, pin: pin})
	o.size += len(b)
}

// unpinAfter lets go of pin now if nothing that it may cover is named, else at Reset.
func (o *Output) unpinAfter(pin broker.Pin) {
	if len(o.refs) == 0 || o.refs[len(o.refs)-1].pin != nil {
		pin.Unpin()
		return
	}
	o.refs = append(o.refs, outputRef{at: len(o.buf), pin: pin})
}

// Size is the number of bytes to be written.
func (o *Output) Size() int { return o.size }

// Vectors appends the bytes to be written, in order, to v.
func (o *Output) Vectors(v [][]byte) [][]byte {
	from := 0
	for i := range o.refs {
		r := &o.refs[i]
		if r.at > from {
			v = append(v, o.buf[from:r.at])
			from = r.at
		}
		if len(r.body) > 0 {
			v = append(v, r.body)
		}
	}
	if from < len(o.buf) {
		v = append(v, o.buf[from:])
	}
	return v
}

// Swap exchanges the contents of two outputs.
func (o *Output) Swap(p *Output) { *o, *p = *p, *o }

// Reset empties the output, lets go of its pins and keeps its memory.
func (o *Output) Reset() {
	for i := range o.refs {
		if o.refs[i].pin != nil {
			o.refs[i].pin.Unpin()
		}
		o.refs[i] = outputRef{}
	}
	o.buf, o.refs, o.size = o.buf[:0], o.refs[:0], 0
}
