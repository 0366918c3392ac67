//go:build ignore

// A limit to new connections from one source, before they cost the broker anything: a SYN to one of its
// ports beyond the rate is dropped, as if the network had lost it. It is on TC, where programs of
// several makers, and the ring's own, can be side by side.

#include "headers.h"
#include "vlan.h"

#define TCX_NEXT -1
#define TCX_DROP 2

#define ETHERNET 14
#define IPPROTO_TCP 6
#define SYN 0x02
#define ACK 0x10
#define PORTS 8

struct limits {
	__u64 interval; // nanoseconds between two connections of a source, in the long run
	__u64 burst;	// nanoseconds by which it may be ahead of that
	__be16 ports[PORTS]; // 0: none
};

volatile const struct limits limits = {};

// A source is an IPv4 address in the first word, or the network of an IPv6 one, of which a host has
// as many addresses as it likes.
struct source {
	__be32 address[2];
	__u32 ipv6;
};

// When a source has used up what it was allowed: the next connection is due at this time, and may
// come by the burst earlier. Several processors may look at once, and let one more through.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct source);
	__type(value, __u64);
} due SEC(".maps");

enum outcome {
	LET,
	REFUSED,
	OUTCOMES,
};

struct tally {
	__u64 packets;
	struct source last;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OUTCOMES);
	__type(key, enum outcome);
	__type(value, struct tally);
} tallies SEC(".maps");

static __always_inline void count(enum outcome o, struct source *s)
{
	struct tally *t = bpf_map_lookup_elem(&tallies, &o);

	if (!t)
		return;
	t->packets++;
	t->last = *s;
}

static __always_inline int ours(__be16 port)
{
#pragma unroll
	for (int i = 0; i < PORTS; i++)
		if (port == limits.ports[i])
			return 1;
	return 0;
}

// source finds out whose packet it is, and where TCP begins; 0: it is not TCP.
static __always_inline __u32 source(struct __sk_buff *ctx, struct source *s)
{
	__u8 b[24]; // of the IP header, as much as is looked at

	if (bpf_skb_load_bytes(ctx, ETHERNET, b, 20))
		return 0;
	if (ctx->protocol == bpf_htons(0x0800)) {
		__u32 header = (b[0] & 0xf) * 4;

		if (b[9] != IPPROTO_TCP || header < 20 || b[6] & 0x1f || b[7])
			return 0; // of fragments the first alone has a header of TCP
		__builtin_memcpy(s->address, b + 12, 4);
		return ETHERNET + header;
	}
	if (ctx->protocol == bpf_htons(0x86dd)) {
		if (b[6] != IPPROTO_TCP)
			return 0;
		__builtin_memcpy(s->address, b + 8, 8);
		s->ipv6 = 1;
		return ETHERNET + 40;
	}
	return 0;
}

SEC("tcx/ingress")
int new_connections(struct __sk_buff *ctx)
{
	struct source s = {};
	__u8 tcp[14];
	__u32 at = source(ctx, &s);

	if (!at || tagged(ctx) || bpf_skb_load_bytes(ctx, at, tcp, sizeof(tcp)) || (tcp[13] & (SYN | ACK)) != SYN)
		return TCX_NEXT;
	__be16 port;

	__builtin_memcpy(&port, tcp + 2, sizeof(port));
	if (!ours(port))
		return TCX_NEXT;
	__u64 now = bpf_ktime_get_ns(), next = now + limits.interval;
	__u64 *known = bpf_map_lookup_elem(&due, &s);

	if (known) {
		if (*known > now + limits.burst) {
			count(REFUSED, &s);
			return TCX_DROP;
		}
		*known = (*known > now ? *known : now) + limits.interval;
	} else {
		bpf_map_update_elem(&due, &s, &next, BPF_ANY);
	}
	count(LET, &s);
	return TCX_NEXT;
}

char _license[] SEC("license") = "Apache-2.0";
