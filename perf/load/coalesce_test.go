package load

import (
	"bytes"
	"io"
	"net"
	"testing"
)

func TestCoalescing(t *testing.T) {
	near, far := net.Pipe()
	c := coalesce(near)
	var want []byte
	for i := range 1000 {
		b := bytes.Repeat([]byte{byte(i)}, i)
		want = append(want, b...)
		if n, err := c.Write(b); n != i || err != nil {
			t.Fatal(n, err)
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%v, equal %v", err, bytes.Equal(got, want))
	}
	if err := far.Close(); err != nil {
		t.Fatal(err)
	}
	for _, err := c.Write([]byte("x")); err == nil; _, err = c.Write([]byte("x")) {
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
