// What the member knows, and a packet alone does not tell: which ring it is in, and how far it has
// everything. The member says so lazily, while its ring is in operation; before it sends anything for
// another ring it takes that back.
//
// Dropped is what the state machine would throw away for certain: a plain mcast of the ring whose place
// is at or before the last up to which the member has all. It has it, whoever multicasts it again, and
// for whom. Late is safe: a ring's number is never used again, and the aru only rises. What is wrapped
// for recovery, tokens and all else goes on.
//
// Packets of another ring are how rings find each other and become one: the state machine acts on the
// first mcast or merge detect, and gathers. So they are counted, and of each source some go on each
// second, which is enough for that; what is beyond is dropped. Which cluster a packet is of it does not
// say: two that share group and port are one ring, unless each has a key, and then no packet can be
// looked into and all of this is left to the member.

#define RINGS 4

// rings has the last rings of the member: one that is being looked at is not written anew until there
// were some more.
struct held {
	__u32 current; // of rings, from 1; 0: the member says nothing
	__u32 pad;
	struct {
		__u64 seq;
		__u32 rep;
		__u32 aru;
	} rings[RINGS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE); // Linux 5.5
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} held SEC(".maps");

// Of a source's packets of other rings one goes on each 10 ms, and some at once. A member that
// merges looks for others each 200 ms.
#define OTHER_INTERVAL 10000000ULL
#define OTHER_BURST 16

// When the next packet of another ring is due, of each source.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct source);
	__type(value, __u64);
} others SEC(".maps");

#define TYPE_MCAST 1
#define TYPE_MERGE_DETECT 2
#define PLAIN 2
#define SHORTEST 29 // of both: a merge detect
#define LOOKED_AT 37 // up to the ring id of a mcast

static __always_inline __u32 number(const __u8 *p, int big)
{
	if (big)
		return (__u32)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
	return p[0] | p[1] << 8 | p[2] << 16 | (__u32)p[3] << 24;
}

// in tells whether a ring id is that of the member's ring, of which it gives the aru; -1: the member
// says nothing.
static __always_inline int in(const __u8 *id, int big, __u32 *aru)
{
	__u32 zero = 0, high = number(id + (big ? 4 : 8), big), low = number(id + (big ? 8 : 4), big);
	struct held *h = bpf_map_lookup_elem(&held, &zero);

	if (!h)
		return -1;
	__u32 i = *(volatile __u32 *)&h->current - 1;

	if (i >= RINGS)
		return -1;
	*aru = h->rings[i].aru;
	return number(id, big) == h->rings[i].rep && ((__u64)high << 32 | low) == h->rings[i].seq;
}

// of_another decides about a packet of another ring.
static __always_inline enum verdict of_another(struct seen *s)
{
	__u64 now = bpf_ktime_get_ns(), next = now + OTHER_INTERVAL;
	__u64 *due = bpf_map_lookup_elem(&others, &s->from);

	if (!due) {
		bpf_map_update_elem(&others, &s->from, &next, BPF_ANY);
		return OTHER_RING;
	}
	if (*due > now + (OTHER_BURST - 1) * OTHER_INTERVAL)
		return DROP_OTHER_RING;
	*due = (*due > now ? *due : now) + OTHER_INTERVAL;
	return OTHER_RING;
}

// judge is classify, and what there is to say by what the member knows.
static __always_inline enum verdict judge(struct context *ctx, struct seen *s)
{
	enum verdict v = classify(ctx, s);
	__u8 p[LOOKED_AT] = {};
	__u32 aru = 0;

	if (v != RING || !config.drop || config.sealed || !single(ctx))
		return v;
	if (load(ctx, s->payload, p, SHORTEST))
		return v;
	int mcast = p[3] == TYPE_MCAST, big = p[0] == 0xc0;

	if (!mcast && p[3] != TYPE_MERGE_DETECT)
		return v;
	if (mcast && load(ctx, s->payload, p, LOOKED_AT))
		return v;
	switch (mcast ? in(p + 25, big, &aru) : in(p + 17, big, &aru)) {
	case -1:
		return v;
	case 0:
		return of_another(s);
	}
	if (mcast && p[4] == PLAIN && (__s32)(aru - number(p + 17, big)) >= 0)
		return DROP_HELD;
	return v;
}
