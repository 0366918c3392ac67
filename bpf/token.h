// The token pass: while a member has said what a visit of the token would come to, a program makes it so
// and sends the token on, and the member hears of it when it wakes for something else. What a visit
// comes to is in ring/totem/pass.go; here is only what every token has to fulfil for it.
//
// No token may be used twice, once here and once by the member: then two would go round. So each token
// is claimed by the first that sees it come in, which is the program, for itself or for the member, and
// whatever comes a second time ends here if it was passed on, and with the member if that has it.
//
// It is written once, behind ring.h, for TC and for XDP: who includes it defines fetch(), which loads so
// many bytes as are not known beforehand, sendable(), and what sends.

#define TOKEN 57
#define MARKS 16	// magic, count, keeper, quiet
#define MARK 6
#define MEMBERS 32
#define TOKEN_MOST (TOKEN + MARKS + MEMBERS * MARK)
#define TOKEN_ROOM 272	// of which the checksum is taken: a multiple of four, zeros behind the token
#define EXTENSION 0x31525051 // "QPR1"

// How many rotations in a row the member may lack packets without a visit of its own, at which it
// asks for them.
#define PATIENCE 4

// order is what the member says. It changes version before and after it writes, so that it is odd
// meanwhile.
struct order {
	__u32 version;
	__u32 armed;
	__u64 expires; // by the clock of bpf_ktime_get_ns
	__u64 ring_seq;
	__u32 ring_rep;
	__u32 self, next;
	__u32 place, members;
	__u32 aru, heard;
	__u32 after; // only later tokens
	__u32 generation; // of the ring
	__be32 to[4]; // the next member's address, as in config
	__u32 port; // and port, in network order
	__u8 mac[8]; // and Ethernet address
	__u8 own[8]; // ours
};

// record is what the program says, of one generation.
struct record {
	__u32 version;
	__u32 last;	// token that came in, whoever got it
	__u32 passed;	// token that was passed on
	__u32 length;	// of it
	__u64 passes;
	__u64 when;
	__u64 arrived;	// the last token came in
	__u32 behind;	// visits in a row at which the member lacked packets
	__u32 behind_at; // and had this much
	__u8 token[TOKEN_ROOM];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct record);
} records SEC(".maps");

// ends is what the datagram's checksum is taken of besides its payload, of IPv4 and of IPv6.
struct ends {
	__be32 source[4], dest[4];
	__be32 bytes, protocol;
	__be16 from, to, length, check;
};

struct scratch {
	__u8 was[TOKEN_ROOM];
	__u8 is[TOKEN_ROOM];
	struct order order;
	struct ends ends;
	__u32 begun; // XDP: the checksum is of the addresses only, and the rest is the interface's to add
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

// What is measured: from one token to the next, and how long one that is passed on stays here.
enum timing {
	ROTATION,
	HOP,
	TIMINGS,
};

// Times are counted by their logarithm to the base of two, each octave in four, from 256 ns on, and
// what is more than a minute with the last.
#define OCTAVE_FIRST 8
#define OCTAVES 28
#define BUCKETS (4 * OCTAVES + 1)

struct histogram {
	__u64 sum, most;
	__u64 counts[BUCKETS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TIMINGS);
	__type(key, enum timing);
	__type(value, struct histogram);
} times SEC(".maps");

static __always_inline void timed(enum timing which, __u64 time)
{
	struct histogram *h = bpf_map_lookup_elem(&times, &which);
	__u32 octave = 0;
	__u64 v = time;

	if (!h)
		return;
	if (v >> 32) {
		octave += 32;
		v >>= 32;
	}
	if (v >> 16) {
		octave += 16;
		v >>= 16;
	}
	if (v >> 8) {
		octave += 8;
		v >>= 8;
	}
	if (v >> 4) {
		octave += 4;
		v >>= 4;
	}
	if (v >> 2) {
		octave += 2;
		v >>= 2;
	}
	if (v >> 1)
		octave += 1;
	__u32 at = 0;

	if (octave >= OCTAVE_FIRST)
		at = 1 + 4 * (octave - OCTAVE_FIRST) + (time >> (octave - 2) & 3);
	if (at >= BUCKETS)
		at = BUCKETS - 1;
	h->counts[at]++;
	h->sum += time;
	if (time > h->most)
		h->most = time;
}

static __always_inline int fetch(struct context *ctx, __u32 at, void *to, __u32 bytes);

// sendable tells whether the packet is one that can be sent, for which the order is in the scratch.
static __always_inline int sendable(struct context *ctx, struct seen *s, struct scratch *x);

static __always_inline __u32 get(const __u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (__u32)p[3] << 24;
}

static __always_inline void put(__u8 *p, __u32 v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

// before compares numbers that count on from each other and wrap.
static __always_inline int before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

// ordered reads what the member says; 0: it is just writing.
static __always_inline int ordered(struct order *o)
{
	__u32 zero = 0;
	struct order *from = bpf_map_lookup_elem(&orders, &zero);

	if (!from)
		return 0;
	__u32 version = __sync_fetch_and_add(&from->version, 0);

	__builtin_memcpy(o, from, sizeof(*o));
	return !(version & 1) && __sync_fetch_and_add(&from->version, 0) == version;
}

// everywhere tells whether all members have all that the token counts.
static __always_inline int everywhere(struct order *o, const __u8 *t, __u32 seq)
{
	if (o->aru != seq)
		return 0;
	for (__u32 i = 0; i < MEMBERS; i++) {
		if (i >= o->members)
			break;
		if (i != o->place && before(get(t + TOKEN + MARKS + i * MARK), seq))
			return 0;
	}
	return 1;
}

// visit makes the token what it is after a visit of the member; 0: the member has to.
static __always_inline int visit(struct order *o, struct record *r, __u8 *t)
{
	__u32 seq = get(t + 13), aru = get(t + 21), holder = get(t + 25);

	if (get(t + 49) || get(t + 53) || !get(t + 5)) // recovery, requests, nobody's
		return 0;
	if (get(t + TOKEN) != EXTENSION || get(t + TOKEN + 4) != o->members)
		return 0;
	if (get(t + TOKEN + 8) == o->self) // the keeper
		return 0;
	if (before(seq, o->aru))
		return 0;
	if (get(t + TOKEN + 12) && !everywhere(o, t, seq)) // quiet, of which the visit would make nothing
		return 0;
	if (seq == o->aru || r->behind_at != o->aru) {
		r->behind = 0;
		r->behind_at = o->aru;
	}
	if (seq != o->aru && ++r->behind > PATIENCE)
		return 0;
	if (before(o->aru, aru) || holder == o->self || !holder) {
		put(t + 21, o->aru);
		put(t + 25, o->aru == seq ? 0 : o->self);
	}
	put(t + 5, o->self);
	put(t + 9, o->next);
	put(t + 17, get(t + 17) + 1);
	__u32 place = o->place;

	if (place >= MEMBERS)
		return 0;
	__u8 *mark = t + TOKEN + MARKS + place * MARK;

	put(mark, o->aru);
	mark[4] = o->heard;
	mark[5] = o->heard >> 8;
	return 1;
}

static __always_inline void note(struct record *r, __u8 *t, __u32 seq, __u32 length, __u64 now)
{
	__sync_fetch_and_add(&r->version, 1);
	r->passed = seq;
	r->length = length;
	r->when = now;
	r->passes++;
	__builtin_memcpy(r->token, t, TOKEN_ROOM);
	__sync_fetch_and_add(&r->version, 1);
}

enum answer {
	LEAVE, // it is the member's
	END,
	SEND,
};

// token looks at a packet of the ring, and makes a token that is to be passed on what it becomes.
static __always_inline enum answer token(struct context *ctx, struct seen *s, struct scratch *x)
{
	struct order *o = &x->order;
	__u32 length = s->length;

	if (length < TOKEN || length > TOKEN_MOST)
		return LEAVE;
	__builtin_memset(x, 0, sizeof(*x));
	if (fetch(ctx, s->payload, x->was, length) || x->was[3] != 0 || x->was[0] != 0x70)
		return LEAVE;
	__u64 now = bpf_ktime_get_ns();

	__builtin_memcpy(x->is, x->was, sizeof(x->is));
	// While the member is writing the token is its own, and claimed for it.
	int told = ordered(o);

	if (told && (get(x->was + 29) != o->ring_rep || get(x->was + 33) != (__u32)o->ring_seq || get(x->was + 37) != o->ring_seq >> 32))
		return LEAVE;
	__u32 which = o->generation & 1;
	struct record *r = bpf_map_lookup_elem(&records, &which);

	if (!r)
		return LEAVE;
	__u32 seq = get(x->was + 17), last = r->last;

	if (!before(last, seq))
		return before(r->passed, seq) ? LEAVE : END;
	if (__sync_val_compare_and_swap(&r->last, last, seq) != last)
		return END; // another processor has it
	if (r->arrived && now > r->arrived)
		timed(ROTATION, now - r->arrived);
	r->arrived = now;
	if (!told || !o->armed || o->expires < now || !before(o->after, seq) ||
	    length != TOKEN + MARKS + o->members * MARK || !sendable(ctx, s, x) || !visit(o, r, x->is))
		return LEAVE;
	note(r, x->is, seq, length, now);
	return SEND;
}

// passed is told when the token has all but left.
static __always_inline void passed(struct scratch *x)
{
	__u32 which = x->order.generation & 1;
	struct record *r = bpf_map_lookup_elem(&records, &which);

	if (r)
		timed(HOP, bpf_ktime_get_ns() - r->arrived);
}
