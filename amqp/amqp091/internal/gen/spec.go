package main

import (
	"fmt"
	"strconv"
	"strings"
)

// spec is what the lines of the spec file say, in their order.
type spec struct {
	constants []constant
	classes   []class
}

type constant struct {
	name  string
	value int
	kind  string // "", soft, hard
}

type class struct {
	id         int
	name       string
	properties []field
	methods    []method
}

type method struct {
	id      int
	name    string // Go's: ClassMethod
	wire    string // the standard's: class.method
	content bool
	fields  []field
}

type field struct {
	name string // Go's
	wire string // the standard's
	kind string // octet, short, long, longlong, bit, shortstr, longstr, table, timestamp
}

func parseSpec(text string) (*spec, error) {
	s := &spec{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		if err := s.line(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return s, nil
}

func (s *spec) line(w []string) error {
	if len(w) < 3 {
		return fmt.Errorf("too few words")
	}
	switch w[0] {
	case "constant":
		v, err := strconv.Atoi(w[2])
		s.constants = append(s.constants, constant{name: w[1], value: v, kind: strings.Join(w[3:], "")})
		return err
	case "class":
		id, err := strconv.Atoi(w[1])
		s.classes = append(s.classes, class{id: id, name: w[2]})
		return err
	case "property":
		c := &s.classes[len(s.classes)-1]
		c.properties = append(c.properties, field{name: camel(w[1]), wire: w[1], kind: w[2]})
		return nil
	case "method":
		return s.classes[len(s.classes)-1].method(w[1:])
	}
	return fmt.Errorf("%q is none of constant, class, property, method", w[0])
}

func (c *class) method(w []string) error {
	id, err := strconv.Atoi(w[0])
	if err != nil {
		return err
	}
	m := method{id: id, name: camel(c.name) + camel(w[1]), wire: c.name + "." + w[1]}
	for _, a := range w[2:] {
		name, kind, ok := strings.Cut(a, ":")
		switch {
		case ok:
			m.fields = append(m.fields, field{name: camel(name), wire: name, kind: kind})
		case a == "content":
			m.content = true
		}
	}
	c.methods = append(c.methods, m)
	return nil
}

func camel(s string) string {
	var b strings.Builder
	for _, w := range strings.Split(s, "-") {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}
