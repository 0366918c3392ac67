package main

import (
	"bytes"
	"os"
	"testing"
)

// TestCurrent holds the generated file to what spec.txt says.
func TestCurrent(t *testing.T) {
	want, err := generate("../spec.txt")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../zz_generated.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("zz_generated.go is not what gen makes of spec.txt: run go generate ./amqp/amqp100")
	}
}

func TestParseErrors(t *testing.T) {
	for _, text := range []string{"composite open", "  field string", "nonsense"} {
		if _, err := parse(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
