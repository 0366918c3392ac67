package wire

import "encoding/binary"

// Values of the configuration that nodes tell each other (section 5.3). Only one is in use:
// totem.config_version.

const configVersion = "totem.config_version"

// Where what stands in the message, and in each value behind its head.
const (
	valuesBytes   = 48
	valueCountAt  = 24
	valueNameAt   = 8
	valueKindAt   = 264
	valueLengthAt = 272
	valueAt       = 280

	mostNameBytes = 255
	kindUint64    = 8
)

// ParseConfigVersion reads the version of its sender's configuration; 0: it has none.
func ParseConfigVersion(o Order, b []byte) (uint64, error) {
	if len(b) < valuesBytes {
		return 0, ErrShort
	}
	n := int(b[valueCountAt])
	for b = b[valuesBytes:]; n > 0; n-- {
		if len(b) < valueAt {
			return 0, ErrShort
		}
		name, length := int(o.Uint16(b)), o.Uint64(b[valueLengthAt:])
		if name > mostNameBytes || length > uint64(len(b)-valueAt) {
			return 0, ErrLength
		}
		if string(b[valueNameAt:valueNameAt+name]) == configVersion {
			if b[valueKindAt] != kindUint64 || length != 8 {
				return 0, nil // it is there as something else, or not there
			}
			return o.Uint64(b[valueAt:]), nil
		}
		b = b[min(valueAt+(int(length)+7)&^7, len(b)):]
	}
	return 0, nil
}

// AppendConfigVersion appends the version of our configuration, as a synchronisation wants it.
func AppendConfigVersion(b []byte, version uint64) []byte {
	size := valuesBytes + valueAt
	if version != 0 {
		size += 8
	}
	b, m := appendExec(b, FuncValues, size)
	m[valueCountAt] = 1
	v := m[valuesBytes:]
	binary.LittleEndian.PutUint16(v, uint16(len(configVersion)))
	copy(v[valueNameAt:], configVersion)
	if version != 0 {
		v[valueKindAt] = kindUint64
		binary.LittleEndian.PutUint64(v[valueLengthAt:], 8)
		binary.LittleEndian.PutUint64(v[valueAt:], version)
	}
	return b
}
