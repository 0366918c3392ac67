//go:build ignore

// The guard for TC: what comes behind it are the sockets, and before it AF_PACKET. Where that has had
// the ring's packets, they end here.

#include "headers.h"

#define context __sk_buff

static __always_inline int load(struct __sk_buff *ctx, __u32 at, void *to, const __u32 bytes)
{
	return bpf_skb_load_bytes(ctx, at, to, bytes);
}

#include "ring.h"

// Of an aggregate only the first packet is looked at, which says nothing of the others.
static __always_inline int single(struct __sk_buff *ctx) { return !ctx->gso_size; }

#include "held.h"
#include "vlan.h"

// The answers of tcx (Linux 6.6).
#define TCX_NEXT -1
#define TCX_DROP 2

#define PACKET_LOOPBACK 5 // multicasts of this host, given back to it

SEC("tcx/ingress")
int ring_tc(struct __sk_buff *ctx)
{
	struct seen s = {};

	if (ctx->pkt_type == PACKET_LOOPBACK || tagged(ctx))
		return TCX_NEXT;
	enum verdict v = judge(ctx, &s);

	if (v == FOREIGN)
		return TCX_NEXT;
	count(v, &s);
	if (v >= DROP_LENGTH && config.drop || (v == RING || v == OTHER_RING) && config.taken)
		return TCX_DROP;
	return TCX_NEXT;
}

char _license[] SEC("license") = "Apache-2.0";
