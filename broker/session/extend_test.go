package session

import (
	"bytes"
	"testing"
)

// TestExtend puts a large message together from frames, and counts what was copied.
func TestExtend(t *testing.T) {
	const total, frame = 32 << 20, 128 << 10
	part := bytes.Repeat([]byte{7}, frame)
	var message []byte
	moved, grown := 0, 0
	for len(message) < total {
		before := cap(message)
		if before-len(message) < frame {
			moved += len(message)
			grown++
		}
		message = extend(message, part[:min(frame, total-len(message))], total)
	}
	if len(message) != total || cap(message) > total || message[total-1] != 7 {
		t.Errorf("%d bytes, with room for %d", len(message), cap(message))
	}
	if moved > 2*total {
		t.Errorf("%d bytes were copied again, in %d steps, for %d", moved, grown, total)
	}
	if short := extend(nil, part[:5], 5); len(short) != 5 || cap(short) > 8 {
		t.Errorf("5 bytes take %d", cap(short))
	}
}
