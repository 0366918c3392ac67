//go:build invariants

package wire

// poison makes a use after release visible at once.
func poison(b []byte) {
	for i := range b {
		b[i] = 0xDB
	}
}
