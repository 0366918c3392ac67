package broker

import (
	"slices"
	"sort"
)

// exchange routes what is published to it. Bindings are kept in slices, in the order in
// which they were made, so that nothing depends on the order of a map.
type exchange struct {
	name        string
	options     ExchangeOptions
	bindings    []*binding // all of them, in order
	direct      map[string][]*binding
	topic       topicNode
	predeclared bool
	seen        uint64
}

// binding ties a target to an exchange.
type binding struct {
	queue    *Queue
	exchange *exchange // target, if not a queue
	key      string
	match    Match
	fields   []Field
	hasArgs  bool
}

func (b *binding) same(c *binding) bool {
	if b.queue != c.queue || b.exchange != c.exchange || b.key != c.key ||
		b.match != c.match || len(b.fields) != len(c.fields) {
		return false
	}
	for i := range b.fields {
		if b.fields[i].Name != c.fields[i].Name || b.fields[i].Value != c.fields[i].Value {
			return false
		}
	}
	return true
}

func newExchange(name string, o ExchangeOptions) *exchange {
	return &exchange{name: name, options: o, direct: map[string][]*binding{}}
}

// add makes a binding; one that exists already stays as it is.
func (x *exchange) add(b *binding) bool {
	if slices.ContainsFunc(x.alike(b.key), b.same) {
		return false
	}
	x.bindings = append(x.bindings, b)
	x.index(b)
	return true
}

func (x *exchange) index(b *binding) {
	switch x.options.Type {
	case Direct:
		x.direct[b.key] = append(x.direct[b.key], b)
	case Topic:
		x.topic.add(b.key, b)
	}
}

// alike lists the bindings that have a key, and others where there is no index by key.
func (x *exchange) alike(key string) []*binding {
	switch x.options.Type {
	case Direct:
		return x.direct[key]
	case Topic:
		if n := x.topic.find(key); n != nil {
			return n.here
		}
		return nil
	}
	return x.bindings
}

// remove takes away the bindings for which gone says so and tells whether there were any.
func (x *exchange) remove(gone func(*binding) bool) bool {
	before := len(x.bindings)
	x.bindings = slices.DeleteFunc(x.bindings, func(b *binding) bool {
		if !gone(b) {
			return false
		}
		x.unindex(b)
		return true
	})
	return len(x.bindings) < before
}

func (x *exchange) unindex(b *binding) {
	switch x.options.Type {
	case Direct:
		if left := without(x.direct[b.key], b); len(left) > 0 {
			x.direct[b.key] = left
		} else {
			delete(x.direct, b.key)
		}
	case Topic:
		x.topic.remove(b.key, b)
	}
}

// without is the list, which it changes, without b.
func without(list []*binding, b *binding) []*binding {
	if i := slices.Index(list, b); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

// router finds the queues that a message goes to.
type router struct {
	headers   HeaderFunc
	exchanges map[string]*exchange
	pass      uint64 // number of the message: queues and exchanges remember it as seen
	found     []*Queue
	words     [][]byte
	hits      []*binding
}

// HeaderFunc reads one application header of a message in its protocol's encoding.
type HeaderFunc func(f Format, props []byte, name string) (Value, bool)

// route fills r.found with the queues that p reaches from x.
func (r *router) route(x *exchange, p *Publish, exchanges map[string]*exchange) {
	r.pass++
	r.found = r.found[:0]
	r.exchanges = exchanges
	r.visit(x, p)
}

// visit routes p by x's bindings; if none of them takes it, by x's alternate exchange.
func (r *router) visit(x *exchange, p *Publish) {
	if x.seen == r.pass {
		return
	}
	x.seen = r.pass
	matched := false
	switch x.options.Type {
	case Direct:
		matched = r.take(x.direct[string(p.Key)], p)
	case Fanout:
		matched = r.take(x.bindings, p)
	case Topic:
		r.words = splitWords(r.words[:0], p.Key)
		from := len(r.hits)
		r.hits = x.topic.match(r.words, r.hits)
		matched = r.take(r.hits[from:], p)
		r.hits = r.hits[:from]
	case Headers:
		for _, b := range x.bindings {
			if r.matches(b, p) {
				matched = true
				r.reach(b, p)
			}
		}
	}
	if !matched && x.options.AlternateExchange != "" {
		if y := r.exchanges[x.options.AlternateExchange]; y != nil {
			r.visit(y, p)
		}
	}
}

func (r *router) take(list []*binding, p *Publish) bool {
	for _, b := range list {
		r.reach(b, p)
	}
	return len(list) > 0
}

func (r *router) reach(b *binding, p *Publish) {
	if b.exchange != nil {
		r.visit(b.exchange, p)
		return
	}
	if q := b.queue; q.seen != r.pass {
		q.seen = r.pass
		r.found = append(r.found, q)
	}
}

func (r *router) matches(b *binding, p *Publish) bool {
	any := b.match == MatchAny || b.match == MatchAnyX
	skipX := b.match == MatchAll || b.match == MatchAny
	for i := range b.fields {
		f := &b.fields[i]
		if skipX && len(f.Name) > 1 && f.Name[0] == 'x' && f.Name[1] == '-' {
			continue
		}
		v, ok := r.headers(p.Format, p.Props, f.Name)
		hit := ok && (f.Value.Kind == ValueVoid || f.Value.Equal(v))
		if hit == any {
			return hit
		}
	}
	return !any
}

// sortedNames lists the keys of a map in order, for what must not depend on the map's.
func sortedNames[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
