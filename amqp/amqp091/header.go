package amqp091

import "encoding/binary"

// Headers returns the headers table in raw property bytes, flags and list, empty if there
// is none. It checks bounds only: the bytes may come from anywhere.
func Headers(props []byte) Table {
	if len(props) < 2 {
		return nil
	}
	flags := binary.BigEndian.Uint16(props)
	if flags&FlagHeaders == 0 {
		return nil
	}
	at := 2
	for _, flag := range [...]uint16{FlagContentType, FlagContentEncoding} {
		if flags&flag != 0 {
			if at >= len(props) {
				return nil
			}
			at += 1 + int(props[at])
		}
	}
	if at+4 > len(props) {
		return nil
	}
	size := binary.BigEndian.Uint32(props[at:])
	at += 4
	if uint64(size) > uint64(len(props)-at) {
		return nil
	}
	return Table(props[at : at+int(size)])
}

// HeaderLookup finds a single header in raw property bytes without allocating.
func HeaderLookup(props []byte, name string) (Value, bool) {
	return Headers(props).Lookup(name)
}
