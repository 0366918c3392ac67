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

// find is the node of a pattern, nil if there is none.
func (n *topicNode) find(pattern string) *topicNode {
	for _, w := range splitWords(nil, []byte(pattern)) {
		if n = n.at(string(w)); n == nil {
			return nil
		}
	}
	return n
}

// at is the child of a word, nil if there is none.
func (n *topicNode) at(word string) *topicNode {
	switch word {
	case "*":
		return n.star
	case "#":
		return n.hash
	}
	return n.next[word]
}

// remove takes a binding out, and the nodes that nothing is left of.
func (n *topicNode) remove(pattern string, b *binding) { n.prune(splitWords(nil, []byte(pattern)), b) }

func (n *topicNode) prune(words [][]byte, b *binding) {
	if len(words) == 0 {
		n.here = without(n.here, b)
		return
	}
	word := string(words[0])
	c := n.at(word)
	if c == nil {
		return
	}
	if c.prune(words[1:], b); !c.empty() {
		return
	}
	switch word {
	case "*":
		n.star = nil
	case "#":
		n.hash = nil
	default:
		delete(n.next, word)
	}
}

func (n *topicNode) empty() bool {
	return n.star == nil && n.hash == nil && len(n.next) == 0 && len(n.here) == 0
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
