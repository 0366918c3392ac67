// Gen writes a Go file from the compact spec that it is given:
//
//	go run ./internal/gen spec.txt zz_generated.go
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: gen SPEC OUTPUT")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	s, err := parseSpec(string(text))
	if err != nil {
		log.Fatalf("%s: %v", os.Args[1], err)
	}
	var out bytes.Buffer
	s.write(&out)
	code, err := format.Source(out.Bytes())
	if err != nil {
		log.Fatal(fmt.Errorf("%w\n%s", err, out.Bytes()))
	}
	if err := os.WriteFile(os.Args[2], code, 0o644); err != nil {
		log.Fatal(err)
	}
}
