// The token pass on XDP: behind the guard, before an AF_XDP socket, AF_PACKET and the stack. What is sent
// goes out where it came in, by XDP_TX, or redirected there: of a veth whose other end has no program on XDP
// the driver does not wake that end for what XDP_TX gives it (Linux 6.18).

#include "token.h"

// Generic XDP: a checksum that is only begun is the interface's to end, which knows of it. The driver's
// XDP forgets.
volatile const __u8 generic = 0;
volatile const __u8 redirected = 0;

static __always_inline int fetch(struct xdp_md *ctx, __u32 at, void *to, __u32 bytes)
{
	return bpf_xdp_load_bytes(ctx, at, to, bytes);
}

#define IP_HEADER 20
#define IP_TTL 8
#define IP_CHECK 10
#define IP_SOURCE 12
#define IP6_HEADER 40
#define IP6_HOPS 7
#define IP6_SOURCE 8
#define HOPS 64

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

// begun is the sum that a checksum begins with: of the addresses, the length and the protocol.
static __always_inline __u32 begun(struct ends *e)
{
	return bpf_csum_diff(0, 0, e->source, 40, 0);
}

// sendable also tells whether the checksum is right: a new one is made, and must not hide that it was not.
static __always_inline int sendable(struct xdp_md *ctx, struct seen *s, struct scratch *x)
{
	__u32 header = config.ipv6 ? IP6_HEADER : IP_HEADER;
	struct ends *e = &x->ends;
	__u8 mac[6];

	if (s->payload != ETHERNET + header + 8 || bpf_xdp_load_bytes(ctx, 0, mac, 6) || bpf_xdp_load_bytes(ctx, ETHERNET + header, &e->from, 8))
		return 0; // with options
	if (config.ipv6) {
		if (bpf_xdp_load_bytes(ctx, ETHERNET + IP6_SOURCE, e->source, 32))
			return 0;
	} else if (bpf_xdp_load_bytes(ctx, ETHERNET + IP_SOURCE, e->source, 4) || bpf_xdp_load_bytes(ctx, ETHERNET + IP_SOURCE + 4, e->dest, 4)) {
		return 0;
	}
	for (int i = 0; i < 6; i++) {
		if (mac[i] != x->order.own[i])
			return 0; // a neighbour's, which the interface was shown
	}
	if (!e->check)
		return 0;
	e->bytes = bpf_htonl(s->length + 8);
	e->protocol = bpf_htonl(IPPROTO_UDP);
	__u32 sum = begun(e);

	int whole = fold(bpf_csum_diff(0, 0, (__be32 *)x->was, TOKEN_ROOM, bpf_csum_diff(0, 0, (__be32 *)&e->from, 8, sum))) == 0xffff;

	x->begun = e->check == fold(sum);
	// It may look like either by chance; then nobody knows what the interface will do.
	return generic ? whole != x->begun : whole || x->begun;
}

// address4 writes the addresses and what else is ours of the header of IPv4.
static __always_inline int address4(struct xdp_md *ctx, struct ends *e)
{
	__u8 h[IP_HEADER];

	if (bpf_xdp_load_bytes(ctx, ETHERNET, h, IP_HEADER))
		return -1;
	h[IP_TTL] = HOPS;
	h[IP_CHECK] = h[IP_CHECK + 1] = 0;
	__builtin_memcpy(h + IP_SOURCE, e->source, 4);
	__builtin_memcpy(h + IP_SOURCE + 4, e->dest, 4);
	__u16 sum = ~fold(bpf_csum_diff(0, 0, (__be32 *)h, IP_HEADER, 0));

	__builtin_memcpy(h + IP_CHECK, &sum, 2);
	return bpf_xdp_store_bytes(ctx, ETHERNET, h, IP_HEADER);
}

static __always_inline int address6(struct xdp_md *ctx, struct ends *e)
{
	__u8 hops = HOPS;

	return bpf_xdp_store_bytes(ctx, ETHERNET + IP6_HOPS, &hops, 1) || bpf_xdp_store_bytes(ctx, ETHERNET + IP6_SOURCE, e->source, 32);
}

// send writes the token, addressed to the next member, and sends it.
static __always_inline int send(struct xdp_md *ctx, struct seen *s, struct scratch *x)
{
	__u32 length = s->length, header = config.ipv6 ? IP6_HEADER : IP_HEADER;
	struct order *o = &x->order;
	struct ends *e = &x->ends;

	for (int i = 0; i < 4; i++) {
		e->source[i] = config.own[i];
		e->dest[i] = o->to[i];
	}
	e->from = config.port;
	e->to = o->port;
	e->check = 0;
	__u32 sum = begun(e);

	if (generic && x->begun) {
		e->check = fold(sum);
	} else {
		e->check = ~fold(bpf_csum_diff(0, 0, (__be32 *)x->is, TOKEN_ROOM, bpf_csum_diff(0, 0, (__be32 *)&e->from, 8, sum)));
		if (!e->check)
			e->check = 0xffff; // 0 is none
	}
	if (length < TOKEN || length > TOKEN_MOST)
		return XDP_DROP;
	if ((config.ipv6 ? address6(ctx, e) : address4(ctx, e)) || bpf_xdp_store_bytes(ctx, ETHERNET + header, &e->from, 8) ||
	    bpf_xdp_store_bytes(ctx, s->payload, x->is, length) || bpf_xdp_store_bytes(ctx, 0, o->mac, 6) ||
	    bpf_xdp_store_bytes(ctx, 6, o->own, 6))
		return XDP_DROP; // it is lost, and repeated
	passed(x);
	return redirected ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
}

static __always_inline int token_pass(struct xdp_md *ctx, struct seen *s)
{
	__u32 zero = 0;
	struct scratch *x = bpf_map_lookup_elem(&scratches, &zero);

	if (!x)
		return XDP_PASS;
	switch (token(ctx, s, x)) {
	case SEND:
		return send(ctx, s, x);
	case END:
		return XDP_DROP;
	default:
		return XDP_PASS;
	}
}
