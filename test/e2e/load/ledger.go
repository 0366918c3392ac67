package load

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Message is one message of the load: the number of a publisher's.
type Message struct {
	Publisher string
	Number    int
}

func (m Message) String() string { return m.Publisher + "/" + strconv.Itoa(m.Number) }

// parse is the inverse of String.
func parse(body []byte) Message {
	s := string(body)
	i := strings.LastIndexByte(s, '/')
	n, err := strconv.Atoi(s[i+1:])
	if i < 0 || err != nil {
		return Message{s, -1}
	}
	return Message{s[:i], n}
}

// Ledger keeps what publishers were promised and what consumers have seen.
type Ledger struct {
	// AcksLost says that consumers lose brokers too, and with them acknowledgements that were
	// under way: such a message comes again.
	AcksLost bool
	// Handovers says that a queue with several consumers changes hands: what was on its way to
	// one of them then comes to another, later than what that one has seen.
	Handovers bool

	mu       sync.Mutex
	promised map[Message]bool     // acknowledged to its publisher
	seen     map[Message]int      // how often it was received by a consumer that acknowledges
	held     map[Message]bool     // received by one that does not
	first    map[Message]sighting // to a consumer of either kind, as new if there was one
	open     int                  // promised or held, and not seen
	wrong    []string
	last     map[string]map[string]int // consumer, publisher: the last number seen
	at       map[string]time.Time      // publisher: its last promise
	gaps     map[string]time.Duration  // publisher: the longest time without one
}

func newLedger() *Ledger {
	return &Ledger{promised: map[Message]bool{}, seen: map[Message]int{}, held: map[Message]bool{},
		first: map[Message]sighting{}, last: map[string]map[string]int{}, at: map[string]time.Time{}, gaps: map[string]time.Duration{}}
}

func (l *Ledger) promise(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owe(m)
	l.promised[m] = true
	now := time.Now()
	if at, ok := l.at[m.Publisher]; ok {
		l.gaps[m.Publisher] = max(l.gaps[m.Publisher], now.Sub(at))
	}
	l.at[m.Publisher] = now
}

// see takes what a consumer has received and will acknowledge. What is new comes in the order
// it was published in.
func (l *Ledger) see(by *subscription, m Message, redelivered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if (l.promised[m] || l.held[m]) && l.seen[m] == 0 {
		l.open--
	}
	l.seen[m]++
	if l.seen[m] > 1 && !l.AcksLost {
		l.complain("%v was delivered %d times", m, l.seen[m])
	}
	l.came(by, m, redelivered)
	if redelivered || l.AcksLost || l.Handovers {
		return
	}
	of := l.last[by.consumer]
	if of == nil {
		of = map[string]int{}
		l.last[by.consumer] = of
	}
	if last, ok := of[m.Publisher]; ok && m.Number <= last {
		l.complain("%s got %v after number %d", by.consumer, m, last)
	}
	of[m.Publisher] = m.Number
}

// subscription is one consumer's at one broker.
type subscription struct {
	consumer string
	since    time.Time // before it could get anything
}

func subscribe(consumer string) *subscription { return &subscription{consumer, time.Now()} }

// sighting is when a message came to somebody.
type sighting struct {
	consumer string
	at       time.Time // the first time, whoever it was
	fresh    bool      // it did not say that it was delivered before
}

// came checks, with mu held, that a message comes as new at most once, and not to whoever
// subscribed after somebody had it: the others are told that it may have been delivered.
// Which of two reads it first says nothing more. What a broker wrote before it was killed
// waits in its client's socket, and the client may come to it when another one has had the
// message again from the brokers that are left.
func (l *Ledger) came(to *subscription, m Message, redelivered bool) {
	first, before := l.first[m]
	if !redelivered && before && (first.fresh || first.at.Before(to.since)) {
		l.complain("%v came as new to %s, and to %s before", m, to.consumer, first.consumer)
	}
	switch {
	case !before:
		l.first[m] = sighting{to.consumer, time.Now(), !redelivered}
	case !redelivered:
		l.first[m] = sighting{to.consumer, first.at, true}
	}
}

func (l *Ledger) complain(format string, args ...any) {
	const most = 20
	if len(l.wrong) < most {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// hold takes what a consumer has received and will not acknowledge.
func (l *Ledger) hold(by *subscription, m Message, redelivered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owe(m)
	l.held[m] = true
	l.came(by, m, redelivered)
}

// owe counts a message that is now promised or held, with mu held.
func (l *Ledger) owe(m Message) {
	if !l.promised[m] && !l.held[m] && l.seen[m] == 0 {
		l.open++
	}
}

// Count is how many messages were promised, seen and held.
func (l *Ledger) Count() (promised, seen, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.promised), len(l.seen), len(l.held)
}

// Promised is how many messages one publisher was promised.
func (l *Ledger) Promised(publisher string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for m := range l.promised {
		if m.Publisher == publisher {
			n++
		}
	}
	return n
}

// Missing lists what was promised or held and has not been seen.
func (l *Ledger) Missing() (list []Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, of := range []map[Message]bool{l.promised, l.held} {
		for m := range of {
			if l.seen[m] == 0 {
				list = append(list, m)
			}
		}
	}
	return list
}

// Complete is an error while something is missing.
func (l *Ledger) Complete() error {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	if open > 0 {
		return incomplete{l}
	}
	return nil
}

// incomplete looks for what is missing only if somebody wants to know.
type incomplete struct{ l *Ledger }

func (e incomplete) Error() string {
	list := e.l.Missing()
	return fmt.Sprintf("%d messages are missing: %v", len(list), list[:min(len(list), 10)])
}

// Wrong lists what consumers have seen that must not be: duplicates, a wrong order, something
// delivered again that does not say so.
func (l *Ledger) Wrong() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}

// Watch begins to measure gaps anew.
func (l *Ledger) Watch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.gaps)
	now := time.Now()
	for p := range l.at {
		l.at[p] = now
	}
}

// Gaps tells the longest time that each publisher had to wait for a promise.
func (l *Ledger) Gaps() map[string]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.gaps)
}
