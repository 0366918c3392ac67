// What a packet on the ring's interface is: the ring's, nothing of ours, or to be dropped and why. It is
// written once and compiled for XDP and for TC: who includes it defines struct context, and load().

enum verdict {
	// Not for the ring: nothing is done with it, and nothing counted.
	FOREIGN = 0,
	// The ring's, and well formed as far as one can tell without state.
	RING,
	// For the ring's port, and the sockets' to take: fragments, and what this host sent itself.
	FRAGMENT,
	OWN,
	// The ring's protocol's, of a ring that this member is not in (held.h).
	OTHER_RING,
	// The rest is dropped.
	DROP_LENGTH,
	DROP_MAGIC,
	DROP_VERSION,
	DROP_TYPE,
	DROP_UNLISTED,
	DROP_HELD,	 // this member has it
	DROP_OTHER_RING, // more of them than it takes to find each other
	VERDICTS,
};

struct configuration {
	__be32 own[4];   // IPv4: the first word
	__be32 group[4]; // all zero: there is none
	__be16 port;
	__u8 ipv6;
	__u8 sealed; // packets are protected, and have another header
	__u8 listed; // only sources in the map are heard
	__u8 taken;  // TC: an AF_PACKET socket has had what is the ring's
	__u16 longest; // XDP: frame that a socket takes
	__u8 drop;	// what cannot be the ring's is dropped; else the stack gets it
	__u8 whole; // XDP: a frame is one packet, and no aggregate
	__u8 frags; // XDP: a frame may be in several pieces (Linux 5.18)
	__u8 pad;
};

volatile const struct configuration config = {};

struct counter {
	__u64 packets;
	__be32 last[4]; // who sent the last one, as in config
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, enum verdict);
	__type(value, struct counter);
} counts SEC(".maps");

struct source {
	__be32 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 384); // the protocol's limit of members
	__type(key, struct source);
	__type(value, __u8);
} sources SEC(".maps");

// The header of a ring packet (docs/ring-protocol.md, section 2.1), and of a sealed one (1.2).
#define RING_HEADER 13
#define MAGIC_LITTLE 0xC070
#define MAGIC_BIG 0x70C0
#define RING_VERSION 3
#define SEAL_MAGIC 0x31535051 // "QPS1", read little endian
#define SEAL_LEAST (24 + RING_HEADER + 16)

// The least bytes that a message of each type has.
static __always_inline int least(__u8 type)
{
	switch (type) {
	case 0:
		return 57; // token
	case 1:
		return 45; // mcast
	case 2:
		return 29; // merge detect
	case 3:
		return 33; // join
	case 4:
		return 41; // commit token
	case 5:
		return 25; // hold cancel
	}
	return 0;
}

#define ETHERNET 14
#define MORE_FRAGMENTS_OR_OFFSET 0x3fff

struct seen {
	struct source from;
	__u32 payload; // where the ring packet begins
	__u32 length;  // of it
};

// ring looks at the ring packet itself.
static __always_inline enum verdict ring(struct context *ctx, struct seen *s)
{
	__u8 h[RING_HEADER];

	if (s->length < RING_HEADER || load(ctx, s->payload, h, sizeof(h)))
		return DROP_LENGTH;
	if (config.sealed) {
		__u32 magic = h[0] | h[1] << 8 | h[2] << 16 | (__u32)h[3] << 24;

		if (magic != SEAL_MAGIC)
			return DROP_MAGIC;
		return s->length < SEAL_LEAST ? DROP_LENGTH : RING;
	}
	__u16 magic = h[0] | h[1] << 8;

	if (magic != MAGIC_LITTLE && magic != MAGIC_BIG)
		return DROP_MAGIC;
	if (h[2] != RING_VERSION)
		return DROP_VERSION;
	int want = least(h[3]);

	if (!want)
		return DROP_TYPE;
	return s->length < (__u32)want ? DROP_LENGTH : RING;
}

// udp looks at the datagram at an offset, of which so many bytes are there.
static __always_inline enum verdict udp(struct context *ctx, __u32 at, __u32 there, struct seen *s)
{
	struct {
		__be16 source, dest, length, check;
	} u;

	if (load(ctx, at, &u, sizeof(u)))
		return FOREIGN;
	if (u.dest != config.port)
		return FOREIGN;
	if (s->from.address[0] == config.own[0] && s->from.address[1] == config.own[1] &&
	    s->from.address[2] == config.own[2] && s->from.address[3] == config.own[3])
		return OWN;
	__u32 length = bpf_ntohs(u.length);

	if (length < sizeof(u) || length > there)
		return DROP_LENGTH;
	if (config.listed && !bpf_map_lookup_elem(&sources, &s->from))
		return DROP_UNLISTED;
	s->payload = at + sizeof(u);
	s->length = length - sizeof(u);
	return ring(ctx, s);
}

static __always_inline enum verdict ipv4(struct context *ctx, struct seen *s)
{
	struct {
		__u8 version_ihl, tos;
		__be16 total, id, fragment;
		__u8 ttl, protocol;
		__be16 check;
		__be32 source, dest;
	} ip;

	if (load(ctx, ETHERNET, &ip, sizeof(ip)) || ip.protocol != IPPROTO_UDP)
		return FOREIGN;
	if (ip.dest != config.own[0] && (!config.group[0] || ip.dest != config.group[0]))
		return FOREIGN;
	__u32 header = (ip.version_ihl & 0xf) * 4, total = bpf_ntohs(ip.total);

	if (ip.version_ihl >> 4 != 4 || header < sizeof(ip) || total < header)
		return FOREIGN; // the stack counts what is wrong with IP
	s->from.address[0] = ip.source;
	if (ip.fragment & bpf_htons(MORE_FRAGMENTS_OR_OFFSET))
		return FRAGMENT;
	return udp(ctx, ETHERNET + header, total - header, s);
}

static __always_inline int is(const __be32 *a, const volatile __be32 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

static __always_inline enum verdict ipv6(struct context *ctx, struct seen *s)
{
	struct {
		__be32 first;
		__be16 payload;
		__u8 next, hops;
		__be32 source[4], dest[4];
	} ip;

	if (load(ctx, ETHERNET, &ip, sizeof(ip)))
		return FOREIGN;
	if (!is(ip.dest, config.own) && (!config.group[0] || !is(ip.dest, config.group)))
		return FOREIGN;
	s->from.address[0] = ip.source[0];
	s->from.address[1] = ip.source[1];
	s->from.address[2] = ip.source[2];
	s->from.address[3] = ip.source[3];
	if (ip.next == 44) // the fragment header
		return FRAGMENT;
	if (ip.next != IPPROTO_UDP)
		return FOREIGN;
	return udp(ctx, ETHERNET + sizeof(ip), bpf_ntohs(ip.payload), s);
}

static __always_inline enum verdict classify(struct context *ctx, struct seen *s)
{
	__be16 type;

	if (load(ctx, 12, &type, sizeof(type)))
		return FOREIGN;
	if (!config.ipv6 && type == bpf_htons(0x0800))
		return ipv4(ctx, s);
	if (config.ipv6 && type == bpf_htons(0x86dd))
		return ipv6(ctx, s);
	return FOREIGN;
}

static __always_inline void count(enum verdict verdict, struct seen *s)
{
	struct counter *c = bpf_map_lookup_elem(&counts, &verdict);

	if (!c)
		return;
	c->packets++;
	if (verdict < DROP_LENGTH)
		return;
	c->last[0] = s->from.address[0];
	c->last[1] = s->from.address[1];
	c->last[2] = s->from.address[2];
	c->last[3] = s->from.address[3];
}
