package broker

// topicNode is one word of a trie of topic patterns: words are divided by dots, "*" stands
// for one word and "#" for any number of them.
type topicNode struct {
	next map[string]*topicNode
	star *topicNode
	hash *topicNode
	here []*binding
}

func splitWords(words [][]byte, key []byte) [][]byte {
	from := 0
	for i, c := range key {
		if c == '.' {
			words = append(words, key[from:i])
			from = i + 1
		}
	}
	if len(key) == 0 {
		return words
	}
	return append(words, key[from:])
}

func (n *topicNode) add(pattern string, b *binding) {
	for _, w := range splitWords(nil, []byte(pattern)) {
		n = n.child(string(w))
	}
	n.here = append(n.here, b)
}

func (n *topicNode) child(word string) *topicNode {
	switch word {
	case "*":
		if n.star == nil {
			n.star = &topicNode{}
		}
		return n.star
	case "#":
		if n.hash == nil {
			n.hash = &topicNode{}
		}
		return n.hash
	}
	c := n.next[word]
	if c == nil {
		if n.next == nil {
			n.next = map[string]*topicNode{}
		}
		c = &topicNode{}
		n.next[word] = c
	}
	return c
}

// match appends the bindings whose pattern fits words. A binding may be met more than once
// if its pattern fits in several ways; the router takes each queue once all the same.
// Patterns with many "#" are held in check by maxTopicSteps.
func (n *topicNode) match(words [][]byte, hits []*binding) []*binding {
	steps := maxTopicSteps
	return n.walk(words, hits, &steps)
}

// maxTopicSteps bounds the work of one match: a hostile pattern such as #.a.#.a.# costs
// its binding and nobody else.
const maxTopicSteps = 1 << 16

func (n *topicNode) walk(words [][]byte, hits []*binding, steps *int) []*binding {
	if *steps--; *steps < 0 {
		return hits
	}
	if n.hash != nil {
		for i := 0; i <= len(words); i++ {
			hits = n.hash.walk(words[i:], hits, steps)
		}
	}
	if len(words) == 0 {
		return append(hits, n.here...)
	}
	if c := n.next[string(words[0])]; c != nil {
		hits = c.walk(words[1:], hits, steps)
	}
	if n.star != nil {
		hits = n.star.walk(words[1:], hits, steps)
	}
	return hits
}
