package broker

// This file is the border between a client's session and its member. A session fills
// Requests, the member answers with Answers; both are lists that are reused, and neither
// side calls the other.

// RequestKind tells what a session asks for.
type RequestKind uint8

// Requests. The numbered kinds get the numbers 1, 2, 3 … of their connection and are
// answered in that order.
const (
	// ReqSubmit orders an entry. Numbered.
	ReqSubmit RequestKind = iota + 1
	// ReqQuery asks what Name is, after all before it has happened. Numbered.
	ReqQuery
	// ReqCredit sets how many deliveries in all, since it subscribed, a consumer takes.
	ReqCredit
	// ReqGet takes one message of the queue Name for a consumer id used only for this:
	// the answer is AnsDeliver or AnsEmpty, and nothing more comes for that id.
	ReqGet
	// ReqSettle ends a consumer's hold on a message.
	ReqSettle
)

// Outcome is how a hold ends.
type Outcome uint8

// Outcomes.
const (
	Accepted Outcome = iota + 1 // done: dequeued
	Released                    // back to its place, delivery not counted
	Requeued                    // back to its place, delivery counted as failed
	Rejected                    // dead-lettered if the queue has where to, else dropped
)

// Request is one thing a session asks for.
type Request struct {
	Kind     RequestKind
	Outcome  Outcome
	Drain    bool // ReqCredit: answer AnsDrained once nothing more is there
	Settled  bool // ReqGet: no ReqSettle follows
	Consumer ConsumerID
	Queue    QueueID // ReqSettle: from the delivery
	Index    Index   // ReqSettle: from the delivery
	Limit    uint64  // ReqCredit
	from, to int     // the entry, or the name
}

// QueueID names a queue as long as it lives: the index of the entry that declared it.
type QueueID uint64

// Requests is a batch of them, with the bytes they refer to.
type Requests struct {
	List  []Request
	Bytes []byte
}

// Reset empties the batch and keeps its memory.
func (r *Requests) Reset() { r.List, r.Bytes = r.List[:0], r.Bytes[:0] }

// Data is the entry of a ReqSubmit, or the name in a ReqQuery or ReqGet.
func (r *Requests) Data(q *Request) []byte { return r.Bytes[q.from:q.to] }

// Publish submits a message.
func (r *Requests) Publish(p *Publish) {
	from := len(r.Bytes)
	r.Bytes = AppendPublish(r.Bytes, p)
	r.submit(from)
}

func (r *Requests) submit(from int) {
	r.List = append(r.List, Request{Kind: ReqSubmit, from: from, to: len(r.Bytes)})
}

// Query asks what name is.
func (r *Requests) Query(name string) {
	from := len(r.Bytes)
	r.Bytes = append(r.Bytes, name...)
	r.List = append(r.List, Request{Kind: ReqQuery, from: from, to: len(r.Bytes)})
}

// Credit sets a consumer's limit: the deliveries it takes in all, counted from Subscribe.
func (r *Requests) Credit(c ConsumerID, limit uint64, drain bool) {
	r.List = append(r.List, Request{Kind: ReqCredit, Consumer: c, Limit: limit, Drain: drain})
}

// Get takes one message of a queue.
func (r *Requests) Get(c ConsumerID, queue string, settled bool) {
	from := len(r.Bytes)
	r.Bytes = append(r.Bytes, queue...)
	r.List = append(r.List, Request{Kind: ReqGet, Consumer: c, Settled: settled, from: from, to: len(r.Bytes)})
}

// Settle ends a hold.
func (r *Requests) Settle(c ConsumerID, q QueueID, i Index, o Outcome) {
	r.List = append(r.List, Request{Kind: ReqSettle, Consumer: c, Queue: q, Index: i, Outcome: o})
}

// AnswerKind tells what a member says to a session.
type AnswerKind uint8

// Answers.
const (
	// AnsCompleted: every numbered request up to Number is done (its entry is safe and, if
	// durable, on the disks asked for). Those that have a Result were answered before.
	AnsCompleted AnswerKind = iota + 1
	// AnsResult: request Number ended as Result says. Sent for every numbered request but
	// a publish that went well. AnsCompleted for it follows.
	AnsResult
	// AnsDeliver: a message for Consumer. Unpin it when its bytes are no longer needed.
	AnsDeliver
	// AnsDrained: all that is there was delivered; Number is the deliveries in all so far.
	AnsDrained
	// AnsEmpty: a ReqGet found nothing (Code OK), or no such queue (NotFound), or may not.
	AnsEmpty
	// AnsCancelled: the consumer's queue is gone.
	AnsCancelled
)

// Code is how a numbered request ended.
type Code uint8

// Codes, each what the protocols' own error for it is.
const (
	OK                 Code = iota
	NotFound                // no such queue or exchange
	AccessRefused           // reserved name, internal exchange
	ResourceLocked          // another connection's exclusive queue
	PreconditionFailed      // exists with other options; not empty; in use
	NoRoute                 // mandatory and reached no queue; Message is the record
	Refused                 // a full queue refused it
	NotAllowed              // what is asked for makes no sense for this object
	Unavailable             // no quorum: nothing was done, try another member
	NoMemory                // the memory for messages is used up: nothing was done
	InUse                   // another consumer has the queue to itself, or this one would, and there are others
)

// Result is how a numbered request ended. The counts are a queue's, where one is meant.
type Result struct {
	Code         Code
	Text         string // for a person: which object, what to do
	Messages     uint64 // ready in the queue; purged or deleted ones for those entries
	Consumers    uint32
	IsQueue      bool         // ReqQuery: the name is a queue
	IsExchange   bool         // ReqQuery: the name is an exchange (it may be both)
	Durable      bool         // ReqQuery: the queue is, or else the exchange
	ExchangeType ExchangeType // ReqQuery, if IsExchange

	// Awaits: the answer to this request is the result, with Messages, of a later entry of whatever
	// member, that Answers the index of its own. Both are between the Broker and its owner.
	Awaits  bool
	Answers Index
}

// Pin keeps the memory behind a record in place until it is let go, once.
type Pin interface{ Unpin() }

// Unpin lets go of what the answer keeps in place, if anything.
func (a *Answer) Unpin() {
	if a.Pin != nil {
		a.Pin.Unpin()
	}
}

// Unpin lets go of what answers keep in place that nobody wants any more.
func Unpin(list []Answer) {
	for i := range list {
		list[i].Unpin()
	}
}

// Answer is one thing a member says. Only what its kind names is set.
type Answer struct {
	Kind       AnswerKind
	Consumer   ConsumerID
	Deliveries uint32  // AnsDeliver: how often it was delivered before (0: first time)
	TTLLeft    uint32  // AnsDeliver: milliseconds left, if the record has FlagTTL
	Number     uint64  // AnsCompleted, AnsResult, AnsDrained
	Ready      uint64  // AnsDeliver for a ReqGet: messages still ready
	Queue      QueueID // AnsDeliver
	Index      Index   // AnsDeliver
	Record     []byte  // AnsDeliver, NoRoute: a publish entry, see ParsePublish; read only
	Pin        Pin     // with Record
	Result     *Result // AnsResult; AnsEmpty's Code
}
