//go:build ignore

// The token pass on TC: behind the driver, before the sockets, where the kernel can send any packet back
// out, and knows whether its checksum is only begun.

#include "headers.h"

#define context __sk_buff

static __always_inline int load(struct __sk_buff *ctx, __u32 at, void *to, const __u32 bytes)
{
	return bpf_skb_load_bytes(ctx, at, to, bytes);
}

#include "ring.h"
#include "token.h"
#include "vlan.h"

#define TCX_NEXT -1
#define TCX_DROP 2
#define PACKET_HOST 0

static __always_inline int fetch(struct __sk_buff *ctx, __u32 at, void *to, __u32 bytes)
{
	return bpf_skb_load_bytes(ctx, at, to, bytes);
}

#define IP_TTL 8
#define IP_CHECK 10
#define IP_SOURCE 12
#define IP6_HOPS 7
#define IP6_SOURCE 8
#define UDP_CHECK 6
#define HOPS 64

static __always_inline int sendable(struct __sk_buff *ctx, struct seen *s, struct scratch *x)
{
	struct ends *e = &x->ends;
	__u32 udp = s->payload - 8;

	if (ctx->gso_size || bpf_skb_load_bytes(ctx, udp, &e->from, 4))
		return 0;
	if (config.ipv6)
		return !bpf_skb_load_bytes(ctx, ETHERNET + IP6_SOURCE, e->source, 32);
	return !bpf_skb_load_bytes(ctx, ETHERNET + IP_SOURCE, &e->source[0], 4) && !bpf_skb_load_bytes(ctx, ETHERNET + IP_SOURCE + 4, &e->dest[0], 4);
}

// address4 writes the addresses and what else is ours of the header of IPv4.
static __always_inline int address4(struct __sk_buff *ctx, struct ends *old, struct ends *new)
{
	__be16 life, ttl;
	__be32 pair[2] = { new->source[0], new->dest[0] };

	if (bpf_skb_load_bytes(ctx, ETHERNET + IP_TTL, &life, sizeof(life)))
		return -1;
	ttl = (life & bpf_htons(0xff)) | bpf_htons(HOPS << 8);
	return bpf_l3_csum_replace(ctx, ETHERNET + IP_CHECK, old->source[0], new->source[0], 4) ||
	       bpf_l3_csum_replace(ctx, ETHERNET + IP_CHECK, old->dest[0], new->dest[0], 4) ||
	       bpf_l3_csum_replace(ctx, ETHERNET + IP_CHECK, life, ttl, 2) ||
	       bpf_skb_store_bytes(ctx, ETHERNET + IP_TTL, &ttl, sizeof(ttl), 0) ||
	       bpf_skb_store_bytes(ctx, ETHERNET + IP_SOURCE, pair, sizeof(pair), 0);
}

static __always_inline int address6(struct __sk_buff *ctx, struct ends *new)
{
	__u8 hops = HOPS;

	return bpf_skb_store_bytes(ctx, ETHERNET + IP6_HOPS, &hops, sizeof(hops), 0) ||
	       bpf_skb_store_bytes(ctx, ETHERNET + IP6_SOURCE, new->source, 32, 0);
}

// send writes the token, addressed to the next member, and sends it.
static __always_inline int send(struct __sk_buff *ctx, struct seen *s, struct scratch *x)
{
	__u32 udp = s->payload - 8, check = udp + UDP_CHECK, length = s->length;
	struct order *o = &x->order;
	struct ends *old = &x->ends, new = {};

	for (int i = 0; i < 4; i++) {
		new.source[i] = config.own[i];
		new.dest[i] = o->to[i];
	}
	new.from = config.port;
	new.to = o->port;
	__s64 ports = bpf_csum_diff((__be32 *)&old->from, 4, (__be32 *)&new.from, 4, 0);
	__s64 sum = bpf_csum_diff((__be32 *)x->was, TOKEN_ROOM, (__be32 *)x->is, TOKEN_ROOM, ports);
	__s64 addresses = bpf_csum_diff(old->source, 32, new.source, 32, 0);

	if (length < TOKEN || length > TOKEN_MOST)
		return TCX_DROP;
	if (bpf_l4_csum_replace(ctx, check, 0, sum, BPF_F_MARK_MANGLED_0) ||
	    bpf_l4_csum_replace(ctx, check, 0, addresses, BPF_F_MARK_MANGLED_0 | BPF_F_PSEUDO_HDR) ||
	    (config.ipv6 ? address6(ctx, &new) : address4(ctx, old, &new)) ||
	    bpf_skb_store_bytes(ctx, udp, &new.from, 4, 0) ||
	    bpf_skb_store_bytes(ctx, s->payload, x->is, length, 0) ||
	    bpf_skb_store_bytes(ctx, 0, o->mac, 6, 0) || bpf_skb_store_bytes(ctx, 6, o->own, 6, 0))
		return TCX_DROP; // it is lost, and repeated
	passed(x);
	return bpf_redirect(ctx->ifindex, 0);
}

SEC("tcx/ingress")
int token_pass(struct __sk_buff *ctx)
{
	struct seen s = {};
	__u32 zero = 0;
	struct scratch *x = bpf_map_lookup_elem(&scratches, &zero);

	if (!x || ctx->pkt_type != PACKET_HOST || tagged(ctx) || classify(ctx, &s) != RING)
		return TCX_NEXT;
	switch (token(ctx, &s, x)) {
	case SEND:
		return send(ctx, &s, x);
	case END:
		return TCX_DROP;
	default:
		return TCX_NEXT;
	}
}

char _license[] SEC("license") = "Apache-2.0";
